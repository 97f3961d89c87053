from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.report.logs import recorded
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.report.confidence import confidence, daily_quantiles
from toolkit.report.confidence_picture import draw_confidence
from toolkit.report.record import DayConfidence


def test_confidence_by_hand(tmp_path: Path) -> None:
    found = recorded(tmp_path, [0, 0, 0, 1, -1], probability=[0.2, 0.6, 1.0, 0.8, 0.3])
    summary = confidence(found.confidence, MOUSE_HOME_CAGE.names)
    assert summary is not None
    drink, eat, groom = summary.behaviours[:3]
    # A byte holds a probability to within 1/510.
    assert drink.median == pytest.approx(0.6, abs=1 / 510)
    assert drink.percent_unsure == pytest.approx(100 / 3)
    assert (eat.rows, eat.percent_unsure) == (1, 0)
    assert np.isnan(groom.median)
    assert (summary.rows, summary.uncertain_rows) == (5, 1)
    assert confidence((), MOUSE_HOME_CAGE.names) is None


def test_quantiles_are_numpys() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (2, 8, 1001))
    days = [
        DayConfidence(day * 86_400 * 10**9, np.array([np.bincount(row, minlength=256) for row in values[day]]))
        for day in range(2)
    ]
    found = daily_quantiles(days, (0.05, 0.5))
    expected = np.quantile(values, (0.05, 0.5), axis=2, method="inverted_cdf") / 255
    np.testing.assert_allclose(found[:, :8], np.moveaxis(expected, 0, -1))
    pooled = np.quantile(values.reshape(2, -1), 0.5, axis=1, method="inverted_cdf") / 255
    np.testing.assert_allclose(found[:, 8, 1], pooled)
    panel = draw_confidence(days, MOUSE_HOME_CAGE).axes[3]
    assert any(np.allclose(line.get_ydata(), found[:, 3, 1]) for line in panel.lines)
