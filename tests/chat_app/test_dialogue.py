"""Teaching chats: one person writes both sides, the model suggests, the end is an example."""

import pytest

from chat_app.errors import ChatError
from storage.records import AskReason, Author, Purpose, Role
from tests.chat_app.makers import GatedReplyMaker, scripted
from tests.storage.builders import World

SKY = "Why is the sky blue?"


def begin(service):
    return service.shelf.begin(purpose=Purpose.TEACHING, instructions="Be brief.").id


def said(service, chat):
    return [(turn.message.role.value, turn.message.content) for turn in service.view(chat).turns]


def say(service, chat, text):
    turn = service.say(chat, text)
    service.drain()
    return turn


def test_both_sides_are_written_in_turn_and_nothing_is_asked(serve, world: World) -> None:
    service = serve(scripted())
    chat = begin(service)
    say(service, chat, SKY)
    view = service.view(chat)
    assert view.suggestion is not None and view.suggestion.author is Author.POLICY
    assert not view.interrupted and view.question is None and len(view.turns) == 1
    say(service, chat, "Because of the air.")
    assert said(service, chat) == [("user", SKY), ("assistant", "Because of the air.")]
    assert service.view(chat).suggestion is None
    say(service, chat, "And at sunset?")
    suggested = service.view(chat).suggestion.completion.text
    say(service, chat, f" {suggested}\n")
    assert said(service, chat)[-1] == ("assistant", suggested)
    assert service.view(chat).turns[-1].candidate_id is not None
    pairs = world.feedback.preferences() + world.feedback.held_out()
    assert [one.chosen.completion.text for one in pairs] == ["Because of the air."]
    assert pairs[0].comparison.question.reason is AskReason.EDITED
    world.feedback.verify_chain()


def test_another_suggestion_can_be_had_and_is_the_one_that_counts(serve) -> None:
    service = serve(scripted())
    chat = begin(service)
    say(service, chat, SKY)
    seen = [service.view(chat).suggestion.id]
    for _ in range(2):
        service.retry(chat)
        service.drain()
        seen.append(service.view(chat).suggestion.id)
    assert seen == sorted(set(seen))
    assert [turn.message.role for turn in service.view(chat).turns] == [Role.USER]


def test_a_retry_of_a_reply_suggests_another_and_leaves_the_reply_to_the_person(serve) -> None:
    service = serve(replies := GatedReplyMaker())
    replies.gate.set()
    chat = begin(service)
    say(service, chat, SKY)
    say(service, chat, "Because of the air.")
    replies.gate.clear()
    service.retry(chat)
    service.say(chat, "Blue light scatters most.")  # it is not waited for
    assert said(service, chat) == [("user", SKY), ("assistant", "Blue light scatters most.")]
    assert service.view(chat).replies.of == 2
    replies.gate.set()


def test_nobody_waits_for_a_suggestion(serve) -> None:
    replies = GatedReplyMaker()
    service = serve(replies)
    chat = begin(service)
    service.say(chat, SKY)
    assert replies.begun.wait(10)
    service.say(chat, "Because of the air.")
    assert said(service, chat)[-1] == ("assistant", "Because of the air.")
    replies.gate.set()


def test_an_example_is_finished_undone_continued_and_taken_back(serve) -> None:
    service = serve(scripted())
    chat = begin(service)
    with pytest.raises(ChatError, match="nothing to undo"):
        service.dialogues.undo(chat)
    say(service, chat, SKY)
    with pytest.raises(ChatError, match="at least one reply"):
        service.dialogues.finish(chat)
    say(service, chat, "Because of the air.")
    service.dialogues.finish(chat)
    assert [one.content for one in service.view(chat).example.messages] == [
        "Be brief.",
        SKY,
        "Because of the air.",
    ]
    service.dialogues.undo(chat)
    assert said(service, chat) == [("user", SKY)]
    say(service, chat, "Air scatters blue most.")
    assert service.view(chat).example.messages[-1].content == "Because of the air."
    service.dialogues.finish(chat)
    assert service.view(chat).example.messages[-1].content == "Air scatters blue most."
    assert service.dialogues.counts().dialogues == 1
    service.dialogues.take_back(chat)
    assert service.view(chat).example is None


def test_a_chat_that_is_not_learned_from_cannot_teach(serve) -> None:
    service = serve(scripted())
    for wish in ({"temporary": True}, {"learn": False}):
        with pytest.raises(ChatError, match="cannot teach"):
            service.shelf.begin(purpose=Purpose.TEACHING, **wish)
