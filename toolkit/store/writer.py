"""Puts a cage's day into the store, whole or not at all, however often it is done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.behaviour_log import BehaviourLog
from toolkit.errors import InputError
from toolkit.files import atomic_write
from toolkit.frames import NS_PER_S
from toolkit.store.day import day_tables
from toolkit.store.tables import TABLES, arrow, part

_COMPRESSION, _LEVEL = "zstd", 3
_DELTA = "DELTA_BINARY_PACKED"


def log_date(log: BehaviourLog) -> str:
    """Return the UTC day of a day's log, ``YYYY-MM-DD``.

    Raises
    ------
    InputError
        If it has no time at all, or is of several days.
    """
    moments = [int(log.time_ns[0]), int(log.time_ns[-1])] if len(log.time_ns) else []
    # Gaps of days without a daemon lie in the first file after them: their ends say which day it is.
    moments = moments or [gap.stop_ns - 1 for gap in log.unobserved[-1:]]
    days = {datetime.fromtimestamp(moment // NS_PER_S, timezone.utc).date().isoformat() for moment in moments}
    if len(days) == 1:
        return days.pop()
    names = ", ".join(str(path) for path in log.files)
    if not days:
        raise InputError(f"{names}: the log holds no frame and no unobserved time. Let the daemon run longer.")
    raise InputError(f"{names}: holds several UTC days. Expected one day's file.")


def is_closed(day: str) -> bool:
    """Say whether a UTC day, ``YYYY-MM-DD``, is over by this machine's clock, so that its log grows no more."""
    return date.fromisoformat(day) < datetime.now(timezone.utc).date()


def write_day(store: Path, log: BehaviourLog) -> Path:
    """Write one day of one cage, replacing what the store has of it, and return its folder in ``sessions``.

    Each file is written beside, synced and renamed. The day's ``sessions`` goes first and comes last, so that a day
    that was cut off on the way is not taken for a whole one.

    Raises
    ------
    InputError
        If the log is not of one day.
    MissingDependency
        If pyarrow is not installed.
    """
    return write_tables(store, log.cage, log_date(log), day_tables(log))


def write_tables(store: Path, cage: str, day: str, tables: Mapping[str, Any]) -> Path:
    """Write a day's tables, made by `day_tables` or to its schemas."""
    pa = arrow()
    complete = part(store, TABLES[-1], cage, day)
    complete.unlink(missing_ok=True)
    for name in TABLES:
        table = tables[name]
        # Times that rise by about a second each are nearly free as differences.
        encodings = {field.name: _DELTA for field in table.schema if _is_time(pa, field)}
        with atomic_write(part(store, name, cage, day)) as beside:
            pa.parquet.write_table(
                table,
                beside,
                compression=_COMPRESSION,
                compression_level=_LEVEL,
                use_dictionary=[f.name for f in table.schema if pa.types.is_dictionary(f.type)],
                column_encoding=encodings or None,
            )
    return complete.parent


def _is_time(pa: Any, field: Any) -> bool:
    return bool(pa.types.is_timestamp(field.type) or (pa.types.is_int64(field.type) and field.name.endswith("_ns")))
