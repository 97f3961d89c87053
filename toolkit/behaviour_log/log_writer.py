"""A cage's log, open for writing: the lock, files that are damaged, and rows that have to wait for their date.

What each session writes is `toolkit.behaviour_log.writer`'s; here it is decided where, and dated by what.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.behaviour_log import pending
from toolkit.behaviour_log.coverage import Coverage
from toolkit.behaviour_log.damage import all_set_aside, log_errors, set_damaged_aside
from toolkit.behaviour_log.day_file import Days, accounted_in, accounted_until, day_files, day_of, start_of_day
from toolkit.behaviour_log.pending import PendingFile, PendingGap, PendingRow
from toolkit.behaviour_log.retention import Retention, remove_expired
from toolkit.behaviour_log.schema import Level, Quality, Reason
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.behaviour_log.writer import Account, Decide, SessionWriter, raw_labels
from toolkit.bouts import Bout
from toolkit.errors import LogBusy
from toolkit.frames import NS_PER_S

MOST_BACKWARD_S = 3600.0
"""Rows that would lie further behind the log's end than this are not dated: one of the two clocks was wrong."""

_MOVED_AT_ONCE = 5_000
"""Rows of a pending file that are moved in one transaction."""


class LogWriter:
    """Writes one session into a cage's log; a context manager.

    Times given to it are monotonic ns, as cameras give them; the session's offset dates them. While that offset is
    not to be believed, rows wait in a pending file; the first reading of the clock that is to be believed moves them.

    Parameters
    ----------
    folder
        Where logs lie; the cage's own folder is made in it.
    cage
        The cage's name, part of the file names.
    session
        Provenance, and the offset from monotonic time to UTC.
    decide, most_held
        As `SessionWriter` takes them.
    clock
        What the session's offset was read from; None: it is to be believed.
    accept_unsynchronised
        Whether a clock is to be believed though the kernel says that it is not synchronised.
    on_move
        Called again and again while rows of a pending file are moved, which may take long.

    Raises
    ------
    LogError
        On entering: if the log cannot be opened or written, or another daemon is writing it. Later: if a commit fails
        and `most_held` is 0, or the file turns out to be damaged. What was committed is safe.
    """

    def __init__(
        self,
        folder: Path,
        cage: str,
        session: Session,
        decide: Decide = raw_labels,
        *,
        most_held: int = 0,
        clock: ClockReading | None = None,
        accept_unsynchronised: bool = False,
        on_move: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._cage = cage
        self._asked = session
        self._decide = decide
        self._most_held = most_held
        self._accept = accept_unsynchronised
        self._on_move = on_move
        self._believed = clock is None or self._believes(clock)
        self._days = Days(folder, cage)
        self._lock = -1
        self._faults: list[str] = []
        self._retention_fault: str | None = None
        # Where this session's rows wait for their date.
        self._pending: Path | None = None

    def __enter__(self) -> Self:
        self._lock = _take_lock(self._folder / self._cage)
        try:
            self._set_damaged_aside()
            self._settle()
            self._writer = self._begin()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `close` has let go already unless something failed, and then only what is committed is sure.
        self._writer.abandon()
        os.close(self._lock)

    @property
    def path(self) -> Path:
        """The file that was opened last."""
        return self._writer.path

    @property
    def session(self) -> Session:
        """The session as it was dated: its offset is later than asked for where the clock had been set back, and 0
        while its rows wait for their date."""
        return self._writer.session

    @property
    def dated(self) -> bool:
        """Whether rows have a date."""
        return self._pending is None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the log, most telling first; empty where all is well."""
        return (*filter(None, (self._writer.fault, self._retention_fault)), *self._faults)

    @property
    def held(self) -> int:
        """Rows that wait in memory to be committed."""
        return self._writer.held

    @property
    def account(self) -> Account:
        """What this session has written so far."""
        return self._writer.account

    @property
    def unobserved_s(self) -> dict[Reason, float]:
        """Seconds without rows by reason, those before this session included that none accounted for."""
        return self._writer.unobserved_s

    @property
    def observed_s(self) -> float:
        """Seconds that this session's rows stand for."""
        return self._writer.observed_s

    @property
    def ended_bouts(self) -> deque[Bout]:
        """The newest bouts that have ended, oldest first."""
        return self._writer.ended_bouts

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
        """Add a classified frame; see `SessionWriter.row`."""
        return self._writer.row(
            source_index, capture_time_ns, probabilities, label, quality, hole=hole, interval_ns=interval_ns
        )

    def unobserved(self, start_ns: int, stop_ns: int, reason: Reason) -> None:
        """Record time without rows; see `SessionWriter.unobserved`."""
        self._writer.unobserved(start_ns, stop_ns, reason)

    def change_engines(self, engines: Mapping[str, str], reason: str) -> None:
        """End the session and begin another, whose rows are by other engines; see `SessionWriter.change_engines`."""
        self._writer.change_engines(engines, reason)

    def clock(self, reading: ClockReading) -> None:
        """Record what the system's clocks say, and date what waits if they can be believed at last.

        Raises
        ------
        LogError
            If rows cannot be moved; they are safe where they wait.
        """
        self._writer.clock(reading)
        self._believed = self._believes(reading)
        if self._pending is not None and self._believed:
            self._date(self._pending, reading.utc_offset_ns)

    def flush(self) -> None:
        """Commit everything added so far, or keep it for the next time; see `SessionWriter.flush`."""
        self._writer.flush()

    def retain(self, rules: Retention) -> tuple[Path, ...]:
        """Remove the days that the rules let go, and return their files; none while the clock is not to be believed."""
        if not self._believed or self._pending is not None:
            return ()
        retained = remove_expired(self._folder, self._cage, self.path, rules)
        self._retention_fault = retained.fault
        return retained.removed

    def close(self, reason: str) -> None:
        """Commit, mark the session closed, and leave a file that can be copied alone.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        self._writer.close(reason)

    def _believes(self, clock: ClockReading) -> bool:
        return pending.is_believed(clock, accept_unsynchronised=self._accept)

    def _set_damaged_aside(self) -> None:
        """Set aside what is damaged of the files that will be written or asked how far the log goes."""
        found_ns = self._asked.start_ns
        set_damaged_aside(self._days.path(found_ns), found_ns)
        for path in pending.pending_files(self._folder, self._cage):
            set_damaged_aside(path, found_ns)
        while (newest := day_files(self._folder, self._cage)[-1:]) and set_damaged_aside(newest[0], found_ns):
            pass
        self._faults += [str(damaged) for damaged in all_set_aside(self._folder / self._cage)]

    def _begin(self) -> SessionWriter:
        session = self._asked
        until_ns = accounted_until(self._folder, self._cage)
        if self._believed and not _is_far_behind(session.start_ns, until_ns):
            return self._dated_writer(session, self._most_held)
        place = PendingFile(self._folder, self._cage, session.boot_id)
        path = place.path(0)
        until_boot_ns = accounted_in(path) if path.exists() else None
        waiting = replace(
            session, utc_offset_ns=0, start_ns=session.start_ns - session.utc_offset_ns, level=Level.FRAMES
        )
        writer = SessionWriter(place, self._cage, waiting, Coverage(until_boot_ns), self._decide, self._most_held)
        self._pending = path
        if self._believed:
            pending.remember_offset(path, session.utc_offset_ns)
            behind = self._behind(path, session.utc_offset_ns)
            self._faults = [behind or "", *(fault for fault in self._faults if fault != behind)]
        else:
            self._faults.insert(
                0, f"{path.name}: rows wait for their date: the clock is not synchronised. {_SET_CLOCK}"
            )
        return writer

    def _dated_writer(self, session: Session, most_held: int) -> SessionWriter:
        """Return a writer into the day files that goes on where the log ends."""
        until_ns = accounted_until(self._folder, self._cage)
        if until_ns is not None and until_ns > session.start_ns:
            late_ns = until_ns - session.start_ns
            session = replace(session, utc_offset_ns=session.utc_offset_ns + late_ns, start_ns=until_ns)
        coverage = self._coverage(until_ns, session.start_ns)
        return SessionWriter(self._days, self._cage, session, coverage, self._decide, most_held)

    def _coverage(self, until_ns: int | None, start_ns: int) -> Coverage:
        """Return the account, which may have to explain what a damaged file took with it."""
        damaged = [
            file for file in all_set_aside(self._folder / self._cage) if not file.path.name.startswith("pending-")
        ]
        if not damaged:
            return Coverage(until_ns)
        if until_ns is None:
            # The day of the first damaged file is all that is known of the log's beginning.
            return Coverage(min(start_of_day(damaged[0].path), start_ns), Reason.LOG_DAMAGED)
        return Coverage(until_ns, Reason.LOG_DAMAGED if damaged[-1].found_ns > until_ns else Reason.DAEMON_DOWN)

    def _settle(self) -> None:
        """Move what waits from earlier sessions, as far as its dates are known by now."""
        own = pending.pending_path(self._folder, self._cage, self._asked.boot_id)
        for path in pending.pending_files(self._folder, self._cage):
            offset_ns = pending.offset_in(path)
            if path == own and self._believed:
                offset_ns = self._asked.utc_offset_ns
            if offset_ns is not None:
                self._move(path, offset_ns)
            elif path != own:
                self._faults.append(
                    f"{path.name}: {pending.rows_in(path)} rows of a boot whose clock was never set; they stay there, "
                    "without a date. A report reads the file by its name; move it elsewhere when you know of it."
                )

    def _date(self, path: Path, offset_ns: int) -> None:
        """Move what waits, this session's rows included, and go on in the day files."""
        self._writer.flush()
        if self._writer.fault is not None:
            return
        behind = self._behind(path, offset_ns)
        if behind is not None:
            self._faults[0] = behind
            return
        self._writer.close("dated")
        writer = self._move(path, offset_ns, live=self._writer.session.uuid)
        if writer is not None:
            writer.most_held = self._most_held
            self._writer, self._pending = writer, None
            self._faults = [fault for fault in self._faults if not fault.startswith(path.name)]

    def _move(self, path: Path, offset_ns: int, live: str | None = None) -> SessionWriter | None:
        """Move a pending file's rows into the day files; return the writer of the session that goes on.

        Nothing is held back here: what cannot be written stays where it is.
        """
        sessions = pending.sessions_in(path)
        pending.remember_offset(path, offset_ns)
        pending.take_back(self._folder, self._cage, [session.uuid for session, _ in sessions])
        behind = self._behind(path, offset_ns)
        if behind is not None:
            self._faults.append(behind)
            return None
        writer = None
        for session, reason in sessions:
            dated = replace(
                session, utc_offset_ns=offset_ns, start_ns=session.start_ns + offset_ns, level=self._asked.level
            )
            writer = self._dated_writer(dated, most_held=0)
            try:
                self._repeat(path, session.uuid, writer)
                if session.uuid == live:
                    writer.flush()
                    break
                writer.close(reason or "not closed")
            except BaseException:
                writer.abandon()
                raise
        pending.remove(path)
        return writer

    def _behind(self, path: Path, offset_ns: int) -> str | None:
        """Say why the rows of a pending file cannot be dated by an offset: the log goes on long after them."""
        until_ns = accounted_until(self._folder, self._cage)
        start_ns = min((session.start_ns for session, _ in pending.sessions_in(path)), default=0) + offset_ns
        if not _is_far_behind(start_ns, until_ns):
            return None
        end_ns = until_ns or 0
        return (
            f"{path.name}: rows wait for their date: the log ends {(end_ns - start_ns) / NS_PER_S / 3600:.1f} hours "
            f"after they begin (log: {day_of(end_ns)}, clock: {day_of(start_ns)}). Set the system's clock, or move the "
            "log's files out of the folder if the clock was wrong when they were written; then start the daemon again."
        )

    def _repeat(self, path: Path, uuid: str, writer: SessionWriter) -> None:
        """Give a writer once more what a session has in a pending file."""
        for number, event in enumerate(pending.events_in(path, uuid), start=1):
            if isinstance(event, PendingRow):
                writer.row(
                    event.source_index,
                    event.time_ns,
                    event.probabilities,
                    event.label,
                    Quality(event.quality),
                    interval_ns=event.interval_ns,
                )
            elif isinstance(event, PendingGap):
                writer.unobserved(event.time_ns, event.stop_ns, event.reason)
            else:
                writer.clock(event)
            if number % _MOVED_AT_ONCE == 0:
                writer.flush()
                self._on_move()


_SET_CLOCK = (
    'Set up a time service, which dates them, or set [log] unsynchronised = "accept" on a machine that has none.'
)


def _is_far_behind(start_ns: int, until_ns: int | None) -> bool:
    return until_ns is not None and until_ns - start_ns > MOST_BACKWARD_S * NS_PER_S


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
