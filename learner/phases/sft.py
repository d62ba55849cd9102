"""Supervised fine-tuning on demonstrations: learn the assistant's tokens, and only those.

InstructGPT's first step (arXiv 2203.02155, section 3.5), on what a person wrote in their chats and
on files of dialogues. It stops when neither the held-out loss nor the reward score improves, and
keeps the weights with the best score among those whose loss is near its lowest: the paper chose by
score alone, after sixteen epochs; held-out loss alone would have stopped it after one.

Departures: LoRA unless ``lora`` is null; the loss is the mean over the tokens of a step, so that a
long reply counts as often as it has tokens.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from learner.config import GateConfig
from learner.engine.backbone import Backbone
from learner.phases.dialogues import (
    Dialogue,
    LeftOut,
    digest_of,
    read_dialogues,
    replies_in,
    sequences_of,
    split,
    told,
)
from learner.phases.likelihood import TextPhase, steps_of
from learner.phases.optimiser import OptimiserConfig
from learner.phases.order import batch
from learner.phases.packing import TokenSequence
from learner.phases.place import Place
from learner.phases.pretrain import neutral_perplexity
from learner.phases.protocol import Aim, LoopConfig, PhaseError, check_extent, check_seed
from learner.phases.publish import WIDE_GATE
from learner.phases.reward_score import RewardScore, RewardScoreConfig
from learner.rendering import prompt_ids
from learner.update_config import LoraSpec
from storage.demonstrations import DemonstrationReader
from storage.dialogues import DialogueReader
from storage.records import Message, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    files: tuple[Path, ...] = ()
    """JSON lines of dialogues, beside what is stored."""
    sets: tuple[str, ...] = ()
    """Rows of these sets only, by their ``set``; none named: all."""
    stored: bool = True
    """Take the replies that were written in the chats of the data folder."""
    clean: bool = False
    """Mend what is broken in Dolly's rows (``cleaning.py``); else rows are taken as written."""
    max_dialogues: int | None = None
    """At most so many, the first ones by a hash of their text."""
    max_tokens: int = 512
    """Longer sequences are left out."""
    dialogues_per_step: int = 16
    row_tokens: int = 512
    """Tokens run at once."""
    epochs: float = 3.0
    max_steps: int | None = None
    held_out_share: float = 0.05
    """Share of prompt families that measure and never train."""
    held_out_dialogues: int = 128
    """At most so many of them are measured."""
    reward: RewardScoreConfig = field(default_factory=RewardScoreConfig)
    lora: LoraSpec | None = field(default_factory=LoraSpec)
    """None (`null`) trains all weights: the result is a model of its own."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    gate: GateConfig = WIDE_GATE
    """Limits for the version; wider than for a lesson, since a phase is there to change much."""
    make_live: bool = False
    """Let the version speak at once, if the gate lets it through."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if min(self.dialogues_per_step, self.held_out_dialogues, self.row_tokens) < 1:
            raise ValueError(
                "dialogues_per_step, held_out_dialogues and row_tokens must be positive"
            )
        if self.max_tokens < 2 or (self.max_dialogues is not None and self.max_dialogues < 1):
            raise ValueError("max_tokens must be at least 2 and max_dialogues at least 1")
        check_extent(self.epochs, self.max_steps)
        if not 0.0 < self.held_out_share < 1.0:
            raise ValueError(f"held_out_share must lie in (0, 1), got {self.held_out_share}")


class FineTuning(TextPhase):
    kind = "sft"
    config: SftConfig

    def __init__(self, place: Place, config: SftConfig) -> None:
        """Raises PhaseError where there is nothing to learn or to measure on."""
        backbone = place.engine.backbone
        dialogues, left_out = _gather(place, config)
        training, held_out = split(dialogues, held_out_share=config.held_out_share)
        held_out = _some(held_out, config.held_out_dialogues)
        longest = min(config.max_tokens, backbone.context_tokens)
        self._training = list(_tokenised(backbone, training, longest).values())
        measured = _tokenised(backbone, held_out, longest)
        self._held_out = [sequence for group in measured.values() for sequence in group]
        used = len(self._training) + len(measured)
        left_out[LeftOut.TOO_LONG] = len(training) + len(held_out) - used
        self.notes = told(left_out, limit=f"max_tokens ({longest})")
        if not self._training or not self._held_out:
            why = "".join(f"; {line}" for line in self.notes)
            raise PhaseError(
                f"{len(self._training)} demonstrations to learn and {len(measured)} to measure on "
                "are too few: write some in a chat, name dialogues with --files, or change "
                f"held_out_share ({config.held_out_share}) or max_tokens{why}."
            )
        self._score: RewardScore | None = None
        if config.lora is not None:  # its features are the base's, which must not train, too
            room = backbone.context_tokens - config.reward.max_new_tokens
            prompts = [
                one.prompt
                for i, one in enumerate(held_out)
                if i in measured and len(prompt_ids(backbone.tokenizer, one.prompt)) <= room
            ]
            self._score = RewardScore.of_picks(place, config.reward, prompts, seed=config.seed)
        self.aims = _aims(config, scored=self._score is not None)
        picks = self._score.sha256 if self._score else ""
        self.data_sha256 = digest_of([*training, *held_out], picks)
        super().__init__(
            place,
            config,
            lora=config.lora,
            steps=steps_of(config, len(self._training), a_step=config.dialogues_per_step),
            row_tokens=config.row_tokens,
        )

    def step(self, number: int) -> dict[str, float]:
        size = self.config.dialogues_per_step
        places = batch(number, count=len(self._training), size=size, seed=self.config.seed)
        return self._trainer.step(number, [one for p in places for one in self._training[p]])

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        metrics = {
            "held_out_loss": self._trainer.mean_loss(self._held_out),
            "neutral_perplexity": neutral_perplexity(self._place.engine.backbone),
        }
        if self._score is not None:
            self._trainee.speak()
            metrics |= self._place.world.agree(self._score.measure)
        return metrics


def _aims(config: SftConfig, *, scored: bool) -> tuple[Aim, ...]:
    if not scored:
        return (Aim(metric="held_out_loss"),)
    return (
        Aim(metric="held_out_loss", slack=config.reward.loss_slack),
        Aim(metric="reward_score", higher_is_better=True),
    )


def _gather(place: Place, config: SftConfig) -> tuple[list[Dialogue], Counter[LeftOut]]:
    """What is stored, then what the files hold; and how many rows of them were left out."""
    found = stored_dialogues(place) if config.stored else []
    read = read_dialogues(config.files, sets=config.sets, clean=config.clean)
    some = read.dialogues
    if config.max_dialogues is not None:
        some = _some(some, config.max_dialogues)
    return found + some, Counter(read.left_out)


def stored_dialogues(place: Place) -> list[Dialogue]:
    """Dialogues of which a person wrote both sides, and replies they wrote in their chats."""
    dialogues = DialogueReader(place.store)
    found = [
        Dialogue(
            messages=one.messages,
            learned=replies_in(one.messages),
            family=one.key,
            held_out=one.held_out,
        )
        for one in (*dialogues.demonstrations(), *dialogues.held_out())
        if replies_in(one.messages)
    ]
    written = DemonstrationReader(place.store).written()
    return found + [
        Dialogue(
            messages=(*one.prompt, Message(role=Role.ASSISTANT, content=one.text)),
            learned=(len(one.prompt),),
            family=one.key,
            held_out=one.held_out,
        )
        for one in written
    ]


def _some(dialogues: list[Dialogue], count: int) -> list[Dialogue]:
    """The first ``count`` by a hash of their texts: a sample that does not move with the rest."""
    return sorted(dialogues, key=lambda one: digest_of([one]))[:count]


def _tokenised(
    backbone: Backbone, dialogues: list[Dialogue], max_tokens: int
) -> dict[int, list[TokenSequence]]:
    """For the place of each dialogue that fits its sequences."""
    made = (sequences_of(backbone, one, max_tokens) for one in dialogues)
    return {place: sequences for place, sequences in enumerate(made) if sequences}
