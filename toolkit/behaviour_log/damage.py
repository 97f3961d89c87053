"""Tells a damaged file of a log from one that merely cannot be reached, and sets it aside.

A damaged file is never written to again: it is renamed with its write-ahead log, its neighbour ``....json`` says why,
and the log goes on in a fresh file. The folder is the memory of it: as long as the files lie there, every start says
so. A full disk, a missing permission or a lock is no damage; a sector that the disk cannot read any more (EIO) is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import LogError
from toolkit.files import atomic_write, sync

_CORRUPT = 11
_NOT_A_DATABASE = 26
_DAMAGE = {_CORRUPT, _NOT_A_DATABASE}


class LogDamaged(LogError):
    """A file of the log is not what was written to it."""


@dataclass(frozen=True)
class SetAside:
    """A damaged file that was set aside."""

    path: Path
    found_ns: int
    """UTC ns at which the session began that found it."""
    error: str

    def __str__(self) -> str:
        return (
            f"{self.path.name}: damaged ({self.error}); set aside; the log went on in a fresh file. Restore it from "
            "a copy or try SQLite's .recover, then move it and its neighbours out of the folder."
        )


@contextmanager
def log_errors(path: Path) -> Iterator[None]:
    """Raise LogError for whatever SQLite or the operating system objects to; LogDamaged where the file is damaged."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        kind = LogDamaged if _is_damage(error) else LogError
        raise kind(
            f"{path}: the behaviour log cannot be written or read ({error}). Expected a folder that this user may "
            f"write to, on a disk with free space. {_advice(error)}"
        ) from error


def check(path: Path) -> None:
    """Read a whole file of a log, and what its write-ahead log holds, and see whether it hangs together.

    Raises
    ------
    LogDamaged
        If it does not, or a file is empty, or only its write-ahead log is left.
    LogError
        If it cannot be read.
    """
    with log_errors(path):
        if not path.exists():
            raise LogDamaged("the file is gone, but its write-ahead log is not")
        if path.stat().st_size == 0:
            raise LogDamaged("the file is empty (0 bytes)")
        # A failing write would be a failing check: nothing is written, but for what a write-ahead log needs.
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10.0)) as connection:
            faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if faults != ["ok"]:
        raise LogDamaged(" ".join("; ".join(faults).split()))


def set_aside(path: Path, error: LogDamaged, found_ns: int) -> SetAside:
    """Rename a damaged file and what belongs to it to ``NAME.corrupt-N``.

    A kill between the steps leaves a file that is found damaged again, and gets the same number.

    Parameters
    ----------
    found_ns
        UTC ns at which the session began that found it.

    Raises
    ------
    LogError
        If the folder cannot be written to.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    damaged = SetAside(aside, found_ns, str(error.__cause__ or error))
    with log_errors(path):
        with atomic_write(_reason_path(aside)) as beside:
            beside.write_text(json.dumps({"found_utc_ns": damaged.found_ns, "error": damaged.error}) + "\n")
        # The shared memory is made of the others; the file itself goes last, so that a kill leaves it to be found.
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists():
            wal.replace(aside.with_name(f"{aside.name}-wal"))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        if path.exists():
            path.replace(aside)
        else:
            aside.touch()
        sync(path.parent)
    return damaged


def set_damaged_aside(path: Path, found_ns: int) -> bool:
    """Look through a file, if there is one, and set it aside if it is damaged; say whether it was.

    Raises
    ------
    LogError
        If it cannot be read, or not be set aside.
    """
    if not path.exists() and not path.with_name(f"{path.name}-wal").exists():
        return False
    try:
        check(path)
    except LogDamaged as error:
        set_aside(path, error, found_ns)
        return True
    return False


def all_set_aside(folder: Path) -> list[SetAside]:
    """Return the damaged files that lie in a cage's folder, oldest finding first."""
    found = []
    for reason in folder.glob("*.corrupt-*.json"):
        path = reason.with_suffix("")
        # A kill between the steps leaves the reason alone; the file is still to be found damaged.
        if not path.exists():
            continue
        try:
            values = json.loads(reason.read_text())
            found.append(SetAside(path, int(values["found_utc_ns"]), str(values["error"])))
        except (OSError, ValueError, KeyError, TypeError):
            found.append(SetAside(path, 0, f"{reason.name} cannot be read"))
    return sorted(found, key=lambda damaged: (damaged.found_ns, damaged.path.name))


def _reason_path(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.json")


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code) & 0xFF in _DAMAGE
    # Python 3.10 does not tell the code.
    return isinstance(error, sqlite3.Error) and ("malformed" in str(error) or "not a database" in str(error))


def _advice(error: Exception) -> str:
    message = str(error)
    if "full" in message or "No space" in message:
        return "Free some space, or set [log] folder to another disk; everything committed so far is safe."
    if _is_damage(error):
        return "The file is damaged: the daemon's next start sets it aside and begins a fresh one."
    return "Check [log] folder, its owner and whether the disk is mounted read-only; what was committed is safe."
