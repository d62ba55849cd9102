"""A finished run's lessons, made again."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.learning.replay import Until, lessons, replay, with_settings
from chat_app.simulate.prompts import read_prompts
from learner.config import EngineConfig, OnlineConfig
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.update_config import DpoConfig
from learner.updates.lesson import Lesson
from learner.updates.teacher import Teacher
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.records import Choice, Preference, Sampling
from tests.simulate.small import simulated, write_files
from tests.tiny import LAX_GATE, write_tiny_model

ENGINE = EngineConfig(
    sampling=Sampling(max_new_tokens=12), max_prompt_tokens=256, seed=3, dtype="float32"
)
ONLINE = OnlineConfig(min_preferences=2, gate=LAX_GATE)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``benchmarks.learning.loop --keep`` leaves, of a small run."""
    work = tmp_path_factory.mktemp("kept")
    write_files(work)
    write_tiny_model(work / "tiny")
    simulated(work, tiny(work), "run", turns=8)
    return work


def tiny(work: Path) -> ModelFolder:
    return resolve_model(str(work / "tiny"), cache=work / "cache")


def made(
    work: Path, online: OnlineConfig, marks: tuple[int, ...] = (1, 2), *, afresh: bool = False
) -> list[dict[str, float]]:
    prompts = read_prompts(work / "prompts.jsonl")
    return replay(work, tiny(work), ENGINE, online, marks=marks, prompts=prompts, afresh=afresh)


def test_a_replay_repeats_and_another_setting_shows(work: Path):
    once = made(work, ONLINE)
    assert [one["round"] for one in once] == [1, 2]
    assert all(one["kl_per_token"] > 0 for one in once)
    assert made(work, ONLINE) == once
    larger = made(work, with_settings(ONLINE, ["learning_rate=0.01"]))
    assert larger[0]["kl_per_token"] > once[0]["kl_per_token"]


def test_afresh_each_mark_is_one_lesson_on_all_picks_from_the_base(
    work: Path, monkeypatch: pytest.MonkeyPatch
):
    chain = made(work, ONLINE)
    taken: list[int] = []
    lesson = Teacher.lesson

    def watched(self: Teacher, picks: list[Preference], *rest: Any) -> Lesson:
        taken.append(len(picks))
        return lesson(self, picks, *rest)

    monkeypatch.setattr(Teacher, "lesson", watched)
    afresh = made(work, ONLINE, afresh=True)
    assert taken == [2, 4]
    assert afresh[0] == chain[0]  # the first round begins there anyway
    assert afresh[1] == made(work, ONLINE, (2,), afresh=True)[0] != chain[1]


def test_nothing_is_known_of_what_came_later(work: Path):
    until = Until(Reader(DataFolder(work / "run" / "data").database))
    assert until.preferences() == [] and until.pools(limit=64) == []
    everything = [one for some in lessons(everything_said(work), 1) for one in some]
    until.last = everything[1]
    assert until.preferences()[-1].id == everything[1].id
    turn = everything[1].comparison.first.prompt_turn_id
    pools = until.pools(limit=64)
    assert pools[0].prompt_turn_id == turn and len(pools) > 1
    assert until.pools(limit=1) == pools[:1]


def everything_said(work: Path) -> list[Preference]:
    return FeedbackReader(Reader(DataFolder(work / "run" / "data").database)).preferences()


def test_lessons_are_of_whole_rounds_of_decided_picks(work: Path):
    picks = everything_said(work)
    decided = [p for p in picks if p.choice in (Choice.FIRST, Choice.SECOND)]
    some = lessons(picks, 3)
    assert [p for one in some for p in one] == decided[: 3 * (len(decided) // 3)]
    assert {len(one) for one in some} == {3}


def test_settings_are_read_in_their_own_type_and_others_are_refused():
    dpo = with_settings(OnlineConfig(), ["beta=0.5", "steps=3"]).dpo
    assert (dpo.beta, dpo.steps) == (0.5, 3) and dpo.learning_rate == DpoConfig().learning_rate
    assert with_settings(OnlineConfig(), ["minibatch=16"]).dpo.minibatch == 16
    with pytest.raises(ValueError, match=r"there are .*beta"):
        with_settings(OnlineConfig(), ["lora=3"])
