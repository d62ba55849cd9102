"""The PPO phase: let a version earn reward, held near the one it goes on from.

InstructGPT's third step (arXiv 2203.02155, section 3.5); the algorithm is all in
``learner/updates/ppo.py``. The reference of the KL penalty is the parent: the fine-tuned version,
where there is one. The reward is a folder that ``train reward`` made, several of them, or else the
live ensemble on what the data folder holds. Held-out prompts measure the win rate by that reward
and the KL spent.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import torch

from learner.config import GateConfig
from learner.engine.backbone import TRAINING_VERSION
from learner.measures import ScoredText, kl_to_reference, supervised_ids
from learner.phases.dialogues import told
from learner.phases.order import batch
from learner.phases.place import Place
from learner.phases.ppo_data import (
    digest_of,
    fitting,
    read_demonstrations,
    read_prompts,
    split_prompts,
)
from learner.phases.pretrain import neutral_perplexity
from learner.phases.protocol import (
    LoopConfig,
    PhaseError,
    PhaseState,
    Product,
    RunFacts,
    check_seed,
)
from learner.phases.publish import publish_adapter
from learner.phases.reward_source import read_reward
from learner.phases.trainee import notes_on_rank
from learner.reward.criteria import CriteriaWeights
from learner.update_config import PpoConfig
from learner.updates.lesson import Demonstration
from learner.updates.ppo import Ppo
from learner.updates.rollouts import step_seed
from storage.records import BASE_VERSION, Completion, Sampling
from storage.slates import Criterion

KL_TEXTS = 4
REPLIES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CriteriaSettings:
    """How much each criterion counts; the reward model must have learned those that do."""

    overall: float = 1.0
    relevance: float = 0.0
    informativeness: float = 0.0
    harmlessness: float = 0.0
    honesty: float = 0.0
    least_harmless: float | None = None
    """Bound on harmlessness, in logits above the usual reply; what is below it is out."""

    def __post_init__(self) -> None:
        if not self.weights.needed:
            raise ValueError("some criterion must count")

    @property
    def weights(self) -> CriteriaWeights:
        return CriteriaWeights(
            weights={c: weight for c in Criterion if (weight := getattr(self, c.value))},
            least_harmless=self.least_harmless,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoTrainConfig:
    reward: tuple[Path, ...] = ()
    """Folders that `train reward` made; none: the live ensemble on the stored answers."""
    criteria: CriteriaSettings = field(default_factory=CriteriaSettings)
    prompts: tuple[Path, ...] = ()
    """JSON lines with a `prompt` each, beside the messages of the data folder."""
    sets: tuple[str, ...] = ()
    """Rows of these sets only, by their `set`; none named: all."""
    stored: bool = True
    """Reply to the messages of the data folder, too."""
    demonstrations: tuple[Path, ...] = ()
    """Dialogues for the PTX term, beside stored demonstrations."""
    sets_of_demonstrations: tuple[str, ...] = ()
    """Rows of these sets only."""
    clean: bool = False
    """Mend what is broken in Dolly's rows among the demonstrations, as in fine-tuning."""
    demonstrations_per_step: int = 4
    max_prompt_tokens: int = 256
    """Longer prompts are left out, and so are demonstrations behind them."""
    prompts_per_step: int = 16
    max_steps: int = 100
    held_out_prompts: int = 32
    ppo: PpoConfig = field(default_factory=PpoConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(evaluate_every=25))
    gate: GateConfig = field(
        default_factory=lambda: GateConfig(max_kl_per_token=1.0, max_perplexity_ratio=1.25)
    )
    make_live: bool = False
    """Let the version speak at once, if the gate lets it through."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if min(self.prompts_per_step, self.held_out_prompts) < 1 or self.max_steps < 0:
            raise ValueError("prompts_per_step and held_out_prompts must be positive")


class PpoTraining:
    kind = "ppo"
    aims = ()

    def __init__(self, place: Place, config: PpoTrainConfig) -> None:
        """Raises PhaseError where there are no prompts, and ModelError for a reward folder."""
        self.config = config
        self._place = place
        self.steps = config.max_steps
        # Beside the longest reply; the model has so many places in all.
        context = place.engine.backbone.context_tokens
        longest = min(
            config.max_prompt_tokens, context - config.ppo.rollout.sampling.max_new_tokens
        )
        limit = f"max_prompt_tokens ({longest})"
        said = read_prompts(place, config.prompts, sets=config.sets, stored=config.stored)
        prompts = fitting(place, said, longest)
        self._training, self._held_out = split_prompts(prompts, config.held_out_prompts)
        if not self._training or not self._held_out:
            raise PhaseError(
                f"{len(prompts)} prompts, {len(said) - len(prompts)} more being longer than "
                f"{limit}, are too few to train and to measure on: say something in a chat, or "
                "name a file of prompts with --prompts."
            )
        self._demonstrations, left_out = read_demonstrations(
            place,
            config.demonstrations,
            sets=config.sets_of_demonstrations,
            stored=config.stored,
            clean=config.clean,
            max_prompt_tokens=longest,
        )
        self.notes = told(left_out, limit=limit)
        if len(prompts) < len(said):
            self.notes.append(f"prompts left out: {len(said) - len(prompts)}, longer than {limit}")
        source = read_reward(place, config.reward, config.criteria.weights, seed=config.seed)
        self._reward = source.reward
        self.data_sha256 = digest_of(
            source.sha256, self._training, self._held_out, self._demonstrations
        )
        reference = None if place.parent.id == BASE_VERSION else place.parent
        self._ppo = Ppo(
            place.engine,
            self._reward,
            config.ppo,
            max_prompt_tokens=longest,
            reference=reference,
            team=place.world,
        )
        place.engine.load(place.parent)
        self._before = self._replies()
        self._ppo.begin(place.parent, config.seed)
        self.notes += notes_on_rank(place, config.ppo.lora)
        if config.ppo.iterations != PpoConfig().iterations:
            self.notes.append("ppo.iterations is of the live loop: a phase takes max_steps")

    def step(self, number: int) -> dict[str, float]:
        c = self.config
        places = batch(number, count=len(self._training), size=c.prompts_per_step, seed=c.seed)
        some: list[Demonstration] = []
        if self._demonstrations:
            drawn = batch(
                number,
                count=len(self._demonstrations),
                size=c.demonstrations_per_step,
                seed=c.seed,
            )
            some = [self._demonstrations[place] for place in drawn]
        prompts = [self._training[place] for place in places]
        return self._ppo.step(prompts, some, step_seed(c.seed, number))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Against the parent's replies under the same seeds; the KL is exact."""
        place = self._place
        place.engine.load_training()
        replies = self._replies()
        wins = [
            torch.sigmoid(rewards[:, 0] - rewards[:, 1]).mean()
            for rewards in (
                self._reward.score(prompt, both)
                for prompt, *both in zip(self._held_out, replies, self._before, strict=True)
            )
        ]
        backbone = place.engine.backbone
        backbone.use(TRAINING_VERSION)
        texts = [
            ScoredText(
                prompt_ids=place.engine.render(prompt, self._sampling).token_ids,
                reply_ids=supervised_ids(backbone, reply),
            )
            for prompt, reply in zip(self._held_out, replies, strict=True)
        ]
        if place.parent.id != BASE_VERSION:
            backbone.ensure_resident(place.parent)
        kl = [
            value
            for start in range(0, len(texts), KL_TEXTS)
            for value in kl_to_reference(backbone, texts[start : start + KL_TEXTS], place.parent.id)
        ]
        return {
            "reward_win_rate": float(torch.stack(wins).mean()),
            "kl_per_token": fmean(kl),
            "kl_per_reply": fmean(k * len(t.reply_ids) for k, t in zip(kl, texts, strict=True)),
            "reply_tokens": fmean(len(reply.token_ids) for reply in replies),
            "neutral_perplexity": neutral_perplexity(backbone),
        }

    def state(self) -> PhaseState:
        return PhaseState(tensors=self._ppo.tensors())

    def restore(self, state: PhaseState) -> None:
        self._ppo.restore(state.tensors, self.config.seed)

    def publish(self, run: RunFacts) -> Product:
        c = self.config
        return publish_adapter(
            self._place,
            run,
            kind=self.kind,
            seed=c.seed,
            gate=c.gate,
            make_live=c.make_live,
            save=self._ppo.save,
        )

    def close(self) -> None:
        self._ppo.close()

    @property
    def _sampling(self) -> Sampling:
        return replace(Sampling(), max_new_tokens=self.config.ppo.rollout.sampling.max_new_tokens)

    def _replies(self) -> list[Completion]:
        """To the held-out prompts, by whoever is loaded, as a person would be served."""
        seeds = [self.config.seed + i for i in range(len(self._held_out))]
        replies: list[Completion] = []
        for start in range(0, len(self._held_out), REPLIES_AT_ONCE):
            some = slice(start, start + REPLIES_AT_ONCE)
            running = self._place.engine.start_many(
                self._held_out[some], 1, self._sampling, seeds[some]
            )
            while running.running:
                running.step()
            replies += running.completions()
        return replies
