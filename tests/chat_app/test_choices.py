"""Choices: what continues the chat, what is stored, and that nothing is stored twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from chat_app.choosing import continued
from chat_app.errors import ChatError
from chat_app.progress import no_learner
from chat_app.service import ChatService
from learner.engine.scripted import ScriptedAsking
from storage.records import Choice, Role, Thumb
from tests.chat_app.conftest import CONFIG, logs_of
from tests.chat_app.makers import GatedReplyMaker, scripted
from tests.storage.builders import completion


@pytest.fixture
def service(serve):
    return serve(scripted(ScriptedAsking.ALWAYS))


@pytest.fixture
def chat(service):
    return service.new_conversation()


def asked(service, chat, text="Why is the sky blue?"):
    """Say something and return the question that comes of it."""
    service.say(chat.id, text)
    service.drain()
    return service.view(chat.id).question


@pytest.mark.parametrize(
    ("choice", "place"),
    [(Choice.FIRST, 0), (Choice.SECOND, 1), (Choice.TIE, 0), (Choice.SKIP, 0)],
)
def test_the_chosen_reply_goes_on_and_a_tie_or_skip_takes_the_first(service, chat, choice, place):
    question = asked(service, chat)
    receipt = service.choose(question.token, choice)
    view = service.view(chat.id)
    wanted = (question.first, question.second)[place]
    assert receipt.choice is choice and not receipt.already_saved
    assert view.turns[-1].candidate_id == wanted.id and view.question is None


def test_both_bad_goes_on_with_the_one_the_judges_like_better(service, chat):
    question = asked(service, chat)
    better = max(question.first, question.second, key=lambda one: one.completion.reward_mean)
    assert continued(question, Choice.BOTH_BAD) == better
    service.choose(question.token, Choice.BOTH_BAD)
    assert service.view(chat.id).turns[-1].candidate_id == better.id


def test_an_open_question_is_not_an_interrupted_reply(service, chat):
    asked(service, chat)
    view = service.view(chat.id)
    assert view.question is not None and not view.interrupted and not view.running


def test_an_open_question_outlives_the_server(service, serve, chat):
    question = asked(service, chat)
    service.close()
    again = serve(scripted(ScriptedAsking.ALWAYS))
    assert again.view(chat.id).question == question
    again.choose(question.token, Choice.SECOND)
    assert again.view(chat.id).turns[-1].candidate_id == question.second.id


def test_a_second_choice_is_told_the_first_and_changes_nothing(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.FIRST)
    receipt = service.choose(question.token, Choice.SECOND)
    assert receipt.already_saved and receipt.choice is Choice.FIRST
    assert world.feedback.counts().answered == 1
    assert len(service.view(chat.id).turns) == 2


def test_choices_made_at_once_become_one_row(service, chat, world):
    question = asked(service, chat)
    with ThreadPoolExecutor(8) as pool:
        choices = [Choice.FIRST, Choice.SECOND] * 8
        receipts = list(pool.map(lambda one: service.choose(question.token, one), choices))
    assert [one.already_saved for one in receipts].count(False) == 1
    assert len({one.choice for one in receipts}) == 1
    assert world.feedback.counts().answered == 1
    assert len(service.view(chat.id).turns) == 2


def test_typing_on_skips_the_question(service, chat, world):
    question = asked(service, chat)
    service.say(chat.id, "Count to 3")
    assert world.feedback.answer_of(question.id).choice is Choice.SKIP
    roles = [turn.message.role for turn in service.view(chat.id).turns]
    assert roles == [Role.USER, Role.ASSISTANT, Role.USER]


def test_a_click_after_typing_on_learns_that_the_question_was_skipped(service, chat):
    question = asked(service, chat)
    service.say(chat.id, "Count to 3")
    receipt = service.choose(question.token, Choice.FIRST)
    assert receipt.already_saved and receipt.choice is Choice.SKIP


def test_retry_waits_for_the_answer(service, chat):
    asked(service, chat)
    with pytest.raises(ChatError, match="Pick one"):
        service.retry(chat.id)


def test_a_token_nobody_was_asked_with_is_a_sentence(service):
    with pytest.raises(ChatError, match="reload the page"):
        service.choose("0" * 43, Choice.FIRST)
    with pytest.raises(ChatError, match="reload the page"):
        service.undo("")


def test_undo_takes_the_choice_back_and_leaves_the_chat(service, chat, world):
    question = asked(service, chat)
    service.choose(question.token, Choice.SECOND)
    before = service.view(chat.id).turns
    service.undo(question.token)
    service.undo(question.token)  # twice is once
    view = service.view(chat.id)
    assert world.feedback.answer_of(question.id).choice is Choice.WITHDRAWN
    assert world.feedback.preferences() == []
    assert view.turns == before and view.question is None


def test_undo_before_any_choice_is_a_sentence(service, chat):
    question = asked(service, chat)
    with pytest.raises(ChatError, match="not answered yet"):
        service.undo(question.token)


def test_every_choice_and_undo_refits_the_ensemble(serve, world):
    maker = GatedReplyMaker(ScriptedAsking.ALWAYS)
    maker.gate.set()
    service = serve(maker)
    chat = service.new_conversation()
    question = asked(service, chat)
    service.choose(question.token, Choice.SECOND)
    service.choose(question.token, Choice.SECOND)
    service.drain()  # a refit that comes late would see the undo already
    service.undo(question.token)
    service.drain()
    # A tenth of all conversations only measures: their answers are never fitted.
    chosen = [] if chat.held_out else [Choice.SECOND]
    assert maker.refits == [[], chosen, []]


def test_a_thumb_and_its_end_refit_the_ensemble_too(serve, world):
    maker = GatedReplyMaker()
    service = serve(maker)
    service.drain()
    reply = world.log.reply(world.prompt().id, completion())
    for thumb in (Thumb.UP, Thumb.DOWN, Thumb.NONE):
        service.teaching.rate(reply.conversation_id, reply.id, thumb)
        service.drain()
    assert maker.thumbs == [[], [Thumb.UP], [Thumb.DOWN], []]


def test_a_restarted_server_fits_the_stored_picks_before_it_answers(serve, world):
    world.pick()
    maker = GatedReplyMaker()
    serve(maker).drain()
    assert maker.refits == [[Choice.FIRST]]


def test_the_time_to_decide_runs_from_the_question(world):
    now = None
    service = ChatService(
        logs_of(world),
        scripted(ScriptedAsking.ALWAYS),
        CONFIG,
        no_learner,
        clock=lambda: now,
    )
    chat = service.new_conversation()
    question = asked(service, chat)
    now = question.asked_at + timedelta(seconds=2.5)
    service.choose(question.token, Choice.FIRST)
    assert world.feedback.answer_of(question.id).decision_ms == 2500
    question = asked(service, chat)
    now = question.asked_at - timedelta(hours=1)  # the clock was set back
    service.choose(question.token, Choice.FIRST)
    assert world.feedback.answer_of(question.id).decision_ms == 0
    service.close()


def test_unseen_candidates_are_kept_for_the_learner(service, chat, world):
    question = asked(service, chat)
    stored = world.store.read().execute(
        "SELECT count(*) FROM candidates WHERE prompt_turn_id = ?", [question.prompt_turn_id]
    )
    assert stored.fetchone()[0] == 4
