"""Generative pretraining: predict every next token of plain text (Radford et al. 2018).

Continued from any base, or from scratch at a size given in the settings. Documents stand one after
the other with an end-of-sequence token between, cut into blocks of equal length, so no token is
padding (arXiv 2005.14165, section 2.2: packed in the same way, without a mask between documents).

Departures from GPT: AdamW without decay on vectors, and a LoRA adapter instead of all weights
unless ``lora`` is null.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import torch

from learner.config import GateConfig
from learner.engine.backbone import Backbone
from learner.gate import neutral_ids
from learner.measures import perplexity
from learner.phases.corpus import Stretch, read_corpus
from learner.phases.likelihood import TextPhase, steps_of
from learner.phases.optimiser import OptimiserConfig
from learner.phases.order import batch
from learner.phases.packing import TokenSequence
from learner.phases.place import Place
from learner.phases.protocol import Aim, LoopConfig, PhaseError, check_extent, check_seed
from learner.phases.publish import WIDE_GATE
from learner.phases.scratch import ScratchConfig
from learner.update_config import LoraSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    files: tuple[Path, ...] = ()
    """Text files, folders of them, or JSON lines."""
    text_field: str = "text"
    """Of a JSON line: the name of its text."""
    block_tokens: int = 256
    """Length of the blocks that text is cut into."""
    blocks_per_step: int = 8
    epochs: float = 1.0
    """Passes over the text."""
    max_steps: int | None = None
    """At most so many optimiser steps, however much text there is."""
    held_out_share: float = 0.05
    """Share of the text that measures and never trains."""
    held_out_blocks: int = 64
    """At most so many blocks of it are measured."""
    lora: LoraSpec | None = field(default_factory=LoraSpec)
    """None (`null`) trains all weights: the result is a model of its own."""
    scratch: ScratchConfig | None = None
    """Begin from random weights of this size, with the base's tokenizer. Implies ``lora`` null."""
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(weight_decay=0.1))
    loop: LoopConfig = field(default_factory=LoopConfig)
    gate: GateConfig = WIDE_GATE
    """Limits for the version; wider than for a lesson, since a phase is there to change much."""
    make_live: bool = False
    """Let the version speak at once, if the gate lets it through."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.block_tokens < 2 or min(self.blocks_per_step, self.held_out_blocks) < 1:
            raise ValueError(
                "block_tokens must be at least 2, blocks_per_step and held_out_blocks at least 1"
            )
        check_extent(self.epochs, self.max_steps)
        if not 0.0 < self.held_out_share < 1.0:
            raise ValueError(f"held_out_share must lie in (0, 1), got {self.held_out_share}")

    @property
    def trained(self) -> LoraSpec | None:
        return None if self.scratch is not None else self.lora


class Pretraining(TextPhase):
    kind = "pretrain"
    config: PretrainConfig

    def __init__(self, place: Place, config: PretrainConfig) -> None:
        """Raises PhaseError where there is not enough text."""
        backbone = place.engine.backbone
        if config.block_tokens > backbone.context_tokens:
            raise PhaseError(
                f"block_tokens is {config.block_tokens}, and the model takes "
                f"{backbone.context_tokens} tokens at most."
            )
        corpus = read_corpus(
            config.files, field=config.text_field, held_out_share=config.held_out_share
        )
        self.data_sha256 = corpus.sha256
        self._training = _blocks(backbone, corpus.training, config.block_tokens)
        self._held_out = _blocks(backbone, corpus.held_out, config.block_tokens)
        self._held_out = self._held_out[: config.held_out_blocks]
        self.notes = corpus.notes
        if not self._training or not self._held_out:
            raise PhaseError(
                "There are too few tokens to learn some and measure on others: add text."
            )
        self.aims = (Aim(metric="held_out_loss"),)
        super().__init__(
            place,
            config,
            lora=config.trained,
            steps=steps_of(config, len(self._training), a_step=config.blocks_per_step),
            row_tokens=config.block_tokens,
        )

    def step(self, number: int) -> dict[str, float]:
        size = self.config.blocks_per_step
        places = batch(number, count=len(self._training), size=size, seed=self.config.seed)
        metrics = self._trainer.step(number, [self._training[place] for place in places])
        return metrics | {"perplexity": exp(min(metrics["loss"], 50.0))}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        loss = self._trainer.mean_loss(self._held_out)
        return {
            "held_out_loss": loss,
            "held_out_perplexity": exp(min(loss, 50.0)),
            "neutral_perplexity": neutral_perplexity(self._place.engine.backbone),
        }


def _blocks(backbone: Backbone, texts: Sequence[Stretch], size: int) -> list[TokenSequence]:
    """All in one stream, each document ended; the last block is dropped unless it is whole.

    Where there is less than a block, the whole of it is one.
    """
    stream: list[int] = []
    encoded = backbone.tokenizer([one.text for one in texts], add_special_tokens=False)
    for one, ids in zip(texts, encoded["input_ids"], strict=True):
        stream += [*ids, backbone.eos_ids[0]] if one.ends else ids
    whole = range(0, len(stream) - size + 1, size)
    parts = [stream[at : at + size] for at in whole] or [stream]
    return [
        TokenSequence(ids=tuple(part), supervised=(False,) + (True,) * (len(part) - 1))
        for part in parts
        if len(part) > 1
    ]


def neutral_perplexity(backbone: Backbone) -> float:
    """Of whatever version the backbone lets speak, on the gate's neutral text."""
    return perplexity(backbone, neutral_ids(backbone))
