"""How good are predicted probabilities of recorded choices? Pure functions on arrays.

``p`` (n,) is the predicted probability that the recorded choice would be made. As the label is
always "chosen", calibration takes every pair in both orders, so that it cannot be had by saying 1.
"""

import numpy as np

BINS = 15
LENGTH_MATCHED = np.log(1.1)
"""Lengths within 10 % of each other: |ln(a / b)| at most this."""


def accuracy(p: np.ndarray) -> float:
    """Share of choices given more than even odds; exactly even counts half."""
    return float(np.mean((p > 0.5) + 0.5 * (p == 0.5)))


def log_loss(p: np.ndarray) -> float:
    """Mean of -ln p, nats; ln 2 is what a coin scores."""
    return float(np.mean(-np.log(p)))


def brier(p: np.ndarray) -> float:
    """Mean of (1 - p) squared; 0.25 is what a coin scores."""
    return float(np.mean((1.0 - p) ** 2))


def calibration_error(p: np.ndarray) -> float:
    """Expected calibration error: mean over 15 equal bins of |predicted - observed| share."""
    predicted = np.concatenate([p, 1.0 - p])
    happened = np.concatenate([np.ones_like(p), np.zeros_like(p)])
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=happened - predicted, minlength=BINS)
    return float(np.abs(gaps).sum() / len(predicted))


def length_balanced_accuracy(p: np.ndarray, longer: np.ndarray) -> float:
    """Mean of the accuracies where the longer and where the shorter reply was chosen.

    Picking by length alone, either way, scores one half whatever the pairs. NaN where one of the
    two never happened.
    """
    above, below = p[longer > 0], p[longer < 0]
    if not len(above) or not len(below):
        return float("nan")
    return (accuracy(above) + accuracy(below)) / 2.0


def longer_is_better(longer: np.ndarray) -> float:
    """Accuracy of picking the longer reply; ``longer`` (n,) is ln of the length ratio."""
    return float(np.mean((longer > 0) + 0.5 * (longer == 0)))
