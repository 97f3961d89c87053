"""Temperature, power, clocks, device memory and load while something is measured, read once a second."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from toolkit.engine.board import ROOT, board_readings
from toolkit.engine.gpu_probe import GpuProbe

EVERY_S = 1.0
LOAD = "load average, processes"


class Readings:
    """What board and GPU report; a context manager.

    Parameters
    ----------
    root
        Root of the file system whose sensors are read.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._gpu = GpuProbe()
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self._due_s = 0.0
        self.peak_device_mib: float | None = None

    def sample(self) -> None:
        """Read everything, if it is time for it."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + EVERY_S
        # With other work on the machine nothing that is measured means much.
        load = (LOAD, os.getloadavg()[0])
        for name, value in (*board_readings(self._root), *self._gpu.readings(), load):
            self._values[name].append(value)
        memory_mib = self._gpu.memory_mib()
        if memory_mib is not None:
            self.peak_device_mib = max(memory_mib, self.peak_device_mib or 0.0)

    def take(self) -> dict[str, float]:
        """Return the mean of each reading since this was last asked, by name with unit, and begin anew."""
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        self._values.clear()
        return means

    def __enter__(self) -> Self:
        self._gpu.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gpu.__exit__(kind, error, trace)
