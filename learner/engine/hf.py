"""The policy engine on transformers and PEFT: any causal language model with a chat template.

One prefill per prompt, whatever the number of candidates: the key-value cache of the prompt is
made once at batch size 1 and then repeated. All rows step together; finished rows leave the batch.
Several prompts can decode in one batch too (left-padded), which is what the gate and the
evaluation use. This path is the reference; faster decoders have to agree with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from learner.config import EngineConfig
from learner.engine.backbone import TRAINING_VERSION, Backbone
from learner.rendering import RenderedPrompt, render
from learner.sampling import sample_next
from storage.records import (
    BASE_VERSION,
    Completion,
    FinishReason,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Sampling,
)


@dataclass(slots=True)
class _Row:
    """One candidate while it decodes."""

    generator: torch.Generator
    seed: int
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    finish_reason: FinishReason = FinishReason.ABORTED


class HfBatch:
    """Rows that decode together, pinned to the version they began with."""

    def __init__(
        self,
        backbone: Backbone,
        version: PolicyVersionId,
        sampling: Sampling,
        rows: list[_Row],
        *,
        cache: DynamicCache,
        attention_mask: Int[Tensor, "N P"],
        logits: Float[Tensor, "N V"],
        dropped_messages: int = 0,
    ) -> None:
        self.dropped_messages = dropped_messages
        self._backbone = backbone
        self._version = version
        self._sampling = sampling
        self._rows = rows
        self._cache = cache
        self._mask = attention_mask
        self._logits = logits
        self._batch = list(range(len(rows)))  # which row sits at each place of the batch

    @property
    def running(self) -> bool:
        return bool(self._batch)

    def done(self, row: int) -> bool:
        return row not in self._batch

    def lengths(self) -> list[int]:
        return [len(row.token_ids) for row in self._rows]

    @torch.inference_mode()
    def step(self) -> None:
        """Draw a token for each running row, then run the model on those that go on."""
        rows = [self._rows[i] for i in self._batch]
        token, logprob = sample_next(self._logits, [r.generator for r in rows], self._sampling)
        for row, t, p in zip(rows, token.tolist(), logprob.tolist(), strict=True):
            if t in self._backbone.eos_ids:
                row.finish_reason = FinishReason.STOP
                continue
            row.token_ids.append(t)
            row.logprobs.append(p)
            if len(row.token_ids) == self._sampling.max_new_tokens:
                row.finish_reason = FinishReason.LENGTH
        self._continue_with(token)

    def drop(self, rows: Sequence[int]) -> None:
        """Stop decoding ``rows``; they stay as they are, ABORTED."""
        keep = [place for place, row in enumerate(self._batch) if row not in rows]
        self._select(keep)
        self._logits = self._logits[keep]

    def _continue_with(self, token: Int[Tensor, " N"]) -> None:
        going = [
            place
            for place, row in enumerate(self._batch)
            if self._rows[row].finish_reason is FinishReason.ABORTED
        ]
        if len(going) < len(self._batch):
            token = token[going]
            self._select(going)
        if not going:
            return
        self._backbone.use(self._version)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(going), 1)], dim=1)
        self._logits = (
            self._backbone.base(
                input_ids=token[:, None],
                attention_mask=self._mask,
                position_ids=self._mask.sum(dim=1, keepdim=True) - 1,
                past_key_values=self._cache,
            )
            .logits[:, -1]
            .float()
        )

    def _select(self, places: list[int]) -> None:
        """Keep only these places of the batch."""
        self._batch = [self._batch[p] for p in places]
        self._mask = self._mask[places]
        if places:
            self._cache.batch_select_indices(torch.tensor(places, device=self._mask.device))

    def texts(self) -> list[str]:
        return [decode_text(self._backbone.tokenizer, row.token_ids) for row in self._rows]

    def completions(self) -> list[Completion]:
        return [
            Completion(
                text=text,
                token_ids=tuple(row.token_ids),
                logprobs=tuple(row.logprobs),
                finish_reason=row.finish_reason,
                policy_version=self._version,
                seed=row.seed,
                sampling=self._sampling,
            )
            for row, text in zip(self._rows, self.texts(), strict=True)
        ]


def decode_text(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of a reply so far; bytes of an unfinished character wait for the rest."""
    text: str = tokenizer.decode(token_ids, skip_special_tokens=True)
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


class HfEngine:
    """Samples candidates under one of several resident versions. Belongs to one thread."""

    def __init__(self, backbone: Backbone, config: EngineConfig) -> None:
        self.backbone = backbone
        self._max_prompt_tokens = config.max_prompt_tokens
        self._version = BASE_VERSION

    @property
    def policy_version(self) -> PolicyVersionId:
        return self._version

    def load(self, version: PolicyVersion) -> None:
        """``version`` speaks from the next ``start`` on. Raises AdapterLoadError."""
        self.backbone.ensure_resident(version)
        self._version = version.id

    def load_training(self) -> None:
        """The adapter in training speaks from the next ``start`` on: for the gate."""
        self._version = TRAINING_VERSION

    def render(self, prompt: Sequence[Message], sampling: Sampling) -> RenderedPrompt:
        """The prompt as far as it fits beside a reply of ``max_new_tokens``.

        Raises PromptTooLongError.
        """
        room = self.backbone.context_tokens - sampling.max_new_tokens
        limit = min(self._max_prompt_tokens, room)
        return render(self.backbone.tokenizer, prompt, limit)

    def start(self, prompt: Sequence[Message], n: int, sampling: Sampling, seed: int) -> HfBatch:
        """Prefill ``prompt`` once for ``n`` candidates; row i draws from ``seed + i``."""
        return self.start_many([prompt], n, sampling, [seed])

    @torch.inference_mode()
    def start_many(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> HfBatch:
        """The same for several prompts; row ``i * n + j`` is candidate j of prompt i."""
        rendered = [self.render(prompt, sampling) for prompt in prompts]
        ids, mask = self._left_padded([r.token_ids for r in rendered])
        self.backbone.use(self._version)
        cache = DynamicCache(config=self.backbone.base.config)
        logits = self.backbone.base(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        cache.batch_repeat_interleave(n)
        rows = [
            _Row(torch.Generator().manual_seed(seed + i), seed + i)
            for seed in seeds
            for i in range(n)
        ]
        return HfBatch(
            self.backbone,
            self._version,
            sampling,
            rows,
            cache=cache,
            attention_mask=mask.repeat_interleave(n, dim=0),
            logits=logits.float().repeat_interleave(n, dim=0),
            dropped_messages=max(r.dropped_messages for r in rendered),
        )

    def _left_padded(
        self, prompts: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
        longest = max(len(ids) for ids in prompts)
        padded = [[self.backbone.pad_id] * (longest - len(ids)) + list(ids) for ids in prompts]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        device = self.backbone.device
        return torch.tensor(padded, device=device), torch.tensor(mask, device=device)
