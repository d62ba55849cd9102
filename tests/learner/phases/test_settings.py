"""Settings from YAML and flags: what is read, and how a mistake is told."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from learner.phases.optimiser import OptimiserConfig, Schedule
from learner.phases.ppo import PpoTrainConfig
from learner.phases.pretrain import PretrainConfig
from learner.phases.protocol import PhaseError
from learner.phases.reward import RewardTrainConfig
from learner.phases.settings import build, merged, plain, read_flags, read_yaml
from learner.phases.sft import SftConfig
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
    [
        (["--seed"], "--seed needs a value"),
        (["seed", "3"], "'seed' is no setting"),
        (["--lora", "null", "--lora.rank", "8"], "--lora.rank and --lora exclude each other"),
        (["--lora.rank", "8", "--lora", "null"], "--lora and --lora.rank exclude each other"),
    ],
)
def test_flags_that_do_not_come_in_pairs_are_told(arguments, said):
    with pytest.raises(PhaseError, match=said):
        read_flags(arguments)


def test_a_repeated_flag_adds_to_a_list_and_is_refused_elsewhere():
    flags = read_flags(["--files", "a", "--files", "[b, c]", "--files=d e", "--files", "~x/[y"])
    assert [str(path) for path in build(Some, flags).files] == ["a", "b", "c", "d e", "~x/[y"]
    with pytest.raises(PhaseError, match="--seed is given 2 times, and takes one value"):
        build(Some, read_flags(["--seed", "1", "--seed", "2"]))


@pytest.mark.parametrize("name", ["[draft] talks.jsonl", "@talks.jsonl", "2024", "a: b", "x # y"])
def test_a_path_and_a_text_are_taken_as_they_are_typed(name):
    assert build(Some, read_flags(["--files", name])).files == (Path(name),)
    assert build(Some, read_flags(["--name", name])).name == name
    assert build(Some, read_flags(["--name", "null"])).name is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--epochs", "inf"], "epochs must be a finite number, got inf"),
        (["--epochs", "9" * 400], "epochs must be a finite number, got inf"),
        (["--epochs", "[1"], "epochs must be a number, got '[1'"),
        (["--seed", "2024-13-45"], "seed must be a whole number, got '2024-13-45'"),
        (["--files", ""], "files must be a path, got ''"),
        (["--optimiser.learning-rate", ".nan"], "learning_rate must be a finite number, got nan"),
        (["--optimiser.beta1", "1"], "optimiser: beta1 must lie in [0, 1), got 1.0"),
        (["--optimiser.weight-decay", "-1"], "weight_decay must not be negative"),
    ],
)
def test_a_number_out_of_range_is_one_sentence(flags, said):
    with pytest.raises(PhaseError) as raised:
        build(Some, read_flags(flags))
    assert said in str(raised.value)


@pytest.mark.parametrize("config", [PretrainConfig, SftConfig, RewardTrainConfig, PpoTrainConfig])
def test_a_seed_that_no_generator_takes_is_refused(config):
    for seed in (10**30, -1):
        with pytest.raises(PhaseError, match="seed must lie between 0 and 4294967295"):
            build(config, {"seed": seed})


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
