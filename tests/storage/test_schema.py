"""The rules that the database keeps by itself, whatever the code above it does.

Each table has one row that is fine, and is inserted as a control; each rule is that row with one
thing wrong.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.demonstrations import DemonstrationLog
from storage.errors import InvariantError
from storage.inserts import insert
from storage.rankings import RankingLog
from storage.records import Choice, Purpose, RoundStatus
from storage.slates import Orders
from storage.sqlite import fetch
from tests.storage.builders import World

SHA = "a" * 64
OTHER_SHA = "c" * 64
TAUGHT = 9
"""The turn of the reply of the dialogue in conversation 5."""

FINE: dict[str, dict[str, Any]] = {
    "users": {"user_id": "somebody", "salt": bytes(16), "status": "active", "created_ms": 0},
    "texts": {"owner_id": "local-person", "body": "text", "digest": bytes(32)},
    "conversations": {
        "key": "k" * 32,
        "user_id": "local-person",
        "learn": 1,
        "held_out": 0,
        "created_ms": 0,
    },
    # The turn that shows candidate 3, a reply to the message of conversation 2.
    "turns": {
        "conversation_id": 2,
        "parent_id": 2,
        "role": "assistant",
        "text_id": 5,
        "candidate_id": 3,
        "state": "final",
        "created_ms": 0,
    },
    "candidates": {
        "prompt_turn_id": 2,
        "version": 1,
        "seed": 1,
        "params_json": "{}",
        "text_id": 6,
        "finish": "stop",
        "reward_std": 0.0,
        "created_ms": 0,
    },
    "candidate_cache": {"candidate_id": 9, "token_ids": bytes(8), "token_logp": bytes(8)},
    "comparisons": {
        "token": "t" * 32,
        "user_id": "local-person",
        "first_id": 3,
        "second_id": 4,
        "reason": "random",
        "propensity": 1.0,
        "disagreement": 0.0,
        "first_better_prob": 0.5,
        "created_ms": 0,
    },
    # The first answer to comparison 2.
    "preferences": {
        "idem_key": "i" * 16,
        "comparison_id": 2,
        "user_id": "local-person",
        "choice": "tie",
        "supersedes": None,
        "decide_ms": 0,
        "created_ms": 0,
        "prev_hash": "the last row's",
        "row_hash": bytes(range(32)),
    },
    "preference_flags": {"seq": 1, "flag": "burst", "created_ms": 0},
    # Turn 5 shows the reply that was picked first.
    "ratings": {"turn_id": 5, "thumb": "up", "created_ms": 0},
    "preference_notes": {"seq": 1, "strength": None, "reasons_json": "[]", "created_ms": 0},
    "reply_labels": {
        "candidate_id": 1,
        "labels_json": '["unsafe"]',
        "source": "person",
        "created_ms": 0,
    },
    "version_notes": {"version": 1, "body": "short and kind", "created_ms": 0},
    # Slate 1, of candidates 1 and 2, is ranked; slate 2 is not.
    "slates": {
        "token": "s" * 32,
        "user_id": "local-person",
        "prompt_turn_id": 1,
        "answers": 2,
        "created_ms": 0,
    },
    # Slate 3 has places for three answers and holds two.
    "slate_answers": {"slate_id": 3, "place": 3, "candidate_id": 9},
    "rankings": {
        "idem_key": "i" * 16,
        "slate_id": 2,
        "user_id": "local-person",
        "state": "ranked",
        "overall": "21",
        "honesty": "11",
        "supersedes": None,
        "decide_ms": 0,
        "created_ms": 0,
        "after_seq": 3,
        "prev_hash": "the last row's",
        "row_hash": bytes(range(32)),
    },
    "imported_slates": {
        "slate_id": 1,
        "row_sha256": SHA,
        "meta_json": "{}",
        "created_ms": 0,
    },
    "forgotten_slates": {"slate_id": 1, "created_ms": 0},
    # Conversation 5 teaches, and is no demonstration yet.
    "demonstrations": {
        "conversation_id": 5,
        "turn_id": TAUGHT,
        "state": "finished",
        "supersedes": None,
        "created_ms": 0,
    },
    "imported_dialogues": {
        "conversation_id": 5,
        "row_sha256": SHA,
        "meta_json": "{}",
        "created_ms": 0,
    },
    "forgotten_dialogues": {"conversation_id": 5, "created_ms": 0},
    # Round 1 made version 1.
    "forgotten_rounds": {"number": 1, "created_ms": 0},
    "taught_once": {"conversation_id": 5},
    "rounds": {
        "number": 4,
        "parent": 1,
        "status": "accepted",
        "attempted_through": 3,
        "update_rule": "online_dpo",
        "seed": 1,
        "reason": "",
        "metrics_json": "{}",
        "config_json": "{}",
        "seconds": 0.0,
        "manifest_sha256": SHA,
        "created_ms": 0,
    },
    # Round 3 is accepted, on version 1, and has neither items nor a version yet.
    "round_items": {"number": 3, "seq": 3},
    "policy_versions": {
        "version": 3,
        "parent": 1,
        "manifest_sha256": SHA,
        "base_sha256": SHA,
        "created_ms": 0,
    },
    "version_states": {"version": 1, "state": "retired", "reason": "", "created_ms": 0},
}


@pytest.fixture(scope="module")
def lived_in_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picks 1 (learned by version 1), 2 (held out) and 3; comparison 2 is not answered."""
    root = tmp_path_factory.mktemp("lived-in")
    world = World.open(root)
    with world.store:
        first, _, held_out, third = (
            world.ask(world.prompt(held_out=number == 3)) for number in (1, 2, 3, 4)
        )
        for comparison in (first, held_out, third):
            world.answer(comparison)
        world.log.add_candidates(first.prompt_turn_id, [first.first.completion])  # candidate 9
        world.learn([1])
        world.learn([], status=RoundStatus.REFUSED)
        with world.store.write() as db:
            db.execute("DELETE FROM candidate_cache WHERE candidate_id = 9")
            insert(db, "users", {"user_id": "stranger", "salt": bytes(16), "created_ms": 0})
            insert(db, "rounds", FINE["rounds"] | {"number": 3})
        rankings = RankingLog(world.store)
        slates = [
            rankings.ask(pair.prompt_turn_id, [pair.first.id, pair.second.id])
            for pair in (first, held_out)
        ]
        rankings.rank(slates[0].token, Orders(overall=(1, 2), criteria={}), decision_ms=1)
        dialogue = world.log.start(purpose=Purpose.TEACHING)
        message = world.log.say(dialogue.id, "hello")
        assert DemonstrationLog(world.store).reply(message.id, "good day").id == TAUGHT
        with world.store.write() as db:
            insert(db, "slates", FINE["slates"] | {"token": "n" * 32, "answers": 3})
            for place in (1, 2):
                insert(
                    db,
                    "slate_answers",
                    {"slate_id": 3, "place": place, "candidate_id": place},
                )
    return root


@pytest.fixture
def lived_in(lived_in_root: Path, tmp_path: Path) -> Iterator[World]:
    world = World.open(shutil.copytree(lived_in_root, tmp_path / "data"))
    world.store._writer.execute("PRAGMA synchronous = OFF")  # nothing to wait for in a test
    with world.store:
        yield world


def add(world: World, table: str, changes: dict[str, Any]) -> None:
    row = FINE[table] | changes
    with world.store.write() as db:
        if row.get("prev_hash") == "the last row's":
            [last] = fetch(db, "SELECT row_hash FROM chain_end")
            row["prev_hash"] = last["row_hash"]
        insert(db, table, row)


@pytest.mark.parametrize("table", FINE)
def test_the_row_that_the_rules_are_tested_on_is_fine(lived_in: World, table: str) -> None:
    add(lived_in, table, {})


@pytest.mark.parametrize(
    ("table", "wrong", "why"),
    [
        ("users", {"user_id": "short"}, "CHECK"),
        ("users", {"salt": None}, "CHECK"),
        ("users", {"status": "erased"}, "CHECK"),
        ("texts", {"owner_id": "nobody-at-all"}, "FOREIGN KEY"),
        ("texts", {"body": None}, "CHECK"),
        ("texts", {"digest": b"short"}, "CHECK"),
        ("texts", {"body": "x" * (2**20 + 1)}, "CHECK"),
        ("conversations", {"key": "guessable"}, "CHECK"),
        ("conversations", {"user_id": "nobody-at-all"}, "FOREIGN KEY"),
        ("conversations", {"learn": 2}, "CHECK"),
        ("conversations", {"erased_ms": 1}, "CHECK"),
        ("turns", {"conversation_id": 1}, "parent is a turn of another conversation"),
        ("turns", {"parent_id": None}, "answers another turn"),
        ("turns", {"candidate_id": 1}, "answers another turn"),
        ("turns", {"text_id": 1}, "says something else"),
        ("turns", {"candidate_id": None}, "CHECK"),
        ("turns", {"role": "user"}, "CHECK"),
        ("turns", {"role": "tool"}, "CHECK"),
        ("turns", {"state": "thinking"}, "CHECK"),
        ("turns", {"text_id": 999, "candidate_id": None, "role": "user"}, "FOREIGN KEY"),
        ("candidates", {"prompt_turn_id": 5}, "message of a person"),
        ("candidates", {"prompt_turn_id": 999}, "message of a person"),
        ("candidates", {"version": 2}, "FOREIGN KEY"),
        ("candidates", {"finish": "tired"}, "CHECK"),
        ("candidates", {"reward_std": -1.0}, "CHECK"),
        ("candidate_cache", {"token_logp": bytes(4)}, "CHECK"),
        ("comparisons", {"token": "guessable"}, "CHECK"),
        ("comparisons", {"second_id": 3}, "CHECK"),
        ("comparisons", {"second_id": 1}, "different messages"),
        ("comparisons", {"second_id": 999}, "different messages"),
        ("comparisons", {"user_id": "stranger"}, "another person"),
        ("comparisons", {"reason": "curious"}, "CHECK"),
        ("comparisons", {"propensity": 0.0}, "CHECK"),
        ("comparisons", {"propensity": 1.5}, "CHECK"),
        ("comparisons", {"propensity": float("nan")}, "NOT NULL"),
        ("comparisons", {"disagreement": -0.1}, "CHECK"),
        ("comparisons", {"first_better_prob": 1.1}, "CHECK"),
        ("preferences", {"comparison_id": 1}, "UNIQUE"),
        ("preferences", {"comparison_id": 999}, "only the person who was asked"),
        ("preferences", {"user_id": "stranger"}, "only the person who was asked"),
        ("preferences", {"choice": "withdrawn"}, "CHECK"),
        ("preferences", {"choice": "left"}, "CHECK"),
        ("preferences", {"supersedes": 1}, "another comparison"),
        ("preferences", {"supersedes": 999}, "another comparison"),
        ("preferences", {"prev_hash": bytes(32)}, "grows only at its end"),
        ("preferences", {"decide_ms": -1}, "CHECK"),
        ("preferences", {"idem_key": "short"}, "CHECK"),
        ("preference_flags", {"seq": 999}, "FOREIGN KEY"),
        ("preference_flags", {"flag": "odd"}, "CHECK"),
        ("ratings", {"turn_id": 1}, "a thumb is about a reply"),
        ("ratings", {"turn_id": 999}, "a thumb is about a reply"),
        ("ratings", {"thumb": "sideways"}, "CHECK"),
        ("preference_notes", {"seq": 999}, "FOREIGN KEY"),
        ("preference_notes", {"strength": "madly"}, "CHECK"),
        ("preference_notes", {"comment_id": 999}, "FOREIGN KEY"),
        ("reply_labels", {"candidate_id": 999}, "FOREIGN KEY"),
        ("reply_labels", {"labels_json": "unsafe"}, "CHECK"),
        ("reply_labels", {"labels_json": "{}"}, "CHECK"),
        ("reply_labels", {"source": "rumour"}, "CHECK"),
        ("candidates", {"author": "ghost"}, "CHECK"),
        ("version_notes", {"version": 999}, "FOREIGN KEY"),
        ("version_notes", {"body": "x" * 2001}, "CHECK"),
        ("conversations", {"purpose": "art"}, "CHECK"),
        ("slates", {"token": "guessable"}, "CHECK"),
        ("slates", {"answers": 1}, "CHECK"),
        ("slates", {"answers": 10}, "CHECK"),
        ("slates", {"user_id": "stranger"}, "another person"),
        ("slates", {"prompt_turn_id": 999}, "another person"),
        ("slate_answers", {"place": 4}, "no such place"),
        ("slate_answers", {"place": 0}, "CHECK"),
        ("slate_answers", {"place": 2}, "UNIQUE"),
        ("slate_answers", {"candidate_id": 1}, "UNIQUE"),
        ("slate_answers", {"candidate_id": 3}, "another message"),
        ("slate_answers", {"slate_id": 999}, "another message"),
        ("rankings", {"slate_id": 1}, "UNIQUE"),
        ("rankings", {"slate_id": 3}, "every answer"),
        ("rankings", {"slate_id": 999}, "every answer"),
        ("rankings", {"user_id": "stranger"}, "only the person who was asked"),
        ("rankings", {"state": "guessed"}, "CHECK"),
        ("rankings", {"overall": None}, "CHECK"),
        ("rankings", {"overall": None, "state": "skipped"}, "CHECK"),
        ("rankings", {"overall": None, "honesty": None}, "CHECK"),
        ("rankings", {"overall": "10"}, "CHECK"),
        ("rankings", {"overall": "123", "honesty": None}, "every answer"),
        ("rankings", {"relevance": "1"}, "CHECK"),
        ("rankings", {"informativeness": "a1"}, "CHECK"),
        ("rankings", {"harmlessness": "123"}, "CHECK"),
        ("rankings", {"honesty": "x"}, "CHECK"),
        ("rankings", {"state": "withdrawn", "overall": None, "honesty": None}, "CHECK"),
        ("rankings", {"supersedes": 1}, "another slate"),
        ("rankings", {"prev_hash": bytes(32)}, "grows only at its end"),
        ("rankings", {"after_seq": 2}, "grows only at its end"),
        ("rankings", {"decide_ms": -1}, "CHECK"),
        ("imported_slates", {"slate_id": 999}, "FOREIGN KEY"),
        ("forgotten_slates", {"slate_id": 999}, "FOREIGN KEY"),
        ("demonstrations", {"conversation_id": 4}, "dialogue that teaches"),
        ("demonstrations", {"conversation_id": 1, "turn_id": 5}, "dialogue that teaches"),
        ("demonstrations", {"turn_id": 8}, "dialogue that teaches"),
        ("demonstrations", {"state": "begun"}, "CHECK"),
        ("demonstrations", {"state": "withdrawn"}, "CHECK"),
        ("imported_dialogues", {"conversation_id": 999}, "FOREIGN KEY"),
        ("imported_dialogues", {"row_sha256": "short"}, "CHECK"),
        ("forgotten_dialogues", {"conversation_id": 999}, "FOREIGN KEY"),
        ("forgotten_rounds", {"number": 999}, "FOREIGN KEY"),
        ("taught_once", {"conversation_id": 999}, "FOREIGN KEY"),
        ("rounds", {"number": 2}, "UNIQUE"),
        ("rounds", {"number": 0, "parent": 0}, "CHECK"),
        ("rounds", {"parent": 2}, "FOREIGN KEY"),
        ("rounds", {"parent": 4}, "CHECK"),
        ("rounds", {"status": "planned"}, "CHECK"),
        ("rounds", {"manifest_sha256": "short"}, "CHECK"),
        ("round_items", {"seq": 1}, "learns a pick only once"),
        ("round_items", {"seq": 2}, "held-out answers never train"),
        ("round_items", {"number": 2, "seq": 2}, "held-out answers never train"),
        ("round_items", {"seq": 999}, "FOREIGN KEY"),
        ("round_items", {"number": 9}, "FOREIGN KEY"),
        ("policy_versions", {"version": 2}, "accepted round of the same number"),
        ("policy_versions", {"version": 5}, "accepted round of the same number"),
        ("policy_versions", {"parent": 0}, "accepted round of the same number"),
        ("policy_versions", {"manifest_sha256": OTHER_SHA}, "accepted round of the same number"),
        ("policy_versions", {"base_sha256": None}, "CHECK"),
        ("version_states", {"version": 2}, "FOREIGN KEY"),
        ("version_states", {"state": "planned"}, "CHECK"),
    ],
)
def test_a_row_that_contradicts_the_others_is_refused(
    lived_in: World, table: str, wrong: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvariantError, match=why):
        add(lived_in, table, wrong)


LOGS = (
    "turns",
    "candidates",
    "comparisons",
    "preferences",
    "preference_flags",
    "ratings",
    "preference_notes",
    "reply_labels",
    "version_notes",
    "slates",
    "slate_answers",
    "rankings",
    "imported_slates",
    "forgotten_slates",
    "demonstrations",
    "imported_dialogues",
    "forgotten_dialogues",
    "forgotten_rounds",
    "rounds",
    "round_items",
    "policy_versions",
    "version_states",
)


EMPTY = (
    "preference_flags",
    "ratings",
    "preference_notes",
    "reply_labels",
    "version_notes",
    "imported_slates",
    "forgotten_slates",
    "demonstrations",
    "imported_dialogues",
    "forgotten_dialogues",
    "forgotten_rounds",
)


@pytest.mark.parametrize("table", LOGS)
@pytest.mark.parametrize("change", ["update", "delete", "replace"])
def test_logs_only_grow(lived_in: World, table: str, change: str) -> None:
    for empty in EMPTY:
        add(lived_in, empty, {})
    column = "number" if table == "round_items" else next(iter(FINE[table]))
    sql = {
        "update": "UPDATE {table} SET {column} = {column}",
        "delete": "DELETE FROM {table}",
        # Without recursive_triggers this deletes a row and fires no trigger.
        "replace": "INSERT OR REPLACE INTO {table} SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1",
    }[change].format(table=table, column=column)
    before = list(lived_in.store.read().table(table).rows)
    # A row put in the place of the last one may break another rule before this one.
    why = None if change == "replace" else "append-only"
    with pytest.raises(InvariantError, match=why), lived_in.store.write() as db:
        db.execute(sql)
    assert list(lived_in.store.read().table(table).rows) == before


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE texts SET body = 'edited' WHERE text_id = 1", "never changes"),
        ("UPDATE texts SET body = NULL, erased_ms = 1, digest = zeroblob(32)", "never changes"),
        ("DELETE FROM texts", "erase a text"),
        ("UPDATE conversations SET key = key || 'x'", "are fixed"),
        ("UPDATE conversations SET held_out = 1 - held_out", "are fixed"),
        ("UPDATE conversations SET user_id = 'stranger'", "are fixed"),
        ("UPDATE conversations SET purpose = 'teaching'", "are fixed"),
        ("UPDATE conversations SET head_turn_id = 1 WHERE conversation_id = 2", "another conv"),
        ("UPDATE conversations SET head_turn_id = 999", "another conversation"),
        ("DELETE FROM conversations", "erase a conversation"),
        ("DELETE FROM users", "FOREIGN KEY"),
        ("DELETE FROM active_pointer", "cannot be deleted"),
        ("INSERT INTO active_pointer VALUES (1, 0, 5, 0)", "starts once"),
        ("INSERT OR REPLACE INTO active_pointer VALUES (1, 0, 5, 0)", "starts once"),
        ("UPDATE active_pointer SET version = 0", "epoch grows by one"),
        ("UPDATE active_pointer SET version = 0, epoch = epoch + 2", "epoch grows by one"),
        ("UPDATE active_pointer SET version = 2, epoch = epoch + 1", "may not serve"),
    ],
)
def test_what_is_fixed_stays_so(lived_in: World, sql: str, why: str) -> None:
    with pytest.raises(InvariantError, match=why), lived_in.store.write() as db:
        db.execute(sql)


@pytest.mark.parametrize("state", ["rejected", "tainted"])
def test_the_pointer_never_names_a_version_that_was_banned(lived_in: World, state: str) -> None:
    add(lived_in, "version_states", {"state": state})
    add(lived_in, "version_states", {"state": "ready"})  # too late
    with pytest.raises(InvariantError, match="may not serve"), lived_in.store.write() as db:
        db.execute("UPDATE active_pointer SET version = 1, epoch = epoch + 1")


def test_an_answer_is_superseded_at_most_once(lived_in: World) -> None:
    token = lived_in.feedback.preferences()[0].comparison.token
    lived_in.feedback.change(token, Choice.SECOND, decision_ms=1)
    with pytest.raises(InvariantError, match="UNIQUE"):
        add(lived_in, "preferences", {"comparison_id": 1, "supersedes": 1})


def test_a_refused_round_may_name_a_pick_that_is_learned_elsewhere(lived_in: World) -> None:
    add(lived_in, "round_items", {"number": 2, "seq": 1})


def test_a_number_of_an_answer_is_never_used_again(lived_in: World) -> None:
    """A watermark rests on it: AUTOINCREMENT remembers numbers whose rows are gone."""
    with lived_in.store.write() as db:
        db.execute("DROP TRIGGER preferences_no_delete")
        db.execute("DELETE FROM preferences WHERE seq = 3")
    assert lived_in.pick() == 4


def test_erasing_a_text_takes_its_tokens_and_the_title_with_it(lived_in: World) -> None:
    with lived_in.store.write() as db:
        db.execute("UPDATE texts SET body = NULL, erased_ms = 1 WHERE text_id IN (1, 2)")
        ids = [row[0] for row in fetch(db, "SELECT candidate_id FROM candidate_cache")]
        titles = [row[0] for row in fetch(db, "SELECT title FROM conversations")]
    assert 1 not in ids and 2 in ids
    assert titles == ["", "hello", "hello", "hello", "hello"]


def test_the_picks_to_learn_are_looked_up_from_the_few_not_learned(lived_in: World) -> None:
    """The learner polls twice a second: it must not walk a log of years each time."""
    found = fetch(lived_in.store.read(), "EXPLAIN QUERY PLAN SELECT * FROM eligible")
    scans = [row["detail"] for row in found if row["detail"].startswith("SCAN")]
    assert scans[0] == "SCAN u" and set(scans) == {"SCAN u"}  # unlearned; and the one person


@pytest.mark.parametrize("index", ["preference_flags_seq", "(supersedes=?)"])
def test_the_picks_to_learn_are_found_by_index(lived_in: World, index: str) -> None:
    """Without one of these, 100,000 answers take minutes and not a fraction of a second."""
    found = fetch(lived_in.store.read(), "EXPLAIN QUERY PLAN SELECT * FROM eligible")
    assert any(index in row["detail"] and "SEARCH" in row["detail"] for row in found)
