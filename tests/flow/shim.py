"""Runs CUDA kernels on the CPU: compiles `tvl1_shim.cpp`, or another, and walks the same launch plan as the GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.flow import FlowParameters
from toolkit.flow.cuda_driver import COMPILER_OPTIONS
from toolkit.flow.cuda_plan import CONTROL, Addresses, Launch, Layout, flow_launches, pyramid_launches

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "toolkit" / "flow"


def compiler_report(source: Path, folder: Path, architecture: str) -> str:
    """Compile kernels by nvcc without a warning, and return what ptxas says of each."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    built = subprocess.run(
        [nvcc, "-cubin", f"-arch={architecture}", "-Xptxas=-v", *COMPILER_OPTIONS, "-o", folder / "k", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr
    return built.stderr


class Shim:
    """The kernels on the CPU.

    `options` are further compiler options; `source` includes `cuda_shim.h` and the kernels; `backwards` runs blocks and
    the threads of each block from last to first.
    """

    def __init__(
        self, folder: Path, *options: str, source: Path = HERE / "tvl1_shim.cpp", backwards: bool = False
    ) -> None:
        if shutil.which("g++") is None:
            pytest.skip("no g++ here to compile the kernels for the CPU")
        library = folder / f"{source.stem}{abs(hash(options))}.so"
        if not library.exists():
            sources = [str(source), f"-I{KERNELS}", f"-I{KERNELS.parent / 'engine'}", f"-I{HERE}"]
            flags = ["-O2", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-w"]
            subprocess.run(["g++", *flags, *options, *sources, "-o", str(library)], check=True)
        self._launch = ctypes.CDLL(str(library)).shim_launch
        self._launch.argtypes = [ctypes.c_char_p, *[ctypes.c_uint] * 3, ctypes.c_int, ctypes.c_void_p]
        self.backwards = backwards
        self.launches = 0

    def run(self, launches: Iterable[Launch]) -> None:
        for launch in launches:
            pointers = (ctypes.c_void_p * len(launch.arguments))()
            values = [np.array(argument) for argument in launch.arguments]
            for i, value in enumerate(values):
                pointers[i] = value.ctypes.data
            assert self._launch(launch.kernel.encode(), *launch.grid, self.backwards, pointers), launch.kernel
            self.launches += 1

    def flow(
        self, frames: NDArray[np.uint8], parameters: FlowParameters, rounds: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.void]]:
        """Return the flow of (N + 1, H, W) frames' N pairs as one batch, and the pairs' controls."""
        slots, height, width = frames.shape
        layout = Layout(width, height, slots - 1, slots, parameters)
        # Whatever is read before it is written shows.
        buffers = {name: np.full(size, 0xFF, np.uint8) for name, size in layout.sizes().items()}
        addresses = Addresses(**{name: buffer.ctypes.data for name, buffer in buffers.items()})
        frames = np.ascontiguousarray(frames)
        self.run(pyramid_launches(layout, addresses, frames.ctypes.data, 0, slots))
        self.run(flow_launches(layout, addresses, 0, 1, rounds))
        flow = buffers["out"].view(np.float32).reshape(slots - 1, height, width, 2)
        return flow, buffers["controls"].view(CONTROL)
