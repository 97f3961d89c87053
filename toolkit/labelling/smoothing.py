"""The centred moving average of `toolkit.bouts.smooth_probabilities`, on rows that come one after the other.

It looks ahead by half its width, so that memory does not grow with the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from toolkit.frames import MAX_STEP, NS_PER_S
from toolkit.labelling.rows import LabelledRow


class Smoothing:
    """Gives rows their smoothed label, half a width after they came.

    Parameters
    ----------
    smoothing_s
        Width of the average, seconds; under two intervals every row keeps its label.
    row_interval_ns
        Nominal time from one row to the next. No average reaches over a step of more than 1.5 of it, or over a row
        without a label.
    """

    def __init__(self, smoothing_s: float, row_interval_ns: int) -> None:
        # As in smooth_probabilities, a whole number of intervals must not lose one to rounding.
        self._reach = int(smoothing_s * NS_PER_S / (2 * row_interval_ns) + 1e-6)
        self._max_step_ns = MAX_STEP * row_interval_ns
        # A run's newest rows; the first `_done` of them have been returned.
        self._run: deque[LabelledRow] = deque()
        self._done = 0

    def push(self, rows: Iterable[LabelledRow]) -> Iterator[LabelledRow]:
        """Take the next rows and yield those whose smoothed label is known, in order."""
        for row in rows:
            if self._run and (row.probabilities is None or row.time_ns - self._run[-1].time_ns > self._max_step_ns):
                yield from self.end()
            if row.probabilities is None:
                yield row
                continue
            self._run.append(row)
            if len(self._run) - self._done > self._reach:
                yield self._smoothed()

    def end(self) -> Iterator[LabelledRow]:
        """Yield the rows that still wait for successors."""
        while self._done < len(self._run):
            yield self._smoothed()
        self._run.clear()
        self._done = 0

    def _smoothed(self) -> LabelledRow:
        position = self._done
        low, high = max(position - self._reach, 0), position + self._reach + 1
        around = [row.probabilities for row in list(self._run)[low:high] if row.probabilities is not None]
        row = self._run[position]
        self._done += 1
        if self._done > self._reach:
            self._run.popleft()
            self._done -= 1
        return replace(row, smoothed=int(np.mean(around, axis=0, dtype=np.float64).argmax()))
