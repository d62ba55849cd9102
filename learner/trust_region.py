"""How far an update may go: what to keep of one that drifted too far from the base.

Along a line in weight space the drift (KL to the base over its limit) grows like a power of the
distance, between 2.9 and 3.9 in twenty rounds that were measured (docs/LOG.md), not the 2 of small
changes. So its cube root is taken to be linear.
"""

POWER = 3.0
ROOM = 0.85
"""Drift aimed at: below one, so that the next update is not at the limit at once."""
SHORTEST = 0.2
"""Least share of a step that is kept, whatever has to give way of what is there already."""


def shorter_step(before: float, after: float) -> float:
    """Share of a step from drift ``before`` to drift ``after`` at which it should come to ROOM.

    At least SHORTEST: were a parent at the limit to leave nothing of the step, its picks would
    never be learned. ``after`` is above ROOM and finite.
    """
    start, end, aim = (x ** (1.0 / POWER) for x in (before, after, ROOM))
    if end <= start:  # the parent is as far away: the step is not to blame
        return 1.0
    return min(1.0, max(SHORTEST, (aim - start) / (end - start)))


def nearer(drift: float) -> float:
    """Share of the distance to the base at which this drift should have come down to ROOM."""
    return (ROOM / drift) ** (1.0 / POWER)
