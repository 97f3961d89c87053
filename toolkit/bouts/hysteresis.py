"""A behaviour is taken only after it has lasted, and then from its first frame on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts.contract import NO_LABEL

_TOLERANCE = 0.01
"""Part of an interval by which a run may fall short: three intervals of 33.333333 ms are 0.1 s."""


class Hysteresis:
    """A decision filter: runs of raw labels that are too short belong to the behaviour before them.

    A run of another behaviour than the one in force is taken as soon as it has lasted its shortest bout, from its
    first frame on; if it ends before, its frames keep the behaviour in force. A segment's first frame is always taken:
    nothing is before it. Waits for at most the longest of the shortest bouts.

    Parameters
    ----------
    shortest_ns
        Shortest bout of a behaviour that is not in `by_behaviour_ns`, ns.
    by_behaviour_ns
        Shortest bouts by position in the ethogram, ns.
    frame_interval_ns
        Time that a frame stands for.

    Examples
    --------
    >>> hysteresis = Hysteresis(20, {}, frame_interval_ns=10)
    >>> rest, walk = 0, 1
    >>> [hysteresis.push(10 * i, label, np.ones(2)) for i, label in enumerate([rest, walk, rest, walk, walk])]
    [[0], [], [0, 0], [], [1, 1]]
    """

    def __init__(self, shortest_ns: int, by_behaviour_ns: Mapping[int, int], frame_interval_ns: int) -> None:
        self._shortest_ns = shortest_ns
        self._by_behaviour_ns = dict(by_behaviour_ns)
        self._interval_ns = frame_interval_ns
        self._in_force = self._first = NO_LABEL
        # The run that is not taken yet.
        self._candidate, self._since_ns, self._frames = NO_LABEL, 0, 0

    def begin_with(self, label: int) -> None:
        """Decide the next segment's first frame as this label."""
        self._first = label

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[int]:
        """Take the next frame and return the labels that are final by now."""
        del probabilities
        if self._in_force == NO_LABEL:
            self._in_force = label if self._first == NO_LABEL else self._first
            self._first = NO_LABEL
            return [self._in_force]
        if label == self._in_force:
            return [*self._give_up(), label]
        decided = self._give_up() if label != self._candidate else []
        if not self._frames:
            self._candidate, self._since_ns = label, time_ns
        self._frames += 1
        lasted_ns = time_ns + self._interval_ns - self._since_ns
        shortest_ns = self._by_behaviour_ns.get(label, self._shortest_ns)
        if lasted_ns < shortest_ns - _TOLERANCE * self._interval_ns:
            return decided
        self._in_force = label
        return decided + self._give_up()

    def end(self) -> list[int]:
        """Return the labels of the frames that remain."""
        decided = self._give_up()
        self._in_force = self._first = NO_LABEL
        return decided

    def _give_up(self) -> list[int]:
        """Give the candidate's frames to the behaviour in force."""
        decided = [self._in_force] * self._frames
        self._candidate, self._frames = NO_LABEL, 0
        return decided
