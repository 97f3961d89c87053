"""What a fault cost, and the guarantees that a log is held to after each."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.behaviour_log import BehaviourLog, read_log


@dataclass(frozen=True)
class Outcome:
    """One scenario's row."""

    fault: str
    times: int
    """How often it was done."""
    frames_lost: int
    """Frames that were captured, could show a behaviour and have no row. Their time is unobserved."""
    rows_lost: int
    """Rows that a commit had announced and that are not in the log. Must be 0."""
    recovery_s: float
    """Longest time until all was as before; what it counts from and to depends on the fault."""
    faults: tuple[str, ...] = ()
    """Every guarantee that was broken, and where."""

    def __str__(self) -> str:
        line = (
            f"{self.fault:<28} {self.times:>6} times, {self.frames_lost} frames lost, {self.rows_lost} committed rows "
            f"lost, recovered in at most {self.recovery_s:.3f} s"
        )
        return "\n".join([line, *(f"  broken: {fault}" for fault in self.faults[:10])])


@dataclass(frozen=True)
class NotRun:
    """A scenario that needs what is not here."""

    fault: str
    why: str

    def __str__(self) -> str:
        return f"{self.fault:<28} not run: {self.why}"


def broken_order(log: BehaviourLog) -> list[str]:
    """Return what is wrong with the order of a log's frames, of one session."""
    in_order = bool((np.diff(log.source_index) > 0).all() and (np.diff(log.time_ns) > 0).all())
    return [] if in_order else ["a frame is there twice, or out of order"]


def broken_files(folder: Path) -> list[str]:
    """Return what `PRAGMA integrity_check` objects to in a cage's day files, and files that were set aside."""
    found = [f"{path.name} was set aside" for path in folder.glob("*.corrupt-*.json")]
    for path in folder.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            answer = database.execute("PRAGMA integrity_check").fetchall()
            if answer != [("ok",)]:
                found.append(f"{path.name}: {answer[:3]}")
    return found


def rows_of_sessions(folder: Path) -> dict[str, list[int]]:
    """Return the source indices that a cage's day files hold of every session, as SQL finds them."""
    rows: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.sqlite")):
        with closing(sqlite3.connect(path)) as database:
            for uuid, index in database.execute("SELECT session_uuid, source_index FROM frames ORDER BY utc_ns"):
                rows.setdefault(uuid, []).append(index)
    return rows


def broken_account(folder: Path) -> list[str]:
    """Return what is wrong with a log's account of time: holes, time that counts twice, rows in no bout."""
    log: BehaviourLog = read_log(folder)
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    found = [
        f"time from {stop} to {start} counts {'never' if start > stop else 'twice'}"
        for (_, stop), (start, _) in itertools.pairwise(spans)
        if start != stop
    ]
    if sum(bout.frames for bout in log.bouts) != len(log.time_ns):
        found.append(f"{len(log.time_ns)} rows, but bouts of {sum(bout.frames for bout in log.bouts)}")
    return found
