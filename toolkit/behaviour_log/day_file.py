"""One day's SQLite file: making it, committing to it, closing it, and asking it how far its account of time goes.

While a daemon writes, the file is in WAL mode with synchronous = FULL: a commit that returned survives a kill or a
power loss. Closing folds the write-ahead log back in, so that the file alone is a backup.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.behaviour_log.coverage import Interval
from toolkit.behaviour_log.migration import migrate
from toolkit.behaviour_log.schema import APPLICATION_ID, NS_PER_DAY, SCHEMA, SCHEMA_VERSION
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.bouts import Bout
from toolkit.errors import LogError
from toolkit.ethogram import Ethogram

FrameRow = tuple[int, int, int, bytes, "int | None", int]
"""time since midnight (ns), session, position, probabilities, label, quality."""


def day_of(time_ns: int) -> str:
    """Return the UTC day of a UTC time in ns as ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(time_ns // NS_PER_DAY * (NS_PER_DAY // 10**9), tz=timezone.utc).strftime("%Y-%m-%d")


def day_path(folder: Path, cage: str, time_ns: int) -> Path:
    """Return where the day of a UTC time in ns lies: ``FOLDER/CAGE/CAGE_YYYY-MM-DD.sqlite``."""
    return folder / cage / f"{cage}_{day_of(time_ns)}.sqlite"


class DayFile:
    """The file of one UTC day, open for writing by one session.

    Raises
    ------
    LogError
        If the file cannot be made or opened, is not a behaviour log, is a newer one, or holds another ethogram.
    """

    def __init__(self, path: Path, cage: str, time_ns: int, session: Session) -> None:
        self.path = path
        self.start_ns = time_ns // NS_PER_DAY * NS_PER_DAY
        self.stop_ns = self.start_ns + NS_PER_DAY
        self._session = session
        self._first_index: int | None = None
        with log_errors(path):
            self._connection = _connect(path)
            try:
                _prepare(self._connection, path, cage, self.start_ns, session.ethogram)
                self._connection.execute("BEGIN IMMEDIATE")
                self._insert_session()
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.close()
                raise

    def row(self, time_ns: int, source_index: int, probabilities: bytes, label: int | None, quality: int) -> FrameRow:
        """Return a frame's row, to be given to `commit`."""
        if self._first_index is None:
            self._first_index = source_index
        position = source_index - self._first_index
        return (time_ns - self.start_ns, self._session_id, position, probabilities, label, quality)

    def commit(
        self,
        rows: Sequence[FrameRow],
        intervals: Iterable[Interval],
        bouts: Iterable[tuple[Bout, bool, bool]],
        clocks: Iterable[ClockReading],
        paces: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Write everything in one transaction.

        Parameters
        ----------
        intervals
            Unobserved time, replacing what begins at the same moment; an empty interval deletes it.
        bouts
            Each with whether it began the day before and whether it goes on the day after.
        paces
            From a row at UTC ns on, each stands for so many ns.
        """
        execute = self._connection.execute
        with log_errors(self.path):
            execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?)", rows)
                for gap in intervals:
                    execute("DELETE FROM unobserved WHERE start_ns = ?", (gap.start_ns,))
                    if gap.stop_ns > gap.start_ns:
                        execute(
                            "INSERT INTO unobserved VALUES (?, ?, ?)", (gap.start_ns, gap.stop_ns, gap.reason.value)
                        )
                for bout, before, after in bouts:
                    values = (bout.start_ns, bout.stop_ns, bout.behaviour, bout.frames, bout.mean_probability)
                    execute("INSERT OR REPLACE INTO bout VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, before, after))
                for clock in clocks:
                    step_ns = clock.utc_offset_ns - self._session.utc_offset_ns
                    reading = (clock.monotonic_ns, self._session_id, clock.utc_ns, clock.synchronised, step_ns)
                    execute("INSERT INTO clock VALUES (?, ?, ?, ?, ?)", reading)
                for time_ns, interval_ns in paces:
                    execute("INSERT INTO pace VALUES (?, ?)", (time_ns - self.start_ns, interval_ns))
                if rows:
                    execute(
                        "UPDATE session SET first_index = ? WHERE id = ? AND first_index IS NULL",
                        (self._first_index, self._session_id),
                    )
                execute("COMMIT")
            except BaseException:
                # Some failures have rolled back already; a second failure would hide the first.
                with suppress(sqlite3.Error):
                    execute("ROLLBACK")
                raise

    def begin_session(self, session: Session, reason: str) -> None:
        """Mark the session closed, at the moment that `session` begins, and begin that one."""
        with log_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            self._close_session(session.start_ns, reason)
            self._session, self._first_index = session, None
            self._insert_session()
            self._connection.execute("COMMIT")

    def close(self, stop_ns: int, reason: str) -> None:
        """Mark the session closed and make the file one that can be copied alone."""
        with log_errors(self.path):
            try:
                self._close_session(stop_ns, reason)
                # A reader that is looking at the file keeps the write-ahead log alive; waiting for it would hold up
                # the next day's rows.
                self._connection.execute("PRAGMA busy_timeout = 100")
                with suppress(sqlite3.OperationalError):
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            finally:
                self._connection.close()

    def abandon(self) -> None:
        """Let go of the file after a failure; what was committed stays."""
        self._connection.close()

    def _close_session(self, stop_ns: int, reason: str) -> None:
        self._connection.execute(
            "UPDATE session SET stop_ns = ?, stop_reason = ? WHERE id = ?", (stop_ns, reason, self._session_id)
        )

    def _insert_session(self) -> None:
        (self._session_id,) = self._connection.execute("SELECT COALESCE(MAX(id) + 1, 0) FROM session").fetchone()
        session = self._session
        self._connection.execute(
            "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, NULL, NULL)",
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
            ),
        )


def accounted_until(folder: Path, cage: str) -> int | None:
    """Return the UTC ns up to which a cage's log accounts for time; None where there is no log yet.

    Raises
    ------
    LogError
        If the newest file cannot be read.
    """
    for path in sorted((folder / cage).glob(f"{cage}_????-??-??.sqlite"), reverse=True):
        with log_errors(path):
            connection = _connect(path)
            try:
                until_ns = None if is_blank(connection) else _accounted_until(connection, path)
            finally:
                connection.close()
        if until_ns is not None:
            return until_ns
    return None


@contextmanager
def log_errors(path: Path) -> Iterator[None]:
    """Raise LogError for whatever SQLite or the operating system objects to."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LogError(
            f"{path}: the behaviour log cannot be written or read ({error}). Expected a folder that this user may "
            f"write to, on a disk with free space. {_advice(str(error))}"
        ) from error


def _advice(message: str) -> str:
    if "full" in message or "No space" in message:
        return "Free some space, or set [log] folder to another disk; everything committed so far is safe."
    if "malformed" in message or "not a database" in message:
        return "The file is damaged: move it aside (the daemon begins a new one), and restore it from a copy."
    return "Check [log] folder, its owner and whether the disk is mounted read-only; what was committed is safe."


def _connect(path: Path) -> sqlite3.Connection:
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


def _prepare(connection: sqlite3.Connection, path: Path, cage: str, start_ns: int, ethogram: Ethogram) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    if not is_blank(connection):
        migrate(connection, path)
        _check_ethogram(connection, path, ethogram)
        return
    # One transaction: a kill leaves a whole schema or none.
    meta = {
        "cage": cage,
        "day": day_of(start_ns),
        "day_start_ns": start_ns,
        "ethogram": ethogram.model_dump_json(),
    }
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements(SCHEMA):
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in meta.items()])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


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
        "SELECT CAST(meta.value AS INTEGER) + frame.time_ns, COALESCE(("
        "  SELECT pace.row_interval_ns FROM pace JOIN frame AS begun USING (time_ns) "
        "  WHERE begun.session = frame.session AND pace.time_ns <= frame.time_ns ORDER BY pace.time_ns DESC LIMIT 1"
        "), session.row_interval_ns) "
        "FROM frame JOIN session ON session.id = frame.session JOIN meta ON meta.key = 'day_start_ns' "
        "ORDER BY frame.time_ns DESC LIMIT 1"
    ).fetchone()
    gap: Any = connection.execute("SELECT start_ns, stop_ns FROM unobserved ORDER BY start_ns DESC LIMIT 1").fetchone()
    if row is not None and (gap is None or gap[0] <= row[0]):
        return int(row[0] + row[1])
    return None if gap is None else int(gap[1])
