"""The list of conversations: names, search, deletion, temporary ones, and what may be learned."""

import pytest

from chat_app.errors import ChatError
from learner.engine.scripted import ScriptedAsking
from storage.records import Choice, RoundStatus
from tests.chat_app.makers import GatedReplyMaker, scripted


@pytest.fixture
def service(serve):
    return serve(scripted(ScriptedAsking.ALWAYS))


def picked(service, learn=True):
    chat = service.shelf.begin(learn=learn)
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    question = service.view(chat.id).question
    if question:
        service.choose(question.token, Choice.FIRST)
    return chat


def test_names_and_words_find_a_conversation(service):
    chat = picked(service)
    service.shelf.rename(chat.id, "Colours")
    assert [one.title for one in service.shelf.list("colours sky")] == ["Colours"]
    assert service.shelf.list("pelican") == []
    with pytest.raises(ChatError, match="empty"):
        service.shelf.rename(chat.id, "  ")


def test_a_chat_that_is_not_learned_from_asks_nothing(service, world):
    chat = picked(service, learn=False)
    assert world.feedback.counts().asked == 0
    assert len(service.view(chat.id).turns) == 2


def test_learning_from_a_chat_can_be_switched_off_for_its_past_too(service, world):
    chat = world.start()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    service.choose(service.view(chat.id).question.token, Choice.FIRST)
    assert len(world.feedback.preferences()) == 1
    service.shelf.set_learn(chat.id, False)
    assert world.feedback.preferences() == []
    service.shelf.set_learn(chat.id, True)
    assert len(world.feedback.preferences()) == 1


def test_deleting_says_what_goes_and_takes_it_all(service, world):
    chat = world.start()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    receipt = service.choose(service.view(chat.id).question.token, Choice.FIRST)
    world.learn([receipt.preference_id])
    deletion = service.shelf.deletion(chat.id)
    assert (deletion.messages, deletion.choices, deletion.versions) == (1, 1, (1,))
    service.shelf.delete(chat.id)
    assert service.shelf.list() == [] and world.feedback.preferences() == []
    with pytest.raises(ChatError):
        service.view(chat.id)
    with pytest.raises(ChatError):
        service.shelf.delete(chat.id)


def test_a_refused_lesson_is_no_version_that_learned(service, world):
    chat = world.start()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    receipt = service.choose(service.view(chat.id).question.token, Choice.FIRST)
    world.learn([receipt.preference_id], status=RoundStatus.REFUSED)
    assert service.shelf.deletion(chat.id).versions == ()


def test_deleting_stops_the_reply_that_is_written_there(serve, caplog):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.shelf.begin()
    service.say(chat.id, "Count to 3")
    assert maker.begun.wait(5)
    service.shelf.delete(chat.id)
    service.drain()
    assert service.shelf.list() == []
    assert "failed" not in caplog.text


def test_a_temporary_chat_is_unlisted_unlearned_and_ends_with_its_page_or_server(service, serve):
    chat = service.shelf.begin(temporary=True)
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    view = service.view(chat.id)
    assert len(view.turns) == 2 and view.conversation.temporary
    assert service.shelf.list() == []
    with pytest.raises(ChatError, match="never learned"):
        service.shelf.set_learn(chat.id, True)
    service.shelf.end_temporary(chat.id)
    with pytest.raises(ChatError):
        service.conversation(chat.key)
    left = service.shelf.begin(temporary=True)
    kept = service.shelf.begin()
    service.shelf.end_temporary(kept.id)  # which is none
    service.close()
    again = serve(scripted())
    with pytest.raises(ChatError):
        again.conversation(left.key)
    assert again.conversation(kept.key) == kept
