"""Forgetting: what was learned from an answer or a conversation must not speak again.

A version has seen an answer if a round on its line trained on it, or was made after it: the reward
ensemble, which labels pairs for every round, is fitted on all answers. Such versions are tainted,
the newest one left speaks, and their folders are deleted. What the others learned since is lost
with them; their picks are free and come back with the next rounds. A round that runs while
something is forgotten is not kept (``PolicyRegistry.record`` sees to it).
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

from storage.conversations import ConversationLog
from storage.database import Store
from storage.errors import UnknownComparisonError
from storage.manifest import round_folder
from storage.policies import PolicyRegistry
from storage.records import ComparisonId, ConversationId, PolicyVersionId
from storage.rows import insert
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
        return _versions_that_saw(self._store.read(), list(ids))

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
            seen = _versions_that_saw(db, wanted)
            for comparison_id in wanted:
                self._mark(db, comparison_id)
            live = self._policies.ban(db, seen, "tainted", reason)
        for version in seen:
            shutil.rmtree(round_folder(self._policies.rounds, version), ignore_errors=True)
        return Forgotten(versions=tuple(seen), live=live)

    def delete_conversation(self, conversation_id: ConversationId, *, unlearn: bool) -> Forgotten:
        """Erase all that was said; with ``unlearn`` also what versions learned from it.

        Raises UnknownConversationError.
        """
        self._conversations.get(conversation_id)
        forgotten = Forgotten(versions=(), live=self._policies.current().id)
        if unlearn:
            forgotten = self.forget(
                self.questions_in(conversation_id), reason="learned from a deleted chat"
            )
        self._conversations.erase(conversation_id)
        return forgotten

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


def _versions_that_saw(db: Database, ids: list[ComparisonId]) -> list[PolicyVersionId]:
    """Servable versions, oldest first, made by or after a round that knew such an answer.

    Answers of held-out conversations are known to no round.
    """
    found = fetch(
        db,
        """
        WITH RECURSIVE answered AS (
               SELECT p.seq, p.created_ms FROM preferences p
                 JOIN pick_list l USING (comparison_id)
                WHERE l.held_out = 0
                  AND p.comparison_id IN (SELECT value FROM json_each(?))),
             first_known AS (SELECT min(seq) AS seq, min(created_ms) AS ms FROM answered),
             seen (version) AS (
               SELECT v.version FROM policy_versions v JOIN rounds r ON r.number = v.version
                WHERE v.version IN (SELECT number FROM round_items
                                     WHERE seq IN (SELECT seq FROM answered))
                   OR r.attempted_through >= (SELECT seq FROM first_known)
                   OR r.created_ms >= (SELECT ms FROM first_known)
               UNION
               SELECT v.version FROM policy_versions v JOIN seen s ON v.parent = s.version)
        SELECT version FROM seen WHERE version IN (SELECT version FROM servable) ORDER BY version
        """,
        [str([int(one) for one in ids])],
    )
    return [PolicyVersionId(row["version"]) for row in found]
