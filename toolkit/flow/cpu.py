"""TV-L1 on the CPU by our compiled extension: the same numbers as the CUDA kernels, many times OpenCV's speed.

The extension is a plain shared library (`tvl1_cpu.cpp`) that is built with the package where there is a compiler, and
loaded with ctypes, which lets other threads run while it works.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import FlowError
from toolkit.flow.contract import FlowParameters, check_pair

IMPLEMENTATION = "toolkit-tvl1-1"
"""Names the algorithm and its revision, not the device: CPU and CUDA give the same bits."""

MEDIAN_SIDES = (1, 3, 5)
LARGEST_SIDE_PX = 4096


class _Parameters(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_float) for name in ("tau", "lambda_", "theta", "scale_step", "epsilon")),
        *((name, ctypes.c_int) for name in ("scales", "warps", "inner_iterations", "outer_iterations", "median")),
    ]


class _Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("iterations", "medians", "pixel_iterations")]


class CpuFlow:
    """TV-L1 on one core, with memory for one size of image at a time.

    Parameters
    ----------
    parameters
        TV-L1's parameters; gamma must be 0 and the median 1, 3 or 5 px.
    avx2
        Use AVX2 where the processor has it. Results are the same without it.

    Raises
    ------
    FlowError
        If the extension was not built, or a parameter is not one of those above.
    """

    def __init__(self, parameters: FlowParameters, *, avx2: bool = True) -> None:
        check_supported(parameters)
        self._parameters, self._avx2 = parameters, avx2
        self._library = _library()
        self._solver: int | None = None
        self._shape: tuple[int, ...] = ()
        self._newest: NDArray[np.uint8] | None = None

    @staticmethod
    def available() -> str | None:
        """Return None if the extension is here, else why it is not."""
        try:
            _library()
        except FlowError as error:
            return str(error)
        return None

    @property
    def parameters(self) -> FlowParameters:
        """The parameter set it runs."""
        return self._parameters

    @property
    def implementation(self) -> str:
        """`IMPLEMENTATION`."""
        return IMPLEMENTATION

    @property
    def pixel_iterations(self) -> int:
        """Inner iterations of the last pair, each counted by the pixels of its pyramid level."""
        return int(self._library.tvl1_counts(self._solver).pixel_iterations) if self._solver else 0

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate (H, W, 2) float32 flow in px per frame; see `FlowEstimator.flow`.

        The pyramid of `previous` is kept from the last call if it was that call's `current`.
        """
        check_pair(previous, current)
        if current.shape != self._shape:
            self._prepare(current.shape)
        if self._newest is None or not np.array_equal(self._newest, previous):
            self._push(previous)
        self._push(current)
        self._newest = current.copy()
        self._library.tvl1_solve(self._solver, self._flow.ctypes.data)
        return self._flow

    def close(self) -> None:
        """Free the extension's memory."""
        if self._solver is not None:
            self._library.tvl1_destroy(self._solver)
            self._solver, self._shape, self._newest = None, (), None

    def __del__(self) -> None:
        # __init__ may have raised before there was anything to free.
        if getattr(self, "_solver", None) is not None:
            self.close()

    def _prepare(self, shape: tuple[int, ...]) -> None:
        self.close()
        height, width = shape
        if max(shape) > LARGEST_SIDE_PX:
            raise FlowError(f"flow of {width} x {height} px: expected at most {LARGEST_SIDE_PX} px a side.")
        p = self._parameters
        native = _Parameters(
            p.tau,
            p.lambda_,
            p.theta,
            p.scale_step,
            p.epsilon,
            p.scales,
            p.warps,
            p.inner_iterations,
            p.outer_iterations,
            p.median,
        )
        self._solver = self._library.tvl1_create(width, height, ctypes.byref(native), int(self._avx2))
        if self._solver is None:
            raise FlowError(f"flow of {width} x {height} px: out of memory.")
        self._flow = np.empty((height, width, 2), dtype=np.float32)
        self._shape = shape

    def _push(self, image: NDArray[np.uint8]) -> None:
        image = np.ascontiguousarray(image)
        self._library.tvl1_push(self._solver, image.ctypes.data, image.shape[1])


def flow_batch(frames: NDArray[np.uint8], parameters: FlowParameters, *, threads: int = 1) -> NDArray[np.float32]:
    """Estimate the flow between successive frames, each thread a run of them.

    Parameters
    ----------
    frames
        (N + 1, H, W) uint8 grey images.
    threads
        Threads; the result does not depend on their number.

    Returns
    -------
    (N, H, W, 2) float32
        px per frame, x then y.

    Raises
    ------
    FlowError
        As `CpuFlow`, or if there are fewer than two frames.
    """
    pairs = len(frames) - 1
    if frames.ndim != 3 or pairs < 1:
        raise FlowError(f"a batch of flow needs (N, H, W) frames, N at least 2; found shape {frames.shape}.")
    flow = np.empty((pairs, *frames.shape[1:], 2), dtype=np.float32)

    def run(part: NDArray[np.intp]) -> None:
        estimator = CpuFlow(parameters)
        for i in part:
            flow[i] = estimator.flow(frames[i], frames[i + 1])

    parts = np.array_split(np.arange(pairs), min(threads, pairs))
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(run, parts))
    return flow


def check_supported(parameters: FlowParameters) -> None:
    """Raise FlowError unless our TV-L1 has these parameters."""
    if parameters.gamma != 0:
        raise FlowError(f"gamma is {parameters.gamma}: only OpenCV's TV-L1 has the illumination term. Expected 0.")
    if parameters.median not in MEDIAN_SIDES:
        raise FlowError(f"median is {parameters.median} px: expected one of {', '.join(map(str, MEDIAN_SIDES))}.")


@lru_cache(maxsize=1)
def _library() -> Any:
    # Not importable as a module: it has no Python in it, so that it needs no Python headers and no build per version.
    names = [f"_tvl1{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = [path for name in names if (path := Path(__file__).with_name(name)).is_file()]
    if not found:
        raise FlowError(
            "fast CPU flow was not built when toolkit was installed. Install a C++ compiler (Debian: apt install g++) "
            "and install toolkit again."
        )
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise FlowError(f"{found[0]}: fast CPU flow cannot be loaded ({error}). Install toolkit again here.") from error
    library.tvl1_create.restype = ctypes.c_void_p
    library.tvl1_create.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Parameters), ctypes.c_int]
    library.tvl1_destroy.argtypes = [ctypes.c_void_p]
    library.tvl1_push.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    library.tvl1_solve.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.tvl1_counts.argtypes = [ctypes.c_void_p]
    library.tvl1_counts.restype = _Counts
    return library
