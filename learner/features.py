"""Features of the frozen base: what the reward head sees of a reply beside its style.

The mean of the hidden states of the reply's tokens at a middle layer, adapters off, so that
features do not drift as the policy learns. Only the layers up to that one are run, and the
prompt is run once for all candidates.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from learner.engine.local import LocalEngine
from storage.records import Message, Sampling

MIDDLE = 0.73
"""Depth of the layer taken, as a share of all (22 of 30): docs/LOG.md has the comparison."""


class FrozenFeatures:
    """Pooled hidden states of the base model behind an engine."""

    def __init__(self, engine: LocalEngine, layer: int | None = None) -> None:
        """``layer`` counts from 1; None takes the one at 73 % of the depth."""
        self._engine = engine
        decoder = engine.backbone.decoder
        self.layer = layer or round(MIDDLE * len(decoder.layers))
        if not 1 <= self.layer <= len(decoder.layers):
            raise ValueError(f"layer must be 1 to {len(decoder.layers)}, got {layer}")
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
        with backbone.reference():
            cache = self._prompt_cache(prompt)
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

    def _prompt_cache(self, prompt: Sequence[Message]) -> DynamicCache:
        """A fresh copy of the prompt's cache; drafts and finished replies share the work."""
        ids = self._engine.render(prompt, Sampling()).token_ids
        if self._prompt is None or self._prompt[0] != ids:
            backbone = self._engine.backbone
            cache = DynamicCache(config=self._trunk.config)
            self._trunk(
                input_ids=torch.tensor([ids], device=backbone.device), past_key_values=cache
            )
            self._prompt = (ids, cache)
        return copy.deepcopy(self._prompt[1])


def lower_layers(decoder: nn.Module, count: int) -> nn.Module:
    """A view of ``decoder`` that stops after ``count`` layers; the weights are shared."""
    trunk = copy.copy(decoder)
    trunk._modules = dict(decoder._modules)
    trunk.layers = nn.ModuleList(list(decoder.layers)[:count])
    trunk.norm = nn.Identity()
    return trunk
