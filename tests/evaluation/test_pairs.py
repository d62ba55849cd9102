"""Reading recorded choices and splitting them."""

import gzip
import json
from pathlib import Path

import pytest

from learner.evaluation.options import RewardEvalError
from learner.evaluation.pairs import RecordedPair, content_digest, read_pairs, split_by_family
from storage.records import Role

GOOD = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def written(path: Path, *rows: dict) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_both_kinds_of_prompt_are_read_from_both_kinds_of_file(tmp_path: Path, name: str):
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    last = {"role": "user", "content": "Why?"}
    rows = [GOOD, GOOD | {"history": said}, {"messages": [*said, last], **GOOD}]
    del rows[2]["prompt"]
    recorded = read_pairs(written(tmp_path / name, *rows), only_set=None)
    assert [len(pair.prompt) for pair in recorded.pairs] == [1, 3, 3]
    assert recorded.pairs[1].prompt == recorded.pairs[2].prompt
    assert recorded.pairs[0].prompt[0].role is Role.USER


@pytest.mark.parametrize("end", ["\n", "\n\n", "\n \n"])
def test_what_twofold_exports_is_read_whatever_an_editor_made_of_its_ends(tmp_path: Path, end: str):
    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    row = {
        "prompt": said("user", "Why?"),
        "chosen": said("assistant", "Because."),
        "rejected": said("assistant", "No."),
        "meta_choice": "first",
    }
    path = tmp_path / "picks.jsonl"
    path.write_text("\ufeff" + json.dumps(row) + end, encoding="utf-8")
    plain = read_pairs(written(tmp_path / "plain.jsonl", GOOD), only_set=None)
    assert read_pairs(path, only_set=None) == plain


def test_defective_rows_are_left_out_and_counted(tmp_path: Path):
    rows = [GOOD, GOOD | {"chosen": " "}, GOOD | {"chosen": "No. "}]
    recorded = read_pairs(written(tmp_path / "p.jsonl", *rows), only_set=None)
    assert (len(recorded.pairs), recorded.defective) == (1, 2)


def test_one_set_can_be_taken_alone(tmp_path: Path):
    path = written(tmp_path / "p.jsonl", GOOD | {"set": "x"}, GOOD | {"set": "y"}, GOOD)
    assert len(read_pairs(path, only_set="x").pairs) == 1
    with pytest.raises(RewardEvalError, match="no usable pairs of the set z"):
        read_pairs(path, only_set="z")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"prompt": "x"}',
        '{"chosen": "a", "rejected": "b"}',
        '{"prompt": "x", "chosen": 7, "rejected": "b"}',
        '{"prompt": "x", "chosen": [], "rejected": "b"}',
        '{"prompt": "x", "chosen": ["a"], "rejected": "b"}',
        '{"prompt": [], "chosen": "a", "rejected": "b"}',
        '{"prompt": 7, "chosen": "a", "rejected": "b"}',
        '{"messages": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"}',
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(RewardEvalError, match="line 2"):
        read_pairs(path, only_set=None)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.jsonl", '{"prompt": "F\xfcr?"}\n'.encode("latin-1"), "no text in UTF-8"),
        ("p.jsonl.gz", gzip.compress(json.dumps(GOOD).encode())[:-9], "cut short"),
        ("p.jsonl.gz", json.dumps(GOOD).encode(), "cannot be read"),
    ],
    ids=["Latin-1", "cut short", "not gzipped"],
)
def test_a_file_that_is_damaged_is_told(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RewardEvalError, match=said):
        read_pairs(tmp_path / name, only_set=None)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(RewardEvalError, match="cannot be read"):
        read_pairs(tmp_path / "p.jsonl", only_set=None)


def pair(family: str, chosen: str = "a") -> RecordedPair:
    return RecordedPair(prompt=(), chosen=chosen, rejected="b", family=family)


def test_a_family_stays_on_one_side_and_the_split_follows_from_the_salt():
    pairs = [pair(f"family {i % 30}") for i in range(300)]
    pool, held_out = split_by_family(pairs, "one")
    assert sorted(pool + held_out) == list(range(300))
    assert not {pairs[i].family for i in pool} & {pairs[i].family for i in held_out}
    assert len(pool) == 210
    assert split_by_family(pairs, "one") == (pool, held_out)
    assert split_by_family(pairs, "two") != (pool, held_out)


def test_rows_of_one_group_are_one_family(tmp_path: Path):
    rows = [GOOD | {"prompt": text, "group": "g"} for text in ("one", "two")]
    recorded = read_pairs(written(tmp_path / "p.jsonl", *rows), only_set=None)
    assert {pair.family for pair in recorded.pairs} == {"g"}
    near = [GOOD | {"prompt": text} for text in ("What is it?", "what is  it")]
    recorded = read_pairs(written(tmp_path / "q.jsonl", *near), only_set=None)
    assert len({pair.family for pair in recorded.pairs}) == 1


def test_the_digest_follows_the_texts():
    assert content_digest([pair("x")]) == content_digest([pair("y")])
    assert content_digest([pair("x")]) != content_digest([pair("x", chosen="c")])
