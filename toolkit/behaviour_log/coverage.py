"""The account of time: every nanosecond of a log is observed or unobserved, never both, never neither.

A row stands for the time up to the next event, where that event is near enough to be its successor; whatever lies
between events that are further apart becomes an unobserved interval. Intervals never cross a UTC midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolkit.behaviour_log.schema import NS_PER_DAY, Reason

SLACK = 0.5
"""A row is stretched over a hole after it of up to this many row intervals: a camera's times jitter."""

MOST_DAYS = 366
"""A longer absence is not cut at midnights: a clock that was decades wrong must not write thousands of intervals."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time without rows."""

    start_ns: int
    """UTC ns."""
    stop_ns: int
    """UTC ns; equal to `start_ns` in a change that withdraws the interval."""
    reason: Reason


class Coverage:
    """Keeps the account for a writer.

    Both methods return the intervals that changed, to be stored by their start: new, longer or shorter ones, and
    empty ones where an interval is withdrawn.

    Parameters
    ----------
    until_ns
        UTC ns up to which the log already accounts for time; None for a new log, which begins with its first event.
    absent
        Why there is nothing between then and the first event.

    Examples
    --------
    >>> coverage = Coverage(None)
    >>> coverage.observe(1_000, 100), coverage.observe(1_110, 100)
    ([], [])
    >>> [(gap.start_ns, gap.stop_ns) for gap in coverage.observe(2_000, 100)]
    [(1210, 2000)]
    """

    def __init__(self, until_ns: int | None, absent: Reason = Reason.DAEMON_DOWN) -> None:
        self.until_ns = until_ns
        self._absent = absent
        # The newest event: a row's time, an interval, or neither while only earlier sessions are known.
        self._row_ns: int | None = None
        self._gap: Interval | None = None
        self._interval_ns = 0

    def accepts(self, time_ns: int) -> bool:
        """Say whether a row at this time would lie after everything that is settled."""
        if self._gap is not None:
            return time_ns >= self._gap.start_ns
        if self._row_ns is not None:
            return time_ns > self._row_ns
        return self.until_ns is None or time_ns >= self.until_ns

    def observe(self, time_ns: int, interval_ns: int, reason: Reason = Reason.CAMERA_LOST) -> list[Interval]:
        """Account for a row.

        Parameters
        ----------
        time_ns
            UTC ns; must be one that `accepts` agrees to.
        interval_ns
            Time that the row stands for.
        reason
            Why there is a hole before it, if there is one that nobody explained.
        """
        changes = self._up_to(time_ns, reason)
        self._row_ns, self._gap, self._interval_ns = time_ns, None, interval_ns
        self.until_ns = time_ns + interval_ns
        return changes

    def miss(self, start_ns: int, stop_ns: int, reason: Reason) -> list[Interval]:
        """Account for time without rows.

        An unexplained hole before `start_ns` takes the same reason. Time that is already unobserved stays as it is;
        a row's time is cut short, to `start_ns`.
        """
        changes: list[Interval] = []
        if self.until_ns is None:
            self.until_ns = start_ns
        elif self._row_ns is None and self._gap is None:
            changes = self._up_to(start_ns, reason)
        elif self._row_ns is not None:
            cut_ns = max(start_ns, self._row_ns + 1)
            if start_ns <= self.until_ns + SLACK * self._interval_ns:
                # A row is cut short by an interval that is stored, or not at all: a reader knows nothing else.
                if stop_ns <= cut_ns:
                    return []
                self.until_ns = cut_ns
        if stop_ns > self.until_ns:
            changes += self._extend(stop_ns, reason)
        return changes

    def _up_to(self, time_ns: int, reason: Reason) -> list[Interval]:
        if self.until_ns is None:
            return []
        if self._gap is not None and time_ns < self.until_ns:
            # The interval was written while it lasted, up to a moment after the frame that ends it was taken.
            return [replace(self._gap, stop_ns=time_ns)]
        hole_ns = time_ns - self.until_ns
        if self._row_ns is not None:
            return self._extend(time_ns, reason) if hole_ns > SLACK * self._interval_ns else []
        if hole_ns <= 0:
            return []
        if self._gap is None:
            return self._extend(time_ns, self._absent)
        return self._extend(time_ns, self._gap.reason if hole_ns <= SLACK * self._interval_ns else reason)

    def _extend(self, stop_ns: int, reason: Reason) -> list[Interval]:
        """Make everything from `until_ns` to `stop_ns` unobserved."""
        start_ns = self.until_ns if self.until_ns is not None else stop_ns
        gap = self._gap
        if gap is not None and gap.reason == reason and gap.start_ns // NS_PER_DAY == gap.stop_ns // NS_PER_DAY:
            start_ns = gap.start_ns
        pieces = [Interval(start, stop, reason) for start, stop in _by_day(start_ns, stop_ns)]
        self._row_ns, self._gap, self.until_ns = None, pieces[-1], stop_ns
        return pieces


def _by_day(start_ns: int, stop_ns: int) -> Iterator[tuple[int, int]]:
    if stop_ns - start_ns > MOST_DAYS * NS_PER_DAY:
        cut_ns = (stop_ns // NS_PER_DAY - MOST_DAYS) * NS_PER_DAY
        yield start_ns, cut_ns
        start_ns = cut_ns
    while start_ns < stop_ns:
        end_ns = min(stop_ns, (start_ns // NS_PER_DAY + 1) * NS_PER_DAY)
        yield start_ns, end_ns
        start_ns = end_ns
