"""Calibration against scikit-learn, SciPy and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from toolkit.errors import InputError
from toolkit.fusion import softmax
from toolkit.scoring import best_temperature, negative_log_likelihood, reliability


@pytest.mark.parametrize("seed", range(3))
def test_bins_are_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence = np.r_[random.uniform(0.1, 1, 500), 1 / 15, 0.2, 1.0]
    right = random.random(confidence.size) < confidence
    table = reliability(confidence, right)
    accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=15)
    filled = table.frames > 0
    np.testing.assert_allclose(table.accuracy[filled], accuracy)
    np.testing.assert_allclose(table.confidence[filled], mean_confidence)
    expected = np.average(np.abs(accuracy - mean_confidence), weights=table.frames[filled])
    assert table.expected_calibration_error == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Three labels given with 0.9, two right: |0.9 - 2/3|; one with 0.5, right: |0.5 - 1|.
    table = reliability(np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, True, False, True]))
    assert table.expected_calibration_error == pytest.approx((3 * (0.9 - 2 / 3) + 0.5) / 4)
    assert table.frames.sum() == 4
    assert np.isnan(reliability(np.empty(0), np.empty(0, dtype=bool)).expected_calibration_error)
    with pytest.raises(InputError, match="found 2 and 1"):
        reliability(np.ones(2), np.ones(1, dtype=bool))


def test_likelihood_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    logits, truth = random.normal(size=(200, 5)).astype(np.float32), np.r_[np.arange(5), random.integers(0, 5, 195)]
    probabilities = softmax(logits / np.float32(1.7)).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert negative_log_likelihood(logits, truth, 1.7) == pytest.approx(log_loss(truth, probabilities), rel=1e-5)


@pytest.mark.parametrize(("seed", "scale"), [(0, 0.8), (1, 1.0), (2, 5.0)])
def test_temperature_is_scipys(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 8, 500)
    logits = scale * (random.normal(size=(500, 8)) + 2 * np.eye(8)[truth])

    def loss(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(500), truth]))

    expected = np.exp(minimize_scalar(loss, bounds=np.log([0.25, 10]), method="bounded", options={"xatol": 1e-9}).x)
    assert best_temperature(logits, truth) == pytest.approx(expected, rel=1e-4)


def test_temperature_by_hand() -> None:
    # Two behaviours 2 apart, three of four frames right: sigmoid(2 / T) = 3/4 where 2 / T = ln 3.
    logits = np.array([[2.0, 0.0]] * 4, dtype=np.float32)
    assert best_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(3), rel=1e-6)


def test_temperature_stays_in_its_bounds() -> None:
    logits = np.array([[2.0, 0.0]] * 4, dtype=np.float32)
    assert best_temperature(logits, np.zeros(4, dtype=int)) == 0.25, "always right: ever surer would be likelier"
    assert best_temperature(logits, np.ones(4, dtype=int)) == 10, "always wrong"
    with pytest.raises(InputError, match="found none"):
        best_temperature(logits[:0], np.zeros(0, dtype=int))
