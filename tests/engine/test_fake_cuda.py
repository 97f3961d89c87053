"""The played driver refuses what a real one would answer with garbage; else it would prove nothing."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.fake_cuda import FakeCuda, Hazard

SIZE = 64


@pytest.fixture
def cuda(shims: Path) -> FakeCuda:
    driver = FakeCuda(shims)
    driver.Device(0).retain_primary_context().push()
    return driver


def load(cuda: FakeCuda, origin: Any, to: Any, stream: Any, count: int = SIZE // 4) -> None:
    """Queue a kernel that makes floats of `count` bytes."""
    kernel = cuda.module_from_buffer(b"").get_function("tvl1_load")
    kernel(
        *(np.uint64(int(origin)), np.uint64(int(to)), np.int32(count)), grid=(1, 1, 1), block=(256, 1, 1), stream=stream
    )


def pinned(cuda: FakeCuda, value: int = 0) -> Any:
    array = cuda.pagelocked_empty((SIZE,), np.uint8)
    array[...] = value
    return array


def test_ordered_work_is_done_when_it_is_waited_for(cuda: FakeCuda) -> None:
    one, other, ready = cuda.Stream(), cuda.Stream(), cuda.Event(0)
    grey, floats, host, result = cuda.mem_alloc(SIZE), cuda.mem_alloc(SIZE), pinned(cuda, 7), pinned(cuda)
    cuda.memcpy_htod_async(int(grey), host, one)
    ready.record(one)
    other.wait_for_event(ready)
    load(cuda, grey, floats, other)
    cuda.memcpy_dtoh_async(result, int(floats), other)
    assert (result == 0xFF).all()
    other.synchronize()
    assert (result.view(np.float32) == 7).all()
    host[...] = 1
    for block in (grey, floats, host.base, result.base):
        block.free()


@pytest.mark.parametrize("order", ["read after write", "write after read", "write after write"])
def test_streams_that_meet_without_an_event(cuda: FakeCuda, order: str) -> None:
    one, other = cuda.Stream(), cuda.Stream()
    first, second, third = (int(cuda.mem_alloc(SIZE)) for _ in range(3))
    load(cuda, first, second, one)
    origin, to = {
        "read after write": (second, third),
        "write after read": (third, first),
        "write after write": (third, second),
    }[order]
    with pytest.raises(Hazard, match="nothing says which comes first"):
        load(cuda, origin, to, other)


def test_an_event_that_is_recorded_too_early(cuda: FakeCuda) -> None:
    one, other, ready = cuda.Stream(), cuda.Stream(), cuda.Event(0)
    first, second, third = (int(cuda.mem_alloc(SIZE)) for _ in range(3))
    ready.record(one)
    load(cuda, first, second, one)
    other.wait_for_event(ready)
    with pytest.raises(Hazard, match="tvl1_load on stream 2 and tvl1_load on stream 1"):
        load(cuda, second, third, other)


def test_waiting_by_the_host_is_an_order_too(cuda: FakeCuda) -> None:
    one, other = cuda.Stream(), cuda.Stream()
    first, second, third = (int(cuda.mem_alloc(SIZE)) for _ in range(3))
    load(cuda, first, second, one)
    one.synchronize()
    load(cuda, second, third, other)


def test_copies_to_different_parts_of_a_block_do_not_meet(cuda: FakeCuda) -> None:
    block, host = int(cuda.mem_alloc(SIZE)), pinned(cuda)
    cuda.memcpy_htod_async(block, host[:32], cuda.Stream())
    cuda.memcpy_htod_async(block + 32, host[32:], cuda.Stream())
    with pytest.raises(Hazard):
        cuda.memcpy_htod_async(block + 31, host[:2], cuda.Stream())


def test_a_host_that_writes_before_the_upload_is_done(cuda: FakeCuda) -> None:
    stream, block, host = cuda.Stream(), cuda.mem_alloc(SIZE), pinned(cuda)
    cuda.memcpy_htod_async(int(block), host, stream)
    host[3] = 1
    with pytest.raises(Hazard, match="host overwrote"):
        stream.synchronize()


def test_memory_that_is_not_allocated_or_not_page_locked(cuda: FakeCuda) -> None:
    stream, block, host = cuda.Stream(), cuda.mem_alloc(SIZE), pinned(cuda)
    with pytest.raises(Hazard, match="not allocated"):
        cuda.memcpy_htod_async(int(block) + 1, host, stream)
    cuda.lost = False
    with pytest.raises(Hazard, match="not page-locked"):
        cuda.memcpy_htod_async(int(block), np.zeros(SIZE, np.uint8), stream)


def test_memory_that_was_freed(cuda: FakeCuda) -> None:
    stream, block, host = cuda.Stream(), cuda.mem_alloc(SIZE), pinned(cuda)
    block.free()
    with pytest.raises(Hazard, match="not allocated"):
        cuda.memcpy_htod_async(int(block), host, stream)
    with pytest.raises(Hazard, match="freed twice"):
        block.free()


def test_memory_that_is_freed_in_use_or_without_its_context(cuda: FakeCuda) -> None:
    stream, block, host = cuda.Stream(), cuda.mem_alloc(SIZE), pinned(cuda)
    cuda.memcpy_htod_async(int(block), host, stream)
    with pytest.raises(Hazard, match="freed while upload may be using it"):
        block.free()
    cuda.lost = False
    stream.synchronize()
    cuda.Context.pop()
    with pytest.raises(Hazard, match="without its context"):
        block.free()


def test_a_kernel_that_writes_beyond_its_memory(cuda: FakeCuda) -> None:
    stream, grey, floats = cuda.Stream(), cuda.mem_alloc(SIZE), cuda.mem_alloc(SIZE)
    load(cuda, grey, floats, stream, SIZE // 4 + 1)
    stream.synchronize()
    with pytest.raises(Hazard, match="wrote outside device memory of 64 bytes"):
        floats.free()


def test_a_context_that_goes_before_its_memory(cuda: FakeCuda) -> None:
    context = cuda.Device(0).retain_primary_context()
    cuda.mem_alloc(SIZE)
    context.detach()
    with pytest.raises(Hazard, match="before its memory"):
        context.detach()


def test_calls_without_a_context(cuda: FakeCuda) -> None:
    cuda.Context.pop()
    with pytest.raises(Hazard, match="without the context"):
        cuda.mem_alloc(SIZE)


class Recorded:
    """What a graph is made of and made into, as `ctypes` has it."""

    def __init__(self, cuda: FakeCuda, stream: Any) -> None:
        self.cuda, self.stream = cuda, stream
        self.graph, self.executable = ctypes.c_void_p(), ctypes.c_void_p()
        assert cuda.graphs.cuStreamBeginCapture_v2(stream.handle, 1) == 0

    def end(self) -> int:
        return self.cuda.graphs.cuStreamEndCapture(self.stream.handle, ctypes.byref(self.graph))

    def instantiate(self) -> None:
        assert self.end() == 0
        assert self.cuda.graphs.cuGraphInstantiateWithFlags(ctypes.byref(self.executable), self.graph, 0) == 0
        assert self.cuda.graphs.cuGraphDestroy(self.graph) == 0

    def launch(self) -> int:
        return self.cuda.graphs.cuGraphLaunch(self.executable, self.stream.handle)


def test_a_graph_does_its_work_at_every_launch_and_none_when_it_is_captured(cuda: FakeCuda) -> None:
    stream, grey, floats = cuda.Stream(), cuda.mem_alloc(SIZE), cuda.mem_alloc(SIZE)
    host, result = pinned(cuda), pinned(cuda)
    recorded = Recorded(cuda, stream)
    load(cuda, grey, floats, stream)
    recorded.instantiate()
    stream.synchronize()
    assert (floats.content == 0xFF).all()
    for value in (3, 9):
        host[...] = value
        cuda.memcpy_htod_async(int(grey), host, stream)
        assert recorded.launch() == 0
        cuda.memcpy_dtoh_async(result, int(floats), stream)
        stream.synchronize()
        assert (result.view(np.float32) == value).all()
    assert cuda.graphs.cuGraphExecDestroy(recorded.executable) == 0
    assert not cuda.graphs.live


def test_a_launch_is_ordered_like_what_it_was_captured_from(cuda: FakeCuda) -> None:
    one, other = cuda.Stream(), cuda.Stream()
    first, second, third = (int(cuda.mem_alloc(SIZE)) for _ in range(3))
    recorded = Recorded(cuda, one)
    load(cuda, first, second, one)
    recorded.instantiate()
    load(cuda, second, third, other)
    with pytest.raises(Hazard, match="tvl1_load on stream 1 and tvl1_load on stream 2 meet"):
        recorded.launch()


def test_a_graph_whose_memory_was_freed(cuda: FakeCuda) -> None:
    stream, grey, floats = cuda.Stream(), cuda.mem_alloc(SIZE), cuda.mem_alloc(SIZE)
    recorded = Recorded(cuda, stream)
    load(cuda, grey, floats, stream)
    recorded.instantiate()
    assert recorded.launch() == 0
    with pytest.raises(Hazard, match="freed while tvl1_load may be using it"):
        floats.free()
    cuda.lost = False
    stream.synchronize()
    floats.free()
    with pytest.raises(Hazard, match="uses memory that was freed"):
        recorded.launch()


def test_a_graph_that_was_destroyed(cuda: FakeCuda) -> None:
    recorded = Recorded(cuda, cuda.Stream())
    recorded.instantiate()
    assert cuda.graphs.cuGraphExecDestroy(recorded.executable) == 0
    with pytest.raises(Hazard, match="launched that was destroyed"):
        recorded.launch()
    cuda.lost = False
    with pytest.raises(Hazard, match="destroyed twice"):
        cuda.graphs.cuGraphExecDestroy(recorded.executable)


@pytest.mark.parametrize("forbidden", ["allocate", "page-lock", "free", "wait", "wait for an event"])
def test_what_a_capture_does_not_survive(cuda: FakeCuda, forbidden: str) -> None:
    stream, grey, floats, event = cuda.Stream(), cuda.mem_alloc(SIZE), cuda.mem_alloc(SIZE), cuda.Event(0)
    recorded = Recorded(cuda, stream)
    calls: dict[str, Callable[[], object]] = {
        "allocate": lambda: cuda.mem_alloc(SIZE),
        "page-lock": lambda: pinned(cuda),
        "free": grey.free,
        "wait": stream.synchronize,
        "wait for an event": lambda: stream.wait_for_event(event),
    }
    with pytest.raises(cuda.Error, match="not permitted"):
        calls[forbidden]()
    with pytest.raises(cuda.Error, match="previous error during capture"):
        load(cuda, grey, floats, stream)
    assert recorded.end() != 0
    assert not recorded.graph
    # The stream and the memory are as they were.
    load(cuda, grey, floats, stream)
    stream.synchronize()


def test_another_stream_may_be_waited_for_during_a_capture(cuda: FakeCuda) -> None:
    recorded, other = Recorded(cuda, cuda.Stream()), cuda.Stream()
    other.synchronize()
    recorded.instantiate()
