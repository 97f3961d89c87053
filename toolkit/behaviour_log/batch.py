"""What a writer holds until a transaction has taken it: one day's rows, and all that belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log.coverage import Interval
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.bouts import Bout
from toolkit.frames import NS_PER_S

Row = tuple[int, int, bytes, "int | None", int]
"""UTC ns, source index, probabilities, label, quality."""


@dataclass(frozen=True, slots=True)
class Second:
    """A second's rows, summed up; see table ``second``."""

    time_ns: int
    """UTC ns."""
    source_index: int
    rows: int
    duration_ns: int
    probabilities: bytes
    label: int | None
    quality: int


@dataclass
class Batch:
    """What is to be committed to one file in one transaction, all of one session."""

    session: Session
    begins_after: str
    """Why the session before ended, where this batch begins another one in the same file."""

    start_ns: int
    """UTC ns: the midnight of its day."""
    stop_ns: int
    """UTC ns: the next midnight."""
    rows: list[Row] = field(default_factory=list)
    seconds: dict[int, Second] = field(default_factory=dict)
    """By their start; replaces what the file has."""
    intervals: dict[int, Interval] = field(default_factory=dict)
    """By their start; replaces what the file has; an empty one deletes it."""
    bouts: dict[int, tuple[Bout, bool, bool]] = field(default_factory=dict)
    """By their start, each with whether it began the day before and whether it goes on the day after."""
    clocks: list[ClockReading] = field(default_factory=list)
    paces: dict[int, int] = field(default_factory=dict)
    """From a row at UTC ns on, each stands for so many ns."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.seconds or self.intervals or self.bouts or self.clocks or self.begins_after)

    @property
    def held(self) -> int:
        """Rows and summaries that wait."""
        return len(self.rows) + len(self.seconds)


class SecondBuilder:
    """Sums up the rows of each UTC second; another one begins where their interval changes.

    Examples
    --------
    >>> seconds = SecondBuilder()
    >>> for number in range(2):
    ...     seconds.push(number * 500_000_000, 500_000_000, number, np.array([1.0, 0.0]), 0, 0)
    >>> seconds.current().rows, seconds.current().duration_ns
    (2, 1000000000)
    """

    def __init__(self) -> None:
        self._rows = 0

    def goes_on(self, time_ns: int, interval_ns: int) -> bool:
        """Say whether a row at this time, which stands for `interval_ns`, belongs to the summary that is being made."""
        same_second = self._rows > 0 and time_ns // NS_PER_S == self._first_ns // NS_PER_S
        return same_second and interval_ns == self._interval_ns

    def push(
        self,
        time_ns: int,
        interval_ns: int,
        source_index: int,
        probabilities: NDArray[np.floating],
        label: int | None,
        quality: int,
    ) -> None:
        """Add a row; where it does not go on, a new summary begins and the one before is forgotten."""
        if not self.goes_on(time_ns, interval_ns):
            self._first_ns, self._first_index, self._interval_ns = time_ns, source_index, interval_ns
            self._rows, self._quality = 0, 0
            self._sum = np.zeros(len(probabilities))
            self._labels = np.zeros(len(probabilities), dtype=np.int64)
        self._rows += 1
        self._last_ns = time_ns
        self._sum += probabilities
        self._quality |= quality
        if label is not None:
            self._labels[label] += 1

    def current(self) -> Second | None:
        """Return the summary of the rows so far; None without any."""
        if not self._rows:
            return None
        return Second(
            self._first_ns,
            self._first_index,
            self._rows,
            self._last_ns + self._interval_ns - self._first_ns,
            np.rint(255 * self._sum / self._rows).astype(np.uint8).tobytes(),
            int(self._labels.argmax()) if self._labels.any() else None,
            self._quality,
        )

    def end(self) -> None:
        """Let the next row begin a new summary."""
        self._rows = 0
