"""Rankings: one a slate, the newest counts, in one chain with the answers."""

from dataclasses import replace

import pytest

from storage.demonstrations import DemonstrationLog
from storage.errors import InvariantError, UnansweredError, UnknownSlateError, UnknownTurnError
from storage.rankings import RankingLog
from storage.records import Purpose, UserId
from storage.slates import Criterion, Orders, RankedPair, RankingState, check_ranks, ranked_pairs
from tests.storage.builders import World, completion

H, R = Criterion.HARMLESSNESS, Criterion.RELEVANCE


@pytest.fixture
def rankings(world: World) -> RankingLog:
    return RankingLog(world.store)


def put(world: World, rankings: RankingLog, answers: int = 4, **kinds):
    """A slate of a message of its own."""
    turn = world.prompt(**kinds)
    texts = [completion(f"answer {number}") for number in range(answers)]
    stored = world.log.add_candidates(turn.id, texts)
    return rankings.ask(turn.id, [one.id for one in reversed(stored)])


def order(*overall: int, **criteria) -> Orders:
    return Orders(overall=overall, criteria={Criterion(k): v for k, v in criteria.items()})


def test_a_ranking_comes_back_as_it_was_given(world, rankings) -> None:
    slate = put(world, rankings)
    assert [one.completion.text for one in slate.answers] == [f"answer {n}" for n in (3, 2, 1, 0)]
    assert [message.content for message in slate.prompt] == ["hello"]
    said = order(2, 1, 1, 3, harmlessness=(1, 1, 1, 1), relevance=(2, 1, 1, 3))
    receipt = rankings.rank(slate.token, said, decision_ms=1234)
    assert (receipt.state, receipt.already_saved) == (RankingState.RANKED, False)
    [ranking] = rankings.rankings()
    assert (ranking.slate, ranking.orders, ranking.decision_ms) == (slate, said, 1234)
    assert ranking.orders.on(H) == (1, 1, 1, 1)
    assert set(ranking.orders.criteria) == {H}  # the other one says what overall says
    assert ranking.orders.on(R) == (2, 1, 1, 3)
    assert rankings.answer_of(slate.id) == ranking and rankings.open_slate() is None
    world.feedback.verify_chain()


def test_all_pairs_follow_ties_named_and_a_slate_weighs_one(world, rankings) -> None:
    slate = put(world, rankings, answers=3)
    rankings.rank(slate.token, order(2, 1, 2, honesty=(1, 2, 3)), decision_ms=0)
    [ranking] = rankings.rankings()
    assert ranking.pairs() == (
        RankedPair(better=1, worse=0, tied=False),
        RankedPair(better=0, worse=2, tied=True),
        RankedPair(better=1, worse=2, tied=False),
    )
    on_honesty = ranking.pairs(Criterion.HONESTY)
    assert [(pair.better, pair.worse) for pair in on_honesty] == [(0, 1), (0, 2), (1, 2)]
    assert not any(pair.tied for pair in on_honesty)
    assert ranking.pair_weight * len(ranking.pairs()) == pytest.approx(1.0)
    assert len(ranked_pairs((1,) * 9)) == 36


@pytest.mark.parametrize("ranks", [(1,), (2, 3), (1, 3), (0, 1), (1,) * 10, (), (-1, 1)])
def test_what_is_no_whole_ranking_is_refused(ranks) -> None:
    with pytest.raises(ValueError, match="rank"):
        check_ranks(ranks)
    with pytest.raises(ValueError, match="rank"):
        Orders(overall=(1, 2), criteria={H: ranks})


def test_orders_of_another_number_of_answers_are_refused(world, rankings) -> None:
    with pytest.raises(ValueError, match="ranks 3 of 2"):
        order(1, 2, honesty=(1, 2, 3))
    with pytest.raises(ValueError, match="by itself"):
        order(1, 2, overall=(1, 2))
    slate = put(world, rankings, answers=3)
    with pytest.raises(InvariantError, match="every answer"):
        rankings.rank(slate.token, order(1, 2), decision_ms=0)
    assert rankings.answer_of(slate.id) is None
    for number in (1, 10):
        with pytest.raises(ValueError, match="2 to 9"):
            rankings.ask(slate.prompt_turn_id, [slate.answers[0].id] * number)


def test_a_second_first_answer_changes_nothing(world, rankings) -> None:
    slate = put(world, rankings)
    first = rankings.rank(slate.token, order(1, 2, 3, 4), decision_ms=1)
    again = rankings.rank(slate.token, order(4, 3, 2, 1), decision_ms=2)
    assert again == replace(first, already_saved=True)
    assert rankings.skip(slate.token).ranking_id == first.ranking_id
    [ranking] = rankings.rankings()
    assert ranking.orders == order(1, 2, 3, 4)


def test_a_change_and_an_undo_are_rows_of_their_own(world, rankings) -> None:
    slate = put(world, rankings)
    with pytest.raises(UnansweredError):
        rankings.withdraw(slate.token)
    rankings.skip(slate.token)
    assert rankings.rankings() == []
    changed = rankings.change(slate.token, order(1, 1, 2, 3), decision_ms=5)
    assert rankings.change(slate.token, order(1, 1, 2, 3), decision_ms=9).already_saved
    assert [one.id for one in rankings.rankings()] == [changed.ranking_id]
    assert rankings.counts().pairs == 6
    rankings.withdraw(slate.token)
    assert rankings.rankings() == [] and rankings.counts().ranked == 0
    assert rankings.withdraw(slate.token).already_saved
    [taken_back] = rankings.page()
    assert (taken_back.state, taken_back.orders, taken_back.pairs()) == (
        RankingState.WITHDRAWN,
        None,
        (),
    )
    assert rankings.change(slate.token, order(1, 2, 3, 4), decision_ms=0).ranking_id == 4
    world.feedback.verify_chain()


def test_rankings_and_answers_have_one_chain(world, rankings) -> None:
    world.pick()
    slates = [put(world, rankings, answers=2) for _ in range(3)]
    for slate in slates[:2]:
        rankings.rank(slate.token, order(1, 2), decision_ms=0)
    world.pick()
    rankings.rank(slates[2].token, order(2, 1), decision_ms=0)
    world.pick()
    world.feedback.verify_chain()
    where = [row["after_seq"] for row in world.store.read().table("rankings").rows]
    assert where == [1, 1, 2]


def test_only_what_teaches_is_listed_and_hold_outs_apart(world, rankings) -> None:
    for kinds in ({}, {"held_out": True}, {"learn": False}):
        rankings.rank(put(world, rankings, **kinds).token, order(1, 2, 3, 4), decision_ms=0)
    assert len(rankings.rankings()) == 1 and len(rankings.held_out()) == 1
    assert rankings.held_out()[0].slate != rankings.rankings()[0].slate
    assert rankings.counts().ranked == 3


def test_a_slate_with_an_answer_of_a_person_waits_for_the_model(world, rankings) -> None:
    turn = world.prompt()
    written = DemonstrationLog(world.store)
    mine = written.reply(turn.id, "mine").candidate_id
    theirs = world.log.add_candidates(turn.id, [completion("theirs")])[0].id
    slate = rankings.ask(turn.id, [theirs, mine])
    rankings.rank(slate.token, order(2, 1), decision_ms=0)
    assert rankings.rankings() == []
    [unread] = written.unread()
    written.read(unread.id, replace(completion("mine"), policy_version=unread.version))
    assert len(rankings.rankings()) == 1


def test_what_is_erased_is_ranked_no_more(world, rankings) -> None:
    slate = put(world, rankings)
    rankings.rank(slate.token, order(1, 2, 3, 4), decision_ms=0)
    world.log.erase(slate.conversation_id)
    assert rankings.rankings() == rankings.page() == [] and rankings.counts().ranked == 0
    with pytest.raises(UnknownSlateError):
        rankings.change(slate.token, order(1, 1, 1, 1), decision_ms=0)
    with pytest.raises(UnknownTurnError):
        rankings.ask(slate.prompt_turn_id, [one.id for one in slate.answers])
    bodies = [row["body"] for row in world.store.read().table("texts").rows]
    assert bodies == [None] * 5
    world.feedback.verify_chain()


def test_nobody_else_may_answer_and_no_reply_to_another_message_is_shown(world, rankings) -> None:
    slate, other = put(world, rankings), put(world, rankings)
    with pytest.raises(UnknownSlateError):
        rankings.rank(slate.token, order(1, 2, 3, 4), decision_ms=0, user_id=UserId("a-stranger"))
    with pytest.raises(InvariantError, match="another message"):
        rankings.ask(slate.prompt_turn_id, [slate.answers[0].id, other.answers[0].id])
    assert rankings.open_slate() == other  # the newest that waits


def test_a_chat_made_for_a_ranking_is_in_no_list(world, rankings) -> None:
    chat = world.start()
    made = world.log.start(purpose=Purpose.RANKING)
    world.log.say(made.id, "which one?")
    assert [one.id for one in world.log.list()] == [chat.id]
    assert world.log.search("which") == []
    assert world.log.get(made.id).purpose is Purpose.RANKING


def test_pages_go_back_through_all_slates_newest_first(world, rankings) -> None:
    slates = [put(world, rankings, answers=2) for _ in range(5)]
    for slate in slates:
        rankings.rank(slate.token, order(1, 2), decision_ms=0)
    rankings.change(slates[0].token, order(2, 1), decision_ms=0)
    first = rankings.page(limit=3)
    rest = rankings.page(before=first[-1].id, limit=3)
    assert [one.slate.id for one in first + rest] == [slates[n].id for n in (0, 4, 3, 2, 1)]
    counts = rankings.counts()
    assert (counts.ranked, counts.answers, counts.pairs, counts.own_criteria) == (5, 10, 5, 0)
