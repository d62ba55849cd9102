"""How sure a mean is."""

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values`` (n,), resampling its entries."""
    picked = rng.integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picked].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
