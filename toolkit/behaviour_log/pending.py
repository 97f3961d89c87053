"""Rows whose date is not known yet: they wait in a file of their boot, dated by its monotonic clock.

A pending file is a day file that begins at the boot. Once its boot's offset to UTC is known, its rows are moved: they
are given to a writer once more, as if they had just been seen, and the file goes when all of them are committed. A
kill in between leaves the offset in the file; the next start takes back what had been moved and moves everything.
"""

from __future__ import annotations

import heapq
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log.damage import log_errors
from toolkit.behaviour_log.day_file import connect, day_files
from toolkit.behaviour_log.migration import migrate
from toolkit.behaviour_log.schema import Reason
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.ethogram import Ethogram
from toolkit.files import sync

STOP_NS = 1 << 62
"""A boot does not end."""

EARLIEST_NS = 1_577_836_800 * 10**9
"""2020, UTC: a clock that says less is wrong, whatever the kernel holds of it."""

_NAME = re.compile(r"pending-[0-9A-Za-z-]+\.sqlite")


@dataclass(frozen=True)
class PendingFile:
    """The one file of a boot; see `Days`."""

    folder: Path
    cage: str
    boot_id: str

    def bounds(self, _time_ns: int) -> tuple[int, int]:
        """Return from when to when it goes, monotonic ns."""
        return 0, STOP_NS

    def path(self, _time_ns: int) -> Path:
        """Return the file."""
        return pending_path(self.folder, self.cage, self.boot_id)


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row, as it was given to the writer, its probabilities to a 255th."""

    time_ns: int
    source_index: int
    probabilities: NDArray[np.float32]
    label: int | None
    quality: int
    interval_ns: int


@dataclass(frozen=True, slots=True)
class PendingGap:
    """Time without rows."""

    time_ns: int
    stop_ns: int
    reason: Reason


def is_believed(clock: ClockReading, *, accept_unsynchronised: bool = False) -> bool:
    """Say whether rows may be dated by this clock.

    A kernel that does not say whether its clock is synchronised is believed: the machine has no such service to wait
    for. No clock is believed before 2020.
    """
    return (clock.synchronised is not False or accept_unsynchronised) and clock.utc_ns >= EARLIEST_NS


def pending_path(folder: Path, cage: str, boot_id: str) -> Path:
    """Return where the rows of a boot wait."""
    return folder / cage / f"pending-{re.sub('[^0-9A-Za-z-]', '-', boot_id)}.sqlite"


def is_pending(path: Path) -> bool:
    """Say whether a file holds rows that have no date."""
    return _NAME.fullmatch(path.name) is not None


def pending_files(folder: Path, cage: str) -> list[Path]:
    """Return a cage's pending files."""
    return sorted(path for path in (folder / cage).glob("pending-*.sqlite") if is_pending(path))


def offset_in(path: Path) -> int | None:
    """Return a pending file's offset from monotonic time to UTC, ns, as far as the file knows it.

    Raises
    ------
    LogError
        If it cannot be read.
    """
    with log_errors(path), closing(connect(path)) as database:
        migrate(database, path)
        row = database.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'utc_offset_ns'").fetchone()
        if row is None:
            row = database.execute(
                "SELECT utc_ns - monotonic_ns FROM clock WHERE synchronised AND utc_ns >= ? "
                "ORDER BY rowid DESC LIMIT 1",
                (EARLIEST_NS,),
            ).fetchone()
    return None if row is None else int(row[0])


def remember_offset(path: Path, offset_ns: int) -> None:
    """Write into a pending file how its rows are to be dated."""
    with log_errors(path), closing(connect(path)) as database:
        database.execute("INSERT OR REPLACE INTO meta VALUES ('utc_offset_ns', ?)", (str(offset_ns),))


def sessions_in(path: Path) -> list[tuple[Session, str]]:
    """Return a pending file's sessions, dated by its monotonic clock, each with why it ended; oldest first."""
    with log_errors(path), closing(connect(path)) as database:
        (ethogram,) = database.execute("SELECT value FROM meta WHERE key = 'ethogram'").fetchone()
        rows = database.execute(
            "SELECT uuid, boot_id, host, toolkit_version, bundle_name, bundle_sha256, engines, config_sha256, config, "
            "row_interval_ns, start_ns, stop_reason FROM session ORDER BY id"
        ).fetchall()
    return [
        (
            Session(
                uuid=row[0],
                boot_id=row[1],
                host=row[2],
                toolkit_version=row[3],
                bundle_name=row[4],
                bundle_sha256=row[5],
                engines=json.loads(row[6]),
                config_sha256=row[7],
                config=row[8],
                ethogram=Ethogram.model_validate_json(ethogram),
                utc_offset_ns=0,
                row_interval_ns=row[9],
                start_ns=row[10],
            ),
            row[11] or "",
        )
        for row in rows
    ]


def events_in(path: Path, uuid: str) -> Iterator[PendingRow | PendingGap | ClockReading]:
    """Yield what a session has in a pending file, in time order, clocks first."""
    with log_errors(path), closing(connect(path)) as database:
        number, first, start_ns = database.execute(
            "SELECT id, first_index, start_ns FROM session WHERE uuid = ?", (uuid,)
        ).fetchone()
        (stop_ns,) = database.execute(
            "SELECT COALESCE(MIN(start_ns), ?) FROM session WHERE id > ?", (STOP_NS, number)
        ).fetchone()
        for monotonic_ns, utc_ns, synchronised in database.execute(
            "SELECT monotonic_ns, utc_ns, synchronised FROM clock WHERE session = ? ORDER BY rowid", (number,)
        ):
            yield ClockReading(monotonic_ns, utc_ns, None if synchronised is None else bool(synchronised))
        gaps: Iterator[PendingGap | PendingRow] = _gaps(database, start_ns, stop_ns)
        yield from heapq.merge(gaps, _rows(database, number, first or 0), key=_time_ns)


def _time_ns(event: PendingGap | PendingRow) -> int:
    return event.time_ns


def _rows(database: sqlite3.Connection, session: int, first: int) -> Iterator[PendingRow]:
    (interval_ns,) = database.execute("SELECT row_interval_ns FROM session WHERE id = ?", (session,)).fetchone()
    query = (
        "SELECT frame.time_ns, position, probabilities, label, quality, pace.row_interval_ns FROM frame "
        "LEFT JOIN pace USING (time_ns) WHERE session = ? ORDER BY frame.time_ns"
    )
    for time_ns, position, probabilities, label, quality, paced_ns in database.execute(query, (session,)):
        interval_ns = paced_ns or interval_ns
        values = np.frombuffer(probabilities, dtype=np.uint8).astype(np.float32) / np.float32(255)
        yield PendingRow(time_ns, first + position, values, label, quality, interval_ns)


def _gaps(database: sqlite3.Connection, start_ns: int, stop_ns: int) -> Iterator[PendingGap]:
    query = "SELECT start_ns, stop_ns, reason FROM unobserved WHERE start_ns >= ? AND start_ns < ? ORDER BY start_ns"
    for gap_ns, until_ns, reason in database.execute(query, (start_ns, stop_ns)):
        yield PendingGap(gap_ns, until_ns, Reason(reason))


def take_back(folder: Path, cage: str, uuids: Iterable[str]) -> None:
    """Remove what was moved of sessions whose rows are all in a pending file still. They are a log's newest."""
    wanted = set(uuids)
    for path in day_files(folder, cage):
        with log_errors(path), closing(connect(path)) as database:
            migrate(database, path)
            found = [row for row in database.execute("SELECT id, start_ns, uuid FROM session") if row[2] in wanted]
            if not found:
                continue
            start_ns = min(row[1] for row in found)
            database.execute("BEGIN IMMEDIATE")
            for number, _, _ in found:
                for table in ("frame", "second", "clock"):
                    database.execute(f"DELETE FROM {table} WHERE session = ?", (number,))
                database.execute("DELETE FROM session WHERE id = ?", (number,))
            for table in ("bout", "unobserved"):
                database.execute(f"DELETE FROM {table} WHERE start_ns >= ?", (start_ns,))
            database.execute(
                "DELETE FROM pace WHERE time_ns >= ? - (SELECT value FROM meta WHERE key = 'day_start_ns')", (start_ns,)
            )
            database.execute("COMMIT")


def remove(path: Path) -> None:
    """Remove a pending file all of whose rows are committed elsewhere."""
    with log_errors(path):
        with closing(connect(path)) as database:
            # What a kill left of it must not be taken for a file that lost its rows.
            database.execute("PRAGMA journal_mode = DELETE")
        path.unlink()
        sync(path.parent)


def rows_in(path: Path) -> int:
    """Return how many rows wait in a pending file."""
    with log_errors(path), closing(connect(path)) as database:
        (rows,) = database.execute("SELECT COUNT(*) FROM frame").fetchone()
    return int(rows)
