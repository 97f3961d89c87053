"""Pieces of behaviour logs, one day's file at a time, so that a month costs no more memory than its longest day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog
from toolkit.behaviour_log.pending import is_pending
from toolkit.bouts import NO_LABEL
from toolkit.errors import LogError
from toolkit.export.piece import Gap, Piece


def day_files(path: Path) -> Iterator[Path]:
    """Yield the day files that a path means: a file, a cage's folder, or a folder of cages' folders.

    Raises
    ------
    LogError
        If there is none.
    """
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise LogError(f"{path}: no such log or label file. Expected a .sqlite file, a folder of logs, or labels.")
    files = sorted(path.glob("*.sqlite")) or sorted(path.glob("*/*.sqlite"))
    # Rows that wait for their date are nobody's day yet.
    files = [file for file in files if not is_pending(file)]
    if not files:
        raise LogError(
            f"{path}: holds no .sqlite file and no labels. Expected a folder that `toolkit cage run` or `toolkit "
            "label` wrote to."
        )
    yield from files


def piece_of_log(log: BehaviourLog) -> Piece:
    """Return a day's log as a piece.

    Raises
    ------
    LogError
        If nothing is in it, not even unobserved time.
    """
    file = log.files[0]
    starts = [*log.time_ns[:1].tolist(), *(gap.start_ns for gap in log.unobserved[:1])]
    if not starts:
        raise LogError(f"{file}: the log holds no frame and no unobserved time. Let the daemon run longer.")
    start_ns = min([*starts, *(bout.start_ns for bout in log.bouts[:1])])
    rows_end = [int(log.time_ns[-1] + log.duration_ns[-1])] if len(log.time_ns) else []
    stop_ns = max([*rows_end, *(bout.stop_ns for bout in log.bouts[-1:]), *(g.stop_ns for g in log.unobserved[-1:])])
    interval_ns = max(session.row_interval_ns for session in log.provenance)
    return Piece(
        cage=log.cage,
        name=file.stem,
        ethogram=log.ethogram,
        start_ns=start_ns,
        stop_ns=stop_ns,
        dated=True,
        bouts=log.bouts,
        unobserved=_gaps(log, start_ns, stop_ns, interval_ns),
        frame_labels=_sampled(log, stop_ns, interval_ns),
        frame_interval_ns=interval_ns,
        made_by={
            "log": file.name,
            "sessions": [
                {
                    "uuid": session.uuid,
                    "host": session.host,
                    "toolkit": session.toolkit_version,
                    "bundle": session.bundle_name,
                    "bundle_sha256": session.bundle_sha256,
                    "engines": dict(session.engines),
                    "config_sha256": session.config_sha256,
                }
                for session in log.provenance
            ],
        },
        file=file,
    )


def _gaps(log: BehaviourLog, start_ns: int, stop_ns: int, interval_ns: int) -> tuple[Gap, ...]:
    """Return the log's gaps, and what neither rows nor gaps account for, so that it is not taken for observed."""
    known = [Gap(gap.start_ns, gap.stop_ns, gap.reason.value) for gap in log.unobserved]
    rows = np.column_stack([log.time_ns, log.time_ns + log.duration_ns])
    covered = np.concatenate([rows, np.array([(g.start_ns, g.stop_ns) for g in known], np.int64).reshape(-1, 2)])
    covered = covered[np.argsort(covered[:, 0], kind="stable")]
    ends = np.append(start_ns, covered[:, 1])
    begins = np.append(covered[:, 0], stop_ns)
    holes = np.flatnonzero(begins - ends > interval_ns)
    unknown = [Gap(int(ends[hole]), int(begins[hole]), "no-record") for hole in holes.tolist()]
    return tuple(sorted([*known, *unknown], key=lambda gap: gap.start_ns))


def _sampled(log: BehaviourLog, stop_ns: int, interval_ns: int) -> NDArray[np.int16]:
    """Return the label at the middle of every row interval from the first row on; none where no row stands for it."""
    if not len(log.time_ns):
        return np.empty(0, np.int16)
    middle = np.arange(int(log.time_ns[0]) + interval_ns // 2, stop_ns, interval_ns, dtype=np.int64)
    row = np.searchsorted(log.time_ns, middle, side="right") - 1
    seen = (row >= 0) & (middle < log.time_ns[row] + log.duration_ns[row])
    return np.where(seen, log.label[row], NO_LABEL).astype(np.int16)
