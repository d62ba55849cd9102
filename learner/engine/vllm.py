"""The policy engine on vLLM: for hardware that decodes more than one person's machine can.

Any model that vLLM knows, one LoRA name for each policy version, prompts shared in its prefix
cache. vLLM only writes replies: features of the frozen base, the gate and training stay with the
torch backbone, which is loaded beside it (docs/decisions/0015).
"""

import weakref
from collections.abc import Sequence
from threading import Event

import torch
from safetensors import SafetensorError

from learner.config import EngineConfig
from learner.engine.backbone import RESIDENT_ADAPTERS, Backbone
from learner.engine.lora import LoraTensors, read_adapter
from learner.engine.rows import CandidateRows, RowsOfBatch
from learner.engine.vllm_core import CoreOptions, Request, ServedAdapter, VllmCore
from learner.errors import AdapterLoadError
from learner.protocols import RenderedPrompt
from learner.rendering import render
from learner.styles import Style
from storage.records import (
    BASE_VERSION,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Sampling,
)

MAX_RANK = 32
"""Largest adapter served. Every slot takes the room, and on a CPU the time, of the largest."""

MAX_CONTEXT = 8192
"""Tokens of prompt and reply together. A model that could read more would have vLLM set memory
aside for it, while prompts end at ``max_prompt_tokens``."""

_CACHED_CONTEXTS = 2
"""Whole contexts whose keys and values fit into memory at a time, where there is no GPU."""


class VllmBatch(RowsOfBatch):
    """Rows that vLLM decodes, each a request of its own, pinned to the version they began with."""

    def __init__(
        self,
        core: VllmCore,
        rows: CandidateRows,
        requests: Sequence[Request],
        *,
        dropped_messages: int,
    ) -> None:
        super().__init__(rows, dropped_messages)
        self._core = core
        self._requests = list(requests)  # one at each place
        # A batch that is forgotten half-way, as on cancel, must not decode on beside the next one.
        forgotten = weakref.finalize(self, core.abandon, [r.id for r in requests])
        forgotten.atexit = False

    def step(self) -> None:
        """Take one token for each running row; vLLM runs until all of them have one."""
        drawn = [self._core.next_token(request) for request in self._requests]
        token = torch.tensor([token for token, _ in drawn])
        logprob = torch.tensor([logprob for _, logprob in drawn])
        self._keep(self._rows.add(token, logprob))

    def drop(self, rows: Sequence[int]) -> None:
        """Stop decoding ``rows``; they stay as they are, ABORTED."""
        self._keep(self._rows.drop(rows))

    def _keep(self, places: Sequence[int]) -> None:
        """Only these go on. vLLM knows most ends itself, but not those written in words."""
        kept = set(places)
        self._core.abort(r for place, r in enumerate(self._requests) if place not in kept)
        self._requests = [self._requests[place] for place in places]


class VllmEngine:
    """Samples candidates under one of several resident versions. Belongs to one thread."""

    def __init__(self, backbone: Backbone, config: EngineConfig, core: VllmCore) -> None:
        """``core`` serves the model that ``backbone`` holds (``start_core``)."""
        self.backbone = backbone
        self.core = core
        self.context_tokens = core.options.context_tokens
        self._max_prompt_tokens = config.max_prompt_tokens
        self._version = BASE_VERSION
        self._loras: dict[PolicyVersionId, ServedAdapter] = {}  # in order of use, oldest first

    @property
    def policy_version(self) -> PolicyVersionId:
        return self._version

    # -- versions ------------------------------------------------------------------------------

    def load(self, version: PolicyVersion) -> None:
        """``version`` speaks from the next ``start`` on. Raises AdapterLoadError."""
        if version.adapter_path is not None:
            self._make_resident(version)
        self._version = version.id

    def _make_resident(self, version: PolicyVersion) -> None:
        lora = self._loras.pop(version.id, None)
        try:
            if lora is None:
                self._check(read_adapter(version.adapter_path))
                lora = self.core.load_adapter(f"version-{version.id}", version.adapter_path)
            else:
                self.core.touch(lora)
        except (OSError, ValueError, KeyError, SafetensorError, AdapterLoadError) as error:
            raise AdapterLoadError(
                f"Version {version.id} can't be loaded from its folder: {error}",
                version=version.id,
            ) from error
        self._loras[version.id] = lora
        while len(self._loras) > RESIDENT_ADAPTERS:  # running batches keep what they hold
            del self._loras[next(iter(self._loras))]

    def _speaker(self) -> ServedAdapter | None:
        return self._loras.get(self._version, self.core.base)

    def _check(self, adapter: LoraTensors) -> None:
        """Refuse what vLLM would serve wrongly or not at all. Raises ValueError."""
        most = self.core.options.max_lora_rank
        if adapter.extras:
            raise ValueError(f"only plain LoRA can be used, not {', '.join(adapter.extras)}")
        if adapter.rank > most:
            raise ValueError(f"its rank is {adapter.rank}, and vLLM serves up to {most} here")

    # -- prompts -------------------------------------------------------------------------------

    def render(self, prompt: Sequence[Message], sampling: Sampling) -> RenderedPrompt:
        """The prompt as far as it fits beside a reply of ``max_new_tokens``.

        Raises PromptTooLongError.
        """
        room = self.context_tokens - sampling.max_new_tokens
        return render(self.backbone.tokenizer, prompt, min(self._max_prompt_tokens, room))

    def start(
        self,
        prompt: Sequence[Message],
        n: int,
        sampling: Sampling,
        seed: int,
        styles: Sequence[Style] = (),
    ) -> VllmBatch:
        """Queue ``n`` candidates of ``prompt``; row i draws from ``seed + i``.

        The last rows are told one of ``styles`` each. The prompt is encoded in the first step.
        """
        return self.start_many([prompt], n, sampling, [seed], styles)

    def start_many(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int,
        sampling: Sampling,
        seeds: Sequence[int],
        styles: Sequence[Style] = (),
    ) -> VllmBatch:
        """The same for several prompts; row ``i * n + j`` is candidate j of prompt i."""
        plain = n - len(styles)
        rendered = [
            [self.render(told, sampling) for told in (prompt, *(s.told(prompt) for s in styles))]
            for prompt in prompts
        ]
        # All are rendered before one is queued: a prompt that is too long leaves nothing behind.
        each = [*[0] * plain, *range(1, 1 + len(styles))]
        row_seeds = [seed + i for seed in seeds for i in range(n)]
        row_prompts = [of_prompt[j].token_ids for of_prompt in rendered for j in each]
        lora = self._speaker()
        requests = [
            self.core.add(ids, sampling, seed, self.backbone.eos_ids, lora)
            for ids, seed in zip(row_prompts, row_seeds, strict=True)
        ]
        rows = CandidateRows(
            self.backbone.tokenizer,
            self.backbone.eos_ids,
            self._version,
            sampling,
            row_seeds,
            [*[None] * plain, *(style.name for style in styles)] * len(prompts),
            few_shot=self.backbone.few_shot,
        )
        dropped = max(one.dropped_messages for of_prompt in rendered for one in of_prompt)
        return VllmBatch(self.core, rows, requests, dropped_messages=dropped)

    def logprobs(self, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> list[float]:
        """log P of each token of a given reply under the version that speaks, in nats."""
        if not reply_ids:
            return []
        whole = [*prompt_ids, *reply_ids]
        found = self.core.prompt_logprobs(whole, self._speaker())
        return found[-len(reply_ids) :]

    def warm(self, prompt: Sequence[Message], sampling: Sampling, hurry: Event) -> None:
        """Encode a conversation under the version that speaks, so that its next turn need not.

        vLLM keeps the whole blocks of it for as long as its cache has room.
        """
        ids = self.render(prompt, sampling).token_ids
        self.core.prefill(ids, self._speaker(), hurry)


def start_core(backbone: Backbone, config: EngineConfig) -> VllmCore:
    """Load the model that ``backbone`` holds into vLLM too. Raises ModelError."""
    context = min(backbone.context_tokens, max(MAX_CONTEXT, 2 * config.max_prompt_tokens))
    on_cpu = backbone.device.type == "cpu"
    return VllmCore(
        backbone.folder,
        CoreOptions(
            dtype=str(backbone.dtype).removeprefix("torch."),
            context_tokens=context,
            max_lora_rank=MAX_RANK,
            lora_slots=RESIDENT_ADAPTERS + 1,  # and the base
            memory_share=config.vllm_memory,
            cache_bytes=_CACHED_CONTEXTS * context * cache_bytes(backbone) if on_cpu else None,
            seed=config.seed,
        ),
        backbone.save_blank if on_cpu else None,
    )


def cache_bytes(backbone: Backbone) -> int:
    """What the keys and values of one token take."""
    config = backbone.base.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * backbone.dtype.itemsize
