"""The policy engine on transformers: any causal language model with a chat template.

One prefill per prompt, whatever the number of candidates: the key-value cache of the prompt is
made once at batch size 1 and then repeated. All rows step together; finished rows leave the batch.
Several prompts can decode in one batch too (left-padded), which is what the gate and the
evaluation use. This path is the reference; faster decoders have to agree with it.
"""

from collections.abc import Sequence
from threading import Event

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from learner.config import EngineConfig
from learner.engine.backbone import TRAINING_VERSION, Backbone
from learner.engine.local import render_beside_reply
from learner.engine.rows import CandidateRows, RowsOfBatch
from learner.protocols import RenderedPrompt
from learner.sampling import sample_next
from learner.styles import Style
from storage.records import (
    BASE_VERSION,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Sampling,
)


class HfBatch(RowsOfBatch):
    """Rows that decode together, pinned to the version they began with."""

    def __init__(
        self,
        backbone: Backbone,
        version: PolicyVersionId,
        rows: CandidateRows,
        *,
        cache: DynamicCache,
        attention_mask: Int[Tensor, "N P"],
        logits: Float[Tensor, "N V"],
        dropped_messages: int = 0,
    ) -> None:
        super().__init__(rows, dropped_messages)
        self._backbone = backbone
        self._version = version
        self._cache = cache
        self._mask = attention_mask
        self._logits = logits

    @torch.inference_mode()
    def step(self) -> None:
        """Draw a token for each running row, then run the model on those that go on."""
        token, logprob = sample_next(self._logits, self._rows.generators(), self._rows.sampling)
        going = self._rows.add(token, logprob)
        if len(going) < len(token):
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

    def drop(self, rows: Sequence[int]) -> None:
        """Stop decoding ``rows``; they stay as they are, ABORTED."""
        kept = self._rows.drop(rows)
        self._select(kept)
        self._logits = self._logits[kept]

    def _select(self, places: list[int]) -> None:
        """Keep only these places of the batch."""
        self._mask = self._mask[places]
        if places:
            self._cache.batch_select_indices(torch.tensor(places, device=self._mask.device))


class HfEngine:
    """Samples candidates under one of several resident versions. Belongs to one thread."""

    def __init__(self, backbone: Backbone, config: EngineConfig) -> None:
        self.backbone = backbone
        self._max_prompt_tokens = config.max_prompt_tokens
        self._version = BASE_VERSION

    @property
    def policy_version(self) -> PolicyVersionId:
        return self._version

    @property
    def context_tokens(self) -> int:
        return self.backbone.context_tokens

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
        limit = self._max_prompt_tokens
        return render_beside_reply(self.backbone, prompt, sampling.max_new_tokens, limit)

    @torch.inference_mode()
    def logprobs(self, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> list[float]:
        """log P of each token of a given reply under the version that speaks, in nats."""
        self.backbone.use(self._version)
        ids = torch.tensor([[*prompt_ids, *reply_ids]], device=self.backbone.device)
        # The last token's logits predict what comes after the reply.
        logits = self.backbone.base(input_ids=ids, logits_to_keep=len(reply_ids) + 1).logits
        logits = logits[0, :-1].float()
        token = ids[0, len(prompt_ids) :, None]
        return (logits.gather(1, token).squeeze(1) - logits.logsumexp(dim=1)).tolist()

    def warm(self, prompt: Sequence[Message], sampling: Sampling, hurry: Event) -> None:
        """Nothing: this engine keeps no caches between replies."""

    def start(
        self,
        prompt: Sequence[Message],
        n: int,
        sampling: Sampling,
        seed: int,
        styles: Sequence[Style] = (),
    ) -> HfBatch:
        """Prefill ``prompt`` once for ``n`` candidates; row i draws from ``seed + i``.

        The last rows are told one of ``styles`` each.
        """
        return self.start_many([prompt], n, sampling, [seed], styles)

    @torch.inference_mode()
    def start_many(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int,
        sampling: Sampling,
        seeds: Sequence[int],
        styles: Sequence[Style] = (),
    ) -> HfBatch:
        """The same for several prompts; row ``i * n + j`` is candidate j of prompt i."""
        plain = n - len(styles)
        rendered = [
            self.render(told, sampling)
            for prompt in prompts
            for told in (prompt, *(style.told(prompt) for style in styles))
        ]
        # Rows of the batch made of the prompts encoded: a plain one serves several candidates.
        each = [*[0] * plain, *range(1, 1 + len(styles))]
        row_of = [i * (1 + len(styles)) + j for i in range(len(prompts)) for j in each]
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
        cache.batch_select_indices(torch.tensor(row_of, device=ids.device))
        rows = CandidateRows(
            self.backbone.tokenizer,
            self.backbone.eos_ids,
            self._version,
            sampling,
            [seed + i for seed in seeds for i in range(n)],
            [*[None] * plain, *(style.name for style in styles)] * len(prompts),
            few_shot=self.backbone.few_shot,
        )
        return HfBatch(
            self.backbone,
            self._version,
            rows,
            cache=cache,
            attention_mask=mask[row_of],
            logits=logits.float()[row_of],
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
