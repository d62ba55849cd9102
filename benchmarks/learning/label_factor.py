"""How many labels a curve takes to a level, and how many fewer than another: for all tables."""

import numpy as np

NEVER = 0.5
"""The factor of a curve that never gets there: it is taken to need twice the labels."""


def labels_to(counts: np.ndarray, curve: np.ndarray, level: float) -> float:
    """The count at which ``curve`` is first at ``level``, straight between counts; NaN if never.

    ``counts`` rise; where the first is 0, a curve that is there without a label counts from the
    next one, since fewer were not looked at.
    """
    reached = np.flatnonzero(curve >= level)
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(counts[0] or counts[1])
    share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(counts[i - 1] + share * (counts[i] - counts[i - 1]))


def fewer_labels(counts: np.ndarray, curve: np.ndarray, level: float, at: float) -> float:
    """``at`` over the labels that ``curve`` takes to ``level``, but at least one label."""
    labels = labels_to(counts, curve, level)
    return NEVER if np.isnan(labels) else at / max(1.0, labels)
