"""The sequential test behind going back by itself."""

import numpy as np
import pytest

from learner.rollback import detect_harm
from storage.duels import Outcome
from storage.records import BASE_VERSION, PolicyVersionId

THRESHOLD = 50.0


def duels(version: int, *won: float) -> list[Outcome]:
    live = PolicyVersionId(version)
    return [Outcome(live=live, rival=BASE_VERSION, won=one) for one in won]


def duels_until_alarm(chance: float, rng: np.random.Generator, limit: int) -> int:
    """Duels that a version which wins with ``chance`` is let go on, at most ``limit``."""
    outcomes: list[Outcome] = []
    while len(outcomes) < limit:
        outcomes += duels(1, float(rng.random() < chance))
        if detect_harm(outcomes, THRESHOLD) is not None:
            break
    return len(outcomes)


def test_nothing_was_said_and_nothing_is_wrong():
    assert detect_harm([], THRESHOLD) is None


def test_ties_are_no_evidence():
    assert detect_harm(duels(3, *[0.5] * 200), 250.0) is None


def test_a_version_that_always_loses_is_found_out_in_a_few_duels():
    outcomes = duels(2, 1, 1, 0, 1, 1, 1) + duels(3, *[0] * 8)
    harm = detect_harm(outcomes, THRESHOLD)
    assert harm is not None
    assert (harm.since, harm.lost, harm.of) == (3, 8, 8)
    assert detect_harm(outcomes[:-3], THRESHOLD) is None


def test_early_success_does_not_hide_later_harm():
    good = duels(2, *[1] * 300)
    harm = detect_harm(good + duels(3, *[0] * 9), THRESHOLD)
    assert harm is not None and harm.since == 3


@pytest.mark.parametrize("chance", [0.5, 0.6, 0.8])
def test_false_alarms_are_as_rare_as_promised(chance):
    rng = np.random.default_rng(0)
    runs = [duels_until_alarm(chance, rng, 400) for _ in range(40)]
    assert np.mean(runs) >= THRESHOLD  # cut at 400, so the true mean is larger


def test_a_version_that_loses_nine_of_ten_is_gone_within_twenty_duels():
    rng = np.random.default_rng(1)
    runs = [duels_until_alarm(0.05, rng, 40) for _ in range(60)]
    assert np.mean([run <= 20 for run in runs]) >= 0.95
