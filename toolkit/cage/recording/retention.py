"""How long recordings are kept, and when there is no room for more: the log's space comes first."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.cage.recording.segment import segments
from toolkit.cage.recording.table import RecordingTable
from toolkit.frames import NS_PER_S

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Room:
    """What was found and done."""

    bytes: int
    """That the cage's recordings take."""
    removed: int
    """Files."""
    fault: str | None
    """Why nothing more may be recorded; None where there is room."""


def make_room(
    folder: Path, table: RecordingTable, now_ns: int, *, synchronised: bool | None, writing: Path | None = None
) -> Room:
    """Remove what is too old or too much, oldest first, and say whether there is room for more.

    Parameters
    ----------
    folder
        The cage's folder of recordings; it exists.
    now_ns
        UTC ns.
    synchronised
        What the kernel says of the system's clock. Unless it is synchronised nothing is removed: files are old, or
        older than others, by their clocks alone.
    writing
        The file that is being written, which stays.
    """
    found = [(start_ns, path, _size(path)) for start_ns, path in segments(folder)]
    total = sum(size for _, _, size in found)
    oldest_ns = now_ns - round(table.keep_days * 86_400 * NS_PER_S)
    removed = 0
    for start_ns, path, size in found if synchronised else []:
        if start_ns >= oldest_ns and _fault(folder, table, total) is None:
            break
        if path == writing:
            continue
        # A file that has gone, or may not be removed, must not keep the others.
        with suppress(OSError):
            path.unlink()
            removed, total = removed + 1, total - size
        with suppress(OSError):
            path.parent.rmdir()
    fault = _fault(folder, table, total)
    if fault is not None and not synchronised:
        fault += "; nothing is removed while the clock is not synchronised"
    return Room(total, removed, fault)


def _fault(folder: Path, table: RecordingTable, total: int) -> str | None:
    free = shutil.disk_usage(folder).free
    if free < table.min_free_gb * GB:
        return f"{folder}: {free / GB:.2f} GB free, less than min_free_gb = {table.min_free_gb:g}"
    if total > table.max_gb * GB:
        return f"{folder}: {total / GB:.2f} GB of recordings, more than max_gb = {table.max_gb:g}"
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
