"""Files of JSON lines: what is wrong with one is a sentence that names it."""

import gzip
import json

import pytest

from learner.phases.corpus import read_corpus
from learner.phases.dialogues import read_dialogues
from learner.phases.protocol import PhaseError
from learner.phases.reward_data import read_answers
from learner.phases.texts import documents, json_rows, prompt_of

GOOD = json.dumps({"prompt": "Wer h\u00f6rt?", "response": "Ich."}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "latin.jsonl",
            GOOD + b"\n" + '{"a": "\u00fc"}'.encode("latin-1"),
            "line 2: this is no text",
        ),
        ("wide.jsonl", GOOD.decode().encode("utf-16"), "line 1: this is no text in UTF-8"),
        (
            "half.jsonl",
            GOOD + b'\n\n{"a": "\\ud83d"}',
            "line 3: a .u escape is half of a character",
        ),
        (
            "cut.jsonl.gz",
            gzip.compress(GOOD * 2000)[:-9],
            "cut short after line 0: copy or download",
        ),
        ("bent.jsonl.gz", gzip.compress(GOOD)[:12] + b"\xff" * 30, "is damaged or cut short"),
        ("none.jsonl.gz", GOOD, "cannot be read .Not a gzipped file"),
        ("list.jsonl", GOOD + b"\n[1]", "line 2: expected an object"),
        ("deep.jsonl", b"[" * 100_000, "line 1: this is no JSON"),
        ("gone.jsonl", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_name_and_line(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PhaseError, match=said) as raised:
        list(json_rows(path))
    assert str(path) in str(raised.value)
    with pytest.raises(PhaseError, match=said):
        read_dialogues([path])


def test_a_set_that_no_row_is_of_is_told(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_text(json.dumps({"prompt": "Q", "response": "A", "set": path.stem}))
    assert len(read_dialogues(paths, sets=["a", "b"]).dialogues) == 1
    with pytest.raises(PhaseError, match=r"There is no set aa in .*b.jsonl: there are a, b"):
        read_dialogues(paths, sets=["a", "aa"])
    assert read_dialogues([], sets=["a"]).dialogues == []


def test_a_byte_order_mark_and_pairs_of_escapes_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b'\r\n{"a": "\\ud83d\\ude00"}\r\n')
    first, second = json_rows(path)
    assert first == (1, json.loads(GOOD)) and second == (2, {"a": "\U0001f600"})
    text = tmp_path / "text.txt"
    text.write_bytes(b"\xef\xbb\xbfSome text.")
    assert read_corpus([text], field="text", held_out_share=0.0).training[0].text == "Some text."


@pytest.mark.parametrize("message", [3, "user", None, {"role": "user", "content": 3}])
def test_a_message_that_is_none_is_told(tmp_path, message):
    path = tmp_path / "rows.jsonl"
    row = {"history": [message], "prompt": "Q", "response": "A", "chosen": "A", "rejected": "B"}
    path.write_text(json.dumps(row))
    with pytest.raises(PhaseError, match="line 1: expected"):
        read_dialogues([path])
    with pytest.raises(PhaseError, match="line 1: expected"):
        read_answers([path], sets=(), harmless_sets=())
    with pytest.raises((TypeError, KeyError)):  # what PPO's reader names the line of
        prompt_of(row)


def test_rows_are_read_as_rows_and_a_table_is_no_text(tmp_path):
    for name in ("a.ndjson", "b.json"):
        (tmp_path / name).write_text(json.dumps({"text": name}) + "\n")
        assert list(documents(tmp_path / name, "text")) == [name]
    (tmp_path / "c.csv").write_text("text\nHello\n")
    with pytest.raises(PhaseError, match="is a table: write its texts as JSON lines"):
        list(documents(tmp_path / "c.csv", "text"))
    assert list(documents(tmp_path, "text")) == ["a.ndjson"]  # b.json may be anything
