"""Counts kept as the log grows, against counting the whole log anew."""

import random
from itertools import count

from storage.conversations import ConversationLog
from storage.imports import ImportLog
from storage.records import Choice, Comparison, ConversationId, PolicyVersionId, RoundStatus, Turn
from storage.sqlite import fetch
from tests.storage.builders import QUESTION, World, completion
from tests.storage.test_imported_pairs import pair

WHOLE_LOG = """
    WITH asked AS (
           SELECT comparison_id FROM comparisons c
             JOIN candidates a ON a.candidate_id = c.first_id
             JOIN turns t ON t.turn_id = a.prompt_turn_id
             JOIN conversations v USING (conversation_id)
            WHERE v.erased_ms IS NULL),
         plain AS (
           SELECT 1 FROM turns t JOIN conversations v USING (conversation_id)
            WHERE t.role = 'assistant' AND v.erased_ms IS NULL AND v.imported = 0
              AND t.candidate_id NOT IN (SELECT first_id FROM comparisons)
              AND t.candidate_id NOT IN (SELECT second_id FROM comparisons)),
         here AS (
           SELECT 1 FROM asked JOIN comparisons USING (comparison_id)
            WHERE reason <> 'imported'),
         answered AS (
           SELECT choice FROM newest JOIN asked USING (comparison_id)
            WHERE choice <> 'withdrawn')
    SELECT (SELECT count(*) FROM plain) + (SELECT count(*) FROM here) AS replies,
           (SELECT count(*) FROM here) AS asked,
           (SELECT count(*) FROM answered) AS answered,
           (SELECT count(*) FROM answered WHERE choice IN ('first', 'second')) AS decided,
           (SELECT count(*) FROM answered WHERE choice = 'first') AS first_chosen
"""
UNLEARNED = """
    SELECT p.seq FROM live p
     WHERE p.held_out = 0 AND p.choice IN ('first', 'second')
       AND NOT EXISTS (SELECT 1 FROM round_items i
                        WHERE i.seq = p.seq AND i.number IN (SELECT version FROM lineage))
     ORDER BY p.seq
"""


def check(world: World) -> None:
    db = world.store.read()
    counts = world.feedback.counts()
    [whole] = fetch(db, WHOLE_LOG)
    assert {name: getattr(counts, name) for name in whole.keys()} == dict(whole)  # noqa: SIM118
    unlearned = [row["seq"] for row in fetch(db, UNLEARNED)]
    assert [pick.id for pick in world.feedback.unlearned()] == unlearned
    assert counts.waiting == len(unlearned)
    lineage = world.policies.lineage()
    last = {pick: r for r in world.policies.rounds_log() for pick in r.preference_ids}
    for after in (0, *unlearned):
        expected = sum(
            seq > after
            or (seq in last and last[seq].version is not None and last[seq].number < lineage[0])
            for seq in unlearned
        )
        assert world.feedback.due(after) == expected
    learned = {p for r in world.policies.rounds_log() if r.version in lineage
               for p in r.preference_ids}  # fmt: skip
    assert world.policies.learned() == len(learned)


class Days:
    """Random days in the life of a log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(3)  # noqa: S311
        self.asked: list[Comparison] = []
        self.chats: list[ConversationId] = []
        self.brought = 0
        keys = (f"{number:032d}" for number in count())
        self.log = ConversationLog(world.store, new_key=lambda: next(keys))

    def prompt(self) -> Turn:
        return self.log.say(self.log.start().id, "hello")

    def plain(self) -> None:
        turn = self.prompt()
        self.log.reply(turn.id, completion())
        self.chats.append(turn.conversation_id)

    def go_on(self) -> None:
        if self.chats:
            turn = self.log.say(self.rng.choice(self.chats), "and then?")
            self.log.reply(turn.id, completion())

    def ask(self) -> None:
        self.asked.append(
            self.log.ask(self.prompt().id, completion("one"), completion("two"), QUESTION)
        )

    def answer(self) -> None:
        choice = self.rng.choice([Choice.FIRST, Choice.SECOND, Choice.TIE])
        if self.asked:
            self.world.answer(self.rng.choice(self.asked), choice)

    def answered(self) -> Comparison | None:
        known = [c for c in self.asked if self.world.feedback.answer_of(c.id) is not None]
        return self.rng.choice(known) if known else None

    def change(self) -> None:
        if comparison := self.answered():
            self.world.feedback.change(comparison.token, Choice.SECOND, decision_ms=1)

    def withdraw(self) -> None:
        if comparison := self.answered():
            self.world.feedback.withdraw(comparison.token)

    def exclude(self) -> None:
        if comparison := self.answered():
            self.world.feedback.exclude(comparison.token)

    def bring(self) -> None:
        """A pair out of a file, in whose prompt the assistant has spoken before."""
        brought = pair(row_sha256=f"{self.brought:064d}")
        self.brought += 1
        assert ImportLog(self.world.store).add([brought]) == 1

    def learn(self) -> None:
        picks = [pick.id for pick in self.world.feedback.unlearned()][:3]
        status = self.rng.choice([RoundStatus.ACCEPTED, RoundStatus.REFUSED])
        self.world.learn(picks, status=status)

    def go(self) -> None:
        version = self.rng.choice(self.world.policies.servable())
        self.world.policies.activate(version, reason="a test")

    def erase(self) -> None:
        if len(self.asked) > 3:
            gone = self.asked.pop(self.rng.randrange(len(self.asked)))
            self.log.erase(gone.conversation_id)
        if len(self.chats) > 2:
            self.log.erase(self.chats.pop())


def test_kept_counts_equal_a_count_of_the_whole_log(world: World) -> None:
    days = Days(world)
    deeds = [days.plain, days.go_on, days.ask, days.ask, days.answer, days.answer, days.change]
    deeds += [days.withdraw, days.exclude, days.bring, days.learn, days.learn, days.go, days.erase]
    learned, decided = set[int](), set[int]()
    for _ in range(150):
        days.rng.choice(deeds)()
        check(world)
        learned.add(world.policies.learned())
        decided.add(world.feedback.counts().decided)
    assert len(learned) > 3 and len(decided) > 3  # both grew and fell


def test_a_reply_that_is_asked_about_later_is_no_plain_one_any_more(world: World) -> None:
    prompt = world.prompt()
    shown = world.log.reply(prompt.id, completion("shown"))
    assert world.feedback.counts().replies == 1
    [other] = world.log.add_candidates(prompt.id, [completion("other")])
    with world.store.write() as db:
        db.execute(
            """
            INSERT INTO comparisons (token, user_id, first_id, second_id, reason, propensity,
                                     disagreement, first_better_prob, created_ms)
            VALUES (?, 'local-person', ?, ?, 'always', 1.0, 0.0, 0.5, 1)
            """,
            ["t" * 43, shown.candidate_id, other.id],
        )
    check(world)
    assert world.feedback.counts().replies == 1


def test_a_limited_list_keeps_the_newest_and_always_the_base_and_who_serves(world: World) -> None:
    for _ in range(5):
        world.learn([world.pick()])
    world.policies.activate(PolicyVersionId(2), reason="a test")
    assert [one.id for one in world.policies.versions(limit=2)] == [0, 2, 4, 5]
    assert [one.id for one in world.policies.versions()] == [0, 1, 2, 3, 4, 5]
    assert [one.number for one in world.policies.rounds_log(limit=2)] == [4, 5]
    assert [one.preference_ids for one in world.policies.rounds_log(limit=2)] == [(4,), (5,)]
    world.policies.reject(PolicyVersionId(4), reason="a test")
    among = [PolicyVersionId(one) for one in (0, 4, 5, 77)]
    assert world.policies.servable_among(among) == {0, 5}
