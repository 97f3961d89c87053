"""What a GPU says of itself while it works: memory by CUDA; power, temperature and clocks by NVML, if they are here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from typing_extensions import Self

from toolkit.engine.device import cuda_driver
from toolkit.errors import ToolkitError


class GpuProbe:
    """Reads one GPU; a context manager. Without PyCUDA, NVML or a GPU it has nothing to say, and says nothing.

    Parameters
    ----------
    ordinal
        Number of the CUDA device.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self._ordinal = ordinal
        self._cuda: Any = None
        self._context: Any = None
        self._nvml: Any = None
        self._handle: Any = None

    def memory_mib(self) -> float | None:
        """Return the device memory in use by all processes, MiB; on a Jetson the machine's. None: no GPU."""
        if self._context is None:
            return None
        self._context.push()
        try:
            free, total = self._cuda.mem_get_info()
        finally:
            self._cuda.Context.pop()
        return float(total - free) / 2**20

    def readings(self) -> Iterator[tuple[str, float]]:
        """Yield (name with its unit, value) of what NVML can read of this GPU."""
        nvml, handle = self._nvml, self._handle
        if nvml is None:
            return
        readers: dict[str, Callable[[], float]] = {
            "power GPU, W": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "temperature GPU, °C": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "clock GPU, MHz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        }
        for name, read in readers.items():
            try:
                yield name, float(read())
            except nvml.NVMLError:
                # A Jetson's NVML supports none of these.
                continue

    def __enter__(self) -> Self:
        self._open_cuda()
        self._open_nvml()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._context is not None:
            self._context.detach()
            self._context = None
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _open_cuda(self) -> None:
        try:
            cuda = cuda_driver()
        except ToolkitError:
            return
        try:
            cuda.init()
            if self._ordinal < cuda.Device.count():
                # The primary context is the one that engines and flow use: no second one is made.
                self._context = cuda.Device(self._ordinal).retain_primary_context()
                self._cuda = cuda
        except cuda.Error:
            return

    def _open_nvml(self) -> None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
            self._handle = nvml.nvmlDeviceGetHandleByIndex(self._ordinal)
            self._nvml = nvml
        except nvml.NVMLError:
            return
