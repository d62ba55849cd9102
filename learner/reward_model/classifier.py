"""A reward model of its own: transformers' sequence classification, one label a score.

Trained here in full, or any that was trained elsewhere: it brings its own tokenizer and need not be
related to the policy. Labels are named ``CRITERION`` or ``CRITERION/MEMBER``; a model with a single
label of any name scores replies as a whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from learner.model_folder import ModelError
from learner.rendering import render
from learner.reward.criteria import CriteriaWeights, combined
from storage.records import Completion, Message
from storage.slates import Criterion


def label_names(criteria: Sequence[Criterion], members: int) -> dict[int, str]:
    """One label for each member and criterion, member by member."""
    return {
        e * len(criteria) + c: f"{criterion.value}/{e}"
        for e in range(members)
        for c, criterion in enumerate(criteria)
    }


def new_classifier(
    folder: Path, criteria: Sequence[Criterion], members: int, *, device: torch.device, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The chat model in ``folder`` with fresh scores in the language-model head's place."""
    names = label_names(criteria, members)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # transformers draws the new head from the global generator
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(names),
            id2label=names,
            label2id={name: i for i, name in names.items()},
            dtype=torch.float32,
        )
    model.config.pad_token_id = tokenizer.eos_token_id
    return model.to(device), tokenizer


class Classifier:
    """Scores replies by one classification model; a ``RewardModel``."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        weights: CriteriaWeights | None = None,
        max_prompt_tokens: int = 1024,
        max_reply_tokens: int = 384,
    ) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._weights = weights or CriteriaWeights()
        self._max_prompt_tokens = max_prompt_tokens
        self._max_reply_tokens = max_reply_tokens
        self.criteria, self._order = _criteria_of(model.config.id2label)

    @classmethod
    def read(
        cls, folder: Path, *, device: torch.device, weights: CriteriaWeights | None = None
    ) -> "Classifier":
        """Raises ModelError where there is no such model."""
        try:
            model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder} holds no reward model: {error}") from error
        return cls(model.to(device).eval(), tokenizer, weights=weights)

    def rewards(self, prompt: Sequence[Message], replies: Sequence[str]) -> Float[Tensor, "E C N"]:
        """Rewards by criterion; gradients flow if enabled. Raises PromptTooLongError."""
        before = list(render(self._tokenizer, prompt, self._max_prompt_tokens).token_ids)
        rows = [
            before + list(ids)[: self._max_reply_tokens]
            for ids in self._tokenizer(list(replies), add_special_tokens=False)["input_ids"]
        ]
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.model.config.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        device = self.model.device
        hidden = self.model.base_model(
            input_ids=ids.to(device), attention_mask=mask.to(device)
        ).last_hidden_state
        # By the mask: transformers takes the last token that is not padding, and padding with the
        # end token would hide a reply's own.
        ends = mask.sum(dim=1).to(device) - 1
        logits = self._head(hidden[torch.arange(len(rows), device=device), ends]).float()  # (N, L)
        return torch.stack([logits[:, labels].T for labels in self._order])

    @torch.no_grad()
    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits, the criteria taken together as the person weighs them."""
        rewards = self.rewards(prompt, [c.text for c in completions]).cpu()
        return combined(rewards, self.criteria, self._weights)

    @property
    def _head(self) -> nn.Module:
        for name in ("score", "classifier"):
            if isinstance(found := getattr(self.model, name, None), nn.Module):
                return found
        raise ModelError(f"{type(self.model).__name__} has no head that scores a last token")


def _criteria_of(
    labels: Mapping[int, str],
) -> tuple[tuple[Criterion, ...], list[list[int]]]:
    """Criteria, and for each member the labels in their order. Raises ModelError."""
    if len(labels) == 1:
        return (Criterion.OVERALL,), [[0]]
    known = {criterion.value: criterion for criterion in Criterion}
    places: dict[tuple[int, Criterion], int] = {}
    for i, name in labels.items():
        criterion, _, member = str(name).partition("/")
        if criterion not in known:
            raise ModelError(f"its label {name!r} is no criterion: there are {', '.join(known)}")
        places[int(member or 0), known[criterion]] = int(i)
    criteria = tuple(c for c in Criterion if any(c is found for _, found in places))
    members = sorted({member for member, _ in places})
    return criteria, [[places[member, c] for c in criteria] for member in members]
