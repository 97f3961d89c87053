"""A CUDA driver that is played on the CPU, and that refuses what a real one would answer with garbage.

Work is done as late as it may be: when the host waits for it, or for what comes after it. So a missing event runs
things in the wrong order, and a host that does not wait sees 0xFF. Besides, every copy, kernel and inference says what
it reads and writes, and vector clocks prove that nothing conflicting is without order; a `Hazard` names the pair.

What it does not show: what compiled kernels do on a GPU, and timing. Graphs are in `fake_graphs`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import toolkit
from tests.engine.fake_graphs import FakeGraphs, Node
from tests.engine.kernels import SOURCE
from tests.flow.shim import Shim
from toolkit.flow.cuda_plan import Launch

GUARD = 256
_SIGNATURE = re.compile(r"^KERNEL (\w+)\(([^)]*)\)", re.MULTILINE)

Clock = dict[int, int]
Range = tuple[int, int]


class Hazard(AssertionError):
    """What a real driver would not have said."""


@dataclass(eq=False)
class Op:
    """Something queued on a stream."""

    name: str
    stream: int
    clock: Clock
    """By stream, how many of its operations are surely done before this one begins; of its own, its number."""
    before: list[Op]
    work: Callable[[], None]
    done: bool = False


@dataclass(frozen=True)
class Use:
    """That an operation reads or writes bytes of a block."""

    op: Op
    start: int
    end: int
    writes: bool

    def meets(self, other: Use) -> bool:
        return self.start < other.end and other.start < self.end and (self.writes or other.writes)

    def replaces(self, other: Use) -> bool:
        """Whether what has an order with this use has one with the other too, which it follows."""
        covers = self.start <= other.start and other.end <= self.end
        return covers and (self.writes or (not other.writes and self.op.stream == other.op.stream))


@dataclass(eq=False)
class Block:
    """Device memory, or page-locked memory, between guards."""

    driver: FakeCuda
    size: int
    kind: str
    raw: NDArray[np.uint8] = field(init=False)
    address: int = field(init=False)
    uses: list[Use] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.raw = np.full(self.size + 3 * GUARD, 0xFF, np.uint8)
        self.address = -(-(self.raw.ctypes.data + GUARD) // 256) * 256

    def __int__(self) -> int:
        return self.address

    @property
    def content(self) -> NDArray[np.uint8]:
        start = self.address - self.raw.ctypes.data
        return self.raw[start : start + self.size]

    def free(self) -> None:
        """Give it back, as ``DeviceAllocation`` and ``PagelockedHostAllocation`` do."""
        driver = self.driver
        if driver.depth == 0:
            raise driver.hazard(f"{self.kind} memory freed without its context")
        if self not in driver.blocks:
            raise driver.hazard(f"{self.kind} memory freed twice")
        driver.graphs.check_memory("free")
        for use in self.uses:
            if not driver.lost and not _is_before(use.op, driver.host):
                raise driver.hazard(f"{self.kind} memory freed while {use.op.name} may be using it")
        start = self.address - self.raw.ctypes.data
        if (self.raw[:start] != 0xFF).any() or (self.raw[start + self.size :] != 0xFF).any():
            raise driver.hazard(f"something wrote outside {self.kind} memory of {self.size} bytes")
        driver.blocks.remove(self)
        self.content[...] = 0xFF


class FakeStream:
    """``pycuda.driver.Stream``."""

    def __init__(self, driver: FakeCuda) -> None:
        self._driver = driver
        self.handle = 1 + len(driver.streams)
        self.clock: Clock = {}
        self.tail: list[Op] = []
        driver.streams[self.handle] = self

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._driver.did("stream synchronize")
        self._driver.graphs.check_wait(self.handle, "stream synchronize")
        if "stream synchronize" not in self._driver.ignored:
            self._driver.wait(self.tail, self.clock)

    def wait_for_event(self, event: FakeEvent) -> None:
        """Let what is queued from now on wait; an event that was never recorded is no obstacle."""
        self._driver.did("wait_for_event")
        self._driver.graphs.check_wait(self.handle, "wait_for_event")
        if "wait_for_event" not in self._driver.ignored:
            self.tail = self.tail + event.ops
            self.clock = _later(self.clock, event.clock)


class FakeEvent:
    """``pycuda.driver.Event``."""

    def __init__(self, driver: FakeCuda) -> None:
        self._driver = driver
        self.clock: Clock = {}
        self.ops: list[Op] = []

    def record(self, stream: FakeStream) -> None:
        """Stand for what the stream holds now."""
        self._driver.did("record")
        self._driver.graphs.check_copy(stream.handle, "record")
        self.clock, self.ops = dict(stream.clock), list(stream.tail)

    def synchronize(self) -> None:
        """Wait for it."""
        self._driver.did("event synchronize")
        if "event synchronize" not in self._driver.ignored:
            self._driver.wait(self.ops, self.clock)


class FakeCuda(ModuleType):
    """``pycuda.driver``, as far as flow and the engine room use it."""

    class Error(Exception):
        """Of the driver."""

    class MemoryError(Error):  # noqa: A001
        """Out of memory."""

    class CompileError(Error):
        """Of nvcc."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pycuda.driver")
        kernels = Path(toolkit.__path__[0])
        self._kernels = {
            name: (shim, _pointers(parameters))
            for shim, source in (
                (Shim(folder), kernels / "flow" / "tvl1.cu"),
                (Shim(folder, source=SOURCE), kernels / "engine" / "preprocess.cu"),
            )
            for name, parameters in _SIGNATURE.findall(source.read_text())
        }
        self.calls: list[str] = []
        self.blocks: list[Block] = []
        self.streams: dict[int, FakeStream] = {}
        self.host: Clock = {}
        self.depth = self.retained = 0
        self.free_bytes = 1 << 40
        self.fail_at: int | None = None
        """The call, counted from 0, that fails, and all that queue or wait after it: the device is lost."""
        self.lost = False
        self.executions = 0
        """TensorRT's execution contexts that live, or died without CUDA's."""
        self.graphs = FakeGraphs(self)
        self.ignored: set[str] = set()
        """Calls that do nothing: what the code under test would be without them."""
        methods = {
            "__init__": lambda device, number: None,
            "count": staticmethod(lambda: 1),
            "name": lambda device: "Orin",
            "compute_capability": lambda device: (8, 7),
            "retain_primary_context": lambda device: self._retain(),
        }
        self.Device = type("Device", (), methods)
        self.Context = SimpleNamespace(pop=self._pop)
        self.Stream = lambda: FakeStream(self)
        self.Event = lambda flags: FakeEvent(self)
        self.event_flags = SimpleNamespace(DISABLE_TIMING=2)

    def init(self) -> None:
        """``cuInit``."""

    def module_from_buffer(self, cubin: bytes) -> Any:
        """Return a module that has every kernel of ours."""
        self.did("module_from_buffer")
        return SimpleNamespace(get_function=self._function)

    def mem_alloc(self, size: int) -> Block:
        """Return device memory, full of 0xFF."""
        self.did("mem_alloc")
        self.graphs.check_memory("mem_alloc")
        self.free_bytes -= size
        if self.free_bytes < 0:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        return self._block(size, "device")

    def pagelocked_empty(self, shape: Any, dtype: Any) -> NDArray[Any]:
        """Return a page-locked array, full of 0xFF."""
        self.did("pagelocked_empty")
        self.graphs.check_memory("pagelocked_empty")
        like = np.empty(shape, dtype)
        block = self._block(like.nbytes, "page-locked")
        block.__array_interface__ = {**like.__array_interface__, "data": (block.address, False)}  # type: ignore[attr-defined]
        return np.asarray(block)

    def memcpy_htod_async(self, to: int, array: NDArray[Any], stream: FakeStream) -> None:
        """Queue an upload, which reads `array` when the stream gets to it."""
        self.graphs.check_copy(stream.handle, "upload")
        origin, before = array.ctypes.data, array.tobytes()

        def copy() -> None:
            if array.tobytes() != before:
                raise self.hazard("the host overwrote page-locked memory before its upload was done")
            ctypes.memmove(int(to), origin, array.nbytes)

        self.queue(stream, "upload", [(origin, array.nbytes)], [(int(to), array.nbytes)], copy)

    def memcpy_dtoh_async(self, array: NDArray[Any], address: int, stream: FakeStream) -> None:
        """Queue a download; until it is waited for, the array is garbage."""
        self.graphs.check_copy(stream.handle, "download")
        to, size = array.ctypes.data, array.nbytes
        self.queue(
            stream, "download", [(int(address), size)], [(to, size)], lambda: ctypes.memmove(to, int(address), size)
        )
        ctypes.memset(to, 0xFF, size)

    def memcpy_dtod_async(self, to: int, origin: int, size: int, stream: FakeStream) -> None:
        """Queue a copy on the device."""
        self.queue(stream, "copy", [(origin, size)], [(to, size)], lambda: ctypes.memmove(to, origin, size))

    def hazard(self, what: str) -> Hazard:
        """Return what is to be raised; from now on the device is lost, so that leaving adds nothing."""
        self.lost = True
        return Hazard(what)

    def did(self, what: str) -> None:
        """Note a call, which needs the context and a device that is there."""
        if self.depth == 0:
            raise self.hazard(f"{what} without the context")
        if self.lost or len(self.calls) == self.fail_at:
            self.lost = True
            raise self.Error(f"{what} failed: an illegal memory access was encountered")
        self.calls.append(what)

    def queue(
        self,
        stream: FakeStream,
        name: str,
        reads: Iterable[Range | int],
        writes: Iterable[Range | int],
        work: Callable[[], Any],
    ) -> None:
        """Queue work, or capture it. A range is an address and a size; an address alone stands for all of its block."""
        reads, writes = list(reads), list(writes)
        if stream.handle in self.graphs.captures:
            self.did(f"capture {name}")
            blocks = [self._range(name, where)[0] for where in [*reads, *writes]]
            self.graphs.add(stream.handle, Node(name, reads, writes, work, blocks))
        else:
            self.did(name)
            self.enqueue(stream, name, reads, writes, work)

    def enqueue(
        self,
        stream: FakeStream,
        name: str,
        reads: Sequence[Range | int],
        writes: Sequence[Range | int],
        work: Callable[[], Any],
    ) -> None:
        """Queue work, whoever calls: the host, or a graph."""
        clock = _later(stream.clock, self.host)
        clock[stream.handle] = clock.get(stream.handle, 0) + 1
        op = Op(name, stream.handle, clock, stream.tail, work)
        uses = [(where, False) for where in reads] + [(where, True) for where in writes]
        for block, use in [self._use(op, *each) for each in uses]:
            for earlier in block.uses:
                if earlier.op is not op and use.meets(earlier) and not _is_before(earlier.op, op.clock):
                    raise self.hazard(
                        f"{op.name} on stream {op.stream} and {earlier.op.name} on stream {earlier.op.stream} meet in "
                        f"{block.kind} memory of {block.size} bytes, and nothing says which comes first"
                    )
            block.uses = [earlier for earlier in block.uses if not use.replaces(earlier)] + [use]
        stream.clock, stream.tail = clock, [op]

    def wait(self, ops: Sequence[Op], clock: Clock) -> None:
        """Do work, and what comes before it; the host knows then that it is done."""
        todo = list(ops)
        while todo:
            before = [op for op in todo[-1].before if not op.done]
            if todo[-1].done:
                todo.pop()
            elif before:
                todo += before
            else:
                op = todo.pop()
                op.work()
                op.done, op.before = True, []
        self.host = _later(self.host, clock)

    def _retain(self) -> Any:
        self.retained += 1
        return SimpleNamespace(push=self._push, pop=self._pop, detach=self._detach)

    def _push(self) -> None:
        self.depth += 1

    def _pop(self) -> None:
        self.depth -= 1

    def _detach(self) -> None:
        self.retained -= 1
        if self.retained == 0 and any(block.kind == "device" for block in self.blocks):
            raise self.hazard("the context goes before its memory")

    def _block(self, size: int, kind: str) -> Block:
        self.blocks.append(Block(self, size, kind))
        return self.blocks[-1]

    def _use(self, op: Op, where: Range | int, writes: bool) -> tuple[Block, Use]:
        block, start, end = self._range(op.name, where)
        return block, Use(op, start, end, writes)

    def _range(self, name: str, where: Range | int) -> tuple[Block, int, int]:
        address, size = where if isinstance(where, tuple) else (where, 1)
        for block in self.blocks:
            end = block.address + block.size
            if block.address <= address and address + size <= end:
                return (block, address, address + size) if isinstance(where, tuple) else (block, block.address, end)
        raise self.hazard(f"{name} reaches {size} bytes that are not allocated, or not page-locked")

    def _function(self, name: str) -> Any:
        shim, pointers = self._kernels[name]

        def call(*arguments: Any, grid: tuple[int, int, int], block: tuple[int, int, int], stream: FakeStream) -> None:
            assert block == (256, 1, 1)
            assert len(arguments) == len(pointers)
            used = [(int(a), kind) for a, kind in zip(arguments, pointers, strict=True) if kind and int(a)]
            reads = [address for address, kind in used if kind == "read"]
            writes = [address for address, kind in used if kind == "write"]
            self.queue(stream, name, reads, writes, lambda: shim.run([Launch(name, grid, arguments)]))

        return call


def _pointers(parameters: str) -> list[str | None]:
    """Return what a kernel does to each parameter: ``read``, ``write``, or None for a value."""
    kinds: list[str | None] = []
    for parameter in parameters.split(","):
        is_pointer = "*" in parameter
        kinds.append(("read" if "const " in parameter else "write") if is_pointer else None)
    return kinds


def _later(one: Clock, other: Clock) -> Clock:
    return {stream: max(one.get(stream, 0), other.get(stream, 0)) for stream in {*one, *other}}


def _is_before(op: Op, clock: Clock) -> bool:
    return op.clock[op.stream] <= clock.get(op.stream, 0)
