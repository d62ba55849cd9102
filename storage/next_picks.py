"""Which picks the next round takes, and whether they start it.

Those that no round has tried come first. Then those that are to be learned anew: the last round
that took them was accepted, and either its version may never speak again (it was forgotten, say),
or learning has gone on without it since. What was just rolled back rests until then, or the version
that was put back would be replaced within the minute; so does what was refused, until new picks
come, or it would be refused without end.
"""

from sqlite_utils import Database

from storage.records import Preference, PreferenceId
from storage.rows import preferences_of
from storage.sqlite import fetch

# turn: 0 never tried, 1 to be learned anew, 2 tried and resting.
_WAITING = """
    SELECT e.*, CASE
             WHEN e.seq > :attempted THEN 0
             WHEN (SELECT r.status = 'accepted'
                          AND (r.number < (SELECT version FROM active_pointer)
                               OR EXISTS (SELECT 1 FROM version_states s
                                           WHERE s.version = r.number
                                             AND s.state IN ('rejected', 'tainted')))
                     FROM round_items i JOIN rounds r USING (number)
                    WHERE i.seq = e.seq AND r.status <> 'failed'
                    ORDER BY i.number DESC LIMIT 1) THEN 1
             ELSE 2 END AS turn
      FROM eligible e
"""


def count_due(db: Database, attempted: PreferenceId) -> int:
    """Return how many picks start a round; ``attempted`` is the newest that one has tried."""
    sql = f"SELECT count(*) AS n FROM ({_WAITING}) WHERE turn < 2"  # noqa: S608 - a constant
    return fetch(db, sql, {"attempted": attempted})[0]["n"]


def next_picks(db: Database, attempted: PreferenceId, limit: int) -> list[Preference]:
    """Return the picks that a round of at most ``limit`` takes, by id.

    The resting ones are among them where there is room; of each kind the oldest come first.
    """
    sql = f"""
        SELECT * FROM (SELECT * FROM ({_WAITING}) ORDER BY turn, seq LIMIT :limit) ORDER BY seq
    """  # noqa: S608 - a constant
    return preferences_of(db, fetch(db, sql, {"attempted": attempted, "limit": limit}))
