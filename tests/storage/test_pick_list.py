"""The list of the Data page: the same as the logs say, whatever is asked of it."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import chain, database, migrations, sqlite
from storage.database import Store
from storage.errors import UnansweredError, UnknownComparisonError
from storage.inserts import add_text, insert
from storage.pick_list import PickFilter, PickReader, search_query
from storage.records import (
    LOCAL_USER,
    AskReason,
    Choice,
    ComparisonId,
    PolicyVersionId,
    RoundStatus,
)
from storage.sqlite import fetch
from tests.storage.builders import QUESTION, World, completion

# What pick_list holds, computed from the logs alone.
FROM_LOGS = """
    SELECT s.comparison_id, s.conversation_id, n.seq, n.choice, reason, first_version,
           second_version, s.held_out,
           coalesce((SELECT f.flag FROM preference_flags f
                      WHERE f.seq = n.seq ORDER BY f.flag_id DESC LIMIT 1), 'released') AS flag,
           asked_ms
      FROM pick_sources s LEFT JOIN newest n USING (comparison_id)
      JOIN conversations v USING (conversation_id) WHERE v.erased_ms IS NULL
     ORDER BY s.comparison_id
"""


@pytest.fixture
def picks(world: World) -> PickReader:
    return PickReader(world.store)


def asked(world: World, message: str, first: str, second: str, **options: bool):
    turn = world.prompt(text=message, **options)
    return world.log.ask(turn.id, completion(first), completion(second), QUESTION)


def listed(world: World) -> list[tuple]:
    db = world.store.read()
    return [tuple(row) for row in fetch(db, "SELECT * FROM pick_list ORDER BY comparison_id")]


def test_the_list_is_what_the_logs_say(world: World) -> None:
    world.ask()  # never answered
    changed = world.ask()
    world.answer(changed)
    world.feedback.change(changed.token, Choice.TIE, decision_ms=1)
    excluded = world.ask()
    world.answer(excluded)
    world.feedback.exclude(excluded.token)
    undone = world.ask()
    world.answer(undone)
    world.feedback.withdraw(undone.token)
    gone = world.ask()
    world.answer(gone)
    world.log.erase(gone.conversation_id)
    db = world.store.read()
    assert listed(world) == [tuple(row) for row in fetch(db, FROM_LOGS)]
    assert [row[3] for row in listed(world)] == [None, "tie", "first", "withdrawn"]


def pick_as_before(db, number: int, texts: tuple[str, str, str], choice: str) -> None:
    """Insert a conversation with one answered pair, in the tables and columns of m001."""

    def add(table: str, **values: object) -> int:
        return insert(db, table, values)

    mine: dict[str, object] = {"user_id": "local-person", "created_ms": number}
    prompt, first, second = (add_text(db, LOCAL_USER, text) for text in texts)
    chat = add("conversations", key=f"{number:032d}", learn=1, held_out=0, **mine)
    turn = add(
        "turns",
        conversation_id=chat,
        role="user",
        text_id=prompt,
        state="final",
        created_ms=number,
    )
    pair = [
        add(
            "candidates",
            prompt_turn_id=turn,
            version=0,
            seed=1,
            params_json="{}",
            text_id=text,
            finish="stop",
            created_ms=number,
        )
        for text in (first, second)
    ]
    for candidate in pair:
        add("candidate_cache", candidate_id=candidate, token_ids=b"", token_logp=b"")
    comparison = add(
        "comparisons",
        token=f"{number:032d}",
        first_id=pair[0],
        second_id=pair[1],
        reason="always",
        propensity=1.0,
        disagreement=0.0,
        first_better_prob=0.5,
        **mine,
    )
    last = fetch(db, "SELECT row_hash FROM preferences ORDER BY seq DESC LIMIT 1")
    answer = {
        "idem_key": f"{number:032d}:0",
        "comparison_id": comparison,
        "choice": choice,
        "supersedes": None,
        "decide_ms": 0,
        "prev_hash": last[0]["row_hash"] if last else chain.GENESIS,
        **mine,
    }
    add("preferences", row_hash=chain.row_hash(db, answer), **answer)


def test_a_file_of_the_first_schema_gets_its_list_and_its_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstOnly:
        @staticmethod
        def apply(db) -> None:
            migrations.migrations.apply(db, stop_before="m002")

    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", FirstOnly)
        patch.setattr(sqlite, "SCHEMA_VERSION", 1)
        patch.setattr(database, "_TIMED", ("preferences", "turns", "rounds"))
        patch.setattr(database, "keep_clean", lambda _: None)  # there was no index yet
        with (world := World.open(tmp_path)).store, world.store.write() as db:
            old = ("the old question", "an early reply", "another")
            pick_as_before(db, 1, old, "first")
            pick_as_before(db, 2, old, "both_bad")
            pick_as_before(db, 3, ("a secret", "one", "two"), "first")
            db.execute("UPDATE texts SET body = NULL, erased_ms = 1 WHERE text_id > 6")
            db.execute("UPDATE conversations SET learn = 0, erased_ms = 1 WHERE key LIKE '%3'")
    with (world := World.open(tmp_path)).store:
        reader = PickReader(world.store)
        assert [row.choice for row in reader.page(PickFilter())] == [Choice.BOTH_BAD, Choice.FIRST]
        assert reader.count(PickFilter(words="old earl")) == 2
        assert reader.count(PickFilter(words="secret")) == 0
        world.feedback.verify_chain()
        db = world.store.read()
        assert listed(world) == [tuple(row) for row in fetch(db, FROM_LOGS)]


def test_pages_follow_each_other_without_gap_or_repeat(world: World, picks: PickReader) -> None:
    for number in range(7):
        world.answer(asked(world, f"message {number}", "one", "two"))
    world.ask()  # open: not listed
    for words in ("", "message"):
        seen, before = [], None
        while page := picks.page(PickFilter(words=words), before=before, limit=3):
            seen += [row.prompt for row in page]
            before = page[-1].id
        assert seen == [f"message {number}" for number in reversed(range(7))]
        assert picks.count(PickFilter(words=words)) == 7


def test_words_are_found_in_the_message_and_in_both_replies(world, picks) -> None:
    world.answer(asked(world, "Über die Wolken", "cumulus", "stratus"))
    world.answer(asked(world, "On rain", "it falls", "from clouds-of-grey"))
    found = {
        words: [row.prompt for row in picks.page(PickFilter(words=words))]
        for words in ("uber", "cumu", "stratus die", "grey", "wolk falls", "clouds-of", "?!", '"')
    }
    assert found == {
        "uber": ["Über die Wolken"],
        "cumu": ["Über die Wolken"],
        "stratus die": ["Über die Wolken"],
        "grey": ["On rain"],
        "wolk falls": [],
        "clouds-of": ["On rain"],
        "?!": [],
        '"': [],
    }


@given(st.text())
def test_no_search_is_an_error(words: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE f USING fts5(a, content = '')")
    query = search_query(words)
    if query:
        db.execute("SELECT rowid FROM f WHERE f MATCH ?", [query]).fetchall()
    db.close()


def test_each_filter_lets_through_what_it_names(world: World, picks: PickReader) -> None:
    plain = asked(world, "plain", "one", "two")
    world.answer(plain)
    tie = asked(world, "tie", "one", "two")
    world.answer(tie, Choice.TIE)
    held = asked(world, "held", "one", "two", held_out=True)
    world.answer(held, Choice.SECOND)
    out = asked(world, "out", "one", "two")
    world.answer(out)
    world.feedback.exclude(out.token)

    def found(**only: object) -> set[str]:
        return {row.prompt for row in picks.page(PickFilter(**only))}

    assert found(choices=frozenset({Choice.TIE, Choice.SECOND})) == {"tie", "held"}
    assert found(held_out=True) == {"held"}
    assert found(counts=False) == {"out"}
    assert found(counts=True) == {"plain", "tie", "held"}
    assert found(reason=AskReason.UNCERTAIN) == {"plain", "tie", "held", "out"}
    assert found(reason=AskReason.RANDOM) == set()
    assert found(version=PolicyVersionId(0), words="pla") == {"plain"}
    assert found(version=PolicyVersionId(3)) == set()
    assert found(conversation_id=tie.conversation_id) == {"tie"}
    now = datetime.now(UTC)
    assert found(since=now - timedelta(hours=1), until=now + timedelta(hours=1)) == {
        "plain",
        "tie",
        "held",
        "out",
    }
    assert found(since=now + timedelta(hours=1)) == set()
    assert found(until=now - timedelta(hours=1)) == set()
    for only in (PickFilter(counts=False), PickFilter(words="one", choices=frozenset({"tie"}))):
        assert picks.count(only) == len(picks.page(only)) == 1


def test_what_a_chat_that_is_not_learned_from_holds_is_not_used(world, picks) -> None:
    world.answer(asked(world, "not to learn from", "one", "two", learn=False))
    assert picks.count(PickFilter(counts=True)) == 0
    assert picks.count(PickFilter(counts=False)) == 1


def test_a_pick_in_full_tells_its_answers_and_what_learned_it(world, picks) -> None:
    pair = asked(world, "why", "short", "a longer reply")
    first = world.answer(pair)
    world.learn([first.preference_id], status=RoundStatus.REFUSED)
    world.learn([first.preference_id])
    world.feedback.change(pair.token, Choice.SECOND, decision_ms=5)
    detail = picks.detail(pair.id)
    assert [answer.choice for answer in detail.answers] == [Choice.FIRST, Choice.SECOND]
    assert [(one.number, one.status, one.live) for one in detail.lessons] == [
        (1, RoundStatus.REFUSED, False),
        (2, RoundStatus.ACCEPTED, True),
    ]
    assert detail.comparison.second.completion.text == "a longer reply"
    assert detail.row.choice is Choice.SECOND and detail.meta_json is None
    assert [one.row.id for one in picks.answered(PickFilter())] == [pair.id]
    for unknown in (ComparisonId(99), world.ask().id):
        with pytest.raises(UnknownComparisonError):
            picks.detail(unknown)


def test_what_is_excluded_teaches_nothing_until_it_is_taken_back_in(world: World) -> None:
    pair = world.ask()
    with pytest.raises(UnansweredError):
        world.feedback.exclude(pair.token)
    world.answer(pair)
    world.feedback.exclude(pair.token)
    assert world.feedback.preferences() == [] and world.feedback.unlearned() == []
    world.feedback.change(pair.token, Choice.SECOND, decision_ms=0)
    assert world.feedback.preferences() == []  # a correction is no wish to teach with it
    world.feedback.include(pair.token)
    world.feedback.include(pair.token)
    assert [one.choice for one in world.feedback.unlearned()] == [Choice.SECOND]
    world.feedback.verify_chain()


def test_erased_words_are_in_no_page_of_the_file(root: Path) -> None:
    with (world := World.open(root)).store:
        pair = asked(world, "xylograph xenolith", "quokka", "narwhal")
        world.answer(pair)
        world.pick()
        world.log.erase(pair.conversation_id)
        reader = PickReader(world.store)
        assert reader.count(PickFilter(words="quokka")) == 0
        assert reader.count(PickFilter(words="hello")) == 1
    with Store(root / "twofold.db"):
        pass  # folds the log into the file
    everything = b"".join(path.read_bytes() for path in root.glob("twofold.db*"))
    for word in (b"xylograph", b"quokka", b"narwhal"):
        assert word not in everything
