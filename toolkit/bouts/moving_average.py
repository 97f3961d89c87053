"""The centred moving average of probabilities: of a recording at once, and live as a decision filter."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts.decision import DecisionFilter
from toolkit.frames import MAX_STEP, NS_PER_S


def smooth_probabilities(
    probabilities: NDArray[np.floating], time_ns: NDArray[np.int64], smoothing_s: float, frame_interval_ns: int
) -> NDArray[np.float32]:
    """Return the centred moving average of probabilities; none reaches over a gap.

    A frame's average is over the frames at most half of `smoothing_s` before or after it, counted at the nominal
    interval; at the ends of a run of consecutive frames, over those that there are.

    Parameters
    ----------
    probabilities
        (N, K) of each frame.
    time_ns
        (N,) capture times, increasing. A step over 1.5 intervals is a gap.
    smoothing_s
        Width of the average, seconds; under two intervals the probabilities stay as they are.
    frame_interval_ns
        Nominal time from one frame to the next.

    Examples
    --------
    >>> smooth_probabilities(np.array([[0.0], [0.0], [3.0]]), np.array([0, 10, 20]), 20e-9, 10).tolist()
    [[0.0], [1.0], [1.5]]
    """
    frames = len(time_ns)
    reach = reach_of(smoothing_s, frame_interval_ns)
    if reach == 0 or frames == 0:
        return probabilities.astype(np.float32, copy=False)
    starts = np.flatnonzero(np.r_[True, np.diff(time_ns) > MAX_STEP * frame_interval_ns])
    lengths = np.diff(np.r_[starts, frames])
    position = np.arange(frames)
    low = np.maximum(position - reach, np.repeat(starts, lengths))
    high = np.minimum(position + reach + 1, np.repeat(starts + lengths, lengths))
    sums = np.zeros((frames + 1, probabilities.shape[1]))
    np.cumsum(probabilities, axis=0, dtype=np.float64, out=sums[1:])
    mean: NDArray[np.float32] = ((sums[high] - sums[low]) / (high - low)[:, np.newaxis]).astype(np.float32)
    return mean


def reach_of(smoothing_s: float, frame_interval_ns: int) -> int:
    """Return how many frames before and after it a frame's average takes in."""
    # The margin keeps a width that is a whole number of intervals from losing one to rounding.
    return int(smoothing_s * NS_PER_S / (2 * frame_interval_ns) + 1e-6)


class MovingAverage:
    """A decision filter: what `smooth_probabilities` makes of a segment, passed on to another filter.

    Waits for `reach` frames, and for what the other filter waits.

    Parameters
    ----------
    reach
        Frames before and after it that a frame's average takes in.
    then
        Takes the averages and their most probable behaviours.
    """

    def __init__(self, reach: int, then: DecisionFilter) -> None:
        self._reach = reach
        self._then = then
        # Of the segment: the averages' window and its sum, the times of frames that are not passed on yet, how many are
        # passed on, and which is the window's first.
        self._window: deque[NDArray[np.float64]] = deque()
        self._sum: NDArray[np.float64] = np.zeros(1)
        self._times: deque[int] = deque()
        self._passed = self._first = 0

    def begin_with(self, label: int) -> None:
        """Decide the next segment's first frame as this label."""
        self._then.begin_with(label)

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[int]:
        """Take the next frame and return the labels that are final by now."""
        del label
        row = np.array(probabilities, dtype=np.float64)
        self._window.append(row)
        self._sum = self._sum + row
        self._times.append(time_ns)
        return self._pass_on() if len(self._times) > self._reach else []

    def end(self) -> list[int]:
        """Return the labels of the frames that remain."""
        decided = [label for _ in range(len(self._times)) for label in self._pass_on()]
        self._window.clear()
        self._sum, self._passed, self._first = np.zeros(1), 0, 0
        return decided + self._then.end()

    def _pass_on(self) -> list[int]:
        while self._first < self._passed - self._reach:
            self._sum = self._sum - self._window.popleft()
            self._first += 1
        self._passed += 1
        mean = self._sum / len(self._window)
        return self._then.push(self._times.popleft(), int(mean.argmax()), mean)
