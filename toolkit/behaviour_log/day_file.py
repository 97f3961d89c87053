"""One day's SQLite file: making it, committing to it, closing it, and asking it how far its account of time goes.

While a daemon writes, the file is in WAL mode with synchronous = FULL: a commit that returned survives a kill or a
power loss. Closing folds the write-ahead log back in, so that the file alone is a backup.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.behaviour_log.batch import Batch
from toolkit.behaviour_log.damage import LogDamaged, all_set_aside, log_errors
from toolkit.behaviour_log.migration import migrate
from toolkit.behaviour_log.schema import APPLICATION_ID, NS_PER_DAY, SCHEMA, SCHEMA_VERSION
from toolkit.behaviour_log.session import Session
from toolkit.errors import LogError
from toolkit.ethogram import Ethogram
from toolkit.files import sync
from toolkit.frames import NS_PER_S

_BUSY_MS = 1000


def day_of(time_ns: int) -> str:
    """Return the UTC day of a UTC time in ns as ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(time_ns // NS_PER_DAY * (NS_PER_DAY // 10**9), tz=timezone.utc).strftime("%Y-%m-%d")


def day_path(folder: Path, cage: str, time_ns: int) -> Path:
    """Return where the day of a UTC time in ns lies: ``FOLDER/CAGE/CAGE_YYYY-MM-DD.sqlite``."""
    return folder / cage / f"{cage}_{day_of(time_ns)}.sqlite"


def start_of_day(path: Path) -> int:
    """Return the UTC ns of the midnight that a day file's name, or a damaged one's, tells."""
    day = re.search(r"_(\d{4}-\d\d-\d\d)\.sqlite", path.name)
    if day is None:
        raise LogError(f"{path}: no day in its name. Expected CAGE_YYYY-MM-DD.sqlite; move the file elsewhere.")
    date = datetime.strptime(day[1], "%Y-%m-%d").replace(tzinfo=timezone.utc)
    return round(date.timestamp()) * NS_PER_S


@dataclass(frozen=True)
class Days:
    """The day files of a cage."""

    folder: Path
    cage: str

    def bounds(self, time_ns: int) -> tuple[int, int]:
        """Return from when to when, UTC ns, the file goes that a time belongs to."""
        start_ns = time_ns // NS_PER_DAY * NS_PER_DAY
        return start_ns, start_ns + NS_PER_DAY

    def path(self, time_ns: int) -> Path:
        """Return that file."""
        return day_path(self.folder, self.cage, time_ns)


class DayFile:
    """The file of one UTC day, or of a boot whose rows wait for their date, open for writing by one session.

    Parameters
    ----------
    start_ns, stop_ns
        What the file is for: UTC ns of its midnights.

    Raises
    ------
    LogError
        If the file cannot be made or opened, is not a behaviour log, is a newer one, or holds another ethogram;
        LogDamaged if it is damaged. It is not looked through: `toolkit.behaviour_log.damage.check` is for that.
    """

    def __init__(self, path: Path, cage: str, start_ns: int, stop_ns: int, session: Session) -> None:
        self.path = path
        self.start_ns = start_ns
        self.stop_ns = stop_ns
        self._session = session
        self._session_id = 0
        self._first_index: int | None = None
        with log_errors(path):
            _make_if_absent(path, cage, self.start_ns, session.ethogram, _day_label(start_ns, stop_ns))
            self._connection = connect(path)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                migrate(self._connection, path)
                _check_ethogram(self._connection, path, session.ethogram)
                self._connection.execute("BEGIN IMMEDIATE")
                self._insert_session()
                self._note_set_aside()
                self._connection.execute("COMMIT")
                # From now on somebody who locks the file must not hold up the camera.
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            except BaseException:
                self._connection.close()
                raise

    def commit(self, batch: Batch) -> None:
        """Write a batch in one transaction.

        Raises
        ------
        LogError
            If it cannot be written; nothing of it is then in the file, and it may be tried again. LogDamaged if the
            file is damaged.
        """
        execute = self._connection.execute
        session, first = self._session_id, self._first_index_with(batch)
        with log_errors(self.path):
            execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        (time_ns - self.start_ns, session, index - first, probabilities, label, quality)
                        for time_ns, index, probabilities, label, quality in batch.rows
                    ),
                )
                for second in batch.seconds.values():
                    place = (second.time_ns - self.start_ns, session, second.source_index - first)
                    what = (second.rows, second.duration_ns, second.probabilities, second.label, second.quality)
                    execute("INSERT OR REPLACE INTO second VALUES (?, ?, ?, ?, ?, ?, ?, ?)", place + what)
                for gap in batch.intervals.values():
                    execute("DELETE FROM unobserved WHERE start_ns = ?", (gap.start_ns,))
                    if gap.stop_ns > gap.start_ns:
                        execute(
                            "INSERT INTO unobserved VALUES (?, ?, ?)", (gap.start_ns, gap.stop_ns, gap.reason.value)
                        )
                for bout, before, after in batch.bouts.values():
                    values = (bout.start_ns, bout.stop_ns, bout.behaviour, bout.frames, bout.mean_probability)
                    execute("INSERT OR REPLACE INTO bout VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, before, after))
                for clock in batch.clocks:
                    step_ns = clock.utc_offset_ns - self._session.utc_offset_ns
                    reading = (clock.monotonic_ns, session, clock.utc_ns, clock.synchronised, step_ns)
                    execute("INSERT INTO clock VALUES (?, ?, ?, ?, ?)", reading)
                for time_ns, interval_ns in batch.paces.items():
                    execute("INSERT OR REPLACE INTO pace VALUES (?, ?)", (time_ns - self.start_ns, interval_ns))
                if batch.held:
                    execute("UPDATE session SET first_index = ? WHERE id = ? AND first_index IS NULL", (first, session))
                execute("COMMIT")
            except BaseException:
                # Some failures have rolled back already; a second failure would hide the first.
                with suppress(sqlite3.Error):
                    execute("ROLLBACK")
                raise

    def go_on_as(self, session: Session, reason: str) -> None:
        """Let what follows be another session's; the one before ends where it begins.

        Raises
        ------
        LogError
            If it cannot be written; it may be tried again.
        """
        if session == self._session:
            return
        with log_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            before = self._session, self._session_id
            try:
                self._close_session(session.start_ns, reason)
                self._session = session
                self._insert_session()
                self._connection.execute("COMMIT")
                self._first_index = None
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                self._session, self._session_id = before
                raise

    def close(self, stop_ns: int, reason: str) -> None:
        """Mark the session closed and make the file one that can be copied alone.

        Raises
        ------
        LogError
            If the mark cannot be written; the file is then still open.
        """
        with log_errors(self.path):
            self._close_session(stop_ns, reason)
        # A reader that is looking at the file keeps the write-ahead log alive; waiting for it would hold up the next
        # day's rows. All is committed, and the next writer folds it in.
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA busy_timeout = 100")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def abandon(self) -> None:
        """Let go of the file after a failure; what was committed stays."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _first_index_with(self, batch: Batch) -> int:
        if self._first_index is None:
            indices = [batch.rows[0][1]] if batch.rows else [second.source_index for second in batch.seconds.values()]
            self._first_index = indices[0] if indices else None
        return self._first_index or 0

    def _close_session(self, stop_ns: int, reason: str) -> None:
        self._connection.execute(
            "UPDATE session SET stop_ns = ?, stop_reason = ? WHERE id = ?", (stop_ns, reason, self._session_id)
        )

    def _insert_session(self) -> None:
        (self._session_id,) = self._connection.execute("SELECT COALESCE(MAX(id) + 1, 0) FROM session").fetchone()
        session = self._session
        self._connection.execute(
            "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, NULL, NULL, ?)",
            (
                self._session_id,
                session.uuid,
                session.boot_id,
                session.host,
                session.toolkit_version,
                session.bundle_name,
                session.bundle_sha256,
                json.dumps(dict(session.engines)),
                session.config_sha256,
                session.config,
                session.utc_offset_ns,
                session.row_interval_ns,
                max(session.start_ns, self.start_ns),
                session.level.value,
            ),
        )

    def _note_set_aside(self) -> None:
        """Name the damaged files of this file's day in it."""
        for damaged in all_set_aside(self.path.parent):
            if damaged.path.name.startswith(self.path.name) or day_of(damaged.found_ns) == day_of(self.start_ns):
                self._connection.execute(
                    "INSERT OR IGNORE INTO note VALUES (?, 'quarantine', ?)", (damaged.found_ns, str(damaged))
                )


def day_files(folder: Path, cage: str) -> list[Path]:
    """Return a cage's day files, oldest first."""
    return sorted((folder / cage).glob(f"{cage}_????-??-??.sqlite"))


def accounted_until(folder: Path, cage: str) -> int | None:
    """Return the UTC ns up to which a cage's log accounts for time; None where there is no log yet.

    Raises
    ------
    LogError
        If the newest file cannot be read.
    """
    for path in reversed(day_files(folder, cage)):
        until_ns = accounted_in(path)
        if until_ns is not None:
            return until_ns
    return None


def accounted_in(path: Path) -> int | None:
    """Return the UTC ns up to which one file accounts for time; None where it holds neither rows nor intervals.

    Raises
    ------
    LogError
        If it cannot be read.
    """
    with log_errors(path), closing(connect(path)) as connection:
        return None if is_blank(connection) else _accounted_until(connection, path)


def connect(path: Path) -> sqlite3.Connection:
    """Open a file of a log so that a commit that returned is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def is_blank(connection: sqlite3.Connection) -> bool:
    """Say whether a kill left a file to which nothing was ever committed."""
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return not tables


def _make_if_absent(path: Path, cage: str, start_ns: int, ethogram: Ethogram, day: str) -> None:
    """Make a file with a whole schema and rename it to its place, so that an empty one there is always a fault."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _is_blank_file(path):
        return
    if path.with_name(f"{path.name}-wal").exists():
        raise LogDamaged(f"{path}: the file is gone, but its write-ahead log is not")
    meta = {
        "cage": cage,
        "day": day,
        "day_start_ns": start_ns,
        "ethogram": ethogram.model_dump_json(),
    }
    beside = path.with_name(f"{path.name}.new")
    for remains in (beside, beside.with_name(f"{beside.name}-journal")):
        remains.unlink(missing_ok=True)
    with closing(connect(beside)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(SCHEMA):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in meta.items()])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    beside.replace(path)
    sync(path.parent)


def _day_label(start_ns: int, stop_ns: int) -> str:
    return day_of(start_ns) if stop_ns - start_ns == NS_PER_DAY else "pending"


def _is_blank_file(path: Path) -> bool:
    """Say whether an older toolkit was killed here before it committed anything."""
    if path.stat().st_size == 0:
        raise LogDamaged(f"{path}: the file is empty (0 bytes)")
    with closing(connect(path)) as connection:
        return is_blank(connection)


def _statements(script: str) -> Iterator[str]:
    """Cut a script at its statements, since `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _check_ethogram(connection: sqlite3.Connection, path: Path, ethogram: Ethogram) -> None:
    (stored,) = connection.execute("SELECT value FROM meta WHERE key = 'ethogram'").fetchone()
    found = Ethogram.model_validate_json(stored)
    if found.names != ethogram.names:
        raise LogError(
            f"{path}: holds the behaviours {', '.join(found.names)}; the bundle has {', '.join(ethogram.names)}. "
            "A log has one ethogram. Give this bundle a log of its own: another cage name, or another [log] folder."
        )


def _accounted_until(connection: sqlite3.Connection, path: Path) -> int | None:
    migrate(connection, path)
    row: Any = connection.execute(
        "SELECT CAST(value AS INTEGER) + time_ns, CAST(value AS INTEGER) + time_ns + duration_ns FROM ("
        "SELECT * FROM (SELECT frame.time_ns, COALESCE(("
        "SELECT pace.row_interval_ns FROM pace JOIN frame AS begun USING (time_ns) "
        "WHERE begun.session = frame.session AND pace.time_ns <= frame.time_ns ORDER BY pace.time_ns DESC LIMIT 1"
        "), session.row_interval_ns) AS duration_ns FROM frame JOIN session ON session.id = frame.session "
        "ORDER BY frame.time_ns DESC LIMIT 1) "
        "UNION ALL SELECT * FROM (SELECT time_ns, duration_ns FROM second ORDER BY time_ns DESC LIMIT 1)"
        ") JOIN meta ON key = 'day_start_ns' ORDER BY 1 DESC LIMIT 1"
    ).fetchone()
    gap: Any = connection.execute("SELECT start_ns, stop_ns FROM unobserved ORDER BY start_ns DESC LIMIT 1").fetchone()
    if row is not None and (gap is None or gap[0] <= row[0]):
        return int(row[1])
    return None if gap is None else int(gap[1])
