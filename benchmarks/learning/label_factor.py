"""How many labels a curve takes to a level, and how many fewer than another: for all tables."""

import numpy as np

NEVER = 0.5
"""The factor of a curve that never gets there: it is taken to need twice the labels."""


def labels_to(counts: np.ndarray, curve: np.ndarray, level: float) -> float:
    """The count at which ``curve`` is first at ``level``, straight between counts; NaN if never.

    ``counts`` rise; where the first is 0, a curve that is there before the next one counts as there
    with it: fewer were not looked at.
    """
    reached = np.flatnonzero(curve >= level)
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    first = 1 if counts[0] == 0 else 0
    if i <= first:
        return float(counts[first])
    share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(counts[i - 1] + share * (counts[i] - counts[i - 1]))


def most(counts: np.ndarray, at: float) -> float:
    """The highest factor that can be told, where a level is reached by the first count."""
    return at / float(counts[counts > 0][0])


def fewer_labels(counts: np.ndarray, curve: np.ndarray, level: float, at: float) -> float:
    """``at`` over the labels that ``curve`` takes to ``level``."""
    labels = labels_to(counts, curve, level)
    return NEVER if np.isnan(labels) else at / labels


def said(factor: float, counts: np.ndarray, at: float, digits: int = 1) -> str:
    """A factor, or that it is at least the highest that can be told."""
    bound = "at least " if factor >= most(counts, at) else ""
    return f"{bound}{factor:.{digits}f}"
