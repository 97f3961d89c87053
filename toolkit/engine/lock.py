"""One builder at a time: who builds a bundle's engines holds a file's lock, which the kernel frees when it dies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.files import sole_process

LOCK = ".lock"


@contextmanager
def build_lock(folder: Path, on_wait: Callable[[str, float], None]) -> Iterator[str | None]:
    """Hold the lock of an engines folder, and clear away what a killed builder left in it.

    Parameters
    ----------
    folder
        ``BUNDLE.engines``; made where it is absent.
    on_wait
        See `sole_process`.

    Yields
    ------
    str or None
        The process that held the lock before, if this one had to wait for it.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    with sole_process(folder / LOCK, on_wait) as before:
        _remove_leftovers(folder)
        yield before


def _remove_leftovers(folder: Path) -> None:
    """Remove what is being written beside its place: with the lock held, nobody writes it any more."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
