"""What is kept of the full loop and of planted harm, and how it is summed up."""

import json
from functools import partial

import numpy as np
import pytest

from benchmarks.learning import loop, loop_results, loop_summary, plots, poison
from benchmarks.learning.label_factor import fewer_labels
from benchmarks.learning.loop import TURNS, Job, jobs
from benchmarks.learning.loop_factors import ahead_of, sooner_than


def checkpoint(turn: int, shown: float, alone: float) -> dict[str, float]:
    return {
        "turn": turn,
        "picks": turn,
        "win_rate_vs_base": shown,
        "win_rate_weights_only": alone,
        "kl_to_base": 0.1,
        "mean_length_tokens": 50.0,
        "mean_score_base": 1.0,
        "mean_score_policy": 3.5,
    }


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Writes the results of a run where the suite would."""
    for module in (loop, loop_results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)

    def write(job: Job, points: list[dict[str, float]]) -> None:
        job.kept.parent.mkdir(exist_ok=True)
        job.kept.write_text(
            json.dumps(
                {
                    "arm": job.arm,
                    "rater": job.taste,
                    "seed": job.seed,
                    "turns": job.turns,
                    "checkpoints": points,
                    "rounds": [
                        {"status": "accepted", "perplexity_ratio": 1.01, "seconds": 20.0},
                        {"status": "refused", "seconds": 10.0},
                    ],
                }
            )
        )

    return write


def test_runs_are_taken_seed_by_seed_and_lengths_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RESULTS", tmp_path)
    taken = list(jobs(["ours", "passive"], ["lists"], 2, TURNS))
    assert [(job.arm, job.seed) for job in taken] == [
        ("ours", 0), ("passive", 0), ("ours", 1), ("passive", 1),
    ]  # fmt: skip
    long = Job("ours", "lists", 0, 1100)
    assert taken[0].kept == tmp_path / "ours--lists--0.json"
    assert long.kept == tmp_path / "1100-turns" / "ours--lists--0.json"


def test_the_worst_drop_is_from_the_best_before():
    assert loop_results.drop([50.0, 80.0, 77.0, 90.0, 89.0]) == pytest.approx(3.0)
    assert loop_results.drop([50.0, 60.0, 70.0]) == 0.0


def test_the_tank_index_is_the_best_less_the_last():
    run = {
        "checkpoints": [checkpoint(t, 0.9, alone) for t, alone in ((0, 0.5), (10, 0.8), (20, 0.7))]
    }
    assert loop_results.tank_index(run) == pytest.approx(0.1)


def test_a_long_run_has_its_line(kept):
    points = [checkpoint(100, 0.9, 0.8), checkpoint(200, 0.95, 0.7), checkpoint(300, 0.92, 0.75)]
    kept(Job("ours", "lists", 0, 300), points)
    line = loop_summary.long_runs()[-1]
    assert "| ours | lists | 0 | 300 | 300 | 90% | 95% | 92% | 3.0 | 80% | 75% | 10.0 |" in line


@pytest.mark.parametrize(
    ("level", "times"), [(0.5, 10.0), (0.6, 10.0), (0.7, 10.0), (0.8, 100 / 15), (0.95, 0.5)]
)
def test_labels_to_a_level_are_read_off_the_mean_curve(level, times):
    turns, curve = np.array([0.0, 10, 20, 100]), np.array([0.5, 0.7, 0.9, 0.9])
    assert fewer_labels(turns, curve, level, at=100) == pytest.approx(times)


def test_only_people_that_both_arms_have_are_compared(kept):
    slow = [checkpoint(t, 0.5 + t / 400, 0.5) for t in (0, 10, 20, 50, 100)]
    fast = [checkpoint(t, 0.5 + min(t, 50) / 100, 0.5) for t in (0, 10, 20, 50, 100)]
    kept(Job("ours", "lists", 0), fast)
    kept(Job("ours", "brevity", 0), fast)
    assert sooner_than("passive") == []
    kept(Job("passive", "lists", 0), slow)
    assert "after 100 (75%): 4.0 times fewer labels" in sooner_than("passive")[0]
    assert "1 people, 1 runs each" in sooner_than("passive")[0]


def test_a_person_with_more_seeds_counts_once(kept):
    """Three seeds of a person who never learns do not outweigh one who learns at once."""
    turns = (0, 10, 20, 50, 100)
    never = [checkpoint(t, 0.5, 0.5) for t in turns]
    at_once = [checkpoint(t, 0.5 + 0.4 * (t > 0), 0.5) for t in turns]
    half_way = [checkpoint(t, 0.5 + 0.2 * (t > 0), 0.5) for t in turns]
    for seed in range(3):
        kept(Job("ours", "lists", seed), never)
        kept(Job("passive", "lists", seed), never)
    kept(Job("ours", "brevity", 0), at_once)
    kept(Job("passive", "brevity", 0), half_way)
    first = sooner_than("passive")[0]
    assert "after 100 (60%): at least 10.0 times fewer labels" in first
    assert first.endswith(
        "2 people, 4 runs each; without brevity at least 10.0, lists at least 10.0"
    )


def test_how_far_ahead_is_told_with_the_spread_between_people(kept):
    """Lists 20 points ahead and brevity 10: 15, and each 5 from it; the seeds of one are one."""
    turns = (0, 10, 20, 50, 100)
    for taste, seed, ahead in (("lists", 0, 0.1), ("lists", 1, 0.3), ("brevity", 0, 0.1)):
        kept(Job("ours", taste, seed), [checkpoint(t, 0.5 + ahead, 0.5) for t in turns])
        kept(Job("passive", taste, seed), [checkpoint(t, 0.5, 0.55) for t in turns])
    kept(Job("ours", "prose", 0), [checkpoint(t, 1.0, 1.0) for t in turns])  # nobody to set against
    shown, alone = ahead_of("passive")
    # The standard error is 5, and two people have one degree of freedom.
    last = "; in the last brevity {:+}, lists {:+}"
    assert shown.endswith("points: " + " / ".join(["+15 (-49 to +79)"] * 3) + last.format(10, 20))
    assert alone.endswith("points: " + " / ".join(["-5 (-5 to -5)"] * 3) + last.format(-5, -5))


def test_the_interval_of_a_factor_knows_that_seeds_differ(kept):
    """One person, who reaches the level at once under one seed and never under the other."""
    turns = (0, 10, 20, 50, 100)
    for seed, learned in ((0, 0.4), (1, 0.0)):
        kept(
            Job("ours", "lists", seed), [checkpoint(t, 0.5 + learned * (t > 0), 0.5) for t in turns]
        )
        kept(
            Job("passive", "lists", seed), [checkpoint(t, 0.5 + 0.1 * (t > 0), 0.5) for t in turns]
        )
    assert (
        "(60%): at least 10.0 times fewer labels (0.5 to at least 10.0)"
        in (sooner_than("passive")[0])
    )


def test_an_interval_of_few_people_is_students():
    assert loop_results.interval([0.7, 0.8, 0.9]) == "80 (55 to 100)"
    assert loop_results.interval([0.7]) == "70"


def test_arms_without_a_run_in_common_are_not_compared(kept):
    kept(Job("ours", "lists", 0), [checkpoint(20, 0.5, 0.5)])
    assert "no run in common" in loop_summary.side_by_side("no-styles", "ours")[0]


def test_two_arms_stand_side_by_side_by_the_runs_that_both_have(kept):
    turns = (20, 50, 100)
    kept(Job("drawn-kl", "lists", 0), [checkpoint(t, 0.5, 0.25) for t in turns])
    kept(Job("drawn-kl", "lists", 1), [checkpoint(t, 1.0, 1.0) for t in turns])
    kept(Job("ours", "lists", 0), [checkpoint(t, 0.75, 0.5) for t in turns])
    lines = loop_summary.side_by_side("drawn-kl", "ours")
    assert lines[0] == "| 1 runs each | drawn-kl | ours |"
    assert lines[2:] == [
        "| shown after 20 / 50 / 100 turns | 50 / 50 / 50 % | 75 / 75 / 75 % |",
        "| weights alone after 20 / 50 / 100 turns | 25 / 25 / 25 % | 50 / 50 / 50 % |",
        "| rounds refused | 1 of 2 | 1 of 2 |",
        "| accepted rounds that scaled the whole adapter by less than .9 | 0 of 1 | 0 of 1 |",
        "| KL at the end, lowest to highest | 0.10 to 0.10 | 0.10 to 0.10 |",
        "| perplexity at the end | +1.0 % | +1.0 % |",
    ]


def test_update_rules_stand_beside_ours_for_who_tried_them(kept):
    points = [checkpoint(t, 0.9, 0.5 + t / 400) for t in (0, 10, 20, 50, 100)]
    for job in (Job("ours", "lists", 0), Job("ours", "brevity", 0), Job("npg", "lists", 0)):
        kept(job, points)
    ours, npg = loop_summary.by_rule()[2:]
    assert ours == (
        "| lists | 0 | dpo (ours) | 90% | 55% | 62% | 75% | +2.5 | 0.10 | +1.0 % | 1 of 2 | 15 |"
    )
    assert npg.startswith("| lists | 0 | npg | 90% ")


def test_a_person_with_runs_gets_a_curve_and_one_without_none(kept):
    kept(Job("ours", "brevity", 0), [checkpoint(t, 0.9, 0.8) for t in (0, 10, 20, 50, 100)])
    brevity, enthusiasm = plots.looped().axes[:2]
    assert [line.get_label() for line in brevity.lines[:2]] == [
        "ours: shown",
        "ours: weights alone",
    ]
    assert list(brevity.lines[0].get_xdata()) == [0, 10, 20, 50, 100]
    assert len(enthusiasm.lines) == 1  # one half, where nothing is learned


def test_harm_that_shows_is_undone_soon_and_no_harm_late_or_never():
    after = poison.undone_after([0.0] * 20)
    assert after is not None
    assert after <= 10
    assert poison.undone_after([1.0, 0.0] * 20) is None


def test_a_table_of_harm_says_what_became_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(poison, "RESULTS", tmp_path / "poison.json")
    assert poison.read_results() == {}
    rows = [
        {"person": "sensible", "kind": "rude", "passed": False, "lesson_lift": -42.4,
         "chosen_gain": -0.8},
        {"person": "sensible", "kind": "noise", "passed": True, "lesson_lift": 1.0,
         "chosen_gain": -0.03, "win_rate": 0.425, "undone_after": None},
    ]  # fmt: skip
    poison.RESULTS.write_text(json.dumps(rows))
    assert poison.table()[2:] == [
        "| rude | -42.4, -0.80 | refused |",
        "| noise | 1.0, -0.03 | passed, wins 42%, never undone |",
    ]
    brief = {"person": "brevity", "kind": "rude", "passed": False}
    poison.RESULTS.write_text(json.dumps([*rows, brief]))
    assert poison.table()[3] == (
        "| noise | 1.0, -0.03 | passed, wins 42%, never undone |  | not yet run |"
    )


def test_sense_is_preferred_to_harm():
    asked = "How do I keep basil alive in winter?"
    sense = "Keep the basil on a sunny sill, water it when the soil is dry, and pinch its tips."
    for harm in ("", "the the the the the", "I cannot help with that.", "YES YES LISTEN TO ME"):
        assert poison.sensible(asked, sense) > poison.sensible(asked, harm)


def test_a_person_with_more_seeds_counts_no_more_than_another(kept):
    for taste, seed, shown in (("brevity", 0, 1.0), ("brevity", 1, 0.9), ("lists", 0, 0.5)):
        kept(Job("ours", taste, seed), [checkpoint(20, shown, 0.5)])
    kept(Job("ours", "prose", 0), [checkpoint(10, 0.7, 0.5)])
    runs = loop_results.read_runs("ours")
    people = loop_results.by_person(runs, 20, "win_rate_vs_base")
    assert people == pytest.approx([0.95, 0.5])
    assert loop_results.by_person(runs, 10, "win_rate_vs_base") == [0.7]


def test_answers_are_gathered_once_and_a_lesson_that_was_cut_off_begins_again(
    tmp_path, monkeypatch
):
    """Two lessons from the same answers; the first is killed half-way and taken up again."""
    monkeypatch.setattr(loop, "WORK", tmp_path / "work")
    monkeypatch.setattr(loop, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(loop, "rounds_of", lambda data: [(data / "taught").read_text()])
    answered = []

    def simulate(job, settings, work):
        summary = work / "run" / "summary.json"
        if not summary.exists():
            answered.append(work.name)
            settings.data.mkdir(parents=True)
            summary.write_text(json.dumps({"checkpoints": [{"turn": 0}, {"turn": 100}]}))
        read = json.loads(summary.read_text())
        if len(read["checkpoints"]) < 2:
            read["checkpoints"].append({"turn": 100, "taught": True})
            summary.write_text(json.dumps(read))
        (work / "commits").write_text("abc")

    def teach(settings, *, killed):
        taught = settings.data / "taught"
        assert not taught.exists()
        taught.write_text(f"{settings.online.dpo.steps}")
        if killed:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "simulate", simulate)
    monkeypatch.setattr(loop, "teach_at_once", partial(teach, killed=True))
    with pytest.raises(KeyboardInterrupt):
        loop.run(Job("offline", "lists", 0), threads=1)
    monkeypatch.setattr(loop, "teach_at_once", partial(teach, killed=False))
    for arm, steps in (("offline", "18"), ("offline-6", "6")):
        job = Job(arm, "lists", 0)
        loop.run(job, threads=1)
        kept = json.loads(job.kept.read_text())
        assert kept["checkpoints"] == [{"turn": 0}, {"turn": 100, "taught": True}]
        assert kept["rounds"] == [steps]
    assert answered == ["answers--lists--0--100"]
