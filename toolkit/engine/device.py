"""What this machine can run engines on: found without starting anything, and always with the reason when nothing is.

Of the engine room only this module imports PyCUDA.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

from toolkit.errors import EngineError, MissingDependency


@dataclass(frozen=True)
class Gpu:
    """A CUDA device."""

    ordinal: int
    name: str
    compute_capability: tuple[int, int]


def find_gpu(ordinal: int = 0) -> Gpu:
    """Return a GPU of this machine.

    Raises
    ------
    MissingDependency
        If PyCUDA or the CUDA driver is absent.
    EngineError
        If there is no such GPU.
    """
    cuda = cuda_driver()
    try:
        cuda.init()
        count = cuda.Device.count()
        if ordinal >= count:
            raise EngineError(f"no CUDA device {ordinal}: this machine has {count}.")
        device = cuda.Device(ordinal)
        return Gpu(ordinal, str(device.name()), tuple(device.compute_capability()))
    except cuda.Error as error:
        raise EngineError(f"CUDA cannot be used ({error}). Check the driver with: nvidia-smi") from error


def cuda_driver() -> Any:
    """Import PyCUDA's driver module, which creates no context.

    Raises
    ------
    MissingDependency
        If PyCUDA is absent or finds no CUDA driver library.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MissingDependency(
            f"the TensorRT runtime needs PyCUDA and a CUDA driver, and they cannot be imported ({error}). "
            "Install: pip install 'toolkit[tensorrt]', on a Jetson 'toolkit[jetson]'."
        ) from error
    return cuda


def cpu_name() -> str:
    """Return ``cpu`` and the machine's architecture, e.g. ``cpu/x86_64``."""
    return f"cpu/{platform.machine()}"
