"""Forgetting: what was learned from an answer, a ranking or a chat must not speak again.

A version has seen an answer if a round on its line trained on it, or was made after it: the reward
ensemble, which labels pairs for every round, is fitted on all answers. Such versions are tainted,
the newest one left speaks, and their folders are deleted. What the others learned since is lost
with them; their picks are free and come back with the next rounds. A ranking or a demonstration was
seen by every version made after it, since training takes all there are. A round that runs while
something is forgotten is not kept (``PolicyRegistry.record`` sees to it).
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

from storage.conversations import ConversationLog
from storage.database import Store
from storage.errors import UnknownComparisonError, UnknownSlateError
from storage.inserts import insert
from storage.manifest import round_folder
from storage.policy_registry import PolicyRegistry
from storage.records import ComparisonId, ConversationId, PolicyVersionId
from storage.slates import SlateId
from storage.sqlite import fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    versions: tuple[PolicyVersionId, ...]
    """Those that had seen it and never speak again, oldest first."""
    live: PolicyVersionId
    """Who speaks now."""


class Forgetting:
    def __init__(
        self, store: Store, policies: PolicyRegistry, conversations: ConversationLog
    ) -> None:
        self._store = store
        self._policies = policies
        self._conversations = conversations

    def versions_that_saw(self, ids: Iterable[ComparisonId]) -> list[PolicyVersionId]:
        """Return the servable versions that learned from an answer to one of these questions."""
        return _versions_that_saw(self._store.read(), list(ids), since_ms=None)

    def versions_that_saw_ranking(self, slate_id: SlateId) -> list[PolicyVersionId]:
        """Return the servable versions that may have learned from a ranking."""
        db = self._store.read()
        return _versions_that_saw(db, [], since_ms=_ranked_ms(db, [slate_id]))

    def versions_that_saw_chat(self, conversation_id: ConversationId) -> list[PolicyVersionId]:
        """Return those that may have learned from anything a conversation holds."""
        db = self._store.read()
        since_ms = _taught_ms(db, conversation_id)
        return _versions_that_saw(db, self.questions_in(conversation_id), since_ms=since_ms)

    def questions_in(self, conversation_id: ConversationId) -> list[ComparisonId]:
        found = fetch(
            self._store.read(),
            "SELECT comparison_id FROM pick_list WHERE conversation_id = ?",
            [conversation_id],
        )
        return [ComparisonId(row["comparison_id"]) for row in found]

    def forget(self, ids: Iterable[ComparisonId], *, reason: str) -> Forgotten:
        """No fit uses these questions any more, and no version that has seen their answers speaks.

        One transaction; forgetting twice is no error. Raises UnknownComparisonError.
        """
        wanted = list(ids)
        with self._store.write() as db:
            seen = _versions_that_saw(db, wanted, since_ms=None)
            for comparison_id in wanted:
                self._mark(db, comparison_id)
            live = self._policies.ban(db, seen, "tainted", reason)
        return self._gone(seen, live)

    def forget_ranking(self, slate_id: SlateId, *, reason: str) -> Forgotten:
        """As ``forget``, of a ranking. Raises UnknownSlateError."""
        with self._store.write() as db:
            seen = _versions_that_saw(db, [], since_ms=_ranked_ms(db, [slate_id]))
            self._mark_slate(db, slate_id)
            live = self._policies.ban(db, seen, "tainted", reason)
        return self._gone(seen, live)

    def delete_conversation(self, conversation_id: ConversationId, *, unlearn: bool) -> Forgotten:
        """Erase all that was said; with ``unlearn`` also what versions learned from it.

        Raises UnknownConversationError.
        """
        self._conversations.get(conversation_id)
        forgotten = Forgotten(versions=(), live=self._policies.current().id)
        if unlearn:
            forgotten = self._forget_chat(conversation_id, reason="learned from a deleted chat")
        self._conversations.erase(conversation_id)
        return forgotten

    def _forget_chat(self, conversation_id: ConversationId, *, reason: str) -> Forgotten:
        questions = self.questions_in(conversation_id)
        with self._store.write() as db:
            since_ms = _taught_ms(db, conversation_id)
            seen = _versions_that_saw(db, questions, since_ms=since_ms)
            for comparison_id in questions:
                self._mark(db, comparison_id)
            for slate_id in _slates_in(db, conversation_id):
                self._mark_slate(db, slate_id)
            db.execute(
                """
                INSERT OR IGNORE INTO forgotten_dialogues
                SELECT conversation_id, ? FROM newest_demonstrations WHERE conversation_id = ?
                """,
                [self._store.now_ms(), conversation_id],
            )
            live = self._policies.ban(db, seen, "tainted", reason)
        return self._gone(seen, live)

    def _gone(self, seen: list[PolicyVersionId], live: PolicyVersionId) -> Forgotten:
        for version in seen:
            shutil.rmtree(round_folder(self._policies.rounds, version), ignore_errors=True)
        return Forgotten(versions=tuple(seen), live=live)

    def _mark_slate(self, db: Database, slate_id: SlateId) -> None:
        if not fetch(db, "SELECT 1 FROM slates WHERE slate_id = ?", [slate_id]):
            raise UnknownSlateError("This ranking is not here (any more): reload the list.")
        if not fetch(db, "SELECT 1 FROM forgotten_slates WHERE slate_id = ?", [slate_id]):
            row = {"slate_id": slate_id, "created_ms": self._store.now_ms()}
            insert(db, "forgotten_slates", row)

    def _mark(self, db: Database, comparison_id: ComparisonId) -> None:
        known = fetch(
            db,
            """
            SELECT comparison_id, EXISTS (SELECT 1 FROM forgotten f
                     WHERE f.comparison_id = c.comparison_id) AS done
              FROM comparisons c WHERE comparison_id = ?
            """,
            [comparison_id],
        )
        if not known:
            raise UnknownComparisonError("This choice is not here (any more): reload the list.")
        if not known[0]["done"]:
            now_ms = self._store.now_ms()
            insert(db, "forgotten", {"comparison_id": comparison_id, "created_ms": now_ms})


def _versions_that_saw(
    db: Database, ids: list[ComparisonId], *, since_ms: int | None
) -> list[PolicyVersionId]:
    """Servable versions, oldest first, made by or after a round that knew such an answer.

    ``since_ms`` is when something else was first there for every round to see, None if nothing
    was. Answers of held-out conversations are known to no round.
    """
    found = fetch(
        db,
        """
        WITH RECURSIVE answered AS (
               SELECT p.seq, p.created_ms FROM preferences p
                 JOIN pick_list l USING (comparison_id)
                WHERE l.held_out = 0
                  AND p.comparison_id IN (SELECT value FROM json_each(:ids))),
             first_known AS (SELECT min(seq) AS seq, min(created_ms) AS ms FROM answered),
             seen (version) AS (
               SELECT v.version FROM policy_versions v JOIN rounds r ON r.number = v.version
                WHERE v.version IN (SELECT number FROM round_items
                                     WHERE seq IN (SELECT seq FROM answered))
                   OR r.attempted_through >= (SELECT seq FROM first_known)
                   OR r.created_ms >= (SELECT ms FROM first_known)
                   OR r.created_ms >= :since
               UNION
               SELECT v.version FROM policy_versions v JOIN seen s ON v.parent = s.version)
        SELECT version FROM seen WHERE version IN (SELECT version FROM servable) ORDER BY version
        """,
        {"ids": str([int(one) for one in ids]), "since": since_ms},
    )
    return [PolicyVersionId(row["version"]) for row in found]


def _slates_in(db: Database, conversation_id: ConversationId) -> list[SlateId]:
    found = fetch(
        db,
        """
        SELECT slate_id FROM slates s JOIN turns t ON t.turn_id = s.prompt_turn_id
         WHERE t.conversation_id = ? ORDER BY slate_id
        """,
        [conversation_id],
    )
    return [SlateId(row["slate_id"]) for row in found]


def _ranked_ms(db: Database, slates: list[SlateId]) -> int | None:
    """When the first of these was ranked; None if none was, or only where nobody learns from."""
    [(since_ms,)] = fetch(
        db,
        """
        SELECT min(r.created_ms) FROM rankings r JOIN slates s USING (slate_id)
          JOIN turns t ON t.turn_id = s.prompt_turn_id JOIN conversations v USING (conversation_id)
         WHERE v.held_out = 0 AND r.state = 'ranked'
           AND s.slate_id IN (SELECT value FROM json_each(?))
        """,
        [str([int(one) for one in slates])],
    )
    return since_ms


def _taught_ms(db: Database, conversation_id: ConversationId) -> int | None:
    """When a conversation first held a ranking or a finished dialogue to learn from."""
    [(finished_ms,)] = fetch(
        db,
        """
        SELECT min(d.created_ms) FROM demonstrations d JOIN conversations v USING (conversation_id)
         WHERE conversation_id = ? AND v.held_out = 0
        """,
        [conversation_id],
    )
    ranked_ms = _ranked_ms(db, _slates_in(db, conversation_id))
    return min((one for one in (finished_ms, ranked_ms) if one is not None), default=None)
