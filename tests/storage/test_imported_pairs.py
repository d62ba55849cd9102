"""What came out of a file stands in the logs like what was said here."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage import database, imports, migrations, sqlite
from storage.demonstrations import DemonstrationLog
from storage.dialogues import DialogueLog
from storage.errors import InvariantError
from storage.imports import ImportedDialogue, ImportedPair, ImportedRanking, ImportLog
from storage.pick_list import PickFilter, PickReader
from storage.rankings import RankingLog
from storage.records import AskReason, Choice, Message, Role
from storage.slates import Criterion, Orders
from storage.sqlite import fetch
from tests.storage.builders import World, completion

USER, ASSISTANT, SYSTEM = Role.USER, Role.ASSISTANT, Role.SYSTEM


def pair(*said: tuple[Role, str], **changes: object) -> ImportedPair:
    said = said or ((SYSTEM, "Be brief."), (USER, "hi"), (ASSISTANT, "hello"), (USER, "why?"))
    made = ImportedPair(
        prompt=tuple(Message(role=role, content=text) for role, text in said),
        first=completion("because"),
        second=completion("no idea"),
        choice=Choice.SECOND,
        token=None,
        held_out=False,
        decision_ms=7,
        row_sha256="a" * 64,
        meta_json="{}",
    )
    return replace(made, **changes)


def test_a_pair_of_a_file_teaches_and_is_listed_and_its_chat_is_not(world: World) -> None:
    imports, picks = ImportLog(world.store), PickReader(world.store)
    assert imports.add([pair()]) == 1
    [answer] = world.feedback.unlearned()
    assert answer.chosen.completion.text == "no idea" and answer.decision_ms == 7
    assert [message.content for message in answer.comparison.prompt] == [
        "Be brief.",
        "hi",
        "hello",
        "why?",
    ]
    assert answer.comparison.question.reason is AskReason.IMPORTED
    [row] = picks.page(PickFilter(words="why"))
    assert picks.detail(row.id).meta_json == "{}"
    assert world.log.list() == []
    assert world.log.path(answer.comparison.conversation_id)[-1].message.content == "no idea"
    world.feedback.verify_chain()


def test_a_pair_that_was_left_out_stays_so_until_it_is_taken_back_in(world: World) -> None:
    ImportLog(world.store).add([pair(excluded=True)])
    assert world.feedback.preferences() == []
    [row] = PickReader(world.store).page(PickFilter(counts=False))
    assert row.excluded
    world.feedback.include(PickReader(world.store).detail(row.id).comparison.token)
    assert len(world.feedback.preferences()) == 1


def test_the_same_line_or_question_is_taken_in_once(world: World) -> None:
    imports = ImportLog(world.store)
    asked = world.ask()
    pairs = [pair(), pair(), pair(row_sha256="b" * 64, token=asked.token)]
    assert imports.add(pairs) == 1
    assert imports.add(pairs) == 0
    assert imports.known_rows(ImportedPair, ["a" * 64, "b" * 64]) == {"a" * 64}
    assert imports.known_names(ImportedPair, [asked.token, "x" * 40]) == {asked.token}


def test_what_was_held_out_elsewhere_is_held_out_here(world: World) -> None:
    imports = ImportLog(world.store)
    imports.add([pair(held_out=True), pair(row_sha256="b" * 64)])
    assert len(world.feedback.held_out()) == len(world.feedback.unlearned()) == 1


def test_half_a_file_is_no_file(world: World) -> None:
    broken = pair((ASSISTANT, "hello"), (USER, "why?"), row_sha256="c" * 64)
    with pytest.raises(ValueError, match="begin with a reply"):
        ImportLog(world.store).add([pair(), broken])
    assert PickReader(world.store).count(PickFilter()) == 0


def a_ranking(**changes: object) -> ImportedRanking:
    made = ImportedRanking(
        prompt=(Message(role=USER, content="why?"),),
        answers=(completion("because"), completion("no idea"), completion("42")),
        orders=Orders(overall=(1, 2, 2), criteria={Criterion.HONESTY: (2, 1, 3)}),
        token=None,
        held_out=False,
        decision_ms=7,
        row_sha256="a" * 64,
        meta_json="{}",
    )
    return replace(made, **changes)


def a_dialogue(**changes: object) -> ImportedDialogue:
    made = ImportedDialogue(
        messages=(
            Message(role=SYSTEM, content="Be brief."),
            Message(role=USER, content="why?"),
            Message(role=ASSISTANT, content="because "),
        ),
        held_out=False,
        key=None,
        row_sha256="a" * 64,
        meta_json="{}",
    )
    return replace(made, **changes)


def test_a_ranking_of_a_file_teaches_and_its_chat_is_in_no_list(world: World) -> None:
    imports, rankings = ImportLog(world.store), RankingLog(world.store)
    held_out = a_ranking(held_out=True, row_sha256="b" * 64, token="t" * 40)
    assert imports.add([a_ranking(), a_ranking(), held_out]) == 2
    [ranking] = rankings.rankings()
    assert [one.completion.text for one in ranking.slate.answers] == ["because", "no idea", "42"]
    assert ranking.orders == a_ranking().orders and ranking.slate.imported
    assert [one.slate.token for one in rankings.held_out()] == ["t" * 40]
    assert world.log.list() == [] and rankings.open_slate() is None
    assert imports.known_names(ImportedRanking, ["t" * 40, "u" * 40]) == {"t" * 40}
    assert imports.known_rows(ImportedRanking, ["a" * 64, "c" * 64]) == {"a" * 64}
    assert imports.known_rows(ImportedPair, ["a" * 64]) == set()
    world.feedback.verify_chain()


def test_a_dialogue_of_a_file_is_a_demonstration_that_no_model_has_to_read(world: World) -> None:
    imports, dialogues = ImportLog(world.store), DialogueLog(world.store)
    named = a_dialogue(key="k" * 43, held_out=None, row_sha256="b" * 64)
    assert imports.add([a_dialogue(), a_dialogue(), named]) == 2
    made = [*dialogues.demonstrations(), *dialogues.held_out()]
    assert {one.messages for one in made} == {a_dialogue().messages}
    assert all(one.imported for one in made) and "k" * 43 in {one.key for one in made}
    assert dialogues.counts().imported == 2
    assert DemonstrationLog(world.store).unread() == []
    assert world.log.list() == [] and world.feedback.counts().replies == 0
    assert imports.add([replace(named, row_sha256="c" * 64)]) == 0


SAID = '{"meta_comment": "my doctor said"}'
TABLES = ("imported_pairs", "imported_slates", "imported_dialogues")


def take_in_and_delete(world: World) -> list[ImportedPair | ImportedRanking | ImportedDialogue]:
    """One record of each kind whose chat is deleted, and one that stays."""
    found = [make(meta_json=SAID) for make in (pair, a_ranking, a_dialogue)]
    ImportLog(world.store).add([*found, *(replace(one, row_sha256="b" * 64) for one in found)])
    conversations = fetch(world.store.read(), "SELECT conversation_id FROM conversations")
    for row in conversations[:3]:
        world.log.erase(row["conversation_id"])
    return found


def kept(world: World, table: str) -> list[tuple[str, str]]:
    found = fetch(world.store.read(), f"SELECT meta_json, row_sha256 FROM {table}")  # noqa: S608
    return [(row["meta_json"], row["row_sha256"]) for row in found]


def test_what_a_file_said_goes_with_its_chat_and_the_file_does_not_bring_it_back(
    world: World,
) -> None:
    deleted = take_in_and_delete(world)
    for table in TABLES:
        (gone, salted), (there, other) = kept(world, table)
        assert (gone, there) == ("{}", SAID)
        assert {salted, other}.isdisjoint({"a" * 64, "b" * 64})
    log = ImportLog(world.store)
    assert all(log.known_rows(type(one), [one.row_sha256]) for one in deleted)
    assert log.add(deleted) == 0
    world.feedback.verify_chain()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "change", ["meta_json = '[]'", "row_sha256 = upper(row_sha256)", "created_ms = 0"]
)
def test_of_a_deleted_chat_the_rest_stays_as_it_is(world: World, table: str, change: str) -> None:
    take_in_and_delete(world)
    with pytest.raises(InvariantError, match="append-only"), world.store.write() as db:
        db.execute(f"UPDATE {table} SET {change} WHERE meta_json = '{{}}'")  # noqa: S608
    with pytest.raises(InvariantError, match="append-only"), world.store.write() as db:
        db.execute(f"UPDATE {table} SET meta_json = '{{}}'")  # noqa: S608


def test_an_older_file_forgets_what_was_said_of_chats_deleted_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = partial(migrations.migrations.apply, stop_before="m010")
    with monkeypatch.context() as older:
        older.setattr(database, "migrations", SimpleNamespace(apply=apply))
        older.setattr(sqlite, "SCHEMA_VERSION", 9)
        older.setattr(imports, "_salted", lambda _, row_sha256: row_sha256)
        world = World.open(tmp_path / "data")
        with world.store:
            deleted = take_in_and_delete(world)
            assert kept(world, "imported_pairs") == [(SAID, "a" * 64), (SAID, "b" * 64)]
    world = World.open(tmp_path / "data")
    with world.store:
        for table in TABLES:
            assert [meta for meta, _ in kept(world, table)] == ["{}", SAID]
            assert {"a" * 64, "b" * 64}.isdisjoint(known_by for _, known_by in kept(world, table))
        assert ImportLog(world.store).add(deleted) == 0
