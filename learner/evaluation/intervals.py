"""How sure a mean is."""

import math

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values`` (n,), resampling its entries."""
    picked = rng.integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picked].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def wilson_interval(wins: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of ``n`` trials: stays within 0 and 1, however few they are."""
    p = wins / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
