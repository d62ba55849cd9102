"""Settings from YAML and flags: what is read, and how a mistake is told."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from learner.phases.optimiser import OptimiserConfig, Schedule
from learner.phases.protocol import PhaseError
from learner.phases.settings import build, merged, plain, read_flags, read_yaml
from learner.update_config import LoraSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    seed: int = 0
    epochs: float = 1.0
    files: tuple[Path, ...] = ()
    name: str | None = None
    packed: bool = True
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    lora: LoraSpec | None = field(default_factory=LoraSpec)


def test_yaml_and_flags_become_settings_and_flags_win(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("epochs: 2\nfiles: [a.txt, b.txt]\noptimiser: {learning_rate: 1e-4}\n")
    flags = read_flags(
        ["--seed", "7", "--optimiser.schedule=linear", "--optimiser.warmup-share", "0"]
    )
    built = build(Some, merged(read_yaml(path), flags))
    assert (built.epochs, built.seed, built.files) == (2.0, 7, (Path("a.txt"), Path("b.txt")))
    assert built.optimiser == OptimiserConfig(
        learning_rate=1e-4, schedule=Schedule.LINEAR, warmup_share=0.0
    )
    assert build(Some, {"lora": None}).lora is None
    assert build(Some, {"lora": {"rank": 4}}).lora == LoraSpec(rank=4)
    assert build(Some, {"files": "one.txt"}).files == (Path("one.txt"),)


def test_settings_come_back_from_their_plain_form():
    some = build(Some, {"files": ["a"], "lora": None, "optimiser": {"schedule": "constant"}})
    assert build(Some, plain(some)) == some


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": 2}, "There is no setting epoch: did you mean epochs?"),
        ({"optimiser": {"lr": 1}}, "There is no setting optimiser.lr: there are learning_rate"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"packed": "perhaps"}, "packed must be true or false, got 'perhaps'"),
        ({"epochs": "many"}, "epochs must be a number, got 'many'"),
        ({"optimiser": 3}, "optimiser holds settings of its own"),
        ({"optimiser": {"schedule": "up"}}, "schedule must be one of constant, linear, cosine"),
        ({"optimiser": {"learning_rate": -1}}, "optimiser: learning_rate and grad_clip must be"),
    ],
)
def test_a_mistake_is_one_sentence(given, said):
    with pytest.raises(PhaseError) as raised:
        build(Some, given)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--seed"], "--seed needs a value"), (["seed", "3"], "'seed' is no setting")],
)
def test_flags_that_do_not_come_in_pairs_are_told(arguments, said):
    with pytest.raises(PhaseError, match=said):
        read_flags(arguments)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(PhaseError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(PhaseError, match="is no YAML"):
        read_yaml(broken)
    broken.write_text("- a\n")
    with pytest.raises(PhaseError, match="must hold settings"):
        read_yaml(broken)
    broken.write_bytes(b"\x80\x02\xff")
    with pytest.raises(PhaseError, match="is no text"):
        read_yaml(broken)
    broken.write_text("")
    assert read_yaml(broken) == {}
