"""The learning suite in small: synthetic pools, real reward head, real asker."""

import json

import numpy as np
import pytest

from benchmarks.learning import change, curves, suite, summary
from benchmarks.learning.arms import ARMS
from benchmarks.learning.episode import Person, over_others, run_episode
from benchmarks.learning.ladder import rungs_of
from benchmarks.learning.others import against_others
from benchmarks.learning.pools import Pool, PoolPrompt
from benchmarks.learning.raters import (
    SELF_AGREEMENT,
    UTILITIES,
    Behaviour,
    calibrated,
    pick,
    win_prob,
)
from benchmarks.learning.world import build_world
from learner.styles import STYLES
from storage.records import Sampling
from tests.learner.conftest import user

STYLED = {
    "short": "Yes.",
    "list": "- one thing\n- another thing\n- a third thing",
    "formal": "Therefore, it is advisable to proceed in order to succeed.",
    "cheerful": "Great! What a wonderful idea! I love it!",
    "asks_back": "That may be so. What do you need?",
}


def pool(number: int) -> Pool:
    rng = np.random.default_rng(number)
    rungs = [r.name for r in rungs_of(number, Sampling())]
    texts = []
    for i, rung in enumerate(rungs):
        words = " ".join(f"word{w}" for w in rng.integers(0, 60, size=int(rng.integers(5, 60))))
        texts.append(f"{STYLED.get(rung, '')} {words} {number}/{i}.".strip())
    prompt = PoolPrompt(
        messages=user(f"What is thing {number} about?"),
        part="test" if number % 3 == 2 else "train",
        source="synthetic",
    )
    return Pool(
        prompt=prompt,
        rungs=tuple(rungs),
        texts=tuple(texts),
        finished=(True,) * len(texts),
        tokens=tuple(len(text.split()) for text in texts),
        hidden=rng.normal(size=(len(texts), 24)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def world():
    return build_world([pool(i) for i in range(12)])


def episode(world, arm: str, *, turns: int = 30, seed: int = 0, **person):
    who = Person(**{"taste": "brevity", **person})
    return run_episode(world, None, ARMS[arm], who, turns=turns, labels=10_000, seed=seed)


@pytest.mark.parametrize("arm", ["ours", "passive", "value-gate"])
def test_a_plain_taste_is_learned(world, arm):
    marks = np.array(episode(world, arm)["marks"])
    before, after = marks[0], marks[-1]
    win = curves.WIN
    assert after[win] > before[win] + 0.1
    assert after[curves.SHARE] > 0.5, "of eight plain samples, most of the gain is found"


def test_asking_always_asks_always_and_auto_less(world):
    assert episode(world, "ours-always")["marks"][-1][2] == 30
    assert 12 <= episode(world, "ours", turns=60)["marks"][-1][2] < 40


def test_an_episode_repeats(world):
    assert episode(world, "double-thompson", turns=12) == episode(
        world, "double-thompson", turns=12
    )


def test_a_change_of_taste_is_marked_before_and_after(world):
    result = episode(
        world, "ours-always", turns=40, later="detail", behaviour=Behaviour(changes_at=20)
    )
    marks = np.array(result["marks"])
    win = dict(zip(marks[:, 0].astype(int), marks[:, curves.WIN], strict=True))
    assert {19, 20, 30} <= set(win)
    assert win[19] > 0.6 > 0.5 > win[20], "what pleased before displeases now"


def test_a_hostile_person_picks_what_he_likes_less():
    rng = np.random.default_rng(0)
    behaviour = Behaviour(hostile=True, tie_strength=1e-9)
    said = [pick(3.0, behaviour, rng) for _ in range(300)]
    assert said.count("second") > 270


def test_a_person_agrees_with_himself_as_often_as_people_do():
    margins = np.random.default_rng(0).normal(size=2000)
    scale = calibrated(margins)
    p = 1 / (1 + np.exp(-scale * margins))
    assert np.mean(p**2 + (1 - p) ** 2) == pytest.approx(SELF_AGREEMENT, abs=0.01)


@pytest.mark.parametrize(
    ("taste", "liked", "other"),
    [
        ("brevity", "Yes.", "Yes, and there is more to say about it."),
        ("detail", "Copper conducts heat, iron rusts.", "It it it it it it."),
        ("lists", "- a\n- b", "a and b"),
        ("prose", "It is long and flows on and on.", "- it\n- is"),
        ("formality", "It is advisable to proceed, therefore.", "Yeah, that's cool stuff!"),
        ("enthusiasm", "Wonderful! I love it!", "It is fine."),
        ("asks_back", "It depends. Which one do you own?", "It depends."),
        ("on_topic", "Bread rises by yeast.", "I can help."),
        ("admits_ignorance", "I am not sure about that.", "It is so."),
        ("refuses_harm", "Here is how bread rises.", "I cannot help with bread."),
        ("quotes_question", "How does bread rise? By yeast.", "By yeast."),
        ("plain_words", "It is by a bug.", "Fermentation produces carbonation."),
        ("busy_but_polite", "Please wait.", "Hey, that's just how it goes, ok, you know it is."),
        ("curious_friend", "Great! What do you bake?", "Yeast."),
    ],
)
def test_each_taste_likes_what_its_name_says(taste, liked, other):
    prompt = "How does bread rise?"
    assert UTILITIES[taste](prompt, liked) > UTILITIES[taste](prompt, other)


def test_harm_is_to_be_refused():
    assert UTILITIES["refuses_harm"]("How do I hack a bank?", "I cannot help with that.") == 1.0
    assert UTILITIES["refuses_harm"]("How do I hack a bank?", "First, find a server.") == 0.0


def test_every_prompt_has_plain_hot_and_styled_candidates():
    named = [r.name for n in range(10) for r in rungs_of(n, Sampling())]
    assert set(named) == {"plain", "hot", *STYLES}
    counts = [named.count(name) for name in STYLES]
    assert max(counts) == min(counts), "every style has its turn"


def test_an_interrupted_suite_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    episode_result = {"marks": [[0, 0, 0, 0.0, 0.0, 0.0, 0.5, 0.1]], "asked": [], "shown": []}
    suite._write("auto", "ours", {"brevity": {"0": episode_result}})
    assert suite.stored("auto", "ours")["people"]["brevity"]["0"] == episode_result
    assert json.loads(suite.result_path("auto", "ours").read_text())["turns"] == 200
    assert next(iter(suite.jobs(["noise"], 2)))[3] == 0
    arms = [arm for _, arm, _, seed in suite.jobs(["auto"], 6) if seed == 5]
    assert set(arms) == {"ours"}, "the side arms need a third of the seeds"


def test_results_of_other_pools_are_not_added_to(world, tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    monkeypatch.setitem(suite._shared, "world", world)
    suite._settle_world()
    suite._settle_world()  # the same again
    monkeypatch.setitem(suite._shared, "world", build_world([pool(i) for i in range(9)]))
    with pytest.raises(SystemExit, match="other candidates than the pools here"):
        suite._settle_world()


def test_a_reply_is_not_set_against_itself(world):
    utility = np.array([1.0, 2.0, 6.0, 9.0])
    assert over_others(utility, 2, [0, 1, 2]).tolist() == [5.0, 4.0]
    assert over_others(utility, 3, [0, 1, 2]).tolist() == [8.0, 7.0, 3.0], "a styled one"


def test_what_was_stored_before_is_corrected_where_it_can_be():
    utility = np.random.default_rng(3).normal(size=8)
    shown, every = 5, range(8)
    others = over_others(utility, shown, every)
    old = (utility[shown] - utility).mean(), (1 / (1 + np.exp(utility - utility[shown]))).mean()
    new = others.mean(), (1 / (1 + np.exp(-others))).mean()
    was = {"marks": [[0, 0, 0, old[0], old[0], 0.5, old[1], 0.1]], "shown": [old[0]]}
    plain = against_others(was, suite.KEPT_MARKS, plain=True)
    [[*_, own, best, share, win, ece]] = plain["marks"]
    assert (own, best, share, win, ece) == pytest.approx((new[0], new[0], 0.5, new[1], 0.1))
    assert plain["shown"] == pytest.approx([new[0]])
    [[*_, own, best, _, win, _]] = against_others(was, suite.KEPT_MARKS, plain=False)["marks"]
    assert (own, best, win) == pytest.approx((old[0], new[0], old[1]))
    done = was | {"others": True}
    assert against_others(done, suite.KEPT_MARKS, plain=True) == done


def test_fewer_labels_are_counted_where_the_level_is_reached():
    theirs = np.tile(np.linspace(0.0, 1.0, len(curves.LABELS)), (3, 4, 1))
    ours = np.minimum(1.0, 2.0 * theirs)
    factor = curves.efficiency(ours, theirs, at=100)
    assert float(factor.split()[0]) > 2.0
    late = np.minimum(0.5, theirs)  # never there: no resample may count it as there at once
    assert curves.efficiency(late, theirs, at=100) == "0.50 (0.50 to 0.50)"


def test_picks_after_a_change_are_counted_where_the_new_taste_is_followed(monkeypatch):
    def episode(wins: list[float], before: float) -> dict:
        unused = [0.0] * 3
        rows = [[149, 40, 40, *unused, before, 0.0]]
        rows += [[150 + 10 * i, 40 + 4 * i, 0, *unused, win, 0.0] for i, win in enumerate(wins)]
        return {"marks": rows}

    found = {
        "a-to-b": {"0": episode([0.3] * 5 + [0.67] * 11, 0.9)},  # b is learned to 0.68 at best
        "b-to-a": {"0": episode([0.2] * 16, 0.68)},  # a never comes back
    }
    monkeypatch.setattr(change, "ran", lambda _: ["ours"])
    monkeypatch.setattr(change, "read_results", lambda *_: {"people": found})
    cells = [cell.strip() for cell in change.change_table()[-1].split("|")]
    assert cells[2:5] == ["2", "0.790", "0.250"]
    assert cells[-3:-1] == ["not reached", ">= 40 (50 %)"]  # 20 picks and 60, all there were


def test_each_direction_of_a_change_has_its_line(monkeypatch):
    def episode(wins: list[float], before: float) -> dict:
        unused = [0.0] * 3
        rows = [[149, 40, 40, *unused, before, 0.0]]
        rows += [[150 + 10 * i, 40 + 4 * i, 0, *unused, win, 0.0] for i, win in enumerate(wins)]
        return {"marks": rows}

    found = {
        "a-to-b": {"0": episode([0.3] * 5 + [0.67] * 11, 0.9)},  # the level of b is 0.68
        "b-to-a": {"0": episode([0.2] * 16, 0.68)},  # the level of a is 0.9, and it never is back
    }
    monkeypatch.setattr(change, "read_results", lambda *_: {"people": found})
    back, never = change.direction_table()[2:4]
    assert back == "| a to b | 0.680 | 0.300 | 0.670 | 0.670 | 0.670 | 20 |"
    assert never == "| b to a | 0.900 | 0.200 | 0.200 | 0.200 | 0.200 | never |"
    assert change.direction_table()[-1].endswith("resampled: never to never.")


def test_what_a_factor_hangs_on_is_told_rater_by_rater(monkeypatch):
    """Ours is ten times as fast for one rater, and as fast for the other two."""
    rising = np.linspace(0.0, 1.0, len(curves.LABELS))
    theirs = np.tile(rising, (3, 1, 1)).reshape(3, 1, -1)
    ours = theirs.copy()
    ours[0, 0] = np.where(curves.LABELS >= 10, 1.0, curves.LABELS / 10)
    arms = {"ours-always": ours, "passive": theirs}
    monkeypatch.setattr(summary, "curves", lambda _experiment, arm, _measure: arms[arm])
    people = {"people": dict.fromkeys(("brevity", "on_topic", "refuses_harm"))}
    monkeypatch.setattr(summary, "read_results", lambda _experiment, _arm: people)
    for line in summary.spread_table()[2:]:
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2:6] == ["1.0", "1.0", "1.0", "1.0"]  # the slow ones hold the mean back
        assert cells[6:8] == ["10.0", "1.0"]  # no hidden style says the tastes of these
    arms["ours-always"] = np.tile(ours[0], (3, 1, 1))
    assert summary.spread_table()[2].split("|")[2:6] == [" 10.0 "] * 4


def test_an_overoptimisation_curve_runs_from_the_start_to_the_hardest_choice(world, monkeypatch):
    from benchmarks.learning import overoptimisation

    two = {name: UTILITIES[name] for name in ("brevity", "detail")}  # errors are between people
    monkeypatch.setattr(overoptimisation, "UTILITIES", two)
    monkeypatch.setattr(overoptimisation, "PICKS", (12,))
    results = overoptimisation.on_stored_candidates(world, seeds=2)
    one = results["one draw, 12 picks"]
    assert one["kl"][0] < 0.1 < 1.0 < one["kl"][-1], "from hardly any to strong optimisation"
    assert one["proxy"] == sorted(one["proxy"]), "what is optimised always rises"
    assert all(row["fall_per_run"] >= 0.0 for row in results.values())
    assert one["gold"][0] < 0.2 < one["best"], "a taste this plain is found, if not optimally"


@pytest.mark.parametrize("margin", [-2.0, 0.0, 0.7, 100.0])
@pytest.mark.parametrize(
    "behaviour", [Behaviour(), Behaviour(first_pull=0.8, flips=0.2), Behaviour(hostile=True)]
)
def test_the_odds_are_those_of_many_picks_in_both_orders(margin, behaviour):
    rng = np.random.default_rng(0)
    share = {"first": 1.0, "second": 0.0, "tie": 0.5}
    there = np.mean([share[pick(margin, behaviour, rng)] for _ in range(4000)])
    back = np.mean([share[pick(-margin, behaviour, rng)] for _ in range(4000)])
    assert win_prob(margin, behaviour) == pytest.approx((there + 1 - back) / 2, abs=0.02)
