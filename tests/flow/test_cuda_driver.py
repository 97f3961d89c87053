"""The GPU's host side, over a stand-in for PyCUDA that runs the kernels on the CPU and records what it is asked for.

No part of a real driver runs here: what this shows is the order of copies and launches, what is allocated when, and
what becomes of errors.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.flow.shim import Shim
from tests.flow.test_cuda import textured
from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, FlowParameters, cuda_driver
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.cuda_plan import Launch

FAST = PARAMETER_SETS["fast"]


class FakeError(Exception):
    pass


class FakeMemoryError(FakeError):
    pass


class FakeCompileError(FakeError):
    pass


class FakeDriver:
    """What of pycuda.driver flow uses; device memory is host memory."""

    Error, MemoryError, CompileError = FakeError, FakeMemoryError, FakeCompileError

    def __init__(self, folder: Path) -> None:
        self.shim = Shim(folder)
        self.calls: list[str] = []
        self.live: dict[int, NDArray[np.uint8]] = {}
        self.depth = 0
        self.devices = 1
        self.free_bytes = 1 << 40
        self.fails_on: str | None = None
        methods = {
            "__init__": lambda device, number: None,
            "count": staticmethod(lambda: self.devices),
            "name": lambda device: "fake",
            "compute_capability": lambda device: (8, 7),
            "retain_primary_context": lambda device: self,
        }
        self.Device = type("Device", (), methods)
        self.Context = SimpleNamespace(pop=self.pop)

    def init(self) -> None:
        self.calls.append("init")

    def push(self) -> None:
        self.depth += 1

    def pop(self) -> None:
        self.depth -= 1

    def detach(self) -> None:
        self.calls.append("detach")

    def module_from_buffer(self, cubin: bytes) -> Any:
        assert self.depth
        return SimpleNamespace(get_function=self.function)

    def Stream(self) -> Any:  # noqa: N802
        return SimpleNamespace(handle=1, synchronize=lambda: self.did("synchronize"))

    def did(self, what: str) -> None:
        assert self.depth, f"{what} without the context"
        self.calls.append(what)
        if what == self.fails_on:
            raise FakeError("an illegal memory access was encountered")

    def function(self, name: str) -> Any:
        def call(*arguments: Any, grid: tuple[int, int, int], block: tuple[int, int, int], stream: Any) -> None:
            self.did(name)
            assert block == (256, 1, 1)
            self.shim.run([Launch(name, grid, arguments)])

        return call

    def mem_alloc(self, size: int) -> Any:
        self.did("mem_alloc")
        self.free_bytes -= size
        if self.free_bytes < 0:
            raise FakeMemoryError("out of memory")
        memory = np.full(size, 0xFF, np.uint8)
        self.live[memory.ctypes.data] = memory
        return Allocation(self, memory.ctypes.data)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        self.did("pagelocked_empty")
        return np.empty(shape, dtype)

    def memcpy_htod_async(self, to: int, array: NDArray[Any], stream: Any) -> None:
        self.did("upload")
        ctypes.memmove(to, array.ctypes.data, array.nbytes)

    def memcpy_dtoh_async(self, array: NDArray[Any], address: int, stream: Any) -> None:
        self.did("download")
        ctypes.memmove(array.ctypes.data, address, array.nbytes)


class Allocation:
    def __init__(self, driver: FakeDriver, address: int) -> None:
        self.driver, self.address = driver, address

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        assert self.driver.depth
        del self.driver.live[self.address]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver(tmp_path)
    package, compiler = ModuleType("pycuda"), ModuleType("pycuda.compiler")
    compiler.compile = lambda source, **options: b"cubin"  # type: ignore[attr-defined]
    package.driver, package.compiler = fake, compiler  # type: ignore[attr-defined]
    for name, module in (("pycuda", package), ("pycuda.driver", fake), ("pycuda.compiler", compiler)):
        monkeypatch.setitem(sys.modules, name, module)
    # A machine with a GPU would capture on its real driver.
    monkeypatch.setattr(cuda_driver, "_graph_library", lambda: None)
    yield fake
    assert fake.depth == 0


def expected(frames: NDArray[np.uint8], parameters: FlowParameters) -> NDArray[np.float32]:
    if CpuFlow.available() is not None:
        pytest.skip("the CPU extension was not built")
    return np.stack([CpuFlow(parameters).flow(*frames[i : i + 2]) for i in range(len(frames) - 1)])


def test_successive_pairs_upload_one_frame_each_and_allocate_nothing(driver: FakeDriver) -> None:
    frames = textured(48, 64, 5)
    wanted = expected(frames, FAST)
    with CudaFlow(FAST) as flow:
        assert np.array_equal(flow.flow(frames[0], frames[1]), wanted[0])
        for i in range(1, 4):
            driver.calls.clear()
            assert np.array_equal(flow.flow(frames[i], frames[i + 1]), wanted[i])
            assert driver.calls.count("upload") == 1
            assert driver.calls.count("tvl1_load") == 1
            assert driver.calls.count("synchronize") == 1
            assert not {"mem_alloc", "pagelocked_empty"} & set(driver.calls)
            assert driver.calls.index("upload") < driver.calls.index("tvl1_begin") < driver.calls.index("download")
    assert not driver.live
    assert driver.calls[-1] == "detach"


def test_frames_on_the_device_are_neither_uploaded_nor_downloaded(driver: FakeDriver) -> None:
    frames = textured(48, 64, 4)
    wanted = expected(frames, FAST)
    with CudaFlow(FAST) as flow:
        assert flow.flow_on_device(frames[0].ctypes.data, 48, 64) is None
        for i in range(3):
            driver.calls.clear()
            address = flow.flow_on_device(frames[i + 1].ctypes.data, 48, 64)
            assert driver.calls.count("upload") == 0
            assert driver.calls.count("download") == 1
            assert np.array_equal(at(address), wanted[i])
        assert np.array_equal(flow.flow(frames[0], frames[1]), wanted[0])
        with pytest.raises(FlowError, match="at least 16"):
            flow.flow_on_device(frames[0].ctypes.data, 8, 64)


def test_flow_on_the_device_can_be_waited_for_later_and_start_afresh(driver: FakeDriver) -> None:
    frames = textured(48, 64, 3)
    wanted = expected(frames, FAST)
    with CudaFlow(FAST) as flow:
        with pytest.raises(FlowError, match="begin it first"):
            flow.finish_on_device()
        for frame, first in zip(frames, (True, False, True), strict=True):
            driver.calls.clear()
            flow.begin_on_device(frame.ctypes.data, 48, 64, first=first)
            assert "synchronize" not in driver.calls
            assert ("tvl1_begin" in driver.calls) == (not first)
            address = flow.finish_on_device()
            assert (address is None) == first
            if address is not None:
                assert np.array_equal(at(address), wanted[0])


def at(address: int | None) -> NDArray[np.float32]:
    assert address is not None
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (48, 64, 2))


def test_a_pair_that_does_not_follow_and_another_size(driver: FakeDriver) -> None:
    frames, small = textured(48, 64, 4), textured(32, 40, 2)
    wanted = expected(frames, FAST)
    with CudaFlow(FAST) as flow:
        flow.flow(frames[0], frames[1])
        assert np.array_equal(flow.flow(frames[2], frames[3]), wanted[2])
        assert np.array_equal(flow.flow(*small), expected(small, FAST)[0])
        assert len(driver.live) == 7
    assert not driver.live


def test_a_pair_that_needs_more_rounds_gets_them(driver: FakeDriver) -> None:
    parameters = FlowParameters(name="slow", scales=1, warps=1, inner_iterations=5, epsilon=1e-4)
    frames = textured(48, 64, 2)
    with CudaFlow(parameters) as flow:
        assert np.array_equal(flow.flow(*frames), expected(frames, parameters)[0])
    assert driver.calls.count("tvl1_begin") == 2
    assert driver.calls.count("tvl1_filter") == 2 + 10


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_batches_of_any_size_give_the_same(driver: FakeDriver, batch: int) -> None:
    frames = textured(48, 64, 6)
    with CudaFlow(FAST, batch=batch) as flow:
        assert np.array_equal(flow.flow_batch(frames), expected(frames, FAST))
    assert not driver.live


def test_short_memory_is_one_message_and_leaves_nothing(driver: FakeDriver) -> None:
    driver.free_bytes = 100_000
    with CudaFlow(FAST) as flow, pytest.raises(FlowError, match=r"out of memory.*smaller"):
        flow.flow(*textured(48, 64, 2))
    assert not driver.live


def test_a_lost_context_is_one_message(driver: FakeDriver) -> None:
    driver.fails_on = "synchronize"
    flow = CudaFlow(FAST)
    with pytest.raises(FlowError, match=r"illegal memory access.*Restart"):
        flow.flow(*textured(48, 64, 2))
    flow.close()
    with pytest.raises(FlowError, match="closed"):
        flow.flow(*textured(48, 64, 2))


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (OSError("nvcc was not found"), "nvcc .*not found.*PATH"),
        (FakeCompileError("nvcc fatal: Unsupported gpu architecture 'sm_87'"), "Unsupported gpu.*capability"),
    ],
)
def test_a_compiler_that_is_missing_or_too_old_is_one_message(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
) -> None:
    def fail(source: str, **options: Any) -> bytes:
        raise raised

    monkeypatch.setattr(sys.modules["pycuda.compiler"], "compile", fail)
    with pytest.raises(FlowError, match=message):
        CudaFlow(FAST)
    assert driver.calls[-1] == "detach"


def test_no_device_and_no_pycuda_are_said(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CudaFlow.available() is None
    driver.devices = 0
    assert "no CUDA device" in str(CudaFlow.available())
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "PyCUDA" in str(CudaFlow.available())


def test_it_runs_on_a_gpu_where_there_is_one() -> None:
    if CudaFlow.available() is not None:
        pytest.skip(f"no GPU: {CudaFlow.available()}")
    frames = textured(96, 128, 6)
    with CudaFlow(PARAMETER_SETS["paper"]) as flow:
        wanted = expected(frames, PARAMETER_SETS["paper"])
        for i in range(5):
            assert np.array_equal(flow.flow(frames[i], frames[i + 1]), wanted[i])
        assert np.array_equal(flow.flow_batch(frames), wanted)
