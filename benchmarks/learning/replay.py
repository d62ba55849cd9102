"""The same lessons under another setting: what would the weights alone have become?

    python -m benchmarks.learning.replay .bench/loop/ours--lists--0--100 [--marks 5 12]
        [--afresh] [--set beta=0.1 --set learning_rate=0.0005 ...]

Takes a run that ``benchmarks.learning.loop --keep`` left behind, begins again at the base, and
makes its rounds anew: each time the next four picks, with what had been said until then. The picks
stay those of the run, whose candidates its own policy wrote, so this compares update settings on
equal data, without the luck of what is asked next; it is no whole loop. One round takes ten to
fifteen seconds of a core, a mark a minute. With ``--afresh`` each mark is one lesson on all picks
until then, from the base.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.learning.loop import EVERY_EVAL_PROMPT
from chat_app.simulate.prompts import Prompt, read_prompts
from chat_app.simulate.rater import Rater, load_rater
from learner.build import load_engine
from learner.config import EngineConfig, OnlineConfig
from learner.engine.local import LocalEngine
from learner.gate import Gate
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.reward.head import BayesianRewardHead
from learner.reward.taste import load_taste
from learner.trust_region import judge_in_part
from learner.update_config import DpoConfig
from learner.updates.rules import make_rule
from learner.updates.teacher import Teacher
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.opinions import OpinionReader
from storage.rankings import RankingReader
from storage.records import (
    BASE_VERSION,
    CandidatePool,
    Choice,
    PolicyVersion,
    PolicyVersionId,
    Preference,
    Sampling,
)

SAMPLES = 2
"""Of the policy and of the base for each evaluation prompt; all pairs are judged."""
TOGETHER = 20
"""Prompts sampled in one batch."""


class Until(FeedbackReader):
    """The log as it stood when ``last`` was picked."""

    last: Preference | None = None

    def preferences(self) -> list[Preference]:
        return [one for one in super().preferences() if self.last and one.id <= self.last.id]

    def pools(
        self, *, limit: int, with_held_out: bool = False, with_cut: bool = False
    ) -> list[CandidatePool]:
        every = super().pools(limit=1 << 30, with_held_out=with_held_out, with_cut=with_cut)
        turn = -1 if self.last is None else self.last.comparison.first.prompt_turn_id
        return [pool for pool in every if pool.prompt_turn_id <= turn][:limit]


class Exam:
    """One plain sample a prompt against samples of the base, as the run's own person judges."""

    def __init__(
        self, engine: LocalEngine, sampling: Sampling, rater: Rater, prompts: list[Prompt]
    ) -> None:
        self._engine = engine
        self._sampling = sampling
        self._rater = rater
        self._prompts = prompts
        self._base = self._samples(version(BASE_VERSION, None), first_seed=1)

    def of(self, policy: PolicyVersion) -> dict[str, float]:
        """Win rate against the base, 0 to 1, gain in mean utility, and mean length in words."""
        now = self._samples(policy, first_seed=SAMPLES + 1)
        rng = np.random.default_rng(0)
        won = [
            self._rater.win_share(prompt, reply, rival, rng)
            for replies in now
            for rivals in self._base
            for prompt, reply, rival in zip(self._prompts, replies, rivals, strict=True)
        ]
        return {
            "win_rate": float(np.mean(won)),
            "gain": self._utility(now) - self._utility(self._base),
            "words": float(np.mean([len(r.split()) for replies in now for r in replies])),
        }

    def _utility(self, samples: Sequence[Sequence[str]]) -> float:
        return float(np.mean([self._rater.mean_score(self._prompts, r) or 0.0 for r in samples]))

    def _samples(self, policy: PolicyVersion, *, first_seed: int) -> list[list[str]]:
        self._engine.load(policy)
        return [self._once(1_000 * (first_seed + i)) for i in range(SAMPLES)]

    def _once(self, seed: int) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(self._prompts), TOGETHER):
            some = self._prompts[start : start + TOGETHER]
            seeds = [seed + start + i for i in range(len(some))]
            batch = self._engine.start_many(some, 1, self._sampling, seeds)
            while batch.running:
                batch.step()
            texts += [completion.text for completion in batch.completions()]
        return texts


def version(
    number: int, adapter: Path | None, metrics: dict[str, float] | None = None
) -> PolicyVersion:
    return PolicyVersion(
        id=PolicyVersionId(number),
        parent=None if adapter is None else BASE_VERSION,
        adapter_path=adapter,
        created_at=datetime.now(UTC),
        metrics=metrics or {},
    )


def lessons(picks: Sequence[Preference], size: int) -> list[list[Preference]]:
    """The decided picks, ``size`` at a time, oldest first; what is left over teaches nothing."""
    decided = [one for one in picks if one.choice in (Choice.FIRST, Choice.SECOND)]
    return [decided[i : i + size] for i in range(0, len(decided) - size + 1, size)]


def replay(
    work: Path,
    model: ModelFolder,
    settings: EngineConfig,
    online: OnlineConfig,
    *,
    marks: Sequence[int],
    prompts: list[Prompt],
    afresh: bool = False,
) -> list[dict[str, float]]:
    """What the weights alone are worth after so many rounds of the run in ``work``."""
    engine = load_engine(model, settings)
    exam = Exam(engine, settings.sampling, load_rater(work / "rater.py"), prompts)
    reader = Reader(DataFolder(work / "run" / "data").database)
    feedback, until = FeedbackReader(reader), Until(reader)
    reward = BayesianRewardHead(online.reward, seed=online.seed, taste=load_taste(model.sha256))
    rule = make_rule(engine, reward, online, max_prompt_tokens=settings.max_prompt_tokens)
    rankings, backbone = RankingReader(reader), engine.backbone
    teacher = Teacher(until, OpinionReader(reader), rankings, online, end_ids=backbone.end_ids)
    gate = Gate(engine, online.gate, seed=online.seed)
    parent = base = version(BASE_VERSION, None)
    found: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="twofold-replay-") as scratch:
        made = lessons(feedback.preferences(), online.min_preferences)[: max(marks)]
        for number, picks in enumerate(made, start=1):
            until.last = picks[-1]
            if afresh and number not in marks:
                continue
            parent = base if afresh else parent
            taken = list(chain(*made[:number])) if afresh else picks
            reward.fit(until.preferences(), teacher.signals())
            rule.update(parent, teacher.lesson(taken, reward, number), number)
            verdict = judge_in_part(
                lambda: gate.judge(parent),  # noqa: B023 - called at once
                rule,
                parent_drift=gate.drift(parent.metrics) if parent.adapter_path else 0.0,
                attempts=online.gate.pull_ins,
            )
            if verdict.accepted:
                folder = Path(scratch) / str(number)
                folder.mkdir()
                rule.save(folder)
                parent = version(number, folder, verdict.metrics)
                gate.remember(parent.id, verdict)
            rule.close()
            if number in marks:
                drift = parent.metrics.get("kl_per_token", 0.0)
                found.append({"round": number, "kl_per_token": drift, **exam.of(parent)})
                print(json.dumps(found[-1]), flush=True)
    return found


def with_settings(online: OnlineConfig, said: Sequence[str]) -> OnlineConfig:
    """``online`` with settings of DPO as ``name=value``. Raises ValueError, naming the known."""
    kinds = {one.name: type(getattr(online.dpo, one.name)) for one in fields(DpoConfig)}
    kinds["minibatch"] = int  # None where it is not set
    given: dict[str, object] = {}
    for one in said:
        name, _, value = one.partition("=")
        if kinds.get(name) not in (int, float):
            known = ", ".join(name for name, kind in kinds.items() if kind in (int, float))
            raise ValueError(f"{name} is no setting to replay with; there are {known}")
        given[name] = kinds[name](value)
    return replace(online, dpo=replace(online.dpo, **given))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder of a run that loop --keep left behind")
    parser.add_argument(
        "--marks", type=int, nargs="+", default=[5, 12], help="rounds to look after"
    )
    parser.add_argument("--afresh", action="store_true", help="one lesson on all, from the base")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    online = with_settings(OnlineConfig(), options.set)
    replay(
        options.work,
        resolve_model(),
        EngineConfig(threads=1),
        online,
        marks=options.marks,
        prompts=read_prompts(EVERY_EVAL_PROMPT),
        afresh=options.afresh,
    )


if __name__ == "__main__":
    main()
