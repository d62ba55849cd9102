"""The parts of ``learner`` put together, once for the app and once for the learner's process."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, Decoder, EngineConfig, OnlineConfig, RewardConfig
from learner.engine.backbone import Backbone
from learner.engine.device import pick_device, pick_dtype
from learner.engine.hf import HfEngine
from learner.engine.lean import LeanEngine
from learner.engine.llama import NotLlamaError
from learner.engine.local import LocalEngine, ServingEngine
from learner.engine.native.blocks import PackedLlama, packed_llama
from learner.engine.native.build import NativeUnavailableError, native_cache
from learner.engine.stored import stored_as
from learner.engine.vllm import VllmEngine, start_core
from learner.features import frozen_features
from learner.gate import Gate
from learner.lesson_check import LessonCheck
from learner.model_folder import ModelError, ModelFolder
from learner.model_source import resolve_model
from learner.online import OnlineLearner
from learner.progress import LearnerState, write_progress
from learner.protocols import UpdateRule
from learner.reward.head import BayesianRewardHead
from learner.reward.lean import LeaningHead
from learner.reward.lean_file import Lean, read_lean
from learner.reward.signals import Signal
from learner.reward.taste import load_taste
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.updates.rules import LEARN_FROM_PAIRS, make_rule
from learner.updates.teacher import Teacher
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.opinions import OpinionReader
from storage.policies import PolicyReader
from storage.rankings import RankingReader
from storage.records import Preference
from storage.rounds import delete_drafts

log = logging.getLogger(__name__)


def load_engine(model: ModelFolder, config: EngineConfig) -> LocalEngine:
    """Load the base model and the fastest engine that fits it. Raises ModelError.

    Never vLLM: this one also trains and measures.
    """
    transformers_logging.disable_progress_bar()  # our own line says it, once
    backbone = Backbone(_mappable(model, config), config)
    if config.decoder is Decoder.TRANSFORMERS:
        return HfEngine(backbone, config)
    try:
        return LeanEngine(backbone, config, _blocks(model, backbone))
    except (NotLlamaError, NativeUnavailableError) as error:
        if config.decoder is Decoder.NATIVE:
            raise ModelError(f"The native decoder can't run {model.name} here: {error}.") from error
        log.info("decoding with transformers, which is slower: %s", error)
        return HfEngine(backbone, config)


def load_serving(local: LocalEngine, config: EngineConfig) -> ServingEngine:
    """What writes replies where ``local`` is there already: itself, or vLLM. Raises ModelError."""
    if config.decoder is not Decoder.VLLM:
        return local
    return VllmEngine(local.backbone, config, start_core(local.backbone, config))


def _mappable(model: ModelFolder, config: EngineConfig) -> Path:
    """The folder to load: on a CPU one that the app and the learner can share in memory."""
    device = pick_device(config.device)
    if device.type != "cpu":
        return model.path
    return stored_as(model, pick_dtype(config.dtype, device), native_cache())


def _blocks(model: ModelFolder, backbone: Backbone) -> PackedLlama | None:
    """The model's blocks; float32 is the reference arithmetic and reads plain weights."""
    if backbone.dtype == torch.float32:
        return None
    cache = native_cache() / f"blocks-{model.sha256[:16]}.safetensors"
    return packed_llama(model.path, backbone.base.config.num_hidden_layers, cache)


def warm_up(progress: Callable[[str], None]) -> None:
    """Make at set-up what the first start would otherwise wait for: compile, pack the weights."""
    progress("Preparing the decoder for this processor (once) ...")
    engine = load_engine(resolve_model(), EngineConfig())
    if not isinstance(engine, LeanEngine):
        progress("Replies will be written by transformers, which is slower (docs/benchmarks.md).")


class UntaughtRewardHead(BayesianRewardHead):
    """Stays at its prior, whatever is picked: ``--learn off``, the control arm of a simulation."""

    def fit(
        self,
        preferences: Sequence[Preference],  # noqa: ARG002
        signals: Sequence[Signal] = (),  # noqa: ARG002
    ) -> dict[str, float]:
        return {}


def build_replies(
    model: ModelFolder,
    *,
    engine: EngineConfig,
    ask: AskConfig,
    reward: RewardConfig,
    taught: bool = True,
    lean: Callable[[], Lean] = dict,
) -> AskingReplyMaker:
    """Everything that writes replies. Not ``taught``: picks change nothing. Raises ModelError.

    ``lean`` is asked with each refit for what the person leans to, by their own word.
    """
    local = load_engine(model, engine)
    taste = load_taste(model.sha256)
    if taught:
        head: BayesianRewardHead = LeaningHead(reward, seed=engine.seed, taste=taste, lean=lean)
    else:
        head = UntaughtRewardHead(reward, seed=engine.seed, taste=taste)
    return AskingReplyMaker(
        engine=load_serving(local, engine),
        features=frozen_features(local),
        reward=head,
        ask=ask,
        sampling=engine.sampling,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerBuild:
    """Picklable; calling it opens the log and loads the model in the learner's process."""

    data: Path
    model: ModelFolder
    engine: EngineConfig
    online: OnlineConfig

    def __call__(self) -> OnlineLearner:
        """Raises ModelError and StorageError."""
        delete_drafts(DataFolder(self.data).rounds)  # of a learner that was killed
        return self.on(load_engine(self.model, self.engine))

    def on(self, engine: LocalEngine, *, rule: UpdateRule[Lesson] | None = None) -> OnlineLearner:
        """On an engine that is there already and spoke the base last, within one process.

        ``rule`` stands for the configured one.
        """
        folder = DataFolder(self.data)
        reader = Reader(folder.database)
        limit = self.engine.max_prompt_tokens

        def announce(number: int) -> None:
            write_progress(folder.progress, LearnerState.LEARNING, number=number)

        feedback = FeedbackReader(reader)
        reward = LeaningHead(
            self.online.reward,
            seed=self.engine.seed,
            taste=load_taste(self.model.sha256),
            lean=partial(read_lean, folder.taste),
        )
        rule = rule or make_rule(engine, reward, self.online, max_prompt_tokens=limit)
        return OnlineLearner(
            feedback=feedback,
            policies=PolicyReader(reader, folder.rounds),
            round_folder=folder.rounds,
            reward=reward,
            rule=rule,
            teacher=Teacher(
                feedback,
                OpinionReader(reader),
                RankingReader(reader),
                self.online,
                end_ids=engine.backbone.end_ids,
            ),
            check=self._lesson_check(engine, rule),
            gate=Gate(engine, self.online.gate, seed=self.online.seed),
            config=self.online,
            base_sha256=self.model.sha256,
            announce=announce,
            refer_to=engine.backbone.refer_to,
        )

    def _lesson_check(self, engine: LocalEngine, rule: UpdateRule[Lesson]) -> LessonCheck | None:
        if self.online.update.rule not in LEARN_FROM_PAIRS:
            return None
        return LessonCheck(
            engine.backbone,
            self.online.gate,
            row_tokens=self.online.dpo.row_tokens,
            max_prompt_tokens=self.engine.max_prompt_tokens,
            known=rule.parent_logp if isinstance(rule, OnlineDpo) else None,
        )
