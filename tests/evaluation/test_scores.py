"""Measures of predicted probabilities, on numbers that can be checked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.evaluation.scores import (
    accuracy,
    brier,
    calibration_error,
    length_balanced_accuracy,
    log_loss,
    longer_is_better,
)

probabilities = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=50).map(np.array)


def test_a_coin_scores_what_a_coin_scores():
    coin = np.full(10, 0.5)
    assert accuracy(coin) == 0.5
    assert log_loss(coin) == pytest.approx(math.log(2))
    assert brier(coin) == 0.25
    assert calibration_error(coin) == pytest.approx(0.0)


def test_values_by_hand():
    p = np.array([0.9, 0.4])
    assert accuracy(p) == 0.5
    assert log_loss(p) == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2)
    assert brier(p) == pytest.approx((0.01 + 0.36) / 2)


def test_boasting_is_uncalibrated_and_honesty_is_not():
    right, wrong = [0.83] * 83, [0.17] * 17
    assert calibration_error(np.array(right + wrong)) == pytest.approx(0.0, abs=1e-9)
    boast = [0.99] * 80 + [0.01] * 20
    assert calibration_error(np.array(boast)) == pytest.approx(0.19, abs=1e-9)


def test_the_longer_baseline_counts_ties_half():
    assert longer_is_better(np.array([1.0, -1.0, 0.0, 2.0])) == 2.5 / 4


def test_length_alone_scores_one_half_when_balanced():
    longer = np.array([1.0, 2.0, 1.0, -1.0])
    assert accuracy((longer > 0) * 0.9) == 0.75
    assert length_balanced_accuracy((longer > 0) * 0.9, longer) == 0.5
    assert length_balanced_accuracy((longer < 0) * 0.9, longer) == 0.5
    # Two of the three longer ones and the shorter one are right.
    p = np.array([0.9, 0.9, 0.1, 0.9])
    assert length_balanced_accuracy(p, longer) == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(length_balanced_accuracy(p[:3], longer[:3]))


@given(probabilities)
def test_all_measures_stay_in_their_ranges(p: np.ndarray):
    assert 0 <= accuracy(p) <= 1
    assert log_loss(p) > 0
    assert 0 <= brier(p) <= 1
    assert 0 <= calibration_error(p) <= 1
