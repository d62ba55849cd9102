"""Of older versions fewer and fewer are kept: each takes the space of an adapter and its moments.

The rule is that of rotated backups. Of the versions ever made, by number, the newest ``NEWEST`` are
kept, then every second as far again, then every fourth twice as far, and so on: some
``NEWEST * (1 + log2(n / NEWEST) / 2)`` of n, spaced the wider the older they are. So there is
always something not much older to go back to, or to learn anew from where a pick is forgotten. What
is dropped once would be dropped by every later count, too.

Kept in any case: the live version and the ``NEWEST`` before it on its line, what has a person's
note, and what a training phase made, which may be the reference of all lessons since.
"""

import shutil

from sqlite_utils import Database

from storage.inserts import insert
from storage.manifest import round_folder
from storage.policy_registry import PolicyRegistry
from storage.records import PolicyVersionId
from storage.sqlite import fetch

NEWEST = 6

_UNPINNED = """
    SELECT version, rank, n FROM (
      SELECT version, row_number() OVER (ORDER BY version) AS rank, count(*) OVER () AS n
        FROM policy_versions WHERE version > 0)
     WHERE version NOT IN (SELECT version FROM pruned_versions)
       AND version NOT IN (SELECT version FROM lineage ORDER BY version DESC LIMIT 1 + :newest)
       AND version NOT IN (SELECT version FROM version_notes
                            WHERE note_id IN (SELECT max(note_id) FROM version_notes
                                               GROUP BY version)
                              AND body <> '')
       AND NOT EXISTS (SELECT 1 FROM rounds
                        WHERE number = version
                          AND json_extract(config_json, '$.run_key') IS NOT NULL)
     ORDER BY version
"""


def is_kept(rank: int, count: int) -> bool:
    """Whether the rule keeps the ``rank``-th of ``count`` versions, both from 1."""
    spacing = rank & -rank  # the greatest power of two that divides it
    return count - rank < NEWEST * spacing


def prune(registry: PolicyRegistry) -> list[PolicyVersionId]:
    """Drop the files of versions that are not to be kept, and return which.

    Rows first, in one transaction with the choice, so that none of them goes live meanwhile; what a
    crash leaves of the files goes with the next start.
    """
    with registry.store.write() as db:
        dropped = _to_drop(db)
        now_ms = registry.store.now_ms()
        for version in dropped:
            insert(db, "pruned_versions", {"version": version, "created_ms": now_ms})
    _delete(registry, dropped)
    return dropped


def delete_pruned(registry: PolicyRegistry) -> None:
    """Delete what a crash has left of versions that are not kept."""
    _delete(registry, registry.pruned())


def _to_drop(db: Database) -> list[PolicyVersionId]:
    return [
        PolicyVersionId(row["version"])
        for row in fetch(db, _UNPINNED, {"newest": NEWEST})
        if not is_kept(row["rank"], row["n"])
    ]


def _delete(registry: PolicyRegistry, versions: list[PolicyVersionId]) -> None:
    for version in versions:
        shutil.rmtree(round_folder(registry.rounds, version), ignore_errors=True)
