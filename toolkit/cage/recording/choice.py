"""Which pictures a recording keeps: of all, of fixed times, or around bouts."""

from __future__ import annotations

import threading
from collections import deque

from toolkit.cage.recording.table import RecordingTable
from toolkit.frames import MAX_STEP, NS_PER_S

HELD_S = 2.0
"""What a row may be late beyond `frozen_s`: half a clip, and frames that wait in queues."""

_DAY_NS = 86_400 * NS_PER_S


class Choice:
    """What a configuration wants kept. Times are UTC ns.

    Parameters
    ----------
    table
        The configuration.
    frozen_s
        How long the log may hold rows back until it knows that the image is not frozen.
    """

    def __init__(self, table: RecordingTable, frozen_s: float) -> None:
        self._sample_ns, self._every_ns = round(table.sample_s * NS_PER_S), round(table.every_s * NS_PER_S)
        self._samples = table.mode == "sampled"
        self._bouts = BoutSpans(table) if table.mode == "bouts" else None
        self.ring_s = 0.0 if self._bouts is None else table.before_s + table.least_s + frozen_s + HELD_S
        """How long a picture may wait for `keeps` to say yes."""

    def encodes(self, time_ns: int) -> bool:
        """Say whether a picture may come to be kept: a bout is known only after it has begun."""
        return not self._samples or time_ns % _DAY_NS % self._every_ns < self._sample_ns

    def keeps(self, start_ns: int, stop_ns: int) -> bool:
        """Say whether anything from `start_ns` to `stop_ns` is kept, as far as is known; ask in order of time."""
        return self._bouts is None or self._bouts.reach(start_ns, stop_ns)

    def row(self, time_ns: int, interval_ns: int, behaviour: str | None) -> None:
        """Take the log's next row, which stands for `interval_ns`; called by the daemon's loop."""
        if self._bouts is not None:
            self._bouts.row(time_ns, interval_ns, behaviour)


class BoutSpans:
    """Bouts of named behaviours with the time before and after them, the newest few."""

    def __init__(self, table: RecordingTable) -> None:
        self._behaviours = frozenset(table.behaviours)
        self._least_ns = round(table.least_s * NS_PER_S)
        self._before_ns, self._after_ns = round(table.before_s * NS_PER_S), round(table.after_s * NS_PER_S)
        # Behaviour of the newest row, if it is one of ours, when its run began, and the row's time and interval.
        self._run: tuple[str, int, int, int] | None = None
        self._lock = threading.Lock()
        self._spans: deque[tuple[int, int]] = deque(maxlen=64)

    def reach(self, start_ns: int, stop_ns: int) -> bool:
        """Say whether a span reaches into this time, and forget those that end before it."""
        with self._lock:
            while self._spans and self._spans[0][1] <= start_ns:
                self._spans.popleft()
            return any(begin_ns < stop_ns for begin_ns, _ in self._spans)

    def row(self, time_ns: int, interval_ns: int, behaviour: str | None) -> None:
        """Follow the bout that goes on; see `Choice.row`."""
        if behaviour is None or behaviour not in self._behaviours:
            self._run = None
            return
        begun_ns = time_ns
        if self._run is not None:
            before, run_ns, newest_ns, before_ns = self._run
            # Rows of a daemon that is too slow are farther apart than others.
            if before == behaviour and time_ns - newest_ns <= MAX_STEP * max(before_ns, interval_ns):
                begun_ns = run_ns
        self._run = (behaviour, begun_ns, time_ns, interval_ns)
        stop_ns = time_ns + interval_ns
        if stop_ns - begun_ns < self._least_ns:
            return
        begin_ns, end_ns = begun_ns - self._before_ns, stop_ns + self._after_ns
        with self._lock:
            if self._spans and begin_ns <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], end_ns)
            else:
                self._spans.append((begin_ns, end_ns))
