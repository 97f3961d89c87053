"""Writes a cage's behaviour log: dates the rows, keeps the account of time, and changes files at UTC midnight.

Whatever is committed in one transaction belongs together: the rows, the unobserved time between them, and the bouts
they make up to now. So a kill at any moment leaves a file that is consistent, and the next start records what is
missing since.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.behaviour_log.coverage import Coverage, Interval
from toolkit.behaviour_log.day_file import DayFile, FrameRow, accounted_until, day_of, day_path, log_errors
from toolkit.behaviour_log.schema import NS_PER_DAY, Quality, Reason
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.bouts import NO_LABEL, Bout, DecidedBouts, DecisionFilter
from toolkit.errors import LogError
from toolkit.frames import NS_PER_S

MOST_BACKWARD_S = 3600.0
"""A system clock further behind the log's end than this is taken for wrong, and refused."""

RECENT_BOUTS = 20
"""Bouts that a writer remembers after they have ended."""


@dataclass
class Account:
    """What a session has written so far."""

    rows: int = 0
    refused: int = 0
    """Rows dated before the end of what was already accounted for; they are not written."""
    commits: int = 0


def _raw_labels(_interval_ns: int) -> None:
    return None


class LogWriter:
    """Writes one session into a cage's log; a context manager.

    Times given to it are monotonic ns, as cameras give them; the session's offset dates them.

    Parameters
    ----------
    folder
        Where logs lie; the cage's own folder is made in it.
    cage
        The cage's name, part of the file names.
    session
        Provenance, and the offset from monotonic time to UTC.
    decide
        Returns, for rows so many ns apart, what decides the labels that bouts are made of; None: raw labels. Rows keep
        theirs. Where the interval changes, what waits is decided, and the next row keeps the last one's label.

    Raises
    ------
    LogError
        On entering: if the log cannot be opened or written, another daemon is writing it, or the system's clock is
        more than `MOST_BACKWARD_S` behind the log's end. Later: if a commit fails. What was committed is safe.
    """

    def __init__(
        self, folder: Path, cage: str, session: Session, decide: Callable[[int], DecisionFilter | None] = _raw_labels
    ) -> None:
        self._folder = folder
        self._cage = cage
        self._session = session
        self._lock = -1
        self._rows: list[FrameRow] = []
        self._intervals: dict[int, Interval] = {}
        self._bouts: list[tuple[Bout, bool, bool]] = []
        self._clocks: list[ClockReading] = []
        self._paces: list[tuple[int, int]] = []
        # What the newest row stands for, by the file.
        self._interval_ns = session.row_interval_ns
        self._newest: Interval | None = None
        # Gaps are the account's to tell (`_record`): how far apart rows are may change.
        self._filter = decide
        self._filter_interval_ns = session.row_interval_ns
        self._builder = DecidedBouts(decide(session.row_interval_ns), NS_PER_DAY)
        # First row after midnight of a bout that began the day before.
        self._continued_ns: int | None = None
        self.account = Account()
        self.unobserved_s: dict[Reason, float] = {}
        self.ended_bouts: deque[Bout] = deque(maxlen=RECENT_BOUTS)

    def __enter__(self) -> Self:
        self._lock = _take_lock(self._folder / self._cage)
        try:
            until_ns = accounted_until(self._folder, self._cage)
            self._session = _dated_after(until_ns, self._session, self._folder / self._cage)
            self._coverage = Coverage(until_ns)
            self._began_ns = until_ns
            self._day = self._open_day(self._session.start_ns)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `close` has let go already unless something failed, and then only what is committed is sure.
        self._day.abandon()
        os.close(self._lock)

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._day.path

    @property
    def session(self) -> Session:
        """The session as it was dated: its offset is later than asked for where the clock had been set back."""
        return self._session

    @property
    def observed_s(self) -> float:
        """Seconds that this session's rows stand for."""
        if self._began_ns is None or self._coverage.until_ns is None:
            return 0.0
        return (self._coverage.until_ns - self._began_ns) / NS_PER_S - sum(self.unobserved_s.values())

    def row(
        self,
        source_index: int,
        capture_time_ns: int,
        probabilities: NDArray[np.float32],
        label: int | None,
        quality: Quality,
        *,
        hole: Reason = Reason.CAMERA_LOST,
        interval_ns: int | None = None,
    ) -> bool:
        """Add a classified frame.

        Parameters
        ----------
        source_index
            The frame's number in its source.
        capture_time_ns
            Monotonic ns, later than every row's before.
        probabilities
            (K,) float32 fused probabilities, 0 to 1.
        label
            Position in the ethogram, or None.
        hole
            Why there is a hole before this row, should there be one that `unobserved` did not explain.
        interval_ns
            Time that the row stands for: the next one is expected then. Default: the session's.

        Returns
        -------
        bool
            False if the time before it is already accounted for: the row is refused.
        """
        time_ns = capture_time_ns + self._session.utc_offset_ns
        if time_ns < self._day.start_ns or not self._coverage.accepts(time_ns):
            self.account.refused += 1
            return False
        self._begin(time_ns)
        interval_ns = interval_ns or self._session.row_interval_ns
        self._record(self._coverage.observe(time_ns, interval_ns, hole))
        label_or_none = NO_LABEL if label is None else label
        if time_ns >= self._day.stop_ns:
            self._roll_over(time_ns, continues=self._builder.continues_with(label_or_none))
        if interval_ns != self._interval_ns:
            self._paces.append((time_ns, interval_ns))
            self._interval_ns = interval_ns
        if interval_ns != self._filter_interval_ns:
            self._filter_interval_ns = interval_ns
            self._add_bouts(self._builder.decide_with(self._filter(interval_ns)))
        self._add_bouts(self._builder.push(time_ns, label_or_none, probabilities))
        steps = np.rint(probabilities * 255).astype(np.uint8).tobytes()
        self._rows.append(self._day.row(time_ns, source_index, steps, label, int(quality)))
        self.account.rows += 1
        return True

    def unobserved(self, start_ns: int, stop_ns: int, reason: Reason) -> None:
        """Record time without rows, from monotonic `start_ns` to `stop_ns`.

        Time that goes on being unobserved is recorded again and again while it lasts; a later row takes back what
        reaches past it.
        """
        offset_ns = self._session.utc_offset_ns
        self._begin(start_ns + offset_ns)
        self._record(self._coverage.miss(start_ns + offset_ns, stop_ns + offset_ns, reason))

    def change_engines(self, engines: Mapping[str, str], reason: str) -> None:
        """Close the session and begin another, whose rows are by other engines; the account of time goes on.

        Parameters
        ----------
        engines
            As `Session.engines`.
        reason
            Why the session before ended.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        self.flush()
        until_ns = self._coverage.until_ns
        start_ns = self._session.start_ns if until_ns is None else until_ns
        self._session = replace(self._session, uuid=str(uuid.uuid4()), engines=engines, start_ns=start_ns)
        self._interval_ns = self._session.row_interval_ns
        self._day.begin_session(self._session, reason)

    def clock(self, reading: ClockReading) -> None:
        """Record what the system's clocks say."""
        self._clocks.append(reading)

    def flush(self) -> None:
        """Commit everything added so far.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        if not (self._rows or self._intervals or self._bouts or self._clocks):
            return
        # The bout that goes on is stored as it is now, and stored again when it is longer.
        self._add_bouts(_stopped(self._builder.so_far(), self._coverage.until_ns), ended=False)
        self._day.commit(self._rows, self._intervals.values(), self._bouts, self._clocks, self._paces)
        self._rows.clear()
        self._intervals.clear()
        self._bouts.clear()
        self._clocks.clear()
        self._paces.clear()
        self.account.commits += 1

    def close(self, reason: str) -> None:
        """Commit, mark the session closed, and leave a file that can be copied alone.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        self._end_bout(self._coverage.until_ns)
        self.flush()
        until_ns = self._coverage.until_ns
        self._day.close(self._session.start_ns if until_ns is None else until_ns, reason)

    def _begin(self, time_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = time_ns

    def _record(self, changes: Iterable[Interval]) -> None:
        for gap in changes:
            self._end_bout(gap.start_ns)
            if gap.start_ns >= self._day.stop_ns:
                self._roll_over(gap.start_ns, continues=False)
            # Only the newest interval ever changes again.
            known_ns = self._newest.stop_ns if self._newest and self._newest.start_ns == gap.start_ns else gap.start_ns
            self.unobserved_s[gap.reason] = self.unobserved_s.get(gap.reason, 0.0) + (gap.stop_ns - known_ns) / NS_PER_S
            self._intervals[gap.start_ns] = self._newest = gap

    def _roll_over(self, time_ns: int, *, continues: bool) -> None:
        if continues:
            self._end_bout(self._day.stop_ns, continues=True)
            self._continued_ns = time_ns
        else:
            self._end_bout(time_ns)
        self.flush()
        self._day.close(self._day.stop_ns, "day-end")
        self._day = self._open_day(time_ns)

    def _open_day(self, time_ns: int) -> DayFile:
        self._interval_ns = self._session.row_interval_ns
        return DayFile(day_path(self._folder, self._cage, time_ns), self._cage, time_ns, self._session)

    def _end_bout(self, stop_ns: int | None, *, continues: bool = False) -> None:
        self._add_bouts(_stopped(self._builder.end(continues=continues), stop_ns), continues=continues)

    def _add_bouts(self, bouts: list[Bout], *, continues: bool = False, ended: bool = True) -> None:
        for bout in bouts:
            continued = bout.start_ns == self._continued_ns
            dated = replace(bout, start_ns=self._day.start_ns) if continued else bout
            self._bouts.append((dated, continued, continues))
            if ended:
                self.ended_bouts.append(dated)


def _stopped(bouts: list[Bout], stop_ns: int | None) -> list[Bout]:
    """Return the bouts with the last one stopped at `stop_ns`."""
    return [*bouts[:-1], replace(bouts[-1], stop_ns=stop_ns)] if bouts and stop_ns is not None else bouts


def _take_lock(folder: Path) -> int:
    """Return the handle of the log's lock, which the kernel frees however the process ends."""
    path = folder / ".lock"
    with log_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise LogError(
            f"{folder}: another daemon (process {owner or 'unknown'}) writes this log. Expected one daemon per cage. "
            "Stop the other one, or give this cage another name."
        ) from error
    with log_errors(path):
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _dated_after(until_ns: int | None, session: Session, folder: Path) -> Session:
    """Return the session, moved to the log's end where the clock says that it began before."""
    if until_ns is None or until_ns <= session.start_ns:
        return session
    behind_ns = until_ns - session.start_ns
    if behind_ns > MOST_BACKWARD_S * NS_PER_S:
        raise LogError(
            f"{folder}: the log ends {behind_ns / NS_PER_S / 3600:.1f} hours after this session begins (log: "
            f"{day_of(until_ns)}, session: {day_of(session.start_ns)}). Expected time to go forward. Set the system's "
            "clock, or move the log's files aside if the clock was wrong when they were written."
        )
    return replace(session, utc_offset_ns=session.utc_offset_ns + behind_ns, start_ns=until_ns)
