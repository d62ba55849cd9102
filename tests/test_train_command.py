"""``twofold train`` and ``twofold phases``: from the command line to a version."""

import json
from pathlib import Path

import pytest

from tests.learner.phases.test_text_phases import talks  # noqa: F401 - a fixture
from tests.test_cli import twofold  # noqa: F401 - a fixture
from tests.tiny import write_tiny_model

SMALL = """
dialogues_per_step: 6
max_steps: 4
held_out_share: 0.2
lora: {rank: 4, alpha: 8}
optimiser: {learning_rate: 2e-2}
loop: {evaluate_every: 2, checkpoint_every: 2}
gate: {prompts: 2, max_new_tokens: 8, max_kl_per_token: 50, max_perplexity_ratio: 1000000000,
       min_length_ratio: 0, max_length_ratio: 100, max_empty_share: 1, max_repetition: 1, probes: 0}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny")).path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "sft.yaml"
    path.write_text(SMALL)
    return path


def test_a_phase_from_yaml_and_flags_ends_in_a_live_version(
    twofold,  # noqa: F811
    talks,  # noqa: F811
    small: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    where = ("--data", tmp_path / "data")
    command = ("train", "sft", "--config", small, "--model", model, "--dtype", "float32", *where)
    settings = ("--files", talks, "--make-live", "true", "--seed=5")
    answer = twofold(*command, *settings, "--json")
    assert answer.status == 0, answer.err
    said = json.loads(answer.out.splitlines()[-1])
    assert (said["accepted"], said["version"], said["steps"]) == (True, 1, 4)
    assert said["metrics"]["held_out_loss"] < said["metrics"]["before.held_out_loss"]
    assert "sft 4/4  held_out_loss" in answer.err
    listed = json.loads(twofold("versions", "list", *where, "--json").out)
    assert [(v["version"], v["live"]) for v in listed] == [(0, False), (1, True)]
    [run] = json.loads(twofold("phases", *where, "--json").out)
    assert (run["phase"], run["status"], run["version"], run["steps"]) == ("sft", "finished", 1, 4)
    assert "v1" in twofold("phases", *where).out


def test_settings_are_shown_in_full(twofold, small: Path) -> None:  # noqa: F811
    import yaml

    shown = twofold("train", "sft", "--config", small, "--epochs", 2, "--show")
    assert shown.status == 0
    said = yaml.safe_load(shown.out)
    assert (said["epochs"], said["max_steps"], said["lora"]) == (2.0, 4, {"rank": 4, "alpha": 8})
    path = small.with_name("again.yaml")
    path.write_text(shown.out)  # what is shown can be given
    assert twofold("train", "sft", "--config", path, "--show").out == shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("knit",), "There is no phase knit: choose one of pretrain, sft"),
        (("sft", "--epoch", 2), "There is no setting epoch: did you mean epochs?"),
        (("sft", "--epochs"), "--epochs needs a value"),
        (("sft", "--lora", "null", "--from", 3), "base's own weights: leave --from 3 out"),
        (("reward", "--from", 3), "`twofold train reward` begins at the base's own weights"),
        (("sft", "--config", "none.yaml"), "none.yaml cannot be read"),
        (("pretrain", "--tensorboard", "x"), "TensorBoard is not installed"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    twofold,  # noqa: F811
    arguments,
    said,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    answer = twofold("train", *arguments, "--model", model, "--data", tmp_path / "data")
    assert answer.status == 2
    assert said in answer.err and "Traceback" not in answer.err


def test_a_folder_without_phases_says_how_to_begin(twofold, tmp_path: Path) -> None:  # noqa: F811
    from storage.database import Store
    from storage.folder import DataFolder

    Store(DataFolder(tmp_path).database).close()
    assert "twofold train --help" in twofold("phases", "--data", tmp_path).out
