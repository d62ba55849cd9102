"""The lean engine: Llama-family models on CPU, several times as fast as the general path.

A prompt is encoded once, by PyTorch's products, into a cache that all candidates share and that
the next turn goes on from. Every further token of all candidates is one call of the compiled step
(``native``). Adapters are matrices beside the base's, so a new version is a pointer, not a merge.
``HfEngine`` is the reference this has to agree with, and what runs where this can't.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import torch
from safetensors import SafetensorError
from torch.nn import functional as F

from learner.config import EngineConfig
from learner.engine.backbone import (
    RESIDENT_ADAPTERS,
    TRAINING_VERSION,
    Backbone,
)
from learner.engine.kv import CacheMemory, KvCache
from learner.engine.llama import LlamaWeights, Segment
from learner.engine.local import render_beside_reply
from learner.engine.lora import LoraTensors, LoraWeights, arrange, read_adapter
from learner.engine.native.blocks import PackedLlama
from learner.engine.native.build import NativeUnavailableError
from learner.engine.native.step import CompiledLora, DecodingRow, NativeStep, TopTokens
from learner.engine.rows import CandidateRows, RowsOfBatch
from learner.errors import AdapterLoadError
from learner.protocols import RenderedPrompt
from learner.sampling import draw
from learner.styles import Style
from storage.records import (
    BASE_VERSION,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Sampling,
)

REMEMBERED_PROMPTS = 2
"""Newest prompts whose caches are kept, so that the next turn of either chat goes on from them."""


MAX_THREADS = 8
"""A step is bound by memory, which a few cores exhaust; more would only meet at barriers."""

WARM_TOKENS = 128
"""Encoded between two looks at whether somebody waits: a tenth of a second on two cores."""


@dataclass(frozen=True, slots=True)
class _Adapter:
    """A resident version: for the prefill, and for the compiled step."""

    weights: LoraWeights
    compiled: CompiledLora


class LeanBatch(RowsOfBatch):
    """Rows that decode together, pinned to the version they began with."""

    def __init__(
        self,
        step: NativeStep,
        lora: CompiledLora | None,
        rows: CandidateRows,
        caches: list[DecodingRow],
        last_prompt_tokens: Sequence[int],
        *,
        dropped_messages: int,
    ) -> None:
        super().__init__(rows, dropped_messages)
        self._native = step
        self._lora = lora
        self._caches = caches
        self._top = self._predict(last_prompt_tokens)

    @torch.inference_mode()
    def step(self) -> None:
        """Draw a token for each running row, then run the model on those that go on."""
        top = self._top
        token, logprob = draw(
            top.values, top.tokens, top.logsumexp, self._rows.generators(), self._rows.sampling
        )
        going = self._rows.add(token, logprob)
        self._caches = [self._caches[place] for place in going]
        if going:
            drawn = token.tolist()
            self._top = self._predict([drawn[place] for place in going])

    def drop(self, rows: Sequence[int]) -> None:
        """Stop decoding ``rows``; they stay as they are, ABORTED."""
        kept = self._rows.drop(rows)
        self._caches = [self._caches[place] for place in kept]
        self._top = self._top.select(kept)

    def _predict(self, tokens: Sequence[int]) -> TopTokens:
        return self._native(self._caches, tokens, self._lora, self._rows.sampling.top_k)


class LeanEngine:
    """Samples candidates under one of several resident versions. Belongs to one thread."""

    def __init__(
        self, backbone: Backbone, config: EngineConfig, packed: PackedLlama | None = None
    ) -> None:
        """``packed`` is the same model in blocks, where it has them.

        Raises NotLlamaError or NativeUnavailableError where only ``HfEngine`` can serve.
        """
        if backbone.device.type != "cpu":
            raise NativeUnavailableError(f"the model is on {backbone.device}")
        self.backbone = backbone
        self._max_prompt_tokens = config.max_prompt_tokens
        self.reply_tokens = config.sampling.max_new_tokens
        room = config.max_prompt_tokens + config.sampling.max_new_tokens
        self.weights = LlamaWeights(backbone.base, max(room, backbone.context_tokens))
        self._step = NativeStep(self.weights, min(torch.get_num_threads(), MAX_THREADS), packed)
        self._version = BASE_VERSION
        self._adapters: dict[PolicyVersionId, _Adapter] = {}  # in order of use, oldest first
        self._memory = CacheMemory(REMEMBERED_PROMPTS)

    @property
    def policy_version(self) -> PolicyVersionId:
        return self._version

    @property
    def context_tokens(self) -> int:
        return self.backbone.context_tokens

    # -- versions ------------------------------------------------------------------------------

    def load(self, version: PolicyVersion) -> None:
        """``version`` speaks from the next ``start`` on. Raises AdapterLoadError."""
        if version.adapter_path is not None:
            self._make_resident(version)
        self._version = version.id

    def _make_resident(self, version: PolicyVersion) -> None:
        adapter = self._adapters.pop(version.id, None)
        if adapter is None:
            try:
                weights = self._arranged(read_adapter(version.adapter_path))
            except (OSError, MemoryError, ValueError, KeyError, SafetensorError) as error:
                raise AdapterLoadError(
                    f"Version {version.id} can't be loaded from its folder: {error}",
                    version=version.id,
                ) from error
            adapter = _Adapter(weights, CompiledLora(weights))
        self._adapters[version.id] = adapter
        while len(self._adapters) > RESIDENT_ADAPTERS:  # running batches keep what they hold
            del self._adapters[next(iter(self._adapters))]

    def _arranged(self, lora: LoraTensors) -> LoraWeights:
        return arrange(lora, len(self.weights.blocks), self.weights.dtype)

    def load_training(self) -> None:
        """The adapter in training speaks from the next ``start`` on: for the gate."""
        weights = self._arranged(self.backbone.training_lora())
        self._adapters[TRAINING_VERSION] = _Adapter(weights, CompiledLora(weights))
        self._version = TRAINING_VERSION
        # The next round trains another adapter under the same number.
        self._memory.forget(TRAINING_VERSION)

    # -- prompts -------------------------------------------------------------------------------

    def render(self, prompt: Sequence[Message], sampling: Sampling) -> RenderedPrompt:
        """The prompt as far as it fits beside a reply of ``max_new_tokens``.

        Raises PromptTooLongError.
        """
        limit = self._max_prompt_tokens
        return render_beside_reply(self.backbone, prompt, sampling.max_new_tokens, limit)

    def start(
        self,
        prompt: Sequence[Message],
        n: int,
        sampling: Sampling,
        seed: int,
        styles: Sequence[Style] = (),
    ) -> LeanBatch:
        """Encode ``prompt`` once for ``n`` candidates; row i draws from ``seed + i``.

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
    ) -> LeanBatch:
        """The same for several prompts; row ``i * n + j`` is candidate j of prompt i."""
        plain = n - len(styles)
        caches: list[DecodingRow] = []
        last_tokens: list[int] = []
        dropped: list[int] = []
        for prompt in prompts:
            one = self.render(prompt, sampling)
            # The last token is the first that the compiled step sees, so one path predicts all.
            [prefix] = self._encode([one.token_ids[:-1]])
            replies = [prefix.like(sampling.max_new_tokens + 1) for _ in range(n)]
            self._memory.keep(self._version, prefix, replies[:plain])
            told = [self.render(style.told(prompt), sampling).token_ids for style in styles]
            prefixes = [prefix] * plain + self._encode([ids[:-1] for ids in told])
            caches += map(DecodingRow, prefixes, replies)
            last_tokens += [one.token_ids[-1]] * plain + [ids[-1] for ids in told]
            dropped.append(one.dropped_messages)
        rows = CandidateRows(
            self.backbone.tokenizer,
            self.backbone.eos_ids,
            self._version,
            sampling,
            [seed + i for seed in seeds for i in range(n)],
            [*[None] * plain, *(style.name for style in styles)] * len(prompts),
            few_shot=self.backbone.few_shot,
        )
        adapter = self._adapters.get(self._version)
        return LeanBatch(
            self._step,
            adapter.compiled if adapter else None,
            rows,
            caches,
            last_tokens,
            dropped_messages=max(dropped),
        )

    @torch.inference_mode()
    def logprobs(self, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> list[float]:
        """log P of each token of a given reply under the version that speaks, in nats."""
        [prefix] = self._encode([prompt_ids[:-1]])
        whole = prefix.like(prefix.length + len(reply_ids) + 1)
        whole.copy_from(prefix, prefix.length)
        fed = [prompt_ids[-1], *reply_ids[:-1]]
        hidden = self.weights.prefill(fed, whole, self._adapter_weights())
        logits = F.linear(hidden, self.weights.head).float()
        token = torch.tensor(list(reply_ids))[:, None]
        return (logits.gather(1, token).squeeze(1) - logits.logsumexp(dim=1)).tolist()

    def warm(self, prompt: Sequence[Message], sampling: Sampling, hurry: Event) -> None:
        """Encode a conversation under the version that speaks, so that its next turn need not.

        For idle moments after a new version: gives up between two pieces when ``hurry`` is set,
        and keeps what it has.
        """
        token_ids = list(self.render(prompt, sampling).token_ids)
        cache = self.weights.new_cache(len(token_ids))
        self._memory.recall(self._version, token_ids, cache)
        lora = self._adapter_weights()
        while cache.length < len(token_ids) and not hurry.is_set():
            end = cache.length + WARM_TOKENS
            self.weights.prefill(token_ids[cache.length : end], cache, lora)
        self._memory.keep(self._version, cache, ())

    def _adapter_weights(self) -> LoraWeights | None:
        adapter = self._adapters.get(self._version)
        return adapter.weights if adapter else None

    def _encode(self, prompts: Sequence[Sequence[int]]) -> list[KvCache]:
        """The caches of prompts, each going on from whatever a remembered one shares with it."""
        caches = [self.weights.new_cache(len(ids)) for ids in prompts]
        for ids, cache in zip(prompts, caches, strict=True):
            self._memory.recall(self._version, ids, cache)
        missing = [
            Segment(list(ids[cache.length :]), cache)
            for ids, cache in zip(prompts, caches, strict=True)
            if cache.length < len(ids)
        ]
        if missing:
            self.weights.forward(missing, self._adapter_weights())
        return caches
