"""Pairs out of a file stand in the log like those that were asked."""

from dataclasses import replace

import pytest

from storage.imports import ImportedPair, ImportLog
from storage.pick_list import PickFilter, PickReader
from storage.records import AskReason, Choice, Message, Role
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


def test_the_same_line_or_question_is_taken_in_once(world: World) -> None:
    imports = ImportLog(world.store)
    asked = world.ask()
    pairs = [pair(), pair(), pair(row_sha256="b" * 64, token=asked.token)]
    assert imports.add(pairs) == 1
    assert imports.add(pairs) == 0
    assert imports.known_rows(["a" * 64, "b" * 64]) == {"a" * 64}
    assert imports.known_tokens([asked.token, "x" * 40]) == {asked.token}


def test_what_was_held_out_elsewhere_is_held_out_here(world: World) -> None:
    imports = ImportLog(world.store)
    imports.add([pair(held_out=True), pair(row_sha256="b" * 64)])
    assert len(world.feedback.held_out()) == len(world.feedback.unlearned()) == 1


def test_half_a_file_is_no_file(world: World) -> None:
    broken = pair((ASSISTANT, "hello"), (USER, "why?"), row_sha256="c" * 64)
    with pytest.raises(ValueError, match="begin with a reply"):
        ImportLog(world.store).add([pair(), broken])
    assert PickReader(world.store).count(PickFilter()) == 0
