"""Which days of a log are removed, and what is known of their export.

Only whole days before the one that is being written go, oldest first; never rows that wait for their date, nor what
was set aside as damaged. Age is counted by the log's own newest day, which a step of the system's clock does not move.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from toolkit.behaviour_log.damage import log_errors
from toolkit.behaviour_log.day_file import day_files, start_of_day
from toolkit.behaviour_log.schema import NS_PER_DAY
from toolkit.errors import LogError
from toolkit.files import atomic_write, sync

EXPORTED = "exported.json"
"""Beside a cage's day files: which were exported, as they were then."""


@dataclass(frozen=True)
class Retention:
    """How long days are kept. The default keeps everything."""

    keep_days: int | None = None
    """Whole days before the newest one; None: all."""
    min_free_bytes: int = 0
    """Free space of the disk below which days go, however young; 0: no limit."""
    keep_unexported: bool = False
    """Whether days that `mark_exported` does not know stay in any case."""


@dataclass(frozen=True)
class Retained:
    """What a look at the days has led to."""

    removed: tuple[Path, ...] = ()
    """Oldest first."""
    fault: str | None = None
    """Why what should go could not."""


def mark_exported(path: Path) -> None:
    """Note that a day's file was exported as it is now; written to again, it counts as not exported.

    Raises
    ------
    LogError
        If the file is not there or the note cannot be written.
    """
    with log_errors(path):
        known = {name: stamp for name, stamp in _exported(path.parent).items() if (path.parent / name).exists()}
        known[path.name] = _stamp(path)
        with atomic_write(path.parent / EXPORTED) as beside:
            beside.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def is_exported(path: Path) -> bool:
    """Say whether a day's file was exported as it is now."""
    return _exported(path.parent).get(path.name) == _stamp(path)


def remove_expired(folder: Path, cage: str, today: Path, rules: Retention) -> Retained:
    """Remove the days that the rules let go.

    Parameters
    ----------
    today
        The file that is being written: it and later ones stay.
    """
    removed: list[Path] = []
    kept = 0
    today_ns = start_of_day(today)
    try:
        for path in day_files(folder, cage):
            start_ns = start_of_day(path)
            short = _is_short(path, rules)
            if start_ns >= today_ns or not (short or _is_old(start_ns, today_ns, rules)):
                break
            if rules.keep_unexported and not is_exported(path):
                kept += 1
                continue
            with log_errors(path):
                for part in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path):
                    part.unlink(missing_ok=True)
                sync(path.parent)
            removed.append(path)
        fault = _fault(today, rules, kept)
    except LogError as error:
        fault = f"days cannot be removed: {error}"
    return Retained(tuple(removed), fault)


def _is_old(start_ns: int, today_ns: int, rules: Retention) -> bool:
    return rules.keep_days is not None and start_ns < today_ns - rules.keep_days * NS_PER_DAY


def _is_short(path: Path, rules: Retention) -> bool:
    with log_errors(path):
        return rules.min_free_bytes > 0 and shutil.disk_usage(path.parent).free < rules.min_free_bytes


def _fault(today: Path, rules: Retention, kept: int) -> str | None:
    if not _is_short(today, rules):
        return None
    return (
        f"too little space: less than {rules.min_free_bytes / 1e9:g} GB are free, and no day can be removed "
        f"({kept} are not exported yet). Export them, free some space, or lower [log] min_free_gb."
    )


def _exported(folder: Path) -> dict[str, list[int]]:
    try:
        values = json.loads((folder / EXPORTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Unknown is not exported.
        return {}
    return values if isinstance(values, dict) else {}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
