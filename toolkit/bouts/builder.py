"""Per-frame labels become bouts: one implementation for the daemon, which sees a frame at a time, and for recordings.

A frame stands for the time from its capture to the next frame's, or for one frame interval where nothing follows. So
the bouts of consecutive frames tile the time without overlap, however the camera's times jitter. Rules are applied in
this order, and with all of them zero the bouts are the raw runs of equal labels:

1. Stitch: a behaviour that returns within `BoutRules.stitch_gap_s` continues its last bout, and the other behaviours'
   frames between belong to that bout. Time without a label is never stitched over.
2. Minimum length: a bout shorter than `BoutRules.min_bout_s` is dropped. Its time stays observed, but in no bout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts.contract import Bout, BoutRules, shortest_ns
from toolkit.errors import InputError
from toolkit.frames import MAX_STEP, NS_PER_S


class BoutBuilder:
    """Makes bouts of a stream of labelled frames.

    Parameters
    ----------
    rules
        Stitching and minimum length.
    frame_interval_ns
        Nominal time from one labelled frame to the next. A step over 1.5 intervals is a gap in observation.
    behaviours
        The ethogram's names; needed only where `rules.min_bout_s` is by name.

    Raises
    ------
    ConfigError
        If `rules.min_bout_s` names a behaviour that `behaviours` lacks.

    Examples
    --------
    >>> builder = BoutBuilder(BoutRules(), frame_interval_ns=10)
    >>> [builder.push(time_ns, label, 1.0) for time_ns, label in ((0, 5), (10, 5))]
    [[], []]
    >>> builder.push(20, 2, 0.5)
    [Bout(behaviour=5, start_ns=0, stop_ns=20, frames=2, mean_probability=1.0)]
    >>> builder.end()
    [Bout(behaviour=2, start_ns=20, stop_ns=30, frames=1, mean_probability=0.5)]
    """

    def __init__(self, rules: BoutRules, frame_interval_ns: int, *, behaviours: Sequence[str] = ()) -> None:
        self._interval_ns = frame_interval_ns
        self._max_step_ns = MAX_STEP * frame_interval_ns
        self._stitch_gap_ns = round(rules.stitch_gap_s * NS_PER_S)
        self._shortest_ns, self._shortest_by_behaviour_ns = shortest_ns(rules.min_bout_s, behaviours)
        # Ended but perhaps to be stitched, oldest first; then the one that goes on.
        self._ended: list[_Open] = []
        self._open: _Open | None = None
        self._last_ns: int | None = None

    def push(self, time_ns: int, label: int, probability: float) -> list[Bout]:
        """Take the next frame and return the bouts that no later frame can change, in order.

        Parameters
        ----------
        time_ns
            Capture time, later than the frame's before. Call `end` first where a clock was set back.
        label
            Index of the behaviour; negative: seen but not classified, which ends the bout.
        probability
            Of `label`, 0 to 1; not read where there is none.

        Raises
        ------
        InputError
            If the time does not increase.
        """
        return self._push_run(_Run(label, time_ns, time_ns, 1, probability))

    def end(self) -> list[Bout]:
        """Return the bouts that remain. The builder is then as new."""
        bouts = self._close(None)
        self._last_ns = None
        return bouts

    def _push_run(self, run: _Run) -> list[Bout]:
        bouts: list[Bout] = []
        if self._last_ns is not None:
            if run.first_ns <= self._last_ns:
                raise InputError(
                    f"frame times must increase: {run.first_ns} ns comes after {self._last_ns} ns. Sort the frames by "
                    "capture time, or end the bouts where the clock was set back."
                )
            if run.first_ns - self._last_ns > self._max_step_ns:
                bouts = self._close(None)
        if run.label < 0:
            bouts += self._close(run.first_ns)
        elif self._open is not None and self._open.label == run.label:
            self._open.extend(run)
        else:
            self._start(run)
        self._last_ns = run.last_ns
        return bouts + self._pop_final(run.last_ns)

    def _start(self, run: _Run) -> None:
        if self._open is not None:
            self._open.stop_ns = run.first_ns
            self._ended.append(self._open)
        self._open = _Open(run.label, run.first_ns)
        for position, earlier in enumerate(self._ended):
            # At most one can match: an older one would have been stitched to this one when it started.
            if earlier.label == run.label and run.first_ns - earlier.stop_ns <= self._stitch_gap_ns:
                earlier.frames += sum(between.frames for between in self._ended[position + 1 :])
                self._open = earlier
                del self._ended[position:]
                break
        self._open.extend(run)

    def _pop_final(self, now_ns: int) -> list[Bout]:
        """Whatever starts after `now_ns` comes too late for the bouts that ended a stitch gap before it."""
        final = 0
        while final < len(self._ended) and self._ended[final].stop_ns + self._stitch_gap_ns <= now_ns:
            final += 1
        bouts = self._long_enough(self._ended[:final])
        del self._ended[:final]
        return bouts

    def _close(self, next_ns: int | None) -> list[Bout]:
        """End everything, at the next frame or, without one, an interval after the last."""
        if self._open is not None and self._last_ns is not None:
            self._open.stop_ns = self._last_ns + self._interval_ns if next_ns is None else next_ns
            self._ended.append(self._open)
        bouts = self._long_enough(self._ended)
        self._ended = []
        self._open = None
        return bouts

    def _long_enough(self, ended: Sequence[_Open]) -> list[Bout]:
        return [
            bout.finish()
            for bout in ended
            if bout.stop_ns - bout.start_ns >= self._shortest_by_behaviour_ns.get(bout.label, self._shortest_ns)
        ]


def bouts_from_labels(
    time_ns: NDArray[np.int64],
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    rules: BoutRules,
    frame_interval_ns: int,
    *,
    behaviours: Sequence[str] = (),
) -> list[Bout]:
    """Return the bouts that `BoutBuilder` makes of recorded frames, in order.

    Parameters
    ----------
    time_ns
        (N,) int64 capture times, strictly increasing.
    labels
        (N,) integers, negative where there is no label.
    probabilities
        (N,) floats, each frame's probability of its own label, 0 to 1.
    rules, frame_interval_ns, behaviours
        As `BoutBuilder` takes them.

    Raises
    ------
    InputError
        If the arrays' lengths differ or a time does not increase.
    ConfigError
        As `BoutBuilder`.
    """
    if not len(time_ns) == len(labels) == len(probabilities):
        raise InputError(
            f"a time, a label and a probability are needed for each frame, found {len(time_ns)} times, "
            f"{len(labels)} labels and {len(probabilities)} probabilities."
        )
    builder = BoutBuilder(rules, frame_interval_ns, behaviours=behaviours)
    bouts: list[Bout] = []
    for run in _runs(time_ns, labels, probabilities, MAX_STEP * frame_interval_ns):
        bouts += builder._push_run(run)
    return bouts + builder.end()


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive frames with the same label; a frame pushed live is a run of one."""

    label: int
    first_ns: int
    last_ns: int
    frames: int
    probability_sum: float


@dataclass(slots=True)
class _Open:
    """A bout in the making."""

    label: int
    start_ns: int
    stop_ns: int = 0
    frames: int = 0
    own_frames: int = 0
    probability_sum: float = 0.0

    def extend(self, run: _Run) -> None:
        self.frames += run.frames
        self.own_frames += run.frames
        self.probability_sum += run.probability_sum

    def finish(self) -> Bout:
        mean_probability = self.probability_sum / self.own_frames
        return Bout(self.label, self.start_ns, self.stop_ns, self.frames, mean_probability)


def _runs(
    time_ns: NDArray[np.int64], labels: NDArray[np.integer], probabilities: NDArray[np.floating], max_step_ns: float
) -> list[_Run]:
    if len(time_ns) == 0:
        return []
    steps = np.diff(time_ns)
    # A time that goes back starts a run too, so that the builder meets and refuses it.
    starts = np.flatnonzero(np.r_[True, (np.diff(labels) != 0) | (steps > max_step_ns) | (steps <= 0)])
    stops = np.r_[starts[1:], len(time_ns)]
    sums = np.add.reduceat(np.asarray(probabilities, dtype=np.float64), starts)
    return [
        _Run(label, first, last, frames, total)
        for label, first, last, frames, total in zip(
            labels[starts].tolist(),
            time_ns[starts].tolist(),
            time_ns[stops - 1].tolist(),
            (stops - starts).tolist(),
            sums.tolist(),
            strict=True,
        )
    ]
