"""The played driver refuses what a real one would answer with garbage; else it would prove nothing."""

from __future__ import annotations

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
