"""One builder at a time: who builds a bundle's engines holds a file's lock, which the kernel frees when it dies."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK = ".lock"

_POLL_S = 0.2


@contextmanager
def build_lock(folder: Path, on_wait: Callable[[str, float], None]) -> Iterator[str | None]:
    """Hold the lock of an engines folder, and clear away what a killed builder left in it.

    Parameters
    ----------
    folder
        ``BUNDLE.engines``; made where it is absent.
    on_wait
        Called five times a second while another process holds the lock, with that process's description and the
        time waited, s. What it raises ends the waiting.

    Yields
    ------
    str or None
        The process that held the lock before, if this one had to wait for it.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        before = _acquire(file, on_wait)
        _describe(file, f"process {os.getpid()} on {socket.gethostname()}")
        try:
            _remove_leftovers(folder)
            yield before
        finally:
            _describe(file, "")


def _acquire(file: IO[str], on_wait: Callable[[str, float], None]) -> str | None:
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


def _describe(file: IO[str], holder: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(holder)
    file.flush()


def _remove_leftovers(folder: Path) -> None:
    """Remove what is being written beside its place: with the lock held, nobody writes it any more."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
