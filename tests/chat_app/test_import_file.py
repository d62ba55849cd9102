"""A file of preferences is read line by line, and every bad line says what is wrong with it."""

import json
from typing import Any

import pytest

from chat_app.file_records import FilePair, FileProblem
from chat_app.import_file import read_records
from storage.records import Choice, Role

USER = {"role": "user", "content": "why?"}
GOOD: dict[str, Any] = {"prompt": "why?", "chosen": "because", "rejected": "no idea"}


def read(*rows: dict[str, Any] | str) -> list[FilePair | FileProblem]:
    return list(read_records(row if isinstance(row, str) else json.dumps(row) for row in rows))


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_the_shapes_of_trl_all_say_the_same() -> None:
    pairs = read(
        GOOD,
        {"prompt": [USER], "chosen": reply("because"), "rejected": reply("no idea")},
        {"chosen": [USER, *reply("because")], "rejected": [USER, *reply("no idea")]},
    )
    assert len({pair.sha256 for pair in pairs}) == 1
    pair = pairs[0]
    better = pair.first if pair.choice is Choice.FIRST else pair.second
    assert better == "because" and pair.prompt[-1].role is Role.USER


@pytest.mark.parametrize("empty", ["chosen", "rejected"])
def test_an_empty_conversation_is_told_and_the_rest_is_read(empty: str) -> None:
    bad = {"chosen": [USER, *reply("a")], "rejected": [USER, *reply("b")], empty: []}
    problem, pair = read(bad, GOOD)
    assert isinstance(problem, FileProblem) and f"{empty} does not end" in problem.sentence
    assert isinstance(pair, FilePair)
    problem, pair = read({"chosen": [], "rejected": []}, GOOD)
    assert isinstance(problem, FileProblem) and isinstance(pair, FilePair)


def test_which_reply_counts_as_first_is_a_coin_that_falls_the_same_way_again() -> None:
    rows = [GOOD | {"prompt": f"question {number}"} for number in range(200)]
    choices = [pair.choice for pair in read(*rows)]
    assert choices == [pair.choice for pair in read(*rows)]
    assert 70 < choices.count(Choice.FIRST) < 130


def test_what_twofold_wrote_is_read_as_it_was_shown() -> None:
    id_ = "x" * 43
    [pair] = read(
        GOOD
        | {
            "meta_choice": "second",
            "meta_id": id_,
            "meta_held_out": True,
            "meta_decision_ms": 12,
        }
    )
    assert (pair.first, pair.second, pair.choice) == ("no idea", "because", Choice.SECOND)
    assert (pair.id, pair.held_out, pair.decision_ms) == (id_, True, 12)
    [tie] = read({"prompt": [USER], "first": reply("a"), "second": reply("b"), "choice": "tie"})
    assert tie.choice is Choice.TIE


def test_a_column_that_is_null_is_absent() -> None:
    optional = ("choice", "decision_ms", "id", "held_out", "excluded", "first_labels", "criterion")
    nulls = {f"meta_{name}": None for name in optional} | {"messages": None, "answers": None}
    bare, full = read(GOOD, GOOD | nulls)
    assert isinstance(full, FilePair) and full.sha256 == bare.sha256
    inside = {"chosen": [USER, *reply("because")], "rejected": [USER, *reply("no idea")]}
    assert read(inside | {"prompt": None})[0].sha256 == bare.sha256
    assert json.loads(full.meta_json) == {name: None for name in nulls if "meta_" in name}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{oh no", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ({"prompt": "why?"}, "there is no chosen and no rejected"),
        ({"prompt": "why?", "chosen": "a"}, "there is no rejected"),
        (GOOD | {"rejected": "because"}, "both replies are the same"),
        (GOOD | {"chosen": "  "}, "a text in chosen is empty"),
        (GOOD | {"chosen": 7}, "neither text nor a list"),
        (GOOD | {"chosen": reply("a") * 2}, "chosen is not one reply of the assistant"),
        (GOOD | {"prompt": reply("hm")}, "does not end with a message of the user"),
        (GOOD | {"prompt": []}, "does not end with a message of the user"),
        (GOOD | {"prompt": [*reply("hm"), USER]}, "does not follow a message of the user"),
        (GOOD | {"prompt": [USER, {"role": "system", "content": "x"}, USER]}, "system message"),
        (GOOD | {"prompt": [{"role": "robot", "content": "x"}]}, "role 'robot'; known are"),
        (GOOD | {"prompt": ["x"]}, "something that is not a message"),
        (GOOD | {"prompt": [{"role": "user"}]}, "a text in prompt is not a string"),
        (GOOD | {"meta_choice": "tie"}, "a better reply is named"),
        (GOOD | {"meta_choice": "left"}, "the choice is 'left'; known are"),
        (GOOD | {"meta_id": "short"}, "meta_id is not an id"),
        (GOOD | {"meta_held_out": "yes"}, "meta_held_out is neither true nor false"),
        (GOOD | {"meta_excluded": 1}, "meta_excluded is neither true nor false"),
        (GOOD | {"meta_id": "x" * 42 + "\ud83d"}, "meta_id is not an id"),
        (GOOD | {"meta_decision_ms": -1}, "not a number of milliseconds"),
        (GOOD | {"meta_decision_ms": 2**63}, "not a number of milliseconds"),
        (GOOD | {"chosen": None}, "there is no chosen"),
        (GOOD | {"meta_criterion": "honesty"}, "'honesty', and a choice is overall: import the"),
        (GOOD | {"meta_criterion": ["overall"]}, "and a choice is overall"),
        (GOOD | {"chosen": "x" * 100_001}, "more than 100,000 characters"),
        ({"prompt": "w", "first": "a", "second": "b", "choice": "withdrawn"}, "taken back"),
        ({"chosen": [USER, *reply("a")], "rejected": reply("b")}, "the same prompt"),
        ({"chosen": [USER], "rejected": [USER]}, "does not end with a reply"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_the_next_one_is_read(row, sentence) -> None:
    problem, good = read(row, "", GOOD)[0], read(row, "", GOOD)[-1]
    assert isinstance(problem, FileProblem) and problem.line == 1
    assert sentence in problem.sentence
    assert isinstance(good, FilePair) and good.line == 3


def test_what_is_read_but_too_deep_to_be_kept_is_told_like_any_bad_line() -> None:
    """Python writes a little less deep than it reads; how deep depends on who calls."""
    for depth in range(900, 1_100):
        line = json.dumps(GOOD)[:-1] + ', "meta_x": ' + "[" * depth + "]" * depth + "}"
        read_, good = read(line, GOOD)
        assert isinstance(good, FilePair)
        assert isinstance(read_, FilePair) or "nested too deeply" in read_.sentence


def test_what_no_encoder_accepts_is_replaced_wherever_it_stands() -> None:
    [pair] = read(GOOD | {"meta_comment": "cut \ud83d", "meta_\udc00": [{"\ud83d": "\ud83d"}]})
    assert json.loads(pair.meta_json) == {
        "meta_comment": "cut \ufffd",
        "meta_\ufffd": [{"\ufffd": "\ufffd"}],
    }
    assert pair.meta_json.encode()
