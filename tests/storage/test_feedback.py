"""Answers: each counts once, the newest counts, and a change or an undo is a new row."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from storage.errors import UnansweredError, UnknownComparisonError
from storage.feedback import FeedbackCounts
from storage.inserts import insert
from storage.records import (
    Choice,
    ConversationId,
    FinishReason,
    PreferenceId,
    Receipt,
    Role,
    UserId,
)
from tests.storage.builders import QUESTION, World, completion

ANSWERS = [choice for choice in Choice if choice is not Choice.WITHDRAWN]


@pytest.mark.parametrize("choice", ANSWERS)
def test_an_answer_is_kept_and_the_conversation_goes_on_with_the_reply_it_names(
    world: World, choice: Choice
) -> None:
    comparison = world.ask()
    receipt = world.feedback.answer(
        comparison.token, choice, decision_ms=1234, continue_with=comparison.second.id
    )
    assert receipt == Receipt(preference_id=PreferenceId(1), choice=choice, already_saved=False)
    [stored] = world.feedback.preferences()
    assert (stored.comparison, stored.choice, stored.decision_ms) == (comparison, choice, 1234)
    assert world.feedback.answer_of(comparison.id) == stored
    head = world.log.path(comparison.conversation_id)[-1]
    assert (head.message.role, head.message.content) == (Role.ASSISTANT, "two")
    assert head.candidate_id == comparison.second.id


def test_a_second_answer_is_told_the_first(world: World) -> None:
    comparison = world.ask()
    first = world.answer(comparison, Choice.FIRST)
    again = world.feedback.answer(
        comparison.token, Choice.SECOND, decision_ms=1, continue_with=comparison.second.id
    )
    assert again == Receipt(
        preference_id=first.preference_id, choice=Choice.FIRST, already_saved=True
    )
    assert len(world.log.path(comparison.conversation_id)) == 2
    assert world.log.path(comparison.conversation_id)[-1].candidate_id == comparison.first.id


def test_many_clicks_at_once_are_one_answer(world: World) -> None:
    comparison = world.ask()
    clicks = 16
    together = Barrier(clicks)

    def click(number: int) -> Receipt:
        together.wait()
        return world.feedback.answer(
            comparison.token,
            ANSWERS[number % len(ANSWERS)],
            decision_ms=number,
            continue_with=(comparison.first, comparison.second)[number % 2].id,
        )

    with ThreadPoolExecutor(clicks) as pool:
        receipts = list(pool.map(click, range(clicks)))
    assert sum(not receipt.already_saved for receipt in receipts) == 1
    assert len({(receipt.preference_id, receipt.choice) for receipt in receipts}) == 1
    assert world.store.read().table("preferences").count == 1
    assert len(world.log.path(comparison.conversation_id)) == 2


def test_an_answer_after_the_conversation_moved_on_moves_no_head(world: World) -> None:
    comparison = world.ask()
    world.log.say(comparison.conversation_id, "never mind")
    assert not world.answer(comparison).already_saved
    assert [turn.message.content for turn in world.log.path(comparison.conversation_id)] == [
        "hello",
        "never mind",
    ]
    assert world.store.read().table("turns").count == 2


def test_a_changed_mind_is_a_new_row_and_the_newest_counts(world: World) -> None:
    comparison = world.ask()
    world.answer(comparison, Choice.FIRST)
    changed = world.feedback.change(comparison.token, Choice.SECOND, decision_ms=5)
    assert changed == Receipt(
        preference_id=PreferenceId(2), choice=Choice.SECOND, already_saved=False
    )
    again = world.feedback.change(comparison.token, Choice.SECOND, decision_ms=5)
    assert again == Receipt(preference_id=PreferenceId(2), choice=Choice.SECOND, already_saved=True)
    assert [one.choice for one in world.feedback.preferences()] == [Choice.SECOND]
    assert world.store.read().table("preferences").count == 2


def test_an_undone_answer_counts_no_more_and_can_be_given_again(world: World) -> None:
    comparison = world.ask()
    world.answer(comparison)
    undone = world.feedback.withdraw(comparison.token)
    assert undone.choice is Choice.WITHDRAWN
    assert world.feedback.withdraw(comparison.token) == Receipt(
        preference_id=undone.preference_id, choice=Choice.WITHDRAWN, already_saved=True
    )
    assert world.feedback.preferences() == world.feedback.unlearned() == []
    assert world.feedback.answer_of(comparison.id).choice is Choice.WITHDRAWN
    assert world.answer(comparison).choice is Choice.WITHDRAWN  # a late double click
    world.feedback.change(comparison.token, Choice.TIE, decision_ms=1)
    assert [one.choice for one in world.feedback.preferences()] == [Choice.TIE]


def test_there_is_nothing_to_change_before_an_answer(world: World) -> None:
    comparison = world.ask()
    with pytest.raises(UnansweredError):
        world.feedback.change(comparison.token, Choice.FIRST, decision_ms=1)
    with pytest.raises(UnansweredError):
        world.feedback.withdraw(comparison.token)
    assert world.feedback.answer_of(comparison.id) is None


def test_a_withdrawal_is_no_answer(world: World) -> None:
    comparison = world.ask()
    with pytest.raises(ValueError, match="withdraw"):
        world.answer(comparison, Choice.WITHDRAWN)
    world.answer(comparison)
    with pytest.raises(ValueError, match="withdraw"):
        world.feedback.change(comparison.token, Choice.WITHDRAWN, decision_ms=1)


def test_the_conversation_goes_on_only_with_a_reply_that_was_shown(world: World) -> None:
    comparison = world.ask()
    [unseen] = world.log.add_candidates(comparison.prompt_turn_id, [completion("unseen")])
    with pytest.raises(ValueError, match="is not of comparison"):
        world.feedback.answer(
            comparison.token, Choice.FIRST, decision_ms=1, continue_with=unseen.id
        )
    assert world.feedback.answer_of(comparison.id) is None


def test_a_token_nobody_was_given_is_unknown_and_so_is_another_persons(world: World) -> None:
    comparison = world.ask()
    stranger = UserId("a-stranger")
    with world.store.write() as db:
        insert(db, "users", {"user_id": stranger, "salt": bytes(16), "created_ms": 0})
    with pytest.raises(UnknownComparisonError):
        world.feedback.comparison("made up")
    with pytest.raises(UnknownComparisonError):
        world.feedback.withdraw("made up")
    for call in (
        lambda: world.feedback.answer(
            comparison.token,
            Choice.FIRST,
            decision_ms=1,
            continue_with=comparison.first.id,
            user_id=stranger,
        ),
        lambda: world.feedback.change(
            comparison.token, Choice.FIRST, decision_ms=1, user_id=stranger
        ),
        lambda: world.feedback.withdraw(comparison.token, user_id=stranger),
    ):
        with pytest.raises(UnknownComparisonError, match="reload"):
            call()
    assert world.store.read().table("preferences").count == 0


def test_an_open_question_is_the_unanswered_one_at_the_head(world: World) -> None:
    comparison = world.ask()
    where = comparison.conversation_id
    assert world.feedback.open_question(where) == comparison
    world.log.say(where, "something else")
    assert world.feedback.open_question(where) is None
    world.log.rewind(where, comparison.prompt_turn_id)
    assert world.feedback.open_question(where) == comparison
    newer = world.log.ask(comparison.prompt_turn_id, completion("a"), completion("b"), QUESTION)
    assert world.feedback.open_question(where) == newer
    world.answer(newer)
    world.log.rewind(where, comparison.prompt_turn_id)
    assert world.feedback.open_question(where) == comparison
    world.answer(comparison)
    world.log.rewind(where, comparison.prompt_turn_id)
    assert world.feedback.open_question(where) is None
    assert world.feedback.open_question(ConversationId(999)) is None


def test_only_picks_wait_to_be_learned(world: World) -> None:
    for choice in ANSWERS:
        world.answer(world.ask(), choice)
    assert [one.choice for one in world.feedback.preferences()] == ANSWERS
    assert [one.choice for one in world.feedback.unlearned()] == [Choice.FIRST, Choice.SECOND]


def test_a_held_out_answer_measures_and_never_waits(world: World) -> None:
    held_out = world.answer(world.ask(world.prompt(held_out=True)))
    pick = world.pick()
    assert [one.id for one in world.feedback.held_out()] == [held_out.preference_id]
    assert [one.id for one in world.feedback.preferences()] == [pick]
    assert [one.id for one in world.feedback.unlearned()] == [pick]


def test_a_conversation_that_must_not_teach_gives_nothing_until_it_may(world: World) -> None:
    turn = world.prompt(learn=False)
    world.answer(world.ask(turn))
    assert world.feedback.preferences() == world.feedback.unlearned() == []
    world.log.set_learn(turn.conversation_id, True)
    assert len(world.feedback.preferences()) == len(world.feedback.unlearned()) == 1
    world.log.erase(turn.conversation_id)
    assert world.feedback.preferences() == world.feedback.unlearned() == []


def test_a_doubted_answer_counts_again_once_it_is_released(world: World) -> None:
    pick = world.pick()
    for flag, counts in (("too_fast", 0), ("released", 1), ("admin", 0)):
        with world.store.write() as db:
            insert(db, "preference_flags", {"seq": pick, "flag": flag, "created_ms": 0})
        assert len(world.feedback.preferences()) == counts
        assert len(world.feedback.unlearned()) == counts


def test_a_person_under_quarantine_teaches_nothing(world: World) -> None:
    world.pick()
    with world.store.write() as db:
        db.execute("UPDATE users SET status = 'quarantined'")
    assert world.feedback.preferences() == world.feedback.unlearned() == []


def test_pools_hold_the_finished_and_featured_candidates_of_the_newest_prompts(
    world: World,
) -> None:
    def prompt_with(*completions, **where):
        turn = world.prompt(**where)
        return turn.id, [one.id for one in world.log.add_candidates(turn.id, completions)]

    good, long = completion("good"), completion("long", finish=FinishReason.LENGTH)
    bare, cut = completion(feature=None), completion(finish=FinishReason.ABORTED)
    older, older_ids = prompt_with(good, bare, long, cut)
    prompt_with(good, bare)
    prompt_with(good, cut)
    held_out, _ = prompt_with(good, long, held_out=True)
    prompt_with(good, long, learn=False)
    newer, newer_ids = prompt_with(good, long, good)

    pools = world.feedback.pools(limit=9)
    assert [(pool.prompt_turn_id, [one.id for one in pool.candidates]) for pool in pools] == [
        (newer, newer_ids),
        (older, [older_ids[0], older_ids[2]]),
    ]
    assert pools[0].prompt == world.log.messages(newer)
    assert world.feedback.pools(limit=1) == pools[:1]
    everywhere = world.feedback.pools(limit=9, with_held_out=True)
    assert [pool.prompt_turn_id for pool in everywhere] == [newer, held_out, older]
    with_cut = world.feedback.pools(limit=9, with_cut=True)
    assert [len(pool.candidates) for pool in with_cut] == [3, 2, 3]


def test_the_counts_say_how_the_loop_goes(world: World) -> None:
    world.log.reply(world.prompt().id, completion())
    world.answer(world.ask(), Choice.FIRST)
    world.answer(world.ask(), Choice.SECOND)
    world.answer(world.ask(), Choice.TIE)
    world.answer(world.ask(world.prompt(held_out=True)), Choice.FIRST)
    undone = world.ask()
    world.answer(undone)
    world.feedback.withdraw(undone.token)
    world.ask()
    erased = world.ask()
    world.answer(erased)
    world.log.erase(erased.conversation_id)
    assert world.feedback.counts() == FeedbackCounts(
        replies=7, asked=6, answered=4, decided=3, first_chosen=2, waiting=2
    )
    assert world.feedback.counts().waiting == len(world.feedback.unlearned())
