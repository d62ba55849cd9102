"""A whole simulation on the tiny model: the real loop, a few turns, the contract of its files."""

import json
from pathlib import Path

import pytest

from chat_app.settings import Learning
from chat_app.simulate.errors import SimulationError
from learner.model_folder import ModelFolder
from tests.simulate.small import simulated, write_files
from tests.tiny import write_tiny_model

KEYS = [
    "turn",
    "picks",
    "asked",
    "ask_rate",
    "win_rate_vs_base",
    "win_rate_ci",
    "win_rate_weights_only",
    "mean_score_base",
    "mean_score_policy",
    "mean_score_shown",
    "reward_accuracy",
    "kl_to_base",
    "mean_length_tokens",
    "distinct_2",
    "live_version",
    "seconds",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


def test_a_run_leaves_the_curve_it_promises(files: Path, model: ModelFolder):
    summary = simulated(files, model, "out")
    checkpoints = summary["checkpoints"]
    assert [c["turn"] for c in checkpoints] == [0, 10, 11]
    assert all(list(c) == KEYS for c in checkpoints)
    last = checkpoints[-1]
    assert last["asked"] > 0 and 0 < last["picks"] <= last["asked"]
    assert last["ask_rate"] == last["asked"] / 11
    assert last["live_version"] > 0 and last["kl_to_base"] > 0
    assert last["win_rate_ci"][0] <= last["win_rate_vs_base"] <= last["win_rate_ci"][1]
    assert checkpoints[0]["kl_to_base"] == 0 and checkpoints[0]["reward_accuracy"] is None
    assert len({c["mean_score_base"] for c in checkpoints}) == 1, "the base answers once"
    assert summary["config"]["seed"] == 3 and summary["config"]["learn"] == "on"
    assert (files / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_repeats_under_its_seed(files: Path, model: ModelFolder):
    runs = [simulated(files, model, out)["checkpoints"] for out in ("a", "b")]
    for checkpoints in runs:
        for checkpoint in checkpoints:
            del checkpoint["seconds"]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("learning", [Learning.REWARD_ONLY, Learning.OFF])
def test_without_policy_learning_the_base_stays_live(
    files: Path, model: ModelFolder, learning: Learning
):
    last = simulated(files, model, "out", turns=4, learning=learning)["checkpoints"][-1]
    assert last["picks"] > 0
    assert last["live_version"] == 0 and last["kl_to_base"] == 0


def test_a_finished_run_is_left_alone_and_what_was_not_measured_is(files: Path, model: ModelFolder):
    first = simulated(files, model, "out", turns=2)
    assert simulated(files, model, "out", turns=2) == first, "not even the seconds changed"

    path = files / "out" / "summary.json"
    path.write_text(json.dumps(first | {"checkpoints": first["checkpoints"][:1]}))
    assert simulated(files, model, "out", turns=2)["checkpoints"][-1]["turn"] == 2


def test_a_folder_with_anything_else_is_refused(files: Path, model: ModelFolder):
    simulated(files, model, "out", turns=2)
    with pytest.raises(SimulationError, match="other settings"):
        simulated(files, model, "out", turns=3)
    (files / "full").mkdir()
    (files / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(SimulationError, match="choose another --out"):
        simulated(files, model, "full")
    assert (files / "full" / "thesis.txt").exists()
