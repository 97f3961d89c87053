"""Writing files so that a reader sees the whole of one or nothing of it.

Everything is written beside its destination and renamed; a power cut or a kill leaves the old file or none. Where two
processes must not write at once, one holds a lock that the kernel frees when it dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from toolkit.errors import InputError

_POLL_S = 0.2


@contextmanager
def sole_process(lock: Path, on_wait: Callable[[str, float], None]) -> Iterator[str | None]:
    """Hold a lock file, which stays; the kernel frees the lock however this process ends.

    Parameters
    ----------
    lock
        The file; made, with its folder, where it is absent.
    on_wait
        Called five times a second while another process holds the lock, with that process's description and the
        time waited, s. What it raises ends the waiting.

    Yields
    ------
    str or None
        The process that held the lock before, if this one had to wait for it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        before = _wait_for_lock(file, on_wait)
        _describe_holder(file, f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield before
        finally:
            _describe_holder(file, "")


def _wait_for_lock(file: IO[str], on_wait: Callable[[str, float], None]) -> str | None:
    started_s = time.monotonic()
    holder: str | None = None
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            # Empty for an instant after the other took the lock.
            holder = file.read() or holder or "another process"
            on_wait(holder, time.monotonic() - started_s)
            time.sleep(_POLL_S)
        else:
            return holder


def _describe_holder(file: IO[str], holder: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(holder)
    file.flush()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; on success sync it and rename it to `path`, else delete it.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_write(target) as beside:
    ...     _ = beside.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        move_into_place(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def move_into_place(written: Path, path: Path) -> None:
    """Sync a file that is complete and rename it to `path` on the same file system, replacing what is there."""
    written.chmod(0o644)
    sync(written)
    written.replace(path)
    sync(path.parent)


@contextmanager
def atomic_directory(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; on success rename it to `path`, else delete it.

    Raises
    ------
    InputError
        If `path` exists and `overwrite` is false.
    """
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield beside
        beside.chmod(0o755)
        replace_directory(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise InputError if `path` exists and `overwrite` is false."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists. Choose another place, or pass --overwrite to replace it.")


def file_name(text: str) -> str:
    """Return a file's name of any text: letters, digits, dots and dashes stay, all else becomes ``_``.

    Examples
    --------
    >>> file_name("mouse 3/day 1")
    'mouse_3_day_1'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def replace_directory(beside: Path, path: Path) -> None:
    """Sync a directory's files and rename it to `path` in the same folder, replacing what is there."""
    for file in beside.rglob("*"):
        sync(file)
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
        path.replace(old / path.name)
        beside.replace(path)
        shutil.rmtree(old)
    else:
        beside.replace(path)
    sync(path.parent)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
