"""vLLM inside this process: requests go in, drawn tokens come out, one at a time.

The only module that knows vLLM, which is imported when a ``VllmCore`` is made and not before. The
engine runs in the process of whoever asks, so a step is a call and nothing decodes unasked; every
request of every batch takes part in it, and tokens that nobody has asked for yet wait.
"""

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING

from learner.errors import AdapterLoadError
from learner.model_folder import ModelError
from storage.records import Sampling

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.outputs import RequestOutput

log = logging.getLogger(__name__)

MISSING = (
    "vLLM is not installed in this environment: install it (pip install vllm on a machine with a "
    "GPU; make vllm shows the way on a CPU), or leave --engine vllm out."
)

BLOCK_TOKENS = 32
"""Prompts are shared in blocks of so many tokens. vLLM's own choice on a CPU, 128, is longer than
most messages; below 32 its attention there is slower."""

_ENVIRONMENT = {
    # One process: a step is a call, and the model goes when the app goes.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Nothing is told to anybody, and nothing listens beyond this machine.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreOptions:
    """What vLLM is started with."""

    dtype: str
    context_tokens: int
    max_lora_rank: int
    """Adapters up to this rank can be served: 8, 16, 32, 64, 128, 256 or 512."""
    lora_slots: int
    """Adapters that may act in one step; as many are kept."""
    memory_share: float
    """Of a GPU's memory, for weights and caches; learning needs the rest."""
    cache_bytes: int | None
    """For keys and values where there is no GPU; None leaves it to ``memory_share``."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter under a name and a number that no other has had."""

    name: str
    number: int
    folder: Path


@dataclass(slots=True)
class Request:
    """One reply that vLLM decodes."""

    id: str
    tokens: deque[tuple[int, float]] = field(default_factory=deque)
    """Drawn and not yet taken, each with its log-probability in nats."""
    finished: bool = False
    prompt_logprobs: list[float] | None = None
    """log P of every token but the first of the prompt, where that was asked for."""
    shared_tokens: int = 0
    """Tokens of the prompt whose keys and values were there already."""


class VllmCore:
    """An engine, the requests in it, and the adapters it may use. Belongs to one thread."""

    def __init__(
        self,
        folder: Path,
        options: CoreOptions,
        write_blank: Callable[[Path], None] | None = None,
    ) -> None:
        """Load the model. Raises ModelError where vLLM is absent or can't run it.

        ``write_blank`` writes an adapter that changes nothing, for the base to speak through; None
        where it can speak without.
        """
        if find_spec("vllm") is None:
            raise ModelError(MISSING)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        log.info("starting vLLM, which takes a minute")
        try:
            from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415 - ten seconds
            from vllm.v1.engine.llm_engine import LLMEngine  # noqa: PLC0415

            self._engine = LLMEngine.from_engine_args(
                EngineArgs(
                    model=str(folder),
                    skip_tokenizer_init=True,  # texts are the caller's: token ids in and out
                    generation_config="vllm",  # and so is what ends a reply
                    dtype=options.dtype,
                    max_model_len=options.context_tokens,
                    enable_prefix_caching=True,
                    block_size=BLOCK_TOKENS,
                    enable_lora=True,
                    max_lora_rank=options.max_lora_rank,
                    max_loras=options.lora_slots,
                    max_cpu_loras=options.lora_slots + 1,  # one arrives while all speak
                    gpu_memory_utilization=options.memory_share,
                    kv_cache_memory_bytes=options.cache_bytes,
                    seed=options.seed,
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                )
            )
        except (ImportError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ModelError(f"vLLM can't run the model in {folder}: {error}") from error
        self.options = options
        self._names = itertools.count()
        self._adapters = itertools.count(1)
        self._running: dict[str, Request] = {}
        self._abandoned: deque[str] = deque()
        # On a CPU, vLLM 0.32 lets the adapter in its last slot act on rows without one as soon as
        # another row has one (vllm-project/vllm#48421): there no row is without.
        self.base: ServedAdapter | None = None
        self._blank: TemporaryDirectory[str] | None = None
        if write_blank is not None:
            self._blank = TemporaryDirectory(prefix="twofold-vllm-")
            write_blank(Path(self._blank.name))
            self.base = self.load_adapter("base", Path(self._blank.name))
        self._rehearse()

    def _rehearse(self) -> None:
        """Decode a few tokens, so that what vLLM compiles at first use is not waited for later."""
        for rows in (2, 1):  # one row is compiled by itself
            requests = [
                self.add([1] * 4, Sampling(max_new_tokens=2), row, (), self.base)
                for row in range(rows)
            ]
            while not all(request.finished for request in requests):
                self._step()

    # -- requests ------------------------------------------------------------------------------

    def add(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        stop_ids: Sequence[int],
        lora: ServedAdapter | None,
    ) -> Request:
        """Queue a reply, which ends at the latest after ``max_new_tokens``."""
        greedy = sampling.temperature == 0.0
        return self._add(
            prompt_ids,
            lora,
            temperature=sampling.temperature,
            top_k=0 if greedy else sampling.top_k,
            top_p=1.0 if greedy else sampling.top_p,
            seed=seed,
            max_tokens=sampling.max_new_tokens,
            stop_token_ids=list(stop_ids),
            ignore_eos=True,  # the ids given are all that end it
            logprobs=0,  # that of the drawn token
        )

    def next_token(self, request: Request) -> tuple[int, float]:
        """The next token of a reply and its log-probability; runs the engine until it is there."""
        while not request.tokens:
            if request.finished:
                raise RuntimeError("vLLM ended a reply without saying why")
            self._step()
        return request.tokens.popleft()

    def prompt_logprobs(self, token_ids: Sequence[int], lora: ServedAdapter | None) -> list[float]:
        """log P of every token but the first, in one pass, in nats."""
        request = self._add(token_ids, lora, max_tokens=1, temperature=0.0, prompt_logprobs=0)
        while not request.finished:
            self._step()
        if request.prompt_logprobs is None:
            raise RuntimeError("vLLM gave no log-probabilities of a prompt")
        return request.prompt_logprobs

    def prefill(self, prompt_ids: Sequence[int], lora: ServedAdapter | None, hurry: Event) -> None:
        """Leave the keys and values of a prompt in the cache; gives up when ``hurry`` is set."""
        request = self._add(prompt_ids, lora, max_tokens=1, temperature=0.0)
        while not request.finished and not hurry.is_set():
            self._step()
        self.abort([request])

    def abort(self, requests: Iterable[Request]) -> None:
        """Stop decoding these, where they still do."""
        ids = [r.id for r in requests if self._running.pop(r.id, None) is not None]
        if ids:
            self._engine.abort_request(ids)

    def abandon(self, ids: Iterable[str]) -> None:
        """Stop decoding these at the next step. Any thread may say so."""
        self._abandoned.extend(ids)

    def settle(self) -> None:
        """Stop now what was abandoned."""
        while self._abandoned:
            request = self._running.get(self._abandoned.popleft())
            if request is not None:
                self.abort([request])

    @property
    def running(self) -> int:
        """Requests that still decode."""
        return len(self._running)

    def _add(
        self, prompt_ids: Sequence[int], lora: ServedAdapter | None, **params: object
    ) -> Request:
        from vllm.sampling_params import RequestOutputKind, SamplingParams  # noqa: PLC0415

        chosen = SamplingParams(**params, detokenize=False, output_kind=RequestOutputKind.DELTA)
        request = Request(str(next(self._names)))
        # vLLM makes its own name of ours, and its outputs bear ours.
        self._engine.add_request(
            request.id,
            {"prompt_token_ids": list(prompt_ids)},
            chosen,
            lora_request=_asked(lora) if lora else None,
        )
        self._running[request.id] = request
        return request

    def _step(self) -> None:
        """Run the engine once: every request that it has room for takes part."""
        self.settle()
        for output in self._engine.step():
            request = self._running.get(output.request_id)
            if request is not None:
                _take(output, request)
                if request.finished:
                    del self._running[request.id]

    # -- adapters ------------------------------------------------------------------------------

    def load_adapter(self, name: str, folder: Path) -> ServedAdapter:
        """Load a PEFT folder under a name that no other has had. Raises AdapterLoadError.

        vLLM finds prompts in its cache by the adapter's name, so a name never means two adapters.
        """
        number = next(self._adapters)
        lora = ServedAdapter(f"{name}-{number}", number, folder)
        self.touch(lora)
        return lora

    def touch(self, lora: ServedAdapter) -> None:
        """Have it in memory, as the one used last. Raises AdapterLoadError."""
        try:
            self._engine.add_lora(_asked(lora))
        except Exception as error:  # vLLM raises whatever its parts raise
            raise AdapterLoadError(f"vLLM can't use the adapter: {error}") from error

    def close(self) -> None:
        """Give the memory back."""
        self._engine.engine_core.shutdown()
        if self._blank is not None:
            self._blank.cleanup()


def _asked(adapter: ServedAdapter) -> "LoRARequest":
    from vllm.lora.request import LoRARequest  # noqa: PLC0415

    return LoRARequest(
        lora_name=adapter.name, lora_int_id=adapter.number, lora_path=str(adapter.folder)
    )


def _take(output: "RequestOutput", request: Request) -> None:
    """What one step brought for one request."""
    given = output.prompt_logprobs
    if given and request.prompt_logprobs is None:
        tokens = output.prompt_token_ids or []
        request.prompt_logprobs = [
            float(place[token].logprob)
            for token, place in zip(tokens[1:], given[1:], strict=True)
            if place is not None
        ]
    request.shared_tokens = output.num_cached_tokens or request.shared_tokens
    drawn = output.outputs[0]
    for token, place in zip(drawn.token_ids, drawn.logprobs or (), strict=False):
        request.tokens.append((token, float(place[token].logprob)))
    request.finished = output.finished
