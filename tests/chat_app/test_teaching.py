"""Thumbs, reasons, own words, changes of mind, and what a page is told of each."""

from datetime import UTC, datetime
from threading import Barrier
from types import SimpleNamespace

import pytest

from chat_app.errors import ChatError
from chat_app.revisions import with_key
from chat_app.ui_choices import ChoiceEvents
from chat_app.ui_pick import facts_html
from chat_app.wording import answer_name, receipt
from chat_app.wording_labels import of_pair
from learner.engine.scripted import ScriptedAsking
from learner.errors import PromptTooLongError
from storage.pick_list import PickReader
from storage.records import AskReason, Author, Choice, Label, Note, Strength, Thumb
from tests.chat_app.makers import GatedReplyMaker, scripted


@pytest.fixture
def service(serve):
    return serve(scripted(ScriptedAsking.ALWAYS))


@pytest.fixture
def chat(world):
    return world.start()


def asked(service, chat, text="Why is the sky blue?"):
    service.say(chat.id, text)
    service.drain()
    return service.view(chat.id).question


def test_a_thumb_is_seen_and_taken_back(service, chat):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    reply = service.view(chat.id).turns[-1]
    service.teaching.rate(chat.id, reply.id, Thumb.DOWN)
    assert service.view(chat.id).thumbs == {reply.id: Thumb.DOWN}
    service.teaching.rate(chat.id, reply.id, Thumb.NONE)
    assert service.view(chat.id).thumbs == {}


def test_what_was_said_in_one_breath_is_read_once(serve, chat):
    replies = GatedReplyMaker(ScriptedAsking.ALWAYS)
    replies.gate.set()
    service = serve(replies)
    question = asked(service, chat)
    replies.gate.clear()
    replies.begun.clear()
    replies.refits.clear()
    service.say(service.new_conversation().id, "a reply that is being written")
    assert replies.begun.wait(5)
    service.choose(question.token, Choice.FIRST)
    reply = service.view(chat.id).turns[-1]
    for thumb in (Thumb.UP, Thumb.NONE, Thumb.DOWN):
        service.teaching.rate(chat.id, reply.id, thumb)
    assert replies.refits == []
    replies.gate.set()
    service.drain()
    assert replies.refits == [[Choice.FIRST]]
    service.undo(question.token)
    service.drain()
    assert replies.refits == [[Choice.FIRST], []], "what is said later is read anew"


def test_reasons_are_kept_with_the_choice_and_shown_again(service, chat):
    question = asked(service, chat)
    receipt = service.choose(question.token, Choice.SECOND)
    note = Note(strength=Strength.CLEARLY, reasons=("clear",), comment="to the point")
    service.teaching.annotate(chat.id, receipt.preference_id, note)
    view = service.view(chat.id)
    assert view.note == note
    assert view.answers[view.turns[-1].id].id == receipt.preference_id
    with pytest.raises(ChatError, match="not known here: nonsense"):
        service.teaching.annotate(chat.id, receipt.preference_id, Note(reasons=("nonsense",)))


def test_reasons_that_come_when_the_chat_has_gone_on_elsewhere_are_refused(service, chat):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    asked(service, chat, "And at night?")  # on another page; the last turn has no answer yet
    page = SimpleNamespace(id=lambda _: chat.id, done=lambda change, *_: change())
    events = ChoiceEvents(service, None, page)
    with pytest.raises(ChatError, match="changed on another page"):
        events.explain(question.token, None, [], [], "late", chat.key, None)


def test_labels_of_one_reply_are_seen_and_taken_back(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.SECOND)
    reply = service.view(chat.id).turns[-1]
    before = service.view(chat.id).mark
    service.teaching.label(chat.id, reply.id, ["wrong_facts", "unsafe"])
    view = service.view(chat.id)
    assert view.labels == {reply.id: (Label.UNSAFE, Label.WRONG_FACTS)}
    assert service.revisions.news(with_key(before, chat.key), chat.key)["chat"]
    detail = PickReader(world.store).detail(question.id)
    assert of_pair(detail.labels) == "Reply 2: Unsafe, Wrong facts"
    on_the_data_tab = facts_html(detail, datetime.now(UTC))
    assert "<dt>Marked</dt><dd>Reply 2: Unsafe, Wrong facts</dd>" in on_the_data_tab
    service.teaching.label(chat.id, reply.id, [])
    assert service.view(chat.id).labels == {}
    with pytest.raises(ChatError, match="not known here: nonsense"):
        service.teaching.label(chat.id, reply.id, ["nonsense"])
    with pytest.raises(ChatError, match="There is no reply"):
        service.teaching.label(chat.id, view.turns[0].id, ["unsafe"])


def test_an_edited_reply_goes_on_and_teaches_once_it_is_read(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    reply = service.view(chat.id).turns[-1]
    mine = service.teaching.edit_reply(chat.id, reply.id, "Because of the air.")
    service.drain()
    view = service.view(chat.id)
    assert view.turns[-1] == mine and (view.replies.number, view.replies.of) == (2, 2)
    assert view.written[mine.candidate_id].author is Author.PERSON
    made = world.feedback.preferences()[-1]
    assert made.chosen.id == mine.candidate_id and made.rejected.id == reply.candidate_id
    assert made.comparison.question.reason is AskReason.EDITED
    assert len(made.chosen.completion.token_ids) == 4  # one stand-in a word
    assert view.answers[mine.id].reason is AskReason.EDITED
    with pytest.raises(ChatError, match="empty"):
        service.teaching.edit_reply(chat.id, reply.id, " ")


def test_a_better_one_answers_the_question(service, chat, world):
    question = asked(service, chat)
    receipt = service.write_better(question.token, "Scattering.")
    service.drain()
    assert receipt.choice is Choice.SKIP
    view = service.view(chat.id)
    assert view.question is None and view.turns[-1].message.content == "Scattering."
    made = [p for p in world.feedback.preferences() if p.chosen]
    assert {p.rejected.id for p in made} == {question.first.id, question.second.id}
    assert service.write_better(question.token, "Other").already_saved


def told(service, chat):
    """What the page says of the choice that led to the last reply."""
    view = service.view(chat.id)
    answer = view.answers[view.turns[-1].id]
    return f"{answer_name(answer)} {receipt(answer, service.status())}"


@pytest.mark.parametrize("restarted", [False, True])
def test_undo_of_a_better_one_takes_all_of_it_back(serve, chat, world, restarted):
    service = serve(scripted(ScriptedAsking.ALWAYS))
    question = asked(service, chat)
    service.write_better(question.token, "Scattering.")
    service.drain()
    if restarted:
        service.close()
        service = serve(scripted(ScriptedAsking.ALWAYS))
    before = service.view(chat.id)
    token = before.answers[before.turns[-1].id].token  # of the pair that the page names
    for _ in range(2):  # twice is once
        assert service.undo(token).choice is Choice.WITHDRAWN
        assert world.feedback.preferences() == [] == world.feedback.unlearned()
        assert world.feedback.answer_of(question.id).choice is Choice.WITHDRAWN
    view = service.view(chat.id)
    assert view.turns == before.turns and view.question is None
    assert told(service, chat) == "Taken back. It teaches nothing."
    world.feedback.verify_chain()


def test_undo_before_the_model_has_read_a_better_one_holds(serve, chat, world):
    service = serve(maker := GatedReplyMaker(ScriptedAsking.ALWAYS))
    maker.gate.set()
    question = asked(service, chat)
    service.on_model(reading := Barrier(2).wait)
    service.write_better(question.token, "Scattering.")
    service.undo(question.token)
    reading()
    service.drain()
    assert world.feedback.preferences() == []


def test_undo_of_an_edit_leaves_the_choice_before_it(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    reply = service.view(chat.id).turns[-1]
    mine = service.teaching.edit_reply(chat.id, reply.id, "Because of the air.")
    service.drain()
    service.undo(service.view(chat.id).answers[mine.id].token)
    assert [p.comparison.id for p in world.feedback.unlearned()] == [question.id]
    assert told(service, chat) == "Taken back. It teaches nothing."
    service.show(chat.id, reply.id)
    assert told(service, chat).startswith("Saved: Reply 1 is better.")
    service.undo(service.view(chat.id).answers[reply.id].token)
    assert world.feedback.unlearned() == []


def test_undo_of_an_edit_of_a_reply_that_was_shown_alone(serve, chat, world):
    service = serve(scripted())
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    reply = service.view(chat.id).turns[-1]
    mine = service.teaching.edit_reply(chat.id, reply.id, "Because of the air.")
    service.drain()
    assert len(world.feedback.unlearned()) == 1
    service.undo(service.view(chat.id).answers[mine.id].token)
    assert world.feedback.unlearned() == []
    assert service.view(chat.id).turns[-1] == mine
    assert told(service, chat) == "Taken back. It teaches nothing."


def test_what_was_written_is_read_after_a_restart(serve, chat, world):
    class Unready(type(scripted())):
        def written(self, *_):
            raise PromptTooLongError("not now")

    service = serve(Unready(ScriptedAsking.ALWAYS, words_per_s=0.0))
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    reply = service.view(chat.id).turns[-1]
    service.teaching.edit_reply(chat.id, reply.id, "mine")
    service.drain()
    assert len(world.feedback.preferences()) == 1
    service.close()
    serve(scripted()).drain()
    assert len(world.feedback.preferences()) == 2


def test_a_change_of_mind_counts_and_shows_the_other_reply(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    service.undo(question.token)
    service.change(question.token, Choice.SECOND)
    view = service.view(chat.id)
    assert view.turns[-1].candidate_id == question.second.id
    [pick] = world.feedback.preferences()
    assert pick.choice is Choice.SECOND
    service.change(question.token, Choice.FIRST)
    assert service.view(chat.id).turns[-1].candidate_id == question.first.id
    service.say(chat.id, "Count to 3")
    service.drain()
    service.choose(service.view(chat.id).question.token, Choice.FIRST)
    before = service.view(chat.id).turns
    service.change(question.token, Choice.SECOND)  # the chat has gone on: only the data changes
    assert service.view(chat.id).turns == before


def test_the_way_of_a_pick_is_told(service, chat, world):
    question = asked(service, chat)
    receipt = service.choose(question.token, Choice.FIRST)

    def answer():
        view = service.view(chat.id)
        return view.answers[view.turns[-1].id]

    assert answer().counts and not answer().held_out and answer().attempts == ()
    world.learn([receipt.preference_id])
    [attempt] = answer().attempts
    assert (attempt.round, attempt.live) == (1, True)
    world.policies.activate(0, reason="back")
    assert not answer().attempts[0].live


def test_a_page_is_told_what_is_new(service, chat, world):
    seen = with_key(service.view(chat.id).mark, chat.key)
    assert not any(service.revisions.news(seen, chat.key).values())
    question = asked(service, chat)
    news = service.revisions.news(seen, chat.key)
    assert news == {"server": False, "list": True, "status": False, "chat": True}
    seen = with_key(service.view(chat.id).mark, chat.key)
    service.choose(question.token, Choice.FIRST)
    assert service.revisions.news(seen, chat.key)["status"]
    seen = with_key(service.view(chat.id).mark, chat.key)
    other = service.new_conversation()
    asked(service, other)
    assert (
        not service.revisions.news(seen, chat.key)["chat"]
        and service.revisions.news(seen, chat.key)["list"]
    )
    for nonsense in ("", "x", "a.b.c.d.e", "elsewhere.1.1.1.1."):
        assert service.revisions.news(nonsense, "")["chat"] or nonsense.startswith("elsewhere")
    assert service.revisions.news("elsewhere.1.1.1.1.", "")["server"]


def test_a_mark_that_was_drawn_beside_another_chat_is_out_of_date(service, chat):
    """The answer that draws a chat, and one about the empty page before it, may cross."""
    none = with_key(service.revisions.mark(None), "")
    assert not service.revisions.news(none, "")["chat"]
    assert service.revisions.news(none, chat.key)["chat"]
    here = with_key(service.view(chat.id).mark, chat.key)
    assert not service.revisions.news(here, chat.key)["chat"]
    assert service.revisions.news(here, "")["chat"]
