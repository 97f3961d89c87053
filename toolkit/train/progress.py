"""How long jobs tell whoever started them how far they are; drawing it is the command line's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a long job."""

    task: str
    """What is being done, e.g. ``train rgb``. A task whose name has not been seen begins."""
    done: int
    """Units done, up to `total`."""
    total: int
    """Units in all."""
    unit: str
    """``frames`` or ``clips``."""
    detail: str = ""
    """E.g. the loss so far."""


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing."""
    del progress


def within(prefix: str, on_progress: OnProgress) -> OnProgress:
    """Return a callback that puts `prefix` before every task's name."""

    def prefixed(progress: Progress) -> None:
        on_progress(replace(progress, task=f"{prefix}: {progress.task}"))

    return prefixed
