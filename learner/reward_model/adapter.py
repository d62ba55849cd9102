"""A reward model as an adapter: the base stays the one copy in memory, and to score, it speaks.

What is scored is the hidden state of a reply's last token under that adapter. All replies to a
prompt are run behind it once.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.engine.backbone import Backbone
from learner.engine.trees import Tree
from learner.measures import tree_states
from learner.model_folder import ModelError
from learner.rendering import render
from learner.reward.criteria import CriteriaWeights, combined
from learner.reward_model.scores import Scores
from storage.records import Completion, Message, PolicyVersion, PolicyVersionId
from storage.slates import Criterion

SCORES_FILE = "scores.safetensors"
ABOUT_FILE = "reward_model.json"
_NEVER = datetime.fromtimestamp(0, UTC)


def read_tree(
    backbone: Backbone,
    prompt: Sequence[Message],
    replies: Sequence[Sequence[int]],
    *,
    max_prompt_tokens: int,
    max_reply_tokens: int,
) -> Tree:
    """Each reply is cut to ``max_reply_tokens`` and ended. Raises PromptTooLongError."""
    end = (backbone.pad_id,)
    return Tree(
        render(backbone.tokenizer, prompt, max_prompt_tokens).token_ids,
        tuple((*tuple(ids)[:max_reply_tokens], *end) for ids in replies),
    )


def last_states(backbone: Backbone, trees: Sequence[Tree]) -> Float[Tensor, "N d"]:
    """The hidden state of each reply's last token, by whoever speaks; one row is run."""
    states = tree_states(backbone, trees)
    ends = torch.tensor(states.lengths).cumsum(0) - 1  # the state before the end token
    return states.hidden[ends.to(states.hidden.device)]


def save_scores(
    scores: Scores, folder: Path, *, criteria: Sequence[Criterion], base_sha256: str
) -> None:
    save_file({"weight": scores.weight.detach().cpu().contiguous()}, folder / SCORES_FILE)
    about = {"criteria": [c.value for c in criteria], "base_sha256": base_sha256}
    (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


class TrainedReward:
    """A ``RewardModel`` read from a folder; it speaks through the backbone's one base model."""

    def __init__(
        self,
        backbone: Backbone,
        folder: Path,
        *,
        base_sha256: str,
        weights: CriteriaWeights | None = None,
        max_prompt_tokens: int = 1024,
        max_reply_tokens: int = 384,
        number: int = 1,
    ) -> None:
        """``number`` tells several reward models in one process apart. Raises ModelError."""
        try:
            about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
            weight = load_file(folder / SCORES_FILE)["weight"]
            self.criteria = tuple(Criterion(name) for name in about["criteria"])
            made_for = about["base_sha256"]
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder} holds no reward model: {error}") from error
        if made_for != base_sha256:
            raise ModelError(f"The reward model in {folder} was made for another base model.")
        self._backbone = backbone
        self._weight = weight.to(backbone.device)
        self._weights = weights or CriteriaWeights()
        self._limits = {
            "max_prompt_tokens": max_prompt_tokens,
            "max_reply_tokens": max_reply_tokens,
        }
        self._version = PolicyVersion(
            id=PolicyVersionId(-100 - number),  # stands for it on the backbone; never stored
            parent=PolicyVersionId(0),
            adapter_path=folder,
            created_at=_NEVER,
        )
        backbone.ensure_resident(self._version)

    @torch.no_grad()
    def criteria_scores(
        self, prompt: Sequence[Message], replies: Sequence[Sequence[int]]
    ) -> Float[Tensor, "E C N"]:
        """Rewards in logits by criterion."""
        tree = read_tree(self._backbone, prompt, replies, **self._limits)
        self._backbone.ensure_resident(self._version)
        with self._backbone.speaking(self._version.id):
            hidden = last_states(self._backbone, [tree])
        return torch.einsum("ecd,nd->ecn", self._weight, hidden.float()).cpu()

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits, the criteria taken together as the person weighs them."""
        rewards = self.criteria_scores(prompt, [c.token_ids for c in completions])
        return combined(rewards, self.criteria, self._weights)
