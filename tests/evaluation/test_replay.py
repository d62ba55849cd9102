"""Replaying recorded choices: a taste that is there is found, and the report keeps its contract."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learner.config import QueryRule, RewardConfig
from learner.evaluation import replay as evaluation
from learner.evaluation.options import RewardEvalError, RewardEvalOptions
from learner.evaluation.pair_features import PairDifferences, pair_differences
from learner.evaluation.pairs import RecordedPair, read_pairs
from learner.evaluation.replay import REPLAYABLE, replay, replay_into, summarise
from learner.model_folder import ModelFolder
from learner.reward.style import STYLE_NAMES
from tests.tiny import write_tiny_model

MEASURES = (
    "accuracy",
    "length_matched_accuracy",
    "log_loss",
    "brier",
    "ece",
    "longer_is_better",
)


def options(tmp_path: Path, query: QueryRule = QueryRule.RANDOM, **changes) -> RewardEvalOptions:
    wanted = {"labels": (10, 80), "seeds": 3} | changes
    return RewardEvalOptions(
        pairs=tmp_path / "pairs.jsonl", query=query, out=tmp_path / "out.json", **wanted
    )


def synthetic(n: int, hidden_signal: float) -> tuple[list[RecordedPair], PairDifferences]:
    """Choices that follow one style feature and one hidden direction, with logistic noise."""
    draw = np.random.default_rng(0)
    style = draw.normal(size=(n, len(STYLE_NAMES)))
    hidden = draw.normal(size=(n, 8)) * np.array([3.0, *[0.5] * 7])
    margin = 1.5 * style[:, 0] + hidden_signal * hidden[:, 0]
    sign = np.where(draw.random(n) < 1 / (1 + np.exp(-margin)), 1.0, -1.0)
    pairs = [RecordedPair(prompt=(), chosen="a", rejected="b", family=f"{i}") for i in range(n)]
    return pairs, PairDifferences(
        style=torch.tensor(style * sign[:, None]).float(),
        hidden=torch.tensor(hidden * sign[:, None]).float(),
        longer=torch.tensor(style[:, 0] * sign).float(),
    )


def accuracies(tmp_path: Path, signal: float, components: int, query: QueryRule) -> np.ndarray:
    pairs, differences = synthetic(300, signal)
    config = RewardConfig(hidden_components=components)
    asked = options(tmp_path, query)
    runs = [replay(pairs, differences, asked, config, seed=seed) for seed in range(3)]
    return np.array([[measures["accuracy"] for measures in run] for run in runs])


@pytest.mark.parametrize("query", REPLAYABLE)
def test_a_taste_in_the_style_is_learned(tmp_path: Path, query: QueryRule):
    few, many = accuracies(tmp_path, signal=0.0, components=0, query=query).mean(axis=0)
    assert many > max(few, 0.68), "a perfect judge of such noisy choices is right in 76 %"


def test_a_taste_in_the_hidden_states_needs_components(tmp_path: Path):
    blind = accuracies(tmp_path, 1.0, components=0, query=QueryRule.RANDOM)[:, 1].mean()
    seeing = accuracies(tmp_path, 1.0, components=4, query=QueryRule.RANDOM)[:, 1].mean()
    assert seeing > blind + 0.08


def test_a_replay_repeats(tmp_path: Path):
    pairs, differences = synthetic(150, 1.0)
    asked = options(tmp_path, QueryRule.INFOMAX)
    runs = [replay(pairs, differences, asked, RewardConfig(), seed=1) for _ in range(2)]
    assert runs[0] == runs[1]


def test_more_labels_than_pairs_are_refused(tmp_path: Path):
    pairs, differences = synthetic(30, 1.0)
    with pytest.raises(RewardEvalError, match="80 labels are wanted"):
        replay(pairs, differences, options(tmp_path), RewardConfig(), seed=0)


def test_a_rule_that_needs_candidates_is_refused(tmp_path: Path):
    pairs, differences = synthetic(150, 1.0)
    asked = options(tmp_path, QueryRule.DOUBLE_THOMPSON)
    with pytest.raises(RewardEvalError, match="recorded pairs allow random, infomax, entropy"):
        replay(pairs, differences, asked, RewardConfig(), seed=0)


@pytest.mark.parametrize("out", [".", "pairs.jsonl/out.json"])
def test_a_report_that_cannot_be_written_is_told_before_the_replay(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch, out: str
):
    write_pairs(tmp_path / "pairs.jsonl")
    monkeypatch.setattr(evaluation, "pair_differences", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(RewardEvalError, match="with --out"):
        replay_into(replace(options(tmp_path), out=tmp_path / out), tiny, lambda _: None)


def test_a_measure_nobody_could_take_is_none():
    measures = dict.fromkeys(MEASURES, 0.5) | {"length_matched_accuracy": float("nan")}
    [result] = summarise([[{"labels": 5.0, **measures}]] * 2)
    assert result["length_matched_accuracy"] is None
    assert result["length_matched_accuracy_ci"] is None
    assert result["accuracy_ci"] == (0.5, 0.5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def write_pairs(path: Path, n: int = 150) -> None:
    rows = [
        {"prompt": f"Question {i}?", "chosen": "Yes!", "rejected": f"Perhaps, {'well, ' * (i % 5)}"}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_report_keeps_its_contract(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    write_pairs(tmp_path / "pairs.jsonl")
    replay_into(options(tmp_path), tiny, lambda _: None)
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["pairs"] == {"used": 150, "defective": 0}
    assert report["config"]["reward"]["picks_between_changes"] is None, (
        "pairs of a file have no order"
    )
    assert [result["labels"] for result in report["results"]] == [10, 80]
    for result in report["results"]:
        assert set(result) == {"labels", *MEASURES, *(f"{name}_ci" for name in MEASURES)}
    assert report["results"][-1]["accuracy"] > 0.9, "shouting is an easy taste"


def test_features_are_kept_on_disk(tmp_path: Path, tiny: ModelFolder):
    write_pairs(tmp_path / "pairs.jsonl", n=5)
    pairs = read_pairs(tmp_path / "pairs.jsonl", only_set=None).pairs
    said: list[str] = []

    def differences() -> PairDifferences:
        return pair_differences(pairs, tiny, layer=1, cache=tmp_path, say=said.append)

    first, told = differences(), len(said)
    assert first.hidden.shape == (5, 32) and first.style.shape == (5, len(STYLE_NAMES))
    assert (first.longer < 0).any() and told > 0
    again = differences()
    assert torch.equal(first.hidden, again.hidden)
    assert len(said) == told, "nothing was read again"


@pytest.mark.slow
def test_recorded_politeness_is_learned(
    tmp_path: Path, shared_data: Path, default_model: ModelFolder
):
    """Real pairs whose chosen side is the polite one: the quickest proof that it learns."""
    asked = RewardEvalOptions(
        pairs=shared_data / "pairs_ai.jsonl.gz",
        query=QueryRule.INFOMAX,
        labels=(100,),
        seeds=2,
        out=tmp_path / "out.json",
        only_set="rasbt-pref",
    )
    replay_into(asked, default_model, lambda _: None)
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    assert result["accuracy"] > 0.75
    assert result["accuracy"] > result["longer_is_better"] + 0.15
