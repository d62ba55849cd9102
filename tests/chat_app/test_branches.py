"""Messages said anew, replies paged through, and what a page is told of them."""

import pytest

from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_layout import problem_of
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from storage.records import Choice, FinishReason
from tests.chat_app.makers import FailingReplyMaker, GatedReplyMaker, SlowReplyMaker, scripted
from tests.storage.builders import completion


@pytest.fixture
def service(serve):
    return serve(scripted())


@pytest.fixture
def chat(service):
    return service.new_conversation()


def said(service, chat, *messages):
    for message in messages:
        service.say(chat.id, message)
        service.drain()
    return service.view(chat.id)


def test_a_message_said_anew_gets_a_reply_in_a_branch_of_its_own(service, chat):
    before = said(service, chat, "Count to 3", "What did I say first?")
    service.say_instead(chat.id, before.turns[0].id, "Count to 4")
    service.drain()
    view = service.view(chat.id)
    assert view.turns[0].message.content == "Count to 4"
    assert len(view.turns) == 2
    assert (view.branches.number, view.branches.of, view.branches.after) == (2, 2, None)
    service.show(chat.id, view.branches.before)
    again = service.view(chat.id)
    assert again.turns == before.turns and again.branches.number == 1


def test_saying_the_same_again_is_no_branch(service, chat):
    view = said(service, chat, "Count to 3")
    with pytest.raises(ChatError, match="Nothing was changed"):
        service.say_instead(chat.id, view.turns[0].id, " Count to 3 ")


def test_retries_are_paged_through(service, chat):
    said(service, chat, "Count to 3")
    for _ in range(2):
        service.retry(chat.id)
        service.drain()
    view = service.view(chat.id)
    assert (view.replies.number, view.replies.of) == (3, 3)
    assert view.branches.of == 1
    service.show(chat.id, view.replies.before)
    view = service.view(chat.id)
    assert (view.replies.number, view.replies.of) == (2, 3)
    assert view.replies.before is not None and view.replies.after is not None


@pytest.fixture
def cut(world):
    """A chat whose reply was stopped on its way: it can be tried again and written on."""
    prompt = world.prompt(text="Count to 60")
    return world.log.reply(prompt.id, completion("1, 2, 3", finish=FinishReason.ABORTED))


AGAIN = pytest.mark.parametrize("again", [ChatService.retry, ChatService.go_on])


@AGAIN
def test_the_reply_before_gives_way_only_when_another_is_stored(serve, world, cut, again):
    service = serve(maker := GatedReplyMaker())
    chat = cut.conversation_id
    again(service, chat)
    assert maker.begun.wait(5)
    view = service.view(chat)
    assert view.running and not view.interrupted
    assert [turn.id for turn in view.turns] == [cut.parent_id]  # a page draws the draft below it
    assert world.log.path(chat)[-1] == cut  # all that a server killed here leaves behind
    maker.gate.set()
    service.drain()
    view = service.view(chat)
    assert len(view.turns) == 2 and view.turns[-1].id != cut.id
    assert view.replies.before == cut.id and world.log.path(chat)[-1] == view.turns[-1]


@AGAIN
def test_what_is_stopped_before_its_first_word_leaves_the_reply_before(serve, cut, again):
    service = serve(maker := GatedReplyMaker())
    chat, before = cut.conversation_id, service.view(cut.conversation_id)
    again(service, chat)
    assert maker.begun.wait(5)
    service.stop(chat)
    service.drain()
    view = service.view(chat)
    assert view.turns == before.turns and view.replies == before.replies
    assert not view.interrupted and not view.running
    maker.gate.set()
    service.say(chat, "and on")
    service.drain()
    assert [turn.id for turn in service.view(chat).turns][1] == cut.id


@AGAIN
def test_what_is_stopped_while_it_waits_leaves_the_reply_before(serve, cut, again):
    service = serve(maker := GatedReplyMaker())
    service.say(service.new_conversation().id, "Count to 3")
    assert maker.begun.wait(5)
    again(service, cut.conversation_id)
    service.stop(cut.conversation_id)
    assert service.view(cut.conversation_id).turns[-1] == cut
    maker.gate.set()


@AGAIN
def test_what_fails_leaves_the_reply_before_and_says_so(serve, cut, again):
    service = serve(replies := FailingReplyMaker(RuntimeError("no")))
    chat = cut.conversation_id
    again(service, chat)
    service.drain()
    view = service.view(chat)
    assert view.turns[-1] == cut and view.failed.startswith("This reply failed.")
    assert problem_of(view) == view.failed
    replies.error = None
    again(service, chat)
    service.drain()
    view = service.view(chat)
    assert view.turns[-1].id != cut.id and view.failed is None


def test_a_retry_that_asks_shows_the_question_in_the_place_of_the_reply(serve, world, cut):
    service = serve(scripted(ScriptedAsking.ALWAYS))
    chat = cut.conversation_id
    service.retry(chat)
    service.drain()
    view = service.view(chat)
    assert view.question is not None and view.turns[-1].id == cut.parent_id
    service.choose(view.question.token, Choice.SECOND)
    view = service.view(chat)
    assert view.turns[-1].candidate_id == world.feedback.preferences()[0].comparison.second.id
    service.show(chat, cut.id)
    assert service.view(chat).turns[-1] == cut


def test_nothing_is_paged_while_a_reply_is_written(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    turn = service.say(chat.id, "Count to 3")
    with pytest.raises(ChatError, match="still being written"):
        service.show(chat.id, turn.id)
    with pytest.raises(ChatError, match="still being written"):
        service.say_instead(chat.id, turn.id, "other")
    maker.gate.set()


def test_instructions_come_before_everything_and_are_no_message(serve):
    service = serve(scripted(ScriptedAsking.ALWAYS))
    chat = service.shelf.begin(instructions="Be brief.")
    with pytest.raises(ChatError, match="no message to reply to"):
        service.retry(chat.id)
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    view = service.view(chat.id)
    assert view.instructions == "Be brief." and len(view.turns) == 1
    assert [m.content for m in view.question.prompt] == ["Be brief.", "Why is the sky blue?"]
    with pytest.raises(ChatError, match="at most"):
        service.shelf.begin(instructions="x" * 9000)


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND])
def test_a_choice_while_a_pair_is_written_is_stored_with_the_cut_reply(serve, choice):
    service = serve(maker := GatedReplyMaker(ScriptedAsking.ALWAYS))
    chat = service.new_conversation()
    assert not service.pick_early(chat.id, choice)
    service.say(chat.id, "Count to 30")
    assert maker.begun.wait(5)
    assert service.pick_early(chat.id, choice)
    maker.gate.set()
    service.drain()
    view = service.view(chat.id)
    assert view.question is None and len(view.turns) == 2
    answer = view.answers[view.turns[-1].id]
    assert answer.choice is choice
    stored = service.question(answer.token)
    chosen, cut = stored.first, stored.second
    if choice is Choice.SECOND:
        chosen, cut = cut, chosen
    assert view.turns[-1].candidate_id == chosen.id
    assert chosen.completion.finish_reason is FinishReason.STOP
    assert cut.completion.finish_reason is FinishReason.ABORTED


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND, Choice.SKIP])
def test_a_click_as_both_become_whole_is_no_click_lost(serve, choice):
    """The writer has looked for a choice the last time, and the page still takes it as early."""

    class Whole(ScriptedReplyMaker):
        def reply(self, *args, early, **wishes):
            plan = super().reply(*args, early=early, **wishes)
            assert plan.question is not None and plan.picked is None
            assert service.pick_early(chat.id, choice)
            return plan

    service = serve(Whole(ScriptedAsking.ALWAYS, words_per_s=0.0))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 30")
    service.drain()
    view = service.view(chat.id)
    assert view.question is None and len(view.turns) == 2
    assert view.answers[view.turns[-1].id].choice is choice
    assert not service.pick_early(chat.id, choice)


def test_a_question_skipped_while_it_is_written_is_never_asked(serve):
    service = serve(maker := GatedReplyMaker(ScriptedAsking.ALWAYS))
    chat = service.new_conversation()
    service.say(chat.id, "Why is the sky blue?")
    assert maker.begun.wait(5)
    assert service.pick_early(chat.id, Choice.SKIP)
    maker.gate.set()
    service.drain()
    view = service.view(chat.id)
    assert view.question is None and len(view.turns) == 2 and not view.answers


def test_a_stopped_reply_is_written_on_as_a_sibling(serve):
    service = serve(SlowReplyMaker())
    chat = service.new_conversation()
    with pytest.raises(ChatError, match="no reply here that was cut off"):
        service.go_on(chat.id)
    service.say(chat.id, "Count to 60")
    next(draft for draft in service.watch(chat.id) if draft.texts)
    service.stop(chat.id)
    service.drain()
    begun = service.view(chat.id).turns[-1].message.content
    service.go_on(chat.id)
    drafts = [draft.texts[0] for draft in service.watch(chat.id) if draft.texts]
    service.drain()
    view = service.view(chat.id)
    assert all(text.startswith(begun) for text in drafts)
    assert view.turns[-1].message.content.startswith(begun)
    assert len(view.turns[-1].message.content.split()) == 60
    assert (view.replies.number, view.replies.of) == (2, 2)
    with pytest.raises(ChatError, match="cut off"):
        service.go_on(chat.id)
