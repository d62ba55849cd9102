"""The reward phase: a model of what people prefer, from rankings, picks and recorded pairs.

InstructGPT's second step (arXiv 2203.02155, section 3.5): all pairs of one prompt are one element
of the batch and weigh 1 / C(N, 2) each. One score for each criterion. What comes of it is a folder
that ``train ppo`` reads; the live loop keeps its own ensemble, refitted with every pick.

Departures: ties count (both orders half); several scores per criterion, each on its own reweighting
of the answers, instead of one; and on a laptop no model is trained at all, but the Bayesian head of
the live loop fitted to the same answers.
"""

import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from pathlib import Path
from tempfile import mkdtemp

from learner.config import RewardConfig
from learner.errors import PromptTooLongError
from learner.phases.optimiser import OptimiserConfig
from learner.phases.order import batch
from learner.phases.place import Place
from learner.phases.protocol import (
    Aim,
    LoopConfig,
    PhaseError,
    PhaseState,
    Product,
    RunFacts,
    check_seed,
)
from learner.phases.publish import DRAFT, LINEAGE, lineage_of, model_folder
from learner.phases.reward_data import read_answers, stored_answers
from learner.phases.reward_head import HeadTrainee
from learner.phases.reward_measure import measure_rewards
from learner.phases.reward_trainee import RewardTrainee
from learner.phases.reward_weights import AdapterTrainee, Limits, ModelTrainee
from learner.reward.ranked import RankedReplies, digest_of, split
from learner.update_config import LoraSpec
from storage.files import sync, sync_all
from storage.slates import Criterion


class RewardKind(StrEnum):
    HEAD = "head"
    """Bayesian heads on frozen features; for laptops, and for few answers anywhere."""
    ADAPTER = "adapter"
    """An adapter over the base; about the cost of fine-tuning."""
    MODEL = "model"
    """All weights of a model of its own; for larger machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainConfig:
    kind: RewardKind = RewardKind.HEAD
    files: tuple[Path, ...] = ()
    """JSON lines of pairs or rankings, beside what is stored."""
    sets: tuple[str, ...] = ()
    """Rows of these sets only, by their ``set``; none named: all."""
    harmless_sets: tuple[str, ...] = ("hh-harmless-test",)
    """Sets whose pairs say which reply does less harm, not which is better."""
    stored: bool = True
    """Take the picks and rankings of the data folder."""
    max_answers: int | None = None
    """At most so many of files, the first ones by a hash of their text."""
    answers_per_step: int = 16
    epochs: float = 1.0
    """The paper's one; more overfit."""
    max_prompt_tokens: int = 512
    max_reply_tokens: int = 256
    held_out_share: float = 0.2
    """Share of prompt families that measure and never train."""
    held_out_answers: int = 200
    members: int = 5
    """Scores per criterion; the spread among them is what pessimism takes off."""
    centring: float = 0.01
    """Weight of the mean squared reward, which holds rewards near zero."""
    head: RewardConfig = field(
        default_factory=lambda: RewardConfig(picks_between_changes=None)  # many people's answers
    )
    lora: LoraSpec = field(default_factory=LoraSpec)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=1e-4))
    loop: LoopConfig = field(default_factory=LoopConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if min(self.answers_per_step, self.members, self.held_out_answers) < 1:
            raise ValueError("answers_per_step, members and held_out_answers must be positive")
        if self.epochs <= 0 or not 0.0 < self.held_out_share < 1.0:
            raise ValueError("epochs must be positive and held_out_share lie in (0, 1)")


class RewardTraining:
    kind = "reward"
    aims = (Aim(metric="log_loss"),)

    def __init__(self, place: Place, config: RewardTrainConfig) -> None:
        """Raises PhaseError where there is nothing to learn or to measure on."""
        self.config = config
        self._place = place
        limits = Limits(
            max_prompt_tokens=config.max_prompt_tokens, max_reply_tokens=config.max_reply_tokens
        )
        training, held_out = split(_gather(place, config), share=config.held_out_share, salt="v1")
        self._training = _fitting(place, training, limits)
        measuring = _some(held_out, config.held_out_answers)
        self._held_out = _fitting(place, measuring, limits)
        left_out = len(training) + len(measuring) - len(self._training) - len(self._held_out)
        long = f"last message longer than max_prompt_tokens ({config.max_prompt_tokens})"
        self.notes = [f"answers left out: {left_out}, {long}"] if left_out else []
        self.notes += _without_effect(config)
        if not self._training or not self._held_out:
            raise PhaseError(
                f"{len(self._training)} answers to learn and {len(self._held_out)} to measure on "
                "are too few: pick and rank some replies, name a file of pairs with --files, or "
                f"change held_out_share ({config.held_out_share})"
                + "".join(f"; {line}" for line in self.notes)
                + "."
            )
        judged = {c for item in self._training for c in item.ranks}
        self.criteria = tuple(criterion for criterion in Criterion if criterion in judged)
        if not any(
            max(ranks) > 1
            for item in self._held_out
            for criterion, ranks in item.ranks.items()
            if criterion in self.criteria
        ):
            raise PhaseError(
                f"Of the {len(self._held_out)} answers to measure on, none prefers one reply to "
                "another: pick and rank some more, or name a file of pairs with --files."
            )
        items = [*self._training, *self._held_out]
        self._sets = tuple(sorted({one.source for one in items if one.source is not None}))
        self.data_sha256 = digest_of(items, " ".join(self._sets))
        epochs = 1.0 if config.kind is RewardKind.HEAD else config.epochs
        self.steps = ceil(epochs * len(self._training) / config.answers_per_step)
        self._trainee = self._new_trainee(limits)
        self._taken = 0

    def step(self, number: int) -> dict[str, float]:
        metrics = self._trainee.step(number, self._batch(number))
        self._taken = number + 1
        return metrics

    def measure(self) -> dict[str, float]:
        self._trainee.ready()
        return measure_rewards(
            self._trainee.rewards, self._held_out, self.criteria, self._trainee.flip_rate
        )

    def state(self) -> PhaseState:
        values = self._trainee.values() | {"steps": self._taken}
        return PhaseState(tensors=self._trainee.tensors(), values=values)

    def restore(self, state: PhaseState) -> None:
        self._taken = int(state.values["steps"])
        learned = [item for number in range(self._taken) for item in self._batch(number)]
        self._trainee.restore(state.tensors, state.values, learned)

    def publish(self, run: RunFacts) -> Product:
        """A folder under ``DataFolder.models``; it is not a version, since it says nothing."""
        final = model_folder(self._place, run, "reward")
        told = f"a reward model in {final}: `twofold train ppo --reward {final}` trains against it"
        if final.is_dir():
            return Product(accepted=True, reason=told, folder=final)
        self._place.folder.models.mkdir(exist_ok=True)
        draft = Path(mkdtemp(prefix=DRAFT, dir=self._place.folder.models))
        try:
            self._trainee.save(draft)
            (draft / LINEAGE).write_text(lineage_of(self._place, run), encoding="utf-8")
            sync_all(draft)
            draft.rename(final)
            sync(self._place.folder.models)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return Product(accepted=True, reason=told, folder=final)

    def close(self) -> None:
        self._trainee.close()

    def _batch(self, number: int) -> list[RankedReplies]:
        c = self.config
        places = batch(number, count=len(self._training), size=c.answers_per_step, seed=c.seed)
        return [self._training[place] for place in places]

    def _new_trainee(self, limits: Limits) -> RewardTrainee:
        c = self.config
        if c.kind is RewardKind.HEAD:
            return HeadTrainee(
                self._place,
                self.criteria,
                c.head,
                max_reply_tokens=c.max_reply_tokens,
                seed=c.seed,
                without=self._sets,
            )
        shared = {
            "members": c.members,
            "steps": self.steps,
            "centring": c.centring,
            "limits": limits,
            "seed": c.seed,
        }
        if c.kind is RewardKind.ADAPTER:
            return AdapterTrainee(self._place, self.criteria, c.lora, c.optimiser, **shared)
        return ModelTrainee(self._place, self.criteria, c.optimiser, **shared)


def _gather(place: Place, config: RewardTrainConfig) -> list[RankedReplies]:
    """What is stored, then what the files hold."""
    found = stored_answers(place) if config.stored else []
    read = read_answers(config.files, sets=config.sets, harmless_sets=config.harmless_sets)
    return found + (read if config.max_answers is None else _some(read, config.max_answers))


_USED = {
    RewardKind.HEAD: {"head"},
    RewardKind.ADAPTER: {"members", "centring", "epochs", "lora", "optimiser"},
    RewardKind.MODEL: {"members", "centring", "epochs", "optimiser"},
}


def _without_effect(config: RewardTrainConfig) -> list[str]:
    """Names what was set for another kind of model."""
    usual = RewardTrainConfig()
    others = set().union(*_USED.values()) - _USED[config.kind]
    names = sorted(name for name in others if getattr(config, name) != getattr(usual, name))
    return [f"without effect for kind {config.kind}: {', '.join(names)}"] if names else []


def _some(items: list[RankedReplies], count: int) -> list[RankedReplies]:
    """The first ``count`` by a hash of their texts: a sample that does not move with the rest."""
    return sorted(items, key=lambda one: digest_of([one]))[:count]


def _fitting(place: Place, items: list[RankedReplies], limits: Limits) -> list[RankedReplies]:
    """Those whose last message fits."""
    found: list[RankedReplies] = []
    for item in items:
        try:
            limits.tree(place.engine.backbone, item)
        except PromptTooLongError:
            continue
        found.append(item)
    return found
