"""Reads behaviour logs, one file or a cage's whole folder, without disturbing the daemon that writes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log.coverage import SLACK, Interval
from toolkit.behaviour_log.day_file import is_blank
from toolkit.behaviour_log.migration import schema_version
from toolkit.behaviour_log.pending import is_pending
from toolkit.behaviour_log.schema import Level, Quality, Reason
from toolkit.bouts import NO_LABEL, Bout
from toolkit.errors import LogError
from toolkit.ethogram import Ethogram
from toolkit.frames import NS_PER_S

_CHUNK = 1 << 16


@dataclass(frozen=True)
class LoggedSession:
    """One start of a daemon, as a file names it; a session that crosses midnight is in several files."""

    uuid: str
    boot_id: str
    host: str
    toolkit_version: str
    bundle_name: str
    bundle_sha256: str
    engines: Mapping[str, str]
    config_sha256: str
    config: Mapping[str, Any]
    utc_offset_ns: int
    row_interval_ns: int
    """Time that a row stands for; a second where summaries of seconds stand in for frames."""
    start_ns: int
    """UTC ns; of a session in several files the earliest."""
    stop_ns: int | None
    """UTC ns; None while it runs, and where it was killed."""
    stop_reason: str | None
    level: Level = Level.FRAMES


@dataclass(frozen=True)
class BehaviourLog:
    """What was logged, in time order. N rows, K behaviours.

    Of sessions of level "bouts" a row is the summary of up to a second: its label that of most frames, its
    probabilities their means, its quality flagged as `Quality.SUMMARY`. Their bouts are those of the frames.
    """

    cage: str
    ethogram: Ethogram
    time_ns: NDArray[np.int64]
    """(N,) int64 capture times, UTC ns, increasing."""
    duration_ns: NDArray[np.int64]
    """(N,) int64 time that each row stands for: up to the next row or unobserved interval, or its own span where
    nothing follows. Together with `unobserved` it covers the log's time exactly once."""
    source_index: NDArray[np.int64]
    """(N,) int64 number of the frame in its source; starts again with every session."""
    label: NDArray[np.int16]
    """(N,) int16 position in the ethogram, -1 for none."""
    probabilities: NDArray[np.uint8]
    """(N, K) uint8: round(255 * fused probability)."""
    quality: NDArray[np.uint8]
    """(N,) uint8 flags, see `Quality`."""
    bouts: tuple[Bout, ...]
    """Runs of equal decided labels; those that cross midnight are joined."""
    unobserved: tuple[Interval, ...]
    """Time without rows, with the reason."""
    provenance: tuple[LoggedSession, ...]
    files: tuple[Path, ...]

    @property
    def observed_s(self) -> float:
        """Seconds that rows stand for: what time budgets divide by."""
        return float(self.duration_ns.sum()) / NS_PER_S

    @property
    def decided(self) -> NDArray[np.int16]:
        """(N,) int16 the label that each row's bout has, -1 for none: `label` itself where no decision filter ran."""
        starts = np.array([bout.start_ns for bout in self.bouts], dtype=np.int64)
        bout = np.searchsorted(starts, self.time_ns, side="right") - 1
        stops = np.array([-1, *(bout.stop_ns for bout in self.bouts)], dtype=np.int64)
        behaviours = np.array([NO_LABEL, *(bout.behaviour for bout in self.bouts)], dtype=np.int16)
        return np.where(self.time_ns < stops[bout + 1], behaviours[bout + 1], np.int16(NO_LABEL))

    @property
    def decided_by(self) -> tuple[str, ...]:
        """Names of the decision filters that the sessions' configurations ask for; empty where all bouts are raw."""
        tables = [session.config.get("decision", {}) for session in self.provenance]
        return tuple(sorted({table.get("filter", "off") for table in tables} - {"off"}))

    def unobserved_s(self) -> dict[Reason, float]:
        """Return the seconds without rows by reason."""
        seconds: dict[Reason, float] = {}
        for gap in self.unobserved:
            seconds[gap.reason] = seconds.get(gap.reason, 0.0) + (gap.stop_ns - gap.start_ns) / NS_PER_S
        return seconds


def read_log(path: Path) -> BehaviourLog:
    """Read one day's file, or every day of a cage's folder: neither what was set aside nor what waits for its date.

    Parameters
    ----------
    path
        A ``.sqlite`` file, a cage's folder, or a folder that holds a single cage's folder.

    Raises
    ------
    LogError
        If there is no log, a file is empty, foreign or newer than this toolkit, or the files are not of one cage and
        one ethogram.
    """
    files = log_files(path)
    days = [day for file in files if (day := _read_day(file)) is not None]
    if not days:
        raise LogError(f"{path}: the log is empty: nothing was committed to it. Let the daemon run a little longer.")
    _check_alike(path, days)
    time_ns = np.concatenate([day.time_ns for day in days])
    unobserved = tuple(gap for day in days for gap in day.unobserved)
    intervals = np.concatenate([day.row_interval_ns for day in days])
    return BehaviourLog(
        cage=days[0].cage,
        ethogram=days[0].ethogram,
        time_ns=time_ns,
        duration_ns=_durations(time_ns, np.concatenate([day.span_ns for day in days]), intervals, unobserved),
        source_index=np.concatenate([day.source_index for day in days]),
        label=np.concatenate([day.label for day in days]),
        probabilities=np.concatenate([day.probabilities for day in days]),
        quality=np.concatenate([day.quality for day in days]),
        bouts=_joined(days),
        unobserved=unobserved,
        provenance=_sessions(days),
        files=tuple(files),
    )


@dataclass(frozen=True)
class _Day:
    cage: str
    ethogram: Ethogram
    time_ns: NDArray[np.int64]
    source_index: NDArray[np.int64]
    span_ns: NDArray[np.int64]
    """From a row's time to the end of the last frame that it stands for."""
    row_interval_ns: NDArray[np.int64]
    label: NDArray[np.int16]
    probabilities: NDArray[np.uint8]
    quality: NDArray[np.uint8]
    bouts: list[tuple[Bout, bool]]
    """Each with whether it began the day before."""
    unobserved: list[Interval]
    sessions: list[LoggedSession]


def log_files(path: Path) -> list[Path]:
    """Return the files of a cage's log, a day each, oldest first; `path` and errors as for `read_log`."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LogError(f"{path}: no such behaviour log. Expected a .sqlite file or a cage's log folder.")
    files = _dated_files(path)
    if files:
        return files
    cages = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _dated_files(folder)]
    if len(cages) == 1:
        return _dated_files(cages[0])
    if cages:
        raise LogError(
            f"{path}: holds the logs of {len(cages)} cages ({', '.join(folder.name for folder in cages)}). "
            "Name one cage's folder."
        )
    raise LogError(f"{path}: holds no .sqlite file. Expected a folder that `toolkit cage run` wrote to.")


def _dated_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.sqlite") if not is_pending(path))


def _read_day(path: Path) -> _Day | None:
    if path.stat().st_size == 0:
        raise LogError(f"{path}: the file is empty (0 bytes). Restore it from a copy, or move it aside.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
            # One transaction: the tables are seen as of one commit.
            database.execute("BEGIN")
            if is_blank(database):
                return None
            schema_version(database, path)
            return _day(database)
    except sqlite3.Error as error:
        raise LogError(
            f"{path}: cannot be read ({error}). Expected a behaviour log in a folder that this user may write to "
            "while its -wal file exists (SQLite shares memory beside it). Copy the files elsewhere, or restore them."
        ) from error


def _day(database: sqlite3.Connection) -> _Day:
    meta = dict(database.execute("SELECT key, value FROM meta"))
    ethogram = Ethogram.model_validate_json(meta["ethogram"])
    sessions, first_index, interval_ns = _read_sessions(database)
    numbers, probabilities = _rows(
        database,
        "SELECT time_ns, session, position, COALESCE(label, -1), quality, 0, probabilities FROM frame ORDER BY time_ns",
        len(ethogram),
    )
    if any(session.level is Level.BOUTS for session in sessions):
        seconds, means = _rows(
            database,
            f"SELECT time_ns, session, position, COALESCE(label, -1), quality | {Quality.SUMMARY.value}, duration_ns, "
            "probabilities FROM second ORDER BY time_ns",
            len(ethogram),
        )
        numbers, probabilities = np.concatenate([numbers, seconds]), np.concatenate([probabilities, means])
        order = np.argsort(numbers[:, 0], kind="stable")
        numbers, probabilities = numbers[order], probabilities[order]
    session = numbers[:, 1]
    row_interval_ns = _paced(numbers[:, 0], session, interval_ns[session], database)
    return _Day(
        cage=meta["cage"],
        ethogram=ethogram,
        time_ns=numbers[:, 0] + int(meta["day_start_ns"]),
        source_index=numbers[:, 2] + first_index[session],
        span_ns=np.where(numbers[:, 5] > 0, numbers[:, 5], row_interval_ns),
        row_interval_ns=row_interval_ns,
        label=numbers[:, 3].astype(np.int16),
        probabilities=probabilities,
        quality=numbers[:, 4].astype(np.uint8),
        bouts=[
            (Bout(behaviour, start_ns, stop_ns, rows, probability), bool(continued_from))
            for start_ns, stop_ns, behaviour, rows, probability, continued_from in database.execute(
                "SELECT start_ns, stop_ns, behaviour, rows, probability, continued_from FROM bout ORDER BY start_ns"
            )
        ],
        unobserved=[
            Interval(start_ns, stop_ns, Reason(reason))
            for start_ns, stop_ns, reason in database.execute("SELECT * FROM unobserved ORDER BY start_ns")
        ],
        sessions=sessions,
    )


def _paced(
    time_ns: NDArray[np.int64],
    session: NDArray[np.int64],
    interval_ns: NDArray[np.int64],
    database: sqlite3.Connection,
) -> NDArray[np.int64]:
    """Return what each row stands for: its session's interval, or what `pace` says."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'pace'").fetchone():
        return interval_ns
    paces = database.execute("SELECT time_ns, row_interval_ns FROM pace ORDER BY time_ns").fetchall()
    begins = [*np.searchsorted(time_ns, [pace[0] for pace in paces]).tolist(), len(time_ns)]
    for (_, paced_ns), begin, end in zip(paces, begins[:-1], begins[1:], strict=True):
        same_session = session[begin:end] == session[begin]
        interval_ns[begin:end][same_session] = paced_ns
    return interval_ns


def _rows(database: sqlite3.Connection, query: str, behaviours: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return a query's rows: its whole numbers, and the probabilities, which are its last column."""
    numbers = [np.empty((0, 6), dtype=np.int64)]
    probabilities = [np.empty((0, behaviours), dtype=np.uint8)]
    cursor = database.execute(query)
    while chunk := cursor.fetchmany(_CHUNK):
        numbers.append(np.array([row[:6] for row in chunk], dtype=np.int64))
        bytes_ = np.frombuffer(b"".join(row[6] for row in chunk), dtype=np.uint8)
        probabilities.append(bytes_.reshape(len(chunk), -1))
    return np.concatenate(numbers), np.concatenate(probabilities)


def _read_sessions(
    database: sqlite3.Connection,
) -> tuple[list[LoggedSession], NDArray[np.int64], NDArray[np.int64]]:
    rows = database.execute(
        "SELECT uuid, boot_id, host, toolkit_version, bundle_name, bundle_sha256, engines, config_sha256, config, "
        f"utc_offset_ns, row_interval_ns, start_ns, stop_ns, stop_reason, first_index, {_level(database)} FROM session "
        "ORDER BY id"
    ).fetchall()
    sessions = [_session(row) for row in rows]
    first_index = np.array([row[14] or 0 for row in rows], dtype=np.int64)
    return sessions, first_index, np.array([row[10] for row in rows], dtype=np.int64)


def _level(database: sqlite3.Connection) -> str:
    """Return the column, or what stands in for it in a file of before version 3."""
    columns = [row[1] for row in database.execute("PRAGMA table_info(session)")]
    return "level" if "level" in columns else f"'{Level.FRAMES.value}'"


def _session(row: tuple[Any, ...]) -> LoggedSession:
    uuid, boot_id, host, version, bundle_name, bundle_sha256, engines, config_sha256, config, offset, interval = row[
        :11
    ]
    start_ns, stop_ns, stop_reason = row[11:14]
    return LoggedSession(
        uuid=uuid,
        boot_id=boot_id,
        host=host,
        toolkit_version=version,
        bundle_name=bundle_name,
        bundle_sha256=bundle_sha256,
        engines=json.loads(engines),
        config_sha256=config_sha256,
        config=json.loads(config),
        utc_offset_ns=offset,
        row_interval_ns=interval if row[15] == Level.FRAMES.value else NS_PER_S,
        start_ns=start_ns,
        stop_ns=stop_ns,
        stop_reason=stop_reason,
        level=Level(row[15]),
    )


def _check_alike(path: Path, days: list[_Day]) -> None:
    cages = sorted({day.cage for day in days})
    if len(cages) > 1:
        raise LogError(f"{path}: holds files of several cages ({', '.join(cages)}). Keep one folder per cage.")
    ethograms = {day.ethogram.names for day in days}
    if len(ethograms) > 1:
        raise LogError(
            f"{path}: the files hold {len(ethograms)} different sets of behaviours. Expected one ethogram. Read the "
            "files one by one, or move those of another bundle to a folder of their own."
        )


def _durations(
    time_ns: NDArray[np.int64],
    span_ns: NDArray[np.int64],
    interval_ns: NDArray[np.int64],
    unobserved: tuple[Interval, ...],
) -> NDArray[np.int64]:
    """Return what each row stands for: up to the next event, which the writer made sure is its successor."""
    starts = np.sort(np.array([gap.start_ns for gap in unobserved], dtype=np.int64))
    far = np.iinfo(np.int64).max
    next_row = np.append(time_ns[1:], far)[: len(time_ns)]
    next_gap = np.append(starts, far)[np.searchsorted(starts, time_ns, side="right")]
    following = np.minimum(next_row, next_gap)
    # A log that is still being written, or was killed, has rows after which nothing is known yet.
    is_successor = following - time_ns <= span_ns + SLACK * interval_ns
    ends = np.where(is_successor, following, time_ns + span_ns)
    durations: NDArray[np.int64] = ends - time_ns
    return durations


def _joined(days: list[_Day]) -> tuple[Bout, ...]:
    bouts: list[Bout] = []
    for day in days:
        for bout, continued in day.bouts:
            if continued and bouts and bouts[-1].stop_ns == bout.start_ns and bouts[-1].behaviour == bout.behaviour:
                before = bouts.pop()
                rows = before.frames + bout.frames
                total = before.mean_probability * before.frames + bout.mean_probability * bout.frames
                bout = replace(bout, start_ns=before.start_ns, frames=rows, mean_probability=total / rows)
            bouts.append(bout)
    return tuple(bouts)


def _sessions(days: list[_Day]) -> tuple[LoggedSession, ...]:
    sessions: dict[str, LoggedSession] = {}
    for day in days:
        for session in day.sessions:
            earlier = sessions.get(session.uuid)
            sessions[session.uuid] = replace(session, start_ns=earlier.start_ns) if earlier else session
    return tuple(sessions.values())
