"""A real file system in memory that is full, or mounted read-only, and later is not: rows are held, and written."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benches.faults.outcome import NotRun, Outcome, broken_account, broken_files, rows_of_sessions
from tests.behaviour_log.sessions import NOON_NS, NS, SESSION, add_rows, session, steps
from tests.behaviour_log.test_unwritable import Disk, mount
from toolkit.behaviour_log import LogWriter
from toolkit.errors import LogError

ROWS = 100


def fill_the_disk(times: int, folder: Path, seed: int = 13) -> Outcome | NotRun:
    """Let a log's disk be full for some commits, `times` times; `recovery_s` is the first commit after it."""
    name = "disk: full"
    chance = random.Random(seed)
    rows, failed, longest_s = 0, 0, 0.0
    try:
        with small_disk(folder / "disk", "8m") as place:
            disk = Disk(place)
            with LogWriter(disk.log, "a1", SESSION, most_held=10_000) as log:
                for _ in range(times):
                    disk.fill()
                    for _ in range(chance.randrange(1, 5)):
                        more = chance.randrange(50, 300)
                        add_rows(log, steps(rows, rows + more), first=rows, label=rows % 3)
                        rows += more
                        log.flush()
                    failed += bool(log.faults)
                    disk.free()
                    begun_s = time.perf_counter()
                    log.flush()
                    longest_s = max(longest_s, time.perf_counter() - begun_s)
                log.close("stopped")
            faults, found = _held_against(disk.log / "a1", {SESSION.uuid: rows})
    except PermissionError as error:
        return NotRun(name, str(error))
    if failed < times:
        faults.append(f"the disk took everything in {times - failed} of {times} times: this shows nothing")
    return Outcome(name, times, rows - found, rows - found, longest_s, tuple(faults))


def protect_the_disk(times: int, folder: Path) -> Outcome | NotRun:
    """Mount a log's disk read-only between two starts, `times` times: that start is refused, the next one goes on.

    The kernel refuses to do it while the log is open: writes that fail are those of `benches.faults.log_writes`.
    """
    name = "disk: read-only at a start"
    given: dict[str, int] = {}
    longest_s, refused = 0.0, 0
    try:
        with small_disk(folder / "disk", "8m") as place:
            disk = Disk(place)
            for number in range(1, times + 1):
                began_ns = NOON_NS + 10 * number * NS
                start = session(number, start_ns=began_ns, offset_ns=began_ns)
                if number > 1:
                    disk.protect()
                    try:
                        LogWriter(disk.log, "a1", start).__enter__()
                    except LogError as error:
                        refused += "read" in str(error).lower()
                    disk.unprotect()
                begun_s = time.perf_counter()
                with LogWriter(disk.log, "a1", start) as log:
                    longest_s = max(longest_s, time.perf_counter() - begun_s)
                    add_rows(log, steps(0, ROWS))
                    log.close("stopped")
                given[start.uuid] = ROWS
            faults, found = _held_against(disk.log / "a1", given)
    except PermissionError as error:
        return NotRun(name, str(error))
    if refused != times - 1:
        faults.append(f"{refused} of {times - 1} starts were refused because of the disk")
    lost = times * ROWS - found
    return Outcome(name, times - 1, lost, lost, longest_s, tuple(faults))


def _held_against(cage: Path, given: dict[str, int]) -> tuple[list[str], int]:
    """Return what a log breaks that was given so many rows in each session, and how many rows it has."""
    found = rows_of_sessions(cage)
    faults = broken_files(cage) + broken_account(cage)
    faults += [
        f"session {uuid}: {rows} rows were given, the log has {len(found.get(uuid, []))}, or not in order"
        for uuid, rows in given.items()
        if found.get(uuid, []) != list(range(rows))
    ]
    return faults, sum(map(len, found.values()))


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system in memory.

    Raises
    ------
    OSError
        If that is not allowed here.
    """
    place.mkdir()
    if os.geteuid() != 0:
        raise PermissionError("mounting a file system needs root")
    try:
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    except subprocess.CalledProcessError as error:
        raise PermissionError(f"no file system can be mounted: {error.stderr.decode().strip()}") from error
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
