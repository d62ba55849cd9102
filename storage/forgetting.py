"""Forgetting: what was learned from an answer, a ranking or a chat must not speak again.

A version has seen an answer if a round on its line trained on it, or was made after it: the reward
ensemble, which labels pairs for every round, is fitted on all answers. Such versions are tainted,
the newest one left speaks, and their folders are deleted. What the others learned since is lost
with them; their picks are free and come back with the next rounds. A ranking, a demonstration, a
thumb or a second answer to one message was seen by every version made after it, since training may
take all there are. A round that runs while something is forgotten is not kept
(``PolicyRegistry.record`` sees to it).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlite_utils import Database

from storage.conversations import ConversationLog
from storage.database import Store
from storage.errors import UnknownComparisonError, UnknownSlateError
from storage.inserts import insert
from storage.policies import servable_in
from storage.policy_registry import PolicyRegistry
from storage.records import ComparisonId, ConversationId, PolicyVersionId
from storage.rounds import delete_forgotten, empty_trash
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
        with self._store.snapshot() as db:
            return _servable(db, _versions_that_saw(db, list(ids), since_ms=None))

    def versions_that_saw_ranking(self, slate_id: SlateId) -> list[PolicyVersionId]:
        """Return the servable versions that may have learned from a ranking."""
        with self._store.snapshot() as db:
            return _servable(db, _versions_that_saw(db, [], since_ms=_ranked_ms(db, slate_id)))

    def versions_that_saw_chat(self, conversation_id: ConversationId) -> list[PolicyVersionId]:
        """Return those that may have learned from anything a conversation holds."""
        with self._store.snapshot() as db:
            since_ms = _taught_ms(db, conversation_id)
            questions = _questions_in(db, conversation_id)
            return _servable(db, _versions_that_saw(db, questions, since_ms=since_ms))

    def forget(self, ids: Iterable[ComparisonId], *, reason: str) -> Forgotten:
        """No fit uses these questions any more, and no version that has seen their answers speaks.

        One transaction; forgetting twice is no error. Raises UnknownComparisonError.
        """
        wanted = list(ids)
        with self._store.write() as db:
            seen = _versions_that_saw(db, wanted, since_ms=None)
            for comparison_id in wanted:
                self._mark(db, comparison_id)
            forgotten = self._end(db, seen, reason)
        return self._finished(forgotten)

    def forget_ranking(self, slate_id: SlateId, *, reason: str) -> Forgotten:
        """As ``forget``, of a ranking. Raises UnknownSlateError."""
        with self._store.write() as db:
            seen = _versions_that_saw(db, [], since_ms=_ranked_ms(db, slate_id))
            self._mark_slate(db, slate_id)
            forgotten = self._end(db, seen, reason)
        return self._finished(forgotten)

    def delete_conversation(self, conversation_id: ConversationId, *, unlearn: bool) -> Forgotten:
        """Erase all that was said; with ``unlearn`` also what versions learned from it.

        If none that may speak has, nothing is lost by it: then a round that runs now is not kept
        either, which might be the first. One transaction. Raises UnknownConversationError.
        """
        with self._store.write() as db:
            since_ms = _taught_ms(db, conversation_id)
            seen = _versions_that_saw(db, _questions_in(db, conversation_id), since_ms=since_ms)
            unlearn = unlearn or (since_ms is not None and not _servable(db, seen))
            if unlearn:
                self._mark_chat(db, conversation_id)
            forgotten = self._end(db, seen if unlearn else [], "learned from a deleted chat")
            self._conversations.erase_in(db, conversation_id)
        self._store.checkpoint()
        return self._finished(forgotten)

    def _end(self, db: Database, seen: list[PolicyVersionId], reason: str) -> Forgotten:
        """None of these speaks again. Their files go after the commit, or with the next start."""
        now_ms = self._store.now_ms()
        for version in seen:
            db.execute("INSERT OR IGNORE INTO forgotten_rounds VALUES (?, ?)", [version, now_ms])
        ended = _servable(db, seen)
        # Those without files speak no more in any case: by this their picks are learned anew.
        pruned = set(self._policies.pruned()) & set(seen)
        live = self._policies.ban(db, [*ended, *sorted(pruned)], "tainted", reason)
        return Forgotten(versions=tuple(ended), live=live)

    def _finished(self, forgotten: Forgotten) -> Forgotten:
        """Once it is committed: the files go, and who speaks in their place is read in full."""
        delete_forgotten(self._policies)
        empty_trash(self._policies.rounds)
        if not forgotten.versions:
            return forgotten
        return replace(forgotten, live=self._policies.ensure_sound())

    def _mark_chat(self, db: Database, conversation_id: ConversationId) -> None:
        """Mark what it holds, and the chat itself: thumbs and drafts have no mark of their own."""
        for comparison_id in _questions_in(db, conversation_id):
            self._mark(db, comparison_id)
        for slate_id in _slates_in(db, conversation_id):
            self._mark_slate(db, slate_id)
        db.execute(
            "INSERT OR IGNORE INTO forgotten_dialogues VALUES (?, ?)",
            [conversation_id, self._store.now_ms()],
        )

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


def _servable(db: Database, versions: list[PolicyVersionId]) -> list[PolicyVersionId]:
    servable = set(servable_in(db))
    return [version for version in versions if version in servable]


def _versions_that_saw(
    db: Database, ids: list[ComparisonId], *, since_ms: int | None
) -> list[PolicyVersionId]:
    """Versions, oldest first, made by or after a round that knew such an answer.

    Those that never serve again are among them, since their files may be there still. ``since_ms``
    is when something else was first there for every round to see, None if nothing was. Answers of
    conversations that are held out, or never taught, are known to no round.
    """
    found = fetch(
        db,
        """
        WITH RECURSIVE answered AS (
               SELECT p.seq, p.created_ms FROM preferences p
                 JOIN pick_list l USING (comparison_id)
                 JOIN conversations v USING (conversation_id)
                WHERE l.held_out = 0
                  AND (v.learn = 1
                       OR v.conversation_id IN (SELECT conversation_id FROM taught_once))
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
        SELECT version FROM seen ORDER BY version
        """,
        {"ids": str([int(one) for one in ids]), "since": since_ms},
    )
    return [PolicyVersionId(row["version"]) for row in found]


def _questions_in(db: Database, conversation_id: ConversationId) -> list[ComparisonId]:
    sql = "SELECT comparison_id FROM pick_list WHERE conversation_id = ?"
    return [ComparisonId(row["comparison_id"]) for row in fetch(db, sql, [conversation_id])]


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


def _ranked_ms(db: Database, slate_id: SlateId) -> int | None:
    """When this was first ranked; None if it never was, or only where nobody learns from."""
    [(since_ms,)] = fetch(
        db,
        """
        SELECT min(r.created_ms) FROM rankings r JOIN slates s USING (slate_id)
          JOIN turns t ON t.turn_id = s.prompt_turn_id JOIN conversations v USING (conversation_id)
         WHERE v.held_out = 0 AND r.state = 'ranked' AND s.slate_id = ?
        """,
        [slate_id],
    )
    return since_ms


def _taught_ms(db: Database, conversation_id: ConversationId) -> int | None:
    """When a conversation first held anything that a round may take; None if it never did.

    That is an answer, a ranking, a finished dialogue, a thumb, or two whole answers to one message,
    which the reward ensemble may label. What was taken back since may have been learned before.
    """
    [(since_ms,)] = fetch(
        db,
        """
        WITH here AS (
               SELECT conversation_id FROM conversations
                WHERE conversation_id = ? AND held_out = 0
                  AND (learn = 1 OR conversation_id IN (SELECT conversation_id FROM taught_once))),
             said AS (SELECT turn_id FROM turns JOIN here USING (conversation_id)),
             answers AS (
               SELECT c.created_ms, row_number() OVER (PARTITION BY c.prompt_turn_id
                                                           ORDER BY c.candidate_id) AS place
                 FROM said JOIN candidates c ON c.prompt_turn_id = turn_id
                 JOIN candidate_cache k USING (candidate_id)
                WHERE c.finish IN ('stop', 'length') AND k.feature IS NOT NULL)
        SELECT min(created_ms) FROM (
          SELECT p.created_ms FROM here JOIN pick_list USING (conversation_id)
            JOIN preferences p USING (comparison_id)
          UNION ALL
          SELECT r.created_ms FROM said JOIN slates s ON s.prompt_turn_id = turn_id
            JOIN rankings r USING (slate_id) WHERE r.state = 'ranked'
          UNION ALL
          SELECT d.created_ms FROM here JOIN demonstrations d USING (conversation_id)
          UNION ALL
          SELECT r.created_ms FROM said JOIN ratings r USING (turn_id) WHERE r.thumb <> 'none'
          UNION ALL
          SELECT created_ms FROM answers WHERE place = 2)
        """,
        [conversation_id],
    )
    return since_ms
