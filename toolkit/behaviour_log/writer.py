"""Writes a cage's behaviour log: dates the rows, keeps the account of time, and changes files at UTC midnight.

Whatever is committed in one transaction belongs together: the rows, the unobserved time between them, and the bouts
they make up to now. So a kill at any moment leaves a file that is consistent, and the next start records what is
missing since.

Only `flush` touches the disk. What it cannot write it keeps, in order, up to a number of rows, and tries again; time
beyond that is unobserved, because of the log.
"""

from __future__ import annotations

import copy
import fcntl
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.behaviour_log.batch import Batch, SecondBuilder
from toolkit.behaviour_log.coverage import Coverage, Interval
from toolkit.behaviour_log.damage import LogDamaged, all_set_aside, check, log_errors, set_aside
from toolkit.behaviour_log.day_file import DayFile, accounted_until, day_files, day_of, day_path, start_of_day
from toolkit.behaviour_log.schema import NS_PER_DAY, Level, Quality, Reason
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.bouts import NO_LABEL, Bout, BoutBuilder, BoutRules
from toolkit.errors import LogBusy, LogError
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
    most_held
        Rows that are kept while the log cannot be written; 0: `flush` raises at the first failure.

    Raises
    ------
    LogError
        On entering: if the log cannot be opened or written, another daemon is writing it, or the system's clock is
        more than `MOST_BACKWARD_S` behind the log's end. Later: if a commit fails and `most_held` is 0, or the file
        turns out to be damaged. What was committed is safe.
    """

    def __init__(self, folder: Path, cage: str, session: Session, *, most_held: int = 0) -> None:
        self._folder = folder
        self._cage = cage
        self._session = session
        self._most_held = most_held
        self._lock = -1
        self._day: DayFile | None = None
        self._batches: deque[Batch] = deque()
        self._seconds = SecondBuilder(session.row_interval_ns)
        # Whether the second that goes on has rows that no batch has yet.
        self._changed = False
        self._unwritable: tuple[float, str] | None = None
        self._set_aside: tuple[str, ...] = ()
        self._newest: Interval | None = None
        self._builder = BoutBuilder(BoutRules(), session.row_interval_ns)
        self._label = NO_LABEL
        # First row after midnight of a bout that began the day before.
        self._continued_ns: int | None = None
        self.account = Account()
        self.unobserved_s: dict[Reason, float] = {}
        self.ended_bouts: deque[Bout] = deque(maxlen=RECENT_BOUTS)

    def __enter__(self) -> Self:
        self._lock = _take_lock(self._folder / self._cage)
        try:
            self._set_damage_aside()
            until_ns = accounted_until(self._folder, self._cage)
            self._session = _dated_after(until_ns, self._session, self._folder / self._cage)
            self._coverage = self._go_on_from(until_ns)
            self._began_ns = self._coverage.until_ns
            self._batches.append(Batch(self._session.start_ns // NS_PER_DAY * NS_PER_DAY))
            self._open_day(self._session.start_ns)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `close` has let go already unless something failed, and then only what is committed is sure.
        if self._day is not None:
            self._day.abandon()
        os.close(self._lock)

    @property
    def path(self) -> Path:
        """The file that was opened last."""
        return self._path

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the log, most telling first: that it cannot be written now, and files set aside."""
        if self._unwritable is None:
            return self._set_aside
        since_s, error = self._unwritable
        waits = f"{self.held} rows held for {time.monotonic() - since_s:.0f} s"
        waits += "; no more are" if self._is_full else ""
        return (f"cannot be written: {waits}: {error}", *self._set_aside)

    @property
    def held(self) -> int:
        """Rows that wait to be committed."""
        return sum(batch.held for batch in self._batches)

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

        Returns
        -------
        bool
            False if the time before it is already accounted for: the row is refused.
        """
        time_ns = capture_time_ns + self._session.utc_offset_ns
        if time_ns < self._batch.start_ns or not self._coverage.accepts(time_ns):
            self.account.refused += 1
            return False
        self._begin(time_ns)
        if self._is_full:
            self._record(self._coverage.miss(time_ns, time_ns + self._session.row_interval_ns, Reason.LOG_UNWRITABLE))
            return False
        self._record(self._coverage.observe(time_ns, self._session.row_interval_ns, hole))
        label_or_none = NO_LABEL if label is None else label
        if time_ns >= self._batch.start_ns + NS_PER_DAY:
            self._roll_over(time_ns, continues=label_or_none == self._label != NO_LABEL)
        probability = 0.0 if label is None else float(probabilities[label])
        self._add_bouts(self._builder.push(time_ns, label_or_none, probability))
        self._label = label_or_none
        if self._session.level is Level.FRAMES:
            steps = np.rint(probabilities * 255).astype(np.uint8).tobytes()
            self._batch.rows.append((time_ns, source_index, steps, label, int(quality)))
        else:
            if not self._seconds.goes_on(time_ns):
                self._add_second()
            self._seconds.push(time_ns, source_index, probabilities, label, int(quality))
            self._changed = True
        self.account.rows += 1
        return True

    def unobserved(self, start_ns: int, stop_ns: int, reason: Reason) -> None:
        """Record time without rows, from monotonic `start_ns` to `stop_ns`.

        Time that goes on being unobserved is recorded again and again while it lasts; a later row takes back what
        reaches past it.
        """
        offset_ns = self._session.utc_offset_ns
        self._begin(start_ns + offset_ns)
        # Many short intervals must not fill what many rows may not.
        reason = Reason.LOG_UNWRITABLE if self._is_full else reason
        self._record(self._coverage.miss(start_ns + offset_ns, stop_ns + offset_ns, reason))

    def clock(self, reading: ClockReading) -> None:
        """Record what the system's clocks say."""
        if self._is_full:
            self._batch.clocks.clear()
        self._batch.clocks.append(reading)

    def flush(self) -> None:
        """Commit everything added so far, or keep it for the next time.

        Raises
        ------
        LogError
            If it cannot be written and nothing may be held, or the file is damaged.
        """
        try:
            self._flush()
        except LogError as error:
            if not self._most_held or not _may_pass(error):
                raise
            since_s = time.monotonic() if self._unwritable is None else self._unwritable[0]
            self._unwritable = since_s, str(error)

    def close(self, reason: str) -> None:
        """Commit, mark the session closed, and leave a file that can be copied alone.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        self._end_bout(self._coverage.until_ns)
        try:
            self._flush()
        except LogError as error:
            raise LogError(f"{error} {self.held} rows are lost.") from error
        until_ns = self._coverage.until_ns
        if self._day is not None:
            self._day.close(self._session.start_ns if until_ns is None else until_ns, reason)

    @property
    def _batch(self) -> Batch:
        return self._batches[-1]

    @property
    def _is_full(self) -> bool:
        return self._unwritable is not None and self.held >= self._most_held

    def _flush(self) -> None:
        if not self._changed and not any(self._batches):
            return
        # The bout and the second that go on are stored as they are now, and stored again when they are longer.
        self._add_bouts(copy.deepcopy(self._builder).end(), ended=False)
        if (second := self._seconds.current()) is not None:
            self._batch.seconds[second.time_ns] = second
        self._changed = False
        while self._batches:
            batch = self._batches[0]
            if batch:
                self._day_of(batch).commit(batch)
                self.account.commits += 1
            self._batches.popleft()
            if not self._batches:
                self._batches.append(Batch(batch.start_ns))
                break
        self._unwritable = None

    def _day_of(self, batch: Batch) -> DayFile:
        """Return the file that a batch belongs to, opening it where the day has changed."""
        if self._day is not None and self._day.start_ns != batch.start_ns:
            self._day.close(self._day.stop_ns, "day-end")
            self._day = None
        return self._day or self._open_day(batch.start_ns)

    def _set_damage_aside(self) -> None:
        """Set aside what is damaged of the day's file and the newest, which says what is missing."""
        today = day_path(self._folder, self._cage, self._session.start_ns)
        sound: set[Path] = set()
        while candidates := {today, *day_files(self._folder, self._cage)[-1:]} - sound:
            path = candidates.pop()
            try:
                if path.exists() or path.with_name(f"{path.name}-wal").exists():
                    check(path)
                sound.add(path)
            except LogDamaged as error:
                set_aside(path, error, self._session.start_ns)
        self._set_aside = tuple(str(damaged) for damaged in all_set_aside(self._folder / self._cage))

    def _go_on_from(self, until_ns: int | None) -> Coverage:
        """Return the account, which may have to explain what a damaged file took with it."""
        damaged = all_set_aside(self._folder / self._cage)
        if not damaged:
            return Coverage(until_ns)
        newest = damaged[-1]
        if until_ns is None:
            # The day of the first damaged file is all that is known of the log's beginning.
            return Coverage(min(start_of_day(damaged[0].path), self._session.start_ns), Reason.LOG_DAMAGED)
        return Coverage(until_ns, Reason.LOG_DAMAGED if newest.found_ns > until_ns else Reason.DAEMON_DOWN)

    def _begin(self, time_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = time_ns

    def _record(self, changes: Iterable[Interval]) -> None:
        for gap in changes:
            self._end_bout(gap.start_ns)
            if gap.start_ns >= self._batch.start_ns + NS_PER_DAY:
                self._roll_over(gap.start_ns, continues=False)
            # Only the newest interval ever changes again.
            known_ns = self._newest.stop_ns if self._newest and self._newest.start_ns == gap.start_ns else gap.start_ns
            self.unobserved_s[gap.reason] = self.unobserved_s.get(gap.reason, 0.0) + (gap.stop_ns - known_ns) / NS_PER_S
            self._batch.intervals[gap.start_ns] = self._newest = gap

    def _roll_over(self, time_ns: int, *, continues: bool) -> None:
        if continues:
            self._end_bout(self._batch.start_ns + NS_PER_DAY, continues=True)
            self._continued_ns = time_ns
        else:
            self._end_bout(time_ns)
        self._batches.append(Batch(time_ns // NS_PER_DAY * NS_PER_DAY))
        self.flush()

    def _open_day(self, time_ns: int) -> DayFile:
        self._path = day_path(self._folder, self._cage, time_ns)
        self._day = DayFile(self._path, self._cage, time_ns, self._session)
        return self._day

    def _end_bout(self, stop_ns: int | None, *, continues: bool = False) -> None:
        bouts = self._builder.end()
        if bouts and stop_ns is not None:
            bouts[-1] = replace(bouts[-1], stop_ns=stop_ns)
        self._add_bouts(bouts, continues=continues)
        self._add_second()
        self._label = NO_LABEL

    def _add_second(self) -> None:
        second = self._seconds.current()
        if second is not None:
            self._batch.seconds[second.time_ns] = second
        self._seconds.end()

    def _add_bouts(self, bouts: list[Bout], *, continues: bool = False, ended: bool = True) -> None:
        for bout in bouts:
            continued = bout.start_ns == self._continued_ns
            dated = replace(bout, start_ns=self._midnight_ns(bout)) if continued else bout
            self._batch.bouts[dated.start_ns] = dated, continued, continues
            if ended:
                self.ended_bouts.append(dated)

    @staticmethod
    def _midnight_ns(bout: Bout) -> int:
        return bout.start_ns // NS_PER_DAY * NS_PER_DAY


def _may_pass(error: LogError) -> bool:
    """Say whether what keeps a file from being written may go away: a full disk, a failing one, a lock."""
    return isinstance(error.__cause__, OSError | sqlite3.OperationalError) and not isinstance(error, LogDamaged)


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
        raise LogBusy(
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
