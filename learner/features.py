"""Features of the frozen base: what the reward head sees of a reply beside its style.

The mean of the hidden states of the reply's tokens at a middle layer, adapters off, so that
features do not drift as the policy learns. Only the layers up to that one are run, the prompt is
run once for all candidates, and where the engine keeps caches only what is new is run at all.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from learner.engine.kv import CacheMemory, KvCache
from learner.engine.lean import LeanEngine
from learner.engine.llama import LlamaWeights, Segment
from learner.engine.local import LocalEngine
from learner.model_folder import ModelError
from learner.protocols import FeatureExtractor
from storage.records import Message, Sampling

MIDDLE = 0.73
"""Depth of the layer taken, as a share of all (22 of 30): docs/LOG.md has the comparison."""

_STACKS = ("layers", "h", "blocks")
_LAST_NORMS = {"norm", "ln_f", "final_layernorm", "final_layer_norm"}
"""Names of a decoder's layers, and of the norm after the last: Llama's, GPT-2's and others'."""

_REMEMBERED = 2  # prompts whose caches are kept
_DRAFTS = 16
"""Replies to the present prompt that are kept to go on from, beside those of the last call."""


def frozen_features(engine: LocalEngine, layer: int | None = None) -> FeatureExtractor:
    """The quickest extractor for this engine; all give the same features.

    ``layer`` counts from 1; None takes the one at 73 % of the depth.
    """
    if isinstance(engine, LeanEngine):
        return IncrementalFeatures(engine, layer)
    return FrozenFeatures(engine, layer)


def _checked_layer(layer: int | None, layers: int) -> int:
    chosen = layer or round(MIDDLE * layers)
    if not 1 <= chosen <= layers:
        raise ValueError(f"layer must be 1 to {layers}, got {layer}")
    return chosen


@dataclass(slots=True)
class _Reply:
    """What is known of one candidate: its cache and the sum of its hidden states."""

    cache: KvCache
    total: Float[Tensor, " d"]


class IncrementalFeatures:
    """Pooled hidden states on the lean engine's matrices; a draft is gone on from."""

    def __init__(self, engine: LeanEngine, layer: int | None = None) -> None:
        self._engine = engine
        self._weights: LlamaWeights = engine.weights
        self.layer = _checked_layer(layer, len(self._weights.blocks))
        self._memory = CacheMemory(_REMEMBERED)
        self._prompt: KvCache | None = None
        self._replies: list[_Reply] = []

    @torch.inference_mode()
    def extract(
        self, prompt: Sequence[Message], completions: Sequence[Sequence[int]]
    ) -> Float[Tensor, "N D"]:
        """Mean hidden state of each completion's tokens, float32; zeros if empty."""
        past = self._encoded(list(self._engine.render(prompt, _beside(completions)).token_ids))
        replies = [self._known(list(ids)) for ids in completions]
        new = [list(ids)[r.cache.length :] for ids, r in zip(completions, replies, strict=True)]
        segments = [
            Segment(ids, reply.cache, past) for ids, reply in zip(new, replies, strict=True) if ids
        ]
        if segments:
            hidden = self._weights.forward(segments, None, self.layer)
            sums = [part.sum(dim=0) for part in hidden.split([len(s.token_ids) for s in segments])]
            for reply, more in zip(
                [r for r, ids in zip(replies, new, strict=True) if ids], sums, strict=True
            ):
                reply.total += more
        # The others may still go on from their drafts; what was retried often is of no use.
        self._replies = self._replies[-_DRAFTS:] + replies
        self._memory.keep(None, past, [reply.cache for reply in replies])
        return torch.stack([r.total / max(1, r.cache.length) for r in replies])

    def _encoded(self, ids: list[int]) -> KvCache:
        """The prompt's cache; a new prompt goes on from what it shares with the one before."""
        if self._prompt is None or self._prompt.token_ids != ids:
            cache = self._weights.new_cache(len(ids), self.layer)
            self._memory.recall(None, ids, cache)
            if cache.length < len(ids):
                rest = Segment(ids[cache.length :], cache)
                self._weights.forward([rest], None, self.layer)
            self._prompt, self._replies = cache, []
        return self._prompt

    def _known(self, ids: list[int]) -> _Reply:
        """The reply this one goes on from, taken out of the known ones, or an empty one."""
        for place, reply in enumerate(self._replies):
            known = reply.cache.token_ids
            if known and ids[: len(known)] == known and reply.cache.capacity >= len(ids):
                return self._replies.pop(place)
        room = max(len(ids), self._engine.reply_tokens)
        return _Reply(self._weights.new_cache(room, self.layer), torch.zeros(self._weights.width))


class FrozenFeatures:
    """Pooled hidden states of any base model, by transformers."""

    def __init__(self, engine: LocalEngine, layer: int | None = None) -> None:
        self._engine = engine
        decoder = engine.backbone.decoder
        self.layer = _checked_layer(layer, len(getattr(decoder, _stack(decoder))))
        self._trunk = lower_layers(decoder, self.layer)
        self._prompt: tuple[tuple[int, ...], DynamicCache] | None = None

    @torch.inference_mode()
    def extract(
        self, prompt: Sequence[Message], completions: Sequence[Sequence[int]]
    ) -> Float[Tensor, "N D"]:
        """Mean hidden state of each completion's tokens, float32 on the CPU; zeros if empty."""
        backbone = self._engine.backbone
        N = len(completions)
        T = max(1, *(len(ids) for ids in completions))
        ids = torch.full((N, T), backbone.pad_id)
        mask = torch.zeros((N, T), dtype=torch.long)
        for row, completion in enumerate(completions):
            ids[row, : len(completion)] = torch.tensor(completion, dtype=torch.long)
            mask[row, : len(completion)] = 1
        ids, mask = ids.to(backbone.device), mask.to(backbone.device)
        with backbone.bare():
            cache = self._prompt_cache(prompt, _beside(completions))
            P = cache.get_seq_length()
            cache.batch_repeat_interleave(N)
            hidden = self._trunk(
                input_ids=ids,
                attention_mask=torch.cat([mask.new_ones(N, P), mask], dim=1),
                position_ids=torch.arange(P, P + T, device=ids.device).expand(N, T),
                past_key_values=cache,
            ).last_hidden_state
        weights = mask[..., None].float()
        pooled = (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return pooled.cpu()

    def _prompt_cache(self, prompt: Sequence[Message], sampling: Sampling) -> DynamicCache:
        """A fresh copy of the prompt's cache; drafts and finished replies share the work."""
        ids = self._engine.render(prompt, sampling).token_ids
        if self._prompt is None or self._prompt[0] != ids:
            backbone = self._engine.backbone
            cache = DynamicCache(config=self._trunk.config)
            self._trunk(
                input_ids=torch.tensor([ids], device=backbone.device), past_key_values=cache
            )
            self._prompt = (ids, cache)
        return copy.deepcopy(self._prompt[1])


def _beside(completions: Sequence[Sequence[int]]) -> Sampling:
    """Room for these replies behind the prompt, where the model's context is small."""
    return Sampling(max_new_tokens=max(Sampling().max_new_tokens, *map(len, completions)))


def lower_layers(decoder: nn.Module, count: int) -> nn.Module:
    """A view of ``decoder`` that stops after ``count`` layers; the weights are shared."""
    trunk = copy.copy(decoder)
    trunk._modules = dict(decoder._modules)
    stack = _stack(decoder)
    setattr(trunk, stack, nn.ModuleList(list(getattr(decoder, stack))[:count]))
    for norm in _LAST_NORMS & decoder._modules.keys():
        setattr(trunk, norm, nn.Identity())
    return trunk


def _stack(decoder: nn.Module) -> str:
    """The name of the list of layers. Raises ModelError for a decoder built otherwise."""
    found = next((name for name in _STACKS if name in decoder._modules), None)
    if found is None:
        raise ModelError(
            f"twofold does not know where the layers of a {type(decoder).__name__} are: choose "
            "another model."
        )
    return found
