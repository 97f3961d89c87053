"""From each frame's probabilities to its decided label, a frame at a time: what the daemon runs, and `label` too.

Without a filter a frame is decided at once, as its raw label. A filter waits for later frames and decides with them; it
sees one *segment* at a time. A frame without a label (uncertain) and a gap in observation end a segment: what waits is
decided with what there is, nothing is carried over, and the unlabelled frame stays unlabelled. So every frame with a
raw label has exactly one decided label, in order, and filters never invent behaviour for time that was not seen.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts.builder import BoutBuilder
from toolkit.bouts.contract import NO_LABEL, Bout, BoutRules
from toolkit.errors import InputError
from toolkit.frames import MAX_STEP


class DecisionFilter(Protocol):
    """Decides the labels of one segment after another, each frame's with a bounded number of frames after it."""

    def begin_with(self, label: int) -> None:
        """Decide the next segment's first frame as this label, whatever it looks like."""

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[int]:
        """Take the segment's next frame and return the labels that are final by now, oldest first.

        Parameters
        ----------
        time_ns
            Capture time, later than the frame's before.
        label
            Its raw label, 0 to K - 1.
        probabilities
            (K,) fused probabilities; only read, and not kept.
        """

    def end(self) -> list[int]:
        """Return the labels of the segment's remaining frames. The filter is then as new."""


class Decided(NamedTuple):
    """A frame whose label is final."""

    time_ns: int
    label: int
    """Negative: none."""
    probability: float
    """Of `label`; 0 where there is none."""


class Decider:
    """Cuts a stream of frames into segments, and has a filter decide each.

    Parameters
    ----------
    decide
        None decides every frame at once, as its raw label.
    frame_interval_ns
        Nominal time from one frame to the next. A step over 1.5 intervals is a gap.
    """

    def __init__(self, decide: DecisionFilter | None, frame_interval_ns: int) -> None:
        self._filter = decide
        self._max_step_ns = MAX_STEP * frame_interval_ns
        # Time, raw label and probabilities of the frames that are not decided yet.
        self._waiting: deque[tuple[int, int, NDArray[np.floating]]] = deque()
        self._in_force = NO_LABEL
        self._last_ns: int | None = None

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[Decided]:
        """Take the next frame and return the frames that are decided by now, in order; see `DecidedBouts.push`."""
        if self._filter is None:
            self._in_force = max(label, NO_LABEL)
            return [Decided(time_ns, label, float(probabilities[label]) if label >= 0 else 0.0)]
        decided: list[Decided] = []
        if label < 0 or (self._last_ns is not None and time_ns - self._last_ns > self._max_step_ns):
            decided = self.end()
        self._last_ns = time_ns
        if label < 0:
            return [*decided, Decided(time_ns, NO_LABEL, 0.0)]
        self._waiting.append((time_ns, label, np.array(probabilities)))
        return decided + self._settle(self._filter.push(time_ns, label, probabilities))

    def end(self, *, continues: bool = False) -> list[Decided]:
        """Return the frames that remain. With `continues`, the next frame will have the last one's label."""
        decided = [] if self._filter is None else self._settle(self._filter.end())
        if continues and self._filter is not None and self._in_force >= 0:
            self._filter.begin_with(self._in_force)
        else:
            self._in_force = NO_LABEL
        self._last_ns = None
        return decided

    def decide_with(self, decide: DecisionFilter | None) -> list[Decided]:
        """Return the frames that remain, and go on with another filter; see `DecidedBouts.decide_with`."""
        decided = [] if self._filter is None else self._settle(self._filter.end())
        self._filter = decide
        if decide is not None and self._in_force >= 0:
            decide.begin_with(self._in_force)
        return decided

    def undecided(self) -> list[Decided]:
        """Return the frames that wait, as if the label in force went on; at a segment's start the oldest's raw one."""
        if not self._waiting:
            return []
        label = self._in_force if self._in_force >= 0 else self._waiting[0][1]
        return [Decided(time_ns, label, float(p[label])) for time_ns, _, p in self._waiting]

    def continues_with(self, label: int) -> bool:
        """Say whether a frame of this raw label would go on the newest bout, if the stream were cut before it."""
        if self._filter is None:
            return label == self._in_force != NO_LABEL
        return label >= 0 and (bool(self._waiting) or self._in_force >= 0)

    def _settle(self, labels: Iterable[int]) -> list[Decided]:
        decided = []
        for label in labels:
            time_ns, _, probabilities = self._waiting.popleft()
            decided.append(Decided(time_ns, label, float(probabilities[label])))
            self._in_force = label
        return decided


class DecidedBouts:
    """Makes bouts of a stream of frames by their decided labels.

    Parameters
    ----------
    decide
        The filter; None: bouts of raw labels.
    frame_interval_ns
        Nominal time from one frame to the next. A step over 1.5 intervals is a gap in observation.
    rules
        Stitching and minimum length of the bouts.
    """

    def __init__(self, decide: DecisionFilter | None, frame_interval_ns: int, rules: BoutRules | None = None) -> None:
        self._decider = Decider(decide, frame_interval_ns)
        self._builder = BoutBuilder(rules or BoutRules(), frame_interval_ns)

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[Bout]:
        """Take the next frame and return the bouts that no later frame can change, in order.

        Parameters
        ----------
        time_ns
            Capture time, later than the frame's before. Call `end` first where a clock was set back.
        label
            Raw label; negative: seen but not classified, which ends the bout.
        probabilities
            (K,) fused probabilities, 0 to 1; not read where there is no label.

        Raises
        ------
        InputError
            If the time does not increase; with a filter not before the frame is decided.
        """
        return self._add(self._decider.push(time_ns, label, probabilities))

    def end(self, *, continues: bool = False) -> list[Bout]:
        """Return the bouts that remain. Everything is then as new.

        Parameters
        ----------
        continues
            The stream is only cut, between two files say: with a filter, the next frame keeps the last one's label.
        """
        return self._add(self._decider.end(continues=continues)) + self._builder.end()

    def decide_with(self, decide: DecisionFilter | None) -> list[Bout]:
        """Go on with another filter, as where the interval of frames changes, and return the bouts that are final.

        What waits is decided with what there is. The bout goes on: the next frame, if it has a label, keeps the last
        one's.
        """
        return self._add(self._decider.decide_with(decide))

    def so_far(self) -> list[Bout]:
        """Return the bout that goes on, as long as it is now; changes nothing.

        Frames that a filter has not decided yet count as the label in force. So the bout starts where a bout will
        start whatever they turn out to be, and storing it by its start is never to be taken back.
        """
        builder = copy.deepcopy(self._builder)
        bouts = [bout for frame in self._decider.undecided() for bout in builder.push(*frame)]
        return bouts + builder.end()

    def continues_with(self, label: int) -> bool:
        """Say whether a frame of this raw label would go on the newest bout, if the stream were cut before it."""
        return self._decider.continues_with(label)

    def _add(self, frames: Iterable[Decided]) -> list[Bout]:
        return [bout for frame in frames for bout in self._builder.push(*frame)]


def decided_labels(
    probabilities: NDArray[np.floating],
    time_ns: NDArray[np.int64],
    decide: DecisionFilter | None,
    frame_interval_ns: int,
    *,
    labels: NDArray[np.integer] | None = None,
) -> NDArray[np.int16]:
    """Return the labels that a filter decides for recorded frames: those that it decides live.

    Parameters
    ----------
    probabilities
        (N, K) fused probabilities, 0 to 1.
    time_ns
        (N,) int64 capture times, strictly increasing.
    decide
        The filter, as new, and as new again afterwards; None returns the raw labels.
    frame_interval_ns
        Nominal time from one frame to the next. A step over 1.5 intervals is a gap.
    labels
        (N,) raw labels, negative where there is none; None takes the most probable behaviour everywhere.

    Returns
    -------
    (N,) int16
        Negative exactly where the raw label is.

    Raises
    ------
    InputError
        If the arrays' lengths differ or a time does not increase.
    """
    raw = probabilities.argmax(axis=1) if labels is None else labels
    if not len(time_ns) == len(raw) == len(probabilities):
        raise InputError(
            f"a time, a label and probabilities are needed for each frame, found {len(time_ns)} times, {len(raw)} "
            f"labels and {len(probabilities)} rows of probabilities."
        )
    if (np.diff(time_ns) <= 0).any():
        raise InputError("frame times must increase. Sort the frames by capture time.")
    if decide is None:
        return raw.astype(np.int16)
    decider = Decider(decide, frame_interval_ns)
    decided: list[int] = []
    for when, label, row in zip(time_ns.tolist(), raw.tolist(), probabilities, strict=True):
        decided += [frame.label for frame in decider.push(when, label, row)]
    decided += [frame.label for frame in decider.end()]
    return np.array(decided, dtype=np.int16)
