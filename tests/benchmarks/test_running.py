"""The protocol itself: fresh processes, arms in turn, ratios round by round, an honest report."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.arm_process import ArmProcess
from benchmarks.report import BEGIN, END, PAGE, load, number, table
from benchmarks.row import Arm, Environment, Figure, Material, Row
from benchmarks.running import run_row, spread, verdict

HERE = "tests.benchmarks.arms"


@pytest.fixture
def material(tmp_path):
    return Material(folder=tmp_path, model=tmp_path, tiny=True)


def arm(name: str, kind: str = "Counter", **options) -> Arm:
    return Arm(name=name, make=f"{HERE}:{kind}", options=options)


def test_arms_take_turns_and_each_has_a_process_of_its_own(material, tmp_path):
    diary = tmp_path / "diary"
    arms = [arm(name, diary=str(diary), seconds=s) for name, s in (("a", 2.0), ("b", 4.0))]
    row = Row(
        id="rx",
        title="a test",
        arms=lambda _: arms,
        figures=lambda _: [
            Figure(title="b over a", of=("b", "wall_s"), over=("a", "wall_s"), at_least=3.0)
        ],
    )
    result = run_row(row, material, warmups=1, rounds=2)
    lines = [line.split() for line in diary.read_text().splitlines()]
    assert [options for _, options, _ in lines] == ["2.0", "4.0"] * 3
    assert [number for _, _, number in lines] == ["0", "0", "1", "1", "2", "2"]
    pids = [pid for pid, _, _ in lines]
    assert len(set(pids)) == 2 and str(os.getpid()) not in pids
    [figure] = result["figures"]
    # Each round's seconds are multiplied by its number plus one: the ratio stays.
    assert figure["values"] == [2.0, 2.0] and figure["verdict"] == "missed"
    assert result["arms"]["a"]["spread"]["wall_s"]["median"] == 5.0
    assert result["arms"]["a"]["peak_rss_mb"] > 1
    assert json.dumps(result)


def test_a_row_that_runs_out_of_time_keeps_the_rounds_it_has(material):
    row = Row(
        id="rx",
        title="a test",
        arms=lambda _: [arm("a", seconds=1.0)],
        figures=lambda _: [Figure(title="wall", of=("a", "wall_s"))],
    )
    result = run_row(row, material, warmups=0, rounds=5, seconds=0.0)
    assert result["rounds"] == 1 and result["figures"][0]["values"] == [1.0]


def test_an_arm_that_waits_is_stopped_and_one_that_ends_leaves_nothing():
    process = ArmProcess(arm("a", seconds=1.0))
    pid = process._process.pid
    try:
        for _ in range(100):
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "T":
                break
            time.sleep(0.02)
        assert state == "T"
        process.round(3, counts=True)
        assert process.rounds == [{"wall_s": 4.0}]
    finally:
        process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("Missing", "not installed"), ("Unfit", "no such format"), ("Broken", "failed: ValueError")],
)
def test_an_absent_peer_is_a_row_that_says_why(material, kind, reason, capsys):
    row = Row(
        id="rx",
        title="a test",
        arms=lambda _: [arm("a", seconds=1.0), arm("b", kind)],
        figures=lambda _: [Figure(title="ratio", of=("b", "wall_s"), over=("a", "wall_s"))],
    )
    result = run_row(row, material, warmups=0, rounds=1)
    assert reason in result["arms"]["b"]["absent"]
    assert reason in result["figures"][0]["absent"]
    assert f"not measured: b: {reason}" in table([result])


def test_without_the_peers_environment_the_row_names_the_command(material, monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.arm_process.ROOT", tmp_path)
    process = ArmProcess(Arm(name="a", make="x:Y", environment=Environment.PEERS))
    assert process.absent == ".venv-peers is not there: make bench-peers"
    process.close()


def test_the_spread_is_the_middle_half():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    assert spread([1.0, 2.0]) == {"median": 1.5, "q1": 1.25, "q3": 1.75}


@pytest.mark.parametrize(
    ("value", "less", "expected"),
    [
        (2.0, False, "missed"), (4.0, False, "reached"), (8.0, False, "aim"),
        (9.0, True, "missed"), (4.0, True, "reached"), (3.0, True, "aim"),
    ],
)  # fmt: skip
def test_a_verdict_needs_the_median_on_the_right_side(value, less, expected):
    at_least, aim = (4.0, 3.0) if less else (4.0, 8.0)
    figure = Figure(title="", of=("a", "b"), at_least=at_least, aim=aim, less_is_better=less)
    assert verdict(figure, [value]) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234.5, "1234"), (12.345, "12.3"), (0.01234, "0.0123")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_the_page_shows_the_results_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    shown = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table(load()), "make bench ARGS=--table"
