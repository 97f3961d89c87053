"""Records from behaviour logs, one day's file at a time, so that a month costs no more memory than its longest day."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog, LoggedSession, Quality, read_log
from toolkit.behaviour_log.pending import is_pending
from toolkit.errors import LogError
from toolkit.report.record import BEGUN, DECIDED_BY, Bouts, CageRecord, DayConfidence, Gap, merged_spans
from toolkit.report.wording import duration, utc

_NS_PER_DAY = 86_400 * 10**9
_DAY_FILE = re.compile(r"(?P<cage>.+)_\d{4}-\d{2}-\d{2}")


def log_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield (cage, day's file) of a day's file, a cage's folder, or a folder of cages' folders.

    Raises
    ------
    LogError
        If there is none.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = _dated(path.glob("*.sqlite")) or _dated(path.glob("*/*.sqlite"))
    else:
        raise LogError(f"{path}: no such behaviour log. Expected a .sqlite file or a cage's log folder.")
    if not files:
        raise LogError(
            f"{path}: holds no .sqlite file. Expected a folder that `toolkit cage run` wrote to, or a label file."
        )
    for file in files:
        name = _DAY_FILE.fullmatch(file.stem)
        # A file that was renamed says within whose it is.
        yield name["cage"] if name else read_log(file).cage, file


def _dated(files: Iterable[Path]) -> list[Path]:
    """Leave out what waits for its date: rows of a boot whose clock was not set."""
    return sorted(file for file in files if not is_pending(file))


def record_from_day(path: Path, cage: str) -> CageRecord:
    """Return the record of one day's file.

    Raises
    ------
    LogError
        If the file cannot be read, is empty, foreign or newer, or holds another cage's log.
    """
    log = read_log(path)
    if log.cage != cage:
        raise LogError(
            f"{path}: holds the log of cage {log.cage}, its name says {cage}. Give the file back its name, "
            f"{log.cage}_YYYY-MM-DD.sqlite."
        )
    return record_from_log(log)


def record_from_log(log: BehaviourLog) -> CageRecord:
    """Return what a log's rows amount to.

    Raises
    ------
    LogError
        If nothing is in it, not even unobserved time.
    """
    if not len(log.time_ns) and not log.unobserved:
        raise LogError(f"log of cage {log.cage}: holds no frame and no unobserved time. Let the daemon run longer.")
    bouts = Bouts(
        np.array([bout.behaviour for bout in log.bouts], np.int16),
        np.array([bout.start_ns for bout in log.bouts], np.int64),
        np.array([bout.stop_ns for bout in log.bouts], np.int64),
    )
    return CageRecord(
        cage=log.cage,
        ethogram=log.ethogram,
        observed=_observed(log, bouts),
        unobserved=tuple(Gap(gap.start_ns, gap.stop_ns, gap.reason.value) for gap in log.unobserved),
        bouts=bouts,
        row_interval_ns=max(session.row_interval_ns for session in log.provenance),
        confidence=_confidence(log),
        provenance=tuple(session_lines(session) for session in log.provenance),
        files=tuple(str(path) for path in log.files),
    )


def why_unobserved(record: CageRecord) -> str:
    """Return the reasons of unobserved time with their lengths, for a message."""
    return ", ".join(f"{reason} {duration(seconds)}" for reason, seconds in unobserved_by_reason(record).items())


def unobserved_by_reason(record: CageRecord) -> dict[str, float]:
    """Return seconds by reason, in the order of their first appearance."""
    seconds: dict[str, float] = {}
    for gap in record.unobserved:
        seconds[gap.reason] = seconds.get(gap.reason, 0.0) + (gap.stop_ns - gap.start_ns) / 1e9
    return seconds


def _observed(log: BehaviourLog, bouts: Bouts) -> NDArray[np.int64]:
    spans = np.column_stack([log.time_ns, log.time_ns + log.duration_ns])
    if len(bouts) and len(spans):
        # A bout that crosses midnight is cut there, which lies between two rows, in two files.
        spans[0, 0] = min(spans[0, 0], bouts.start_ns[0])
        if bouts.stop_ns[-1] > spans[-1, 0]:
            spans[-1, 1] = bouts.stop_ns[-1]
    return merged_spans(spans)


def _confidence(log: BehaviourLog) -> tuple[DayConfidence, ...]:
    days = []
    day_of_row = log.time_ns // _NS_PER_DAY
    for day in np.unique(day_of_row).tolist():
        rows = slice(*np.searchsorted(day_of_row, [day, day + 1]).tolist())
        label, quality = log.label[rows], log.quality[rows]
        labelled = np.flatnonzero(label >= 0)
        own = log.probabilities[rows][labelled, label[labelled]]
        histogram = np.zeros((len(log.ethogram), 256), np.int64)
        np.add.at(histogram, (label[labelled], own), 1)
        padded, uncertain = (int(np.count_nonzero(quality & int(flag))) for flag in (Quality.PADDED, Quality.UNCERTAIN))
        days.append(DayConfidence(day * _NS_PER_DAY, histogram, padded, uncertain))
    return tuple(days)


def session_lines(session: LoggedSession) -> tuple[tuple[str, str], ...]:
    """Return what made the rows of one start of the daemon, as (name, value)."""
    decision = session.config.get("decision", {}).get("filter", "off")
    return (
        ("session", session.uuid),
        (BEGUN, utc(session.start_ns)),
        ("host", f"{session.host}, boot {session.boot_id}"),
        ("toolkit", session.toolkit_version),
        ("bundle", f"{session.bundle_name}, SHA-256 {session.bundle_sha256}"),
        *((f"engine, {stream}", identity) for stream, identity in session.engines.items()),
        ("configuration", f"SHA-256 {session.config_sha256}"),
        *([(DECIDED_BY, decision)] if decision != "off" else []),
        ("row interval", f"{session.row_interval_ns / 1e6:.2f} ms"),
    )
