"""An edit behind the schema's back does not go unseen."""

import pytest

from storage.errors import BrokenChainError
from storage.rankings import RankingLog
from storage.records import Choice
from storage.slates import Orders
from tests.storage.builders import World


@pytest.fixture
def edited(world: World):
    """Five answers, one changed and one withdrawn; then ``edited(sql)`` with every trigger gone."""
    comparisons = [world.ask() for _ in range(3)]
    for comparison in comparisons:
        world.answer(comparison)
    world.feedback.change(comparisons[0].token, Choice.SECOND, decision_ms=7)
    world.feedback.withdraw(comparisons[1].token)
    world.feedback.verify_chain()

    def edit(sql: str) -> World:
        with world.store.write() as db:
            for name in [trigger.name for trigger in db.triggers]:
                db.execute(f"DROP TRIGGER {name}")
            db.execute(sql)
        return world

    return edit


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE preferences SET choice = 'second' WHERE seq = 1", "Answer 1"),
        ("UPDATE preferences SET decide_ms = decide_ms + 1 WHERE seq = 3", "Answer 3"),
        ("UPDATE preferences SET created_ms = 0 WHERE seq = 5", "Answer 5"),
        ("UPDATE preferences SET comparison_id = 3 WHERE seq = 4", "Answer 4"),
        ("UPDATE preferences SET idem_key = idem_key || 'x' WHERE seq = 2", "Answer 2"),
        ("UPDATE preferences SET prev_hash = zeroblob(32) WHERE seq = 2", "Answer 2"),
        ("UPDATE preferences SET row_hash = randomblob(32) WHERE seq = 2", "Answer 2"),
        ("DELETE FROM preferences WHERE seq = 3", "Answer 4"),
        ("UPDATE comparisons SET first_id = second_id, second_id = first_id", "Answer 1"),
        ("UPDATE comparisons SET propensity = 1.0 WHERE comparison_id = 2", "Answer 2"),
        ("UPDATE comparisons SET reason = 'random' WHERE comparison_id = 3", "Answer 3"),
        ("UPDATE candidates SET seed = 9 WHERE candidate_id = 3", "Answer 2"),
        ("UPDATE candidates SET params_json = '{}' WHERE candidate_id = 6", "Answer 3"),
        ("UPDATE texts SET body = body || ' indeed' WHERE text_id = 4", "Text 4"),
        ("UPDATE texts SET digest = randomblob(32) WHERE text_id = 4", "Text 4"),
    ],
)
def test_any_edit_is_found_and_its_first_row_named(edited, sql: str, what: str) -> None:
    world = edited(sql)
    with pytest.raises(BrokenChainError, match=f"{what} was changed"):
        world.feedback.verify_chain()


def test_an_empty_chain_and_a_chain_over_erased_texts_are_whole(world: World) -> None:
    world.feedback.verify_chain()
    comparison = world.ask()
    world.answer(comparison)
    world.log.erase(comparison.conversation_id)
    world.feedback.verify_chain()


def test_equal_texts_in_two_stores_have_different_digests(world: World) -> None:
    other = World.open(world.folder.root / "other")
    with other.store:
        digests = {
            one.store.read().execute("SELECT digest FROM texts").fetchone()[0]
            for one in (world, other)
            if one.prompt(text="the same")
        }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE rankings SET overall = '12'", "Ranking 1"),
        ("UPDATE rankings SET honesty = '21' WHERE ranking_id = 2", "Ranking 2"),
        ("UPDATE rankings SET after_seq = 2 WHERE ranking_id = 1", "Answer 2"),
        ("UPDATE rankings SET state = 'skipped', overall = NULL WHERE ranking_id = 2", "Ranking 2"),
        ("DELETE FROM rankings WHERE ranking_id = 2", "Answer 2"),
        ("UPDATE slate_answers SET place = 9 WHERE place = 1", "Ranking 1"),
        ("UPDATE slates SET imported = 1", "Ranking 1"),
        ("UPDATE preferences SET choice = 'second' WHERE seq = 2", "Answer 2"),
        ("UPDATE preferences SET choice = 'second' WHERE seq = 1", "Answer 1"),
    ],
)
def test_an_edit_of_a_ranking_or_of_an_answer_beside_one_is_found(
    world: World, sql: str, what: str
) -> None:
    rankings = RankingLog(world.store)
    pair = world.ask()
    world.answer(pair)
    slate = rankings.ask(pair.prompt_turn_id, [pair.first.id, pair.second.id])
    rankings.rank(slate.token, Orders(overall=(2, 1), criteria={}), decision_ms=1)
    rankings.change(slate.token, Orders(overall=(1, 1), criteria={}), decision_ms=1)
    world.pick()
    world.feedback.verify_chain()
    with world.store.write() as db:
        for name in [trigger.name for trigger in db.triggers]:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(sql)
    with pytest.raises(BrokenChainError, match=f"{what} was changed"):
        world.feedback.verify_chain()
