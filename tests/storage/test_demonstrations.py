"""Replies that a person wrote: shown, preferred, and counted once the model has read them."""

from dataclasses import replace

import pytest

from storage.demonstrations import DemonstrationLog, DemonstrationReader, EmptyReplyError
from storage.errors import UnknownComparisonError, UnknownTurnError
from storage.pick_list import PickFilter, PickReader
from storage.records import AskReason, Author, Choice, FinishReason
from tests.storage.builders import World, completion


@pytest.fixture
def written(world: World) -> DemonstrationLog:
    return DemonstrationLog(world.store)


@pytest.fixture
def reply(world):
    return world.log.reply(world.prompt().id, completion("their reply"))


def read_all(written):
    for one in written.unread():
        written.read(one.id, replace(completion(one.text), policy_version=one.version))


def test_an_edited_reply_is_shown_and_better_than_what_it_was(world, written, reply):
    mine = written.edit(reply.id, "my reply\r\n")
    assert world.log.path(reply.conversation_id)[-1] == mine
    assert mine.message.content == "my reply" and mine.parent_id == reply.parent_id
    assert world.feedback.preferences() == []  # it waits until the model has read the text
    [unread] = written.unread()
    assert (unread.text, [m.content for m in unread.prompt]) == ("my reply", ["hello"])
    read_all(written)
    [pair] = world.feedback.preferences()
    assert pair.comparison.question.reason is AskReason.EDITED
    assert pair.chosen.id == mine.candidate_id and pair.rejected.id == reply.candidate_id
    assert pair.chosen.author is Author.PERSON and pair.rejected.author is Author.POLICY
    assert pair.chosen.completion.token_ids == completion().token_ids
    assert [one.id for one in world.feedback.unlearned()] == [pair.id]
    assert written.unread() == []
    world.feedback.verify_chain()


def test_saying_the_same_twice_writes_once(world, written, reply):
    mine = written.edit(reply.id, "my reply")
    assert written.edit(reply.id, "my reply") == mine
    assert written.edit(reply.id, "their reply") == reply
    read_all(written)
    [again] = [world.feedback.preferences()]
    assert len(again) == 1
    written.read(mine.candidate_id, completion("my reply"))  # and is read once


def test_an_edit_of_an_edit_is_better_than_that(world, written, reply):
    once = written.edit(reply.id, "once")
    twice = written.edit(once.id, "twice")
    read_all(written)
    pairs = [(p.chosen.id, p.rejected.id) for p in world.feedback.preferences()]
    assert pairs == [
        (once.candidate_id, reply.candidate_id),
        (twice.candidate_id, once.candidate_id),
    ]


def test_a_reply_that_comes_back_as_it_was_is_no_better_one(world, written):
    for text in ("cut at the limit: \n", "cafe\u0301", "\r\nafter a line"):
        prompt = world.prompt()
        shown = world.log.reply(prompt.id, completion(text))
        after = world.log.say(shown.conversation_id, "and then?")
        assert written.edit(shown.id, text) == shown
        assert world.log.path(shown.conversation_id)[-1] == after
        [suggestion] = world.log.add_candidates(prompt.id, [completion(text)])
        assert written.reply(prompt.id, text, suggestion=suggestion.id).candidate_id in (
            shown.candidate_id,
            suggestion.id,
        )
    read_all(written)
    assert world.feedback.preferences() == []


def test_in_a_temporary_chat_an_edit_is_shown_and_makes_no_pair(world, written):
    prompt = world.log.say(world.log.start(temporary=True).id, "a secret")
    shown = world.log.reply(prompt.id, completion("their reply"))
    mine = written.edit(shown.id, "my reply")
    assert world.log.path(shown.conversation_id)[-1] == mine
    read_all(written)
    assert PickReader(world.store).page(PickFilter()) == []


def test_nothing_is_said_of_a_reply_that_was_cut_off(world, written):
    prompt = world.prompt()
    cut = world.log.reply(prompt.id, completion("half", finish=FinishReason.ABORTED))
    written.edit(cut.id, "whole")
    read_all(written)
    assert world.feedback.preferences() == []
    assert world.log.path(prompt.conversation_id)[-1].message.content == "whole"


def test_a_better_one_beats_both_and_closes_the_question(world, written):
    comparison = world.ask()
    receipt = written.write_better(comparison.token, "mine", decision_ms=5)
    assert receipt.choice is Choice.SKIP and not receipt.already_saved
    assert world.feedback.open_question(comparison.conversation_id) is None
    assert world.log.path(comparison.conversation_id)[-1].message.content == "mine"
    again = written.write_better(comparison.token, "other", decision_ms=5)
    assert again.already_saved and again.preference_id == receipt.preference_id
    read_all(written)
    made = [p for p in world.feedback.preferences() if p.chosen]
    assert {p.rejected.id for p in made} == {comparison.first.id, comparison.second.id}
    assert {p.chosen.completion.text for p in made} == {"mine"}
    assert {p.comparison.question.reason for p in made} == {AskReason.WRITTEN}
    counts = world.feedback.counts()
    assert (counts.replies, counts.asked, counts.answered, counts.decided) == (1, 1, 1, 0)
    assert counts.waiting == 2
    world.feedback.verify_chain()


def newest(world):
    """The newest answer to each pair, oldest pair first."""
    rows = world.store.read().execute("SELECT choice FROM newest ORDER BY comparison_id").fetchall()
    return [Choice(row[0]) for row in rows]


@pytest.mark.parametrize("named", [0, 1, 2], ids=["the question", "one pair", "the other pair"])
def test_a_better_one_is_taken_back_whole_whichever_of_its_pairs_is_named(world, written, named):
    other = world.ask()
    written.write_better(other.token, "mine", decision_ms=5)
    asked = world.ask()
    written.write_better(asked.token, "mine, too", decision_ms=5)
    read_all(written)
    pairs = [p.comparison for p in world.feedback.preferences() if p.chosen][2:]
    token = [asked.token, *(pair.token for pair in pairs)][named]
    receipt = world.feedback.withdraw_act(token)
    assert receipt.choice is Choice.WITHDRAWN and not receipt.already_saved
    assert newest(world)[3:] == [Choice.WITHDRAWN] * 3
    assert {p.rejected.id for p in world.feedback.unlearned()} == {other.first.id, other.second.id}
    rows = world.store.read().table("preferences").count
    assert world.feedback.withdraw_act(token).already_saved  # twice is once
    assert world.store.read().table("preferences").count == rows
    assert len(DemonstrationReader(world.store).written()) == 1
    world.feedback.verify_chain()


def test_an_answer_given_after_a_better_one_is_not_taken_back_with_it(world, written):
    asked = world.ask()
    written.write_better(asked.token, "mine", decision_ms=5)
    read_all(written)
    pair = world.feedback.unlearned()[0].comparison
    world.feedback.change(asked.token, Choice.SECOND, decision_ms=5)
    world.feedback.withdraw_act(pair.token)
    assert newest(world) == [Choice.SECOND, Choice.WITHDRAWN, Choice.WITHDRAWN]


def test_of_edits_only_the_one_that_is_named_is_taken_back(world, written):
    asked = world.ask()
    world.answer(asked)
    reply = world.log.path(asked.conversation_id)[-1]
    once = written.edit(reply.id, "once")
    written.edit(once.id, "twice")
    read_all(written)
    world.feedback.withdraw_act(world.feedback.preferences()[-1].comparison.token)
    assert [one is Choice.WITHDRAWN for one in newest(world)] == [False, False, True]
    assert [one.text for one in DemonstrationReader(world.store).written()] == ["once"]
    world.feedback.withdraw_act(world.feedback.preferences()[-1].comparison.token)
    assert newest(world) == [Choice.FIRST, Choice.WITHDRAWN, Choice.WITHDRAWN]
    assert DemonstrationReader(world.store).written() == []
    world.feedback.withdraw_act(asked.token)
    assert newest(world) == [Choice.WITHDRAWN] * 3


def test_an_edit_of_a_better_one_outlives_it(world, written):
    asked = world.ask()
    written.write_better(asked.token, "mine", decision_ms=5)
    mine = world.log.path(asked.conversation_id)[-1]
    written.edit(mine.id, "mine, better")
    read_all(written)
    world.feedback.withdraw_act(asked.token)
    [left] = world.feedback.unlearned()
    assert left.chosen.completion.text == "mine, better"


def test_the_place_of_the_better_reply_is_no_pattern(world, written):
    for number in range(24):
        one = world.log.reply(world.prompt().id, completion("theirs"))
        written.edit(one.id, f"mine {number}")
    assert world.feedback.preferences() == []  # whichever place the unread one has
    read_all(written)
    firsts = sum(p.choice is Choice.FIRST for p in world.feedback.preferences())
    assert 0 < firsts < 24  # fails once in eight million runs


def test_what_is_empty_or_gone_is_refused(world, written, reply):
    with pytest.raises(EmptyReplyError):
        written.edit(reply.id, " \n")
    with pytest.raises(UnknownTurnError):
        written.edit(reply.parent_id, "a message is no reply")
    with pytest.raises(UnknownComparisonError):
        written.write_better("nothing", "text", decision_ms=0)
    mine = written.edit(reply.id, "mine")
    world.log.erase(reply.conversation_id)
    with pytest.raises(UnknownTurnError):
        written.edit(mine.id, "text")
    assert written.unread() == []
