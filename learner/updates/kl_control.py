"""The strength of a KL penalty, steered so that the KL stays near a target."""

LIMIT = 0.2
GAIN = 0.1


def steered(weight: float, kl: float, target: float) -> float:
    """The next weight: a log-space proportional controller, arXiv 1909.08593, section 2.2.

    ``e = clip(kl / target - 1, -0.2, 0.2)`` and ``weight (1 + 0.1 e)``: at most 2 % a step.
    """
    error = max(-LIMIT, min(LIMIT, kl / target - 1.0))
    return weight * (1.0 + GAIN * error)
