"""Each row of the protocol in its smallest form: a tiny model, a few tokens, one round.

The arms run here instead of in processes of their own, since loading torch dozens of times is what
takes long; test_running.py has the processes.
"""

import importlib
import math

import pytest

from benchmarks.material import material_of
from benchmarks.row import Environment
from benchmarks.rows.registry import ROWS
from tests.tiny import write_tiny_model

SLOW = {"r5": "TRL", "r6": "TRL", "r9": "starts learners", "r10": "starts a page"}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return material_of(write_tiny_model(folder / "model").path, folder / "work", tiny=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in ROWS],
)
# Peers and their trainers warn of much; what they say is no concern of ours.
@pytest.mark.filterwarnings("default")
def test_a_row_runs_and_every_figure_has_its_numbers(name, material):
    row = ROWS[name]
    row.needs(material)
    metrics = {}
    for arm in row.arms(material):
        assert arm.environment is Environment.OURS, "the tiny form needs no peers' environment"
        module, kind = arm.make.split(":")
        built = getattr(importlib.import_module(module), kind)(**arm.options)
        metrics[arm.name] = built.round(0)
        if hasattr(built, "close"):
            built.close()
    for arm in metrics.values():
        assert all(math.isfinite(value) for value in arm.values())
    figures = row.figures(material)
    assert figures
    for figure in figures:
        for arm, metric in (figure.of, *([figure.over] if figure.over else [])):
            assert metric in metrics[arm], figure.title
    if name == "r4":
        assert metrics["twofold"]["changed_tokens"] == 0
    if name == "r13":
        assert metrics["both"]["identical"] == metrics["both"]["prompts"]
        assert metrics["both"]["logprob_difference"] < 1e-3
    if name == "r5":
        assert metrics["gradient"]["cosine"] > 0.999


def test_the_large_forms_name_every_arm_that_a_figure_speaks_of(material, monkeypatch):
    """The rows as they are really run: only their plans, nothing is loaded."""
    from dataclasses import replace
    from pathlib import Path

    from benchmarks import limit
    from benchmarks import material as made
    from benchmarks.rows import r1b_llama, r2_candidates, r3_chat, r4_swap

    for module in (r1b_llama, r2_candidates, r3_chat, r4_swap):
        for maker in ("gguf", "gguf_adapter"):
            if hasattr(module, maker):
                monkeypatch.setattr(module, maker, lambda *_: Path("file.gguf"))
    monkeypatch.setattr(made, "_digest", lambda _: "0" * 64)
    monkeypatch.setattr(limit, "reader", lambda _: None)
    large = replace(material, tiny=False)
    made.prompts(material).rename(material.folder / "prompts-256.json")
    for row in ROWS.values():
        names = {arm.name for arm in row.arms(large)}
        for figure in row.figures(large):
            assert figure.of[0] in names and (not figure.over or figure.over[0] in names)
