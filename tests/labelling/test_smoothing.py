"""Smoothing rows as they come gives what smoothing them all at once gives."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.behaviour_log import Reason
from toolkit.bouts import NO_LABEL, smooth_probabilities
from toolkit.frames import NS_PER_S
from toolkit.labelling.rows import LabelledRow
from toolkit.labelling.smoothing import Smoothing

INTERVAL_NS = NS_PER_S // 30


@pytest.mark.parametrize("smoothing_s", [0.0, 0.05, 0.2, 1.0, 3.0])
def test_streamed_is_what_is_computed_at_once(smoothing_s: float) -> None:
    rng = np.random.default_rng(3)
    # Two gaps, one of time alone and one of a frame without a label.
    index = np.concatenate([np.arange(40), np.arange(50, 120)])
    probabilities = rng.dirichlet(np.ones(4), len(index)).astype(np.float32)
    unlabelled = 70
    rows = [
        LabelledRow(int(i), int(i) * INTERVAL_NS, int(p.argmax()), p, smoothed=int(p.argmax()))
        for i, p in zip(index, probabilities, strict=True)
    ]
    rows[unlabelled] = LabelledRow(rows[unlabelled].index, rows[unlabelled].time_ns, NO_LABEL, None, view=Reason.FROZEN)
    kept = np.delete(np.arange(len(index)), unlabelled)
    expected = smooth_probabilities(probabilities[kept], index[kept] * INTERVAL_NS, smoothing_s, INTERVAL_NS)
    smoothing = Smoothing(smoothing_s, INTERVAL_NS)
    streamed = [row for one in rows for row in smoothing.push([one])] + list(smoothing.end())
    assert [row.index for row in streamed] == index.tolist()
    assert [row.smoothed for row in streamed if row.view is None] == expected.argmax(axis=1).tolist()
    assert [row.label for row in streamed] == [row.label for row in rows]


def test_a_row_waits_for_half_a_width_and_no_longer() -> None:
    smoothing = Smoothing(1.0, INTERVAL_NS)
    row = LabelledRow(0, 0, 0, np.array([1.0, 0.0], dtype=np.float32), smoothed=0)
    for i in range(500):
        out = list(smoothing.push([LabelledRow(i, i * INTERVAL_NS, 0, row.probabilities, smoothed=0)]))
        assert [r.index for r in out] == ([i - 15] if i >= 15 else [])
