"""The measure of how far two implementations lie apart."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.flow.difference import endpoint_difference, measure_difference, textured_pair


def test_a_difference_that_is_known() -> None:
    one = np.zeros((10, 20, 2), dtype=np.float32)
    other = one.copy()
    other[0, :3] = (3, 4)
    apart = endpoint_difference(one, other)
    assert apart.mean_px == pytest.approx(3 * 5 / 200)
    assert apart.p99_px == pytest.approx(5)


def test_the_pair_moves_and_parameter_sets_see_it_differently() -> None:
    earlier, later = textured_pair(64, 48)
    assert np.abs(earlier.astype(int) - later).mean() > 3
    paper, fast = (OpenCvFlow(PARAMETER_SETS[name]) for name in ("paper", "fast"))
    assert measure_difference(paper, OpenCvFlow(PARAMETER_SETS["paper"]), 64, 48).mean_px == 0
    assert measure_difference(paper, fast, 64, 48).mean_px > 0.01
