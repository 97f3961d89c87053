"""Percentiles in bounded memory, and the clocks."""

from __future__ import annotations

import time

import numpy as np
import pytest

from toolkit.cage.clock import boot_id, read_clock
from toolkit.cage.health import LatencyHistogram


def test_percentiles_agree_with_numpy() -> None:
    values = np.random.default_rng(0).lognormal(-1.5, 0.8, 20_000)
    latency = LatencyHistogram()
    for value in values:
        latency.add(float(value))
    for percent in (1, 50, 99, 99.9):
        expected = float(np.percentile(values, percent, method="inverted_cdf"))
        assert latency.percentile_s(percent) == pytest.approx(expected, rel=0.05)


def test_extremes() -> None:
    latency = LatencyHistogram()
    assert latency.percentile_s(50) is None
    latency.add(0.0)
    latency.add(-1.0)
    assert latency.percentile_s(50) == pytest.approx(1e-4, rel=0.06)
    latency.add(1e9)
    last = latency.percentile_s(100)
    assert last is not None
    assert last > 600


def test_the_clocks_are_read_together() -> None:
    before = time.time_ns() - time.monotonic_ns()
    reading = read_clock()
    assert reading.utc_offset_ns == pytest.approx(before, abs=50_000_000)
    assert reading.synchronised in (True, False, None)
    assert boot_id() == boot_id() != ""
