"""What watching each cage costs, and what it gets for it: from the kernel, and from what daemons left by their logs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from toolkit.cage.health import STATUS

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """One cage's, over some time. A process that watches several cages is counted with the first of them."""

    cage: str
    state: str
    """starting, running, waiting (for a restart), ended or given up."""
    restarts: int
    cpu: float | None
    """Seconds of processor per second."""
    resident_bytes: int | None
    gpu_bytes: int | None
    """None where there is no GPU, or its driver does not say."""
    frames_per_s: float | None
    """Frames that were processed."""
    dropped: int | None
    """Frames, since the process's start."""
    latency_p99_s: float | None
    """From frame to row; None for what is not live."""

    def words(self) -> dict[str, object]:
        """Return all but the name in words, by column; ``-`` for what is not known."""
        values = {
            "cpu": (self.cpu, "{:.2f}"),
            "resident_mb": (self.resident_bytes and self.resident_bytes / 1e6, "{:.0f}"),
            "gpu_mb": (self.gpu_bytes and self.gpu_bytes / 1e6, "{:.0f}"),
            "frames_per_s": (self.frames_per_s, "{:.1f}"),
            "dropped": (self.dropped, "{}"),
            "p99_ms": (self.latency_p99_s and 1000 * self.latency_p99_s, "{:.0f}"),
        }
        told = {name: "-" if value is None else form.format(value) for name, (value, form) in values.items()}
        return {"state": self.state, "restarts": self.restarts, **told}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used by a moment."""

    at_s: float
    """Monotonic."""
    cpu_s: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a cage's daemon has done by a moment."""

    at_s: float
    """Unix time, whole seconds."""
    frames: int
    dropped: int
    latency_p99_s: float | None


def usage_of(process: int) -> Usage | None:
    """Return what a process has used; None where it is gone, or has given back its memory to go."""
    folder = Path("/proc") / str(process)
    try:
        # The name of the program, in brackets, may hold anything.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        resident = int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return None
    if not resident:
        return None
    return Usage(time.monotonic(), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, resident)


def work_of(folder: Path, process: int) -> Work | None:
    """Return what a cage's daemon wrote beside its log; None where it was not this process.

    Parameters
    ----------
    folder
        The cage's log folder.
    """
    try:
        status: dict[str, Any] = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        if status["process"] != process:
            return None
        return Work(
            datetime.fromisoformat(status["updated_utc"]).timestamp(),
            status["frames_processed"],
            status["frames_dropped"],
            status["latency_p99_s"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def gpu_bytes_of(processes: Collection[int]) -> dict[int, int]:
    """Return the GPU memory of those processes of which the driver tells it. Not verified on a Jetson."""
    if not processes or shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.split(",") for line in told.splitlines())
    found = [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 2]
    used = {int(pid): int(mib) << 20 for pid, mib in found if pid.isdigit() and mib.isdigit()}
    return {process: used[process] for process in processes if process in used}


_Moment = TypeVar("_Moment", Usage, Work)


class _Trace(Generic[_Moment]):
    """The first, the last and the last marked of what was seen."""

    def __init__(self) -> None:
        self._first: _Moment | None = None
        self._marked: _Moment | None = None
        self.last: _Moment | None = None

    def add(self, moment: _Moment) -> None:
        self._first, self._marked, self.last = self._first or moment, self._marked or moment, moment

    def mark(self) -> None:
        self._marked = self.last

    def rate(self, amount: Callable[[_Moment], float], *, whole: bool) -> float | None:
        """Return by how much something grew per second, since the mark or on the whole."""
        begin = self._first if whole else self._marked
        if begin is None or self.last is None or self.last.at_s <= begin.at_s:
            return None
        return (amount(self.last) - amount(begin)) / (self.last.at_s - begin.at_s)


class Meter:
    """Follows what a process uses and what its cages' daemons do; a new one for every start.

    Parameters
    ----------
    folders
        The cages' log folders by name.
    """

    def __init__(self, process: int, folders: Mapping[str, Path]) -> None:
        self.process = process
        self._folders = folders
        self._used = _Trace[Usage]()
        self._done = {cage: _Trace[Work]() for cage in folders}

    def look(self) -> None:
        """Read the present; called once a second or so, since a process that has ended tells nothing more."""
        usage = usage_of(self.process)
        if usage is not None:
            self._used.add(usage)
        for cage, folder in self._folders.items():
            work = work_of(folder, self.process)
            if work is not None:
                self._done[cage].add(work)

    def mark(self) -> None:
        """Begin the next period."""
        self._used.mark()
        for trace in self._done.values():
            trace.mark()

    def cost(self, cage: str, *, state: str, restarts: int, gpu_bytes: int | None, whole: bool) -> Cost:
        """Return a cage's cost since the last `mark`, or, if `whole`, since the start."""
        first = cage == next(iter(self._folders))
        used, work = self._used, self._done[cage]
        return Cost(
            cage=cage,
            state=state,
            restarts=restarts,
            cpu=used.rate(lambda usage: usage.cpu_s, whole=whole) if first else None,
            resident_bytes=used.last.resident_bytes if first and used.last else None,
            gpu_bytes=gpu_bytes if first else None,
            frames_per_s=work.rate(lambda done: done.frames, whole=whole),
            dropped=work.last.dropped if work.last else None,
            latency_p99_s=work.last.latency_p99_s if work.last else None,
        )
