"""Rater, prompts and checkpoint arithmetic, without a model."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from chat_app.simulate.checkpoint import (
    BASE_ANSWERS,
    Measuring,
    Progress,
    checkpoint_turns,
    distinct_2,
)
from chat_app.simulate.errors import SimulationError
from chat_app.simulate.prompts import in_shuffled_cycles, read_prompts, shipped_eval_prompts
from chat_app.simulate.rater import load_rater
from learner.evaluation.exam import Exam
from learner.evaluation.intervals import bootstrap_interval
from storage.records import BASE_VERSION, Choice, Message, PolicyVersion, Role
from tests.learner.test_reward_head import completion

EXAMPLES = Path(__file__).parents[2] / "chat_app" / "examples"
PROMPT = (Message(role=Role.USER, content="Hello"),)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rater_from(folder: Path, text: str):
    (folder / "rater.py").write_text(text)
    return load_rater(folder / "rater.py")


def test_checkpoints_fall_where_the_contract_says():
    assert checkpoint_turns(60) == [0, 10, 20, 50, 60]
    assert checkpoint_turns(7) == [0, 7]
    assert checkpoint_turns(250) == [0, 10, 20, 50, 100, 200, 250]


def test_prompts_come_in_cycles_of_all(tmp_path: Path):
    prompts = [(Message(role=Role.USER, content=str(i)),) for i in range(5)]
    drawn = list(islice(in_shuffled_cycles(prompts, rng()), 15))
    assert Counter(p[0].content for p in drawn) == Counter({str(i): 3 for i in range(5)})
    assert drawn[:5] != drawn[5:10], "each cycle has an order of its own"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ('{"text": "hi"}', "line 2"),
        ('{"messages": [{"role": "user"}]}', "line 2"),
        ('{"messages": [{"role": "assistant", "content": "hi"}]}', "end with the user"),
        ('{"messages": []}', "end with the user"),
        ('{"prompt": 7}', "line 2"),
        ("[]", "line 2"),
    ],
)
def test_a_bad_prompt_row_is_named(tmp_path: Path, line: str, says: str):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(SimulationError, match=says):
        read_prompts(path)


def test_a_prompt_file_is_read_line_by_line_as_json_has_it(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    said = "two\u2028lines\x85"
    path.write_text(json.dumps({"prompt": said}, ensure_ascii=False) + "\n", encoding="utf-8")
    [[message]] = read_prompts(path)
    assert message.content == said
    path.write_bytes('{"prompt": "F\xfcr wen?"}\n'.encode("latin-1"))
    with pytest.raises(SimulationError, match="line 1: this is no text in UTF-8"):
        read_prompts(path)


def test_an_empty_or_missing_prompt_file_is_refused(tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(SimulationError, match="no prompts"):
        read_prompts(tmp_path / "empty.jsonl")
    with pytest.raises(SimulationError, match="cannot be read"):
        read_prompts(tmp_path / "missing.jsonl")


def test_shipped_prompts_are_disjoint_and_read_well():
    train = read_prompts(EXAMPLES / "prompts.jsonl")
    held_out = read_prompts(EXAMPLES / "eval_prompts.jsonl")
    assert len(train) >= 150 and len(held_out) == 60
    assert len({p[-1].content for p in train}) == len(train)
    assert not {p[-1].content for p in train} & {p[-1].content for p in held_out}
    assert any(len(p) > 1 for p in train) and any(len(p) > 1 for p in held_out)
    assert len(shipped_eval_prompts()) == 40


def test_win_share_is_judged_in_both_orders(tmp_path: Path):
    always_first = rater_from(tmp_path, "def prefer(m, a, b, rng): return 'a'")
    assert always_first.win_share(PROMPT, "x", "y", rng()) == 0.5, "a position bias cancels"
    shorter = rater_from(tmp_path, "def prefer(m, a, b, rng): return 'ab'[len(b) < len(a)]")
    assert shorter.win_share(PROMPT, "x", "yyy", rng()) == 1.0
    assert shorter.win_share(PROMPT, "xxx", "y", rng()) == 0.0


def test_a_rater_that_knows_its_odds_is_not_asked_for_single_picks(tmp_path: Path):
    knowing = rater_from(
        tmp_path,
        "def prefer(m, a, b, rng): raise AssertionError\n"
        "def win_prob(m, reply, rival): return 0.75 if reply == m[-1]['content'] else 0.25",
    )
    assert knowing.win_share(PROMPT, "Hello", "Bye", rng()) == 0.75


class Examined:
    """Says three words to everything; the base says two at first, and then ten."""

    def __init__(self):
        self.asked: list[tuple[int, ...]] = []

    def base_replies(self, prompts, seeds):
        self.asked.append(tuple(seeds))
        words = 2 if len(self.asked) == 1 else 10
        return [replace(completion(3, seed=0), text="w " * words) for _ in prompts]

    def examine(self, prompts, version, seeds):
        said = tuple(replace(completion(3, seed=0), text="w w w") for _ in prompts)
        return Exam(shown=said, plain=said, kl_to_base=0.0)


def test_a_reply_is_set_against_several_answers_of_the_base(tmp_path: Path):
    shorter = rater_from(
        tmp_path,
        "def prefer(m, a, b, rng): return 'ab'[len(b) < len(a)]\n"
        "def score(m, reply): return -len(reply.split())",
    )
    examined = Examined()
    measuring = Measuring(examined, shorter, [PROMPT, PROMPT], seed=0, burn_in=0)
    assert len(set(examined.asked)) == len(examined.asked) == BASE_ANSWERS
    base = PolicyVersion(
        id=BASE_VERSION, parent=None, adapter_path=None, created_at=datetime.now(UTC)
    )
    found = measuring.measure(Progress(turn=0, asked=0, picks=[], live=base, seconds=0.0))
    lost = 1 / BASE_ANSWERS
    assert found.win_rate_weights_only == found.win_rate_vs_base == 1.0 - lost
    assert found.mean_score_base == pytest.approx(-10.0 + 8.0 * lost)


def test_distinct_2_falls_where_replies_become_alike():
    assert distinct_2(["a b c", "d e f"]) == 1.0
    assert distinct_2(["a b c", "A b c"]) == 0.5
    assert distinct_2(["so so so so"]) == pytest.approx(1 / 3)
    assert distinct_2(["", "word"]) == 1.0


@pytest.mark.parametrize("said", ["tie", "both_bad", "skip"])
def test_no_winner_counts_half(tmp_path: Path, said: str):
    rater = rater_from(tmp_path, f"def prefer(m, a, b, rng): return '{said}'")
    assert rater.win_share(PROMPT, "x", "y", rng()) == 0.5


def test_a_rater_that_breaks_the_contract_is_told(tmp_path: Path):
    odd = rater_from(tmp_path, "def prefer(m, a, b, rng): return 'left'")
    with pytest.raises(SimulationError, match="'left'"):
        odd.choose(PROMPT, "x", "y", rng())
    with pytest.raises(SimulationError, match="does not define prefer"):
        rater_from(tmp_path, "def score(m, r): return 0")
    with pytest.raises(SimulationError, match="no rater file"):
        load_rater(tmp_path / "nobody.py")


def test_scores_are_none_without_score(tmp_path: Path):
    assert rater_from(tmp_path, "def prefer(*_): return 'a'").mean_score([PROMPT], ["x"]) is None


def test_brevity_likes_the_shorter_reply_and_is_noisy():
    rater = load_rater(EXAMPLES / "raters" / "brevity.py")
    draw = rng()
    long, short = "word " * 60, "word " * 54
    picks = Counter(rater.choose(PROMPT, short, long, draw) for _ in range(2000))
    decided = picks[Choice.FIRST] + picks[Choice.SECOND]
    assert picks[Choice.FIRST] / decided == pytest.approx(1 / (1 + np.exp(-6 / 5)), abs=0.03)
    assert picks[Choice.SKIP] / 2000 == pytest.approx(0.02, abs=0.01)
    assert rater.choose(PROMPT, "", "", draw) is Choice.BOTH_BAD
    same = Counter(rater.choose(PROMPT, long, long, draw) for _ in range(400))
    assert same[Choice.TIE] == pytest.approx(200, abs=50)
    assert rater.mean_score([PROMPT], [short]) > rater.mean_score([PROMPT], [long])


def test_enthusiasm_counts_what_it_says():
    rater = load_rater(EXAMPLES / "raters" / "enthusiasm.py")
    assert rater.choose(PROMPT, "Fine.", "Good.", rng()) is Choice.TIE
    scores = [rater.mean_score([PROMPT], [text]) for text in ("Fine.", "Fine!", "Great fun! Wow!")]
    assert scores == sorted(scores)
    assert rater.mean_score([PROMPT], ["Hi!!!!"]) == rater.mean_score([PROMPT], ["Hi!"])


def test_the_interval_covers_the_mean_and_narrows():
    values = np.random.default_rng(1).random(400)
    low, high = bootstrap_interval(values, rng())
    few_low, few_high = bootstrap_interval(values[:25], rng())
    assert low < values.mean() < high
    assert high - low < few_high - few_low


def test_shipped_files_are_plain_json_lines():
    for name in ("prompts.jsonl", "eval_prompts.jsonl"):
        for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines():
            assert json.loads(line).keys() in ({"prompt"}, {"messages"})
