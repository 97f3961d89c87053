"""The CUDA driver's graphs, played: what a stream captures, and what becomes of it when it is launched.

A capture is refused what CUDA documents for a thread-local one (CU_STREAM_CAPTURE_MODE_THREAD_LOCAL): its thread may
neither allocate nor free, nor wait for the stream; the stream may not wait for an event from outside. Each of these is
an error and makes the whole capture void. Not played, and refused: copies from and to the host, and events, in a graph.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.engine.fake_cuda import Block, FakeCuda, Range

THREAD_LOCAL = 1
SUCCESS, NOT_SUPPORTED, LOST, VOID = 0, 801, 700, 901
"""Of CUresult."""


@dataclass(frozen=True)
class Node:
    """An operation of a graph, and the memory that it was captured with."""

    name: str
    reads: Sequence[Range | int]
    writes: Sequence[Range | int]
    work: Callable[[], Any]
    blocks: Sequence[Block]


@dataclass
class Capture:
    """What a stream has captured so far."""

    nodes: list[Node] = field(default_factory=list)
    is_void: bool = False


class FakeGraphs:
    """What `cuda_driver._graph_library` returns."""

    def __init__(self, driver: FakeCuda) -> None:
        self._driver = driver
        self.captures: dict[int, Capture] = {}
        """By the handle of the stream that captures now."""
        self.live: dict[int, tuple[str, list[Node]]] = {}
        """Graphs and executable graphs that nobody has destroyed."""
        self.refuses: set[str] = set()
        """Of ``begin capture``, ``end capture``, ``instantiate`` and ``graph launch``, what this driver cannot."""
        self._handles = 0

    def check_wait(self, handle: int, what: str) -> None:
        """Refuse to wait for a stream that captures, or to let it wait for what came before."""
        if handle in self.captures:
            self._void(handle, f"{what} of a stream that captures")

    def check_memory(self, what: str) -> None:
        """Refuse to allocate or free by the thread that captures: the only one here."""
        for handle in self.captures:
            self._void(handle, f"{what} while a stream captures")

    def check_copy(self, handle: int, what: str) -> None:
        """Refuse what is not played."""
        if handle in self.captures:
            raise self._driver.hazard(f"{what} in a graph is not played")

    def add(self, handle: int, node: Node) -> None:
        """Capture an operation, which does not run."""
        if self.captures[handle].is_void:
            raise self._driver.Error(f"{node.name} failed: operation failed due to a previous error during capture")
        self.captures[handle].nodes.append(node)

    def cuStreamBeginCapture_v2(self, handle: int, mode: int) -> int:  # noqa: N802
        """Let a stream capture what is queued on it."""
        status = self._did("begin capture")
        if status == SUCCESS:
            assert mode == THREAD_LOCAL
            assert handle in self._driver.streams
            assert handle not in self.captures
            self.captures[handle] = Capture()
        return status

    def cuStreamEndCapture(self, handle: int, graph: Any) -> int:  # noqa: N802
        """Give the graph out, or null if the capture is void."""
        capture = self.captures.pop(handle)
        status = self._did("end capture")
        if status == SUCCESS and capture.is_void:
            status = VOID
        graph._obj.value = self._new("graph", capture.nodes) if status == SUCCESS else None
        return status

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: int) -> int:  # noqa: N802
        """Give out what can be launched."""
        kind, nodes = self.live[int(graph.value or 0)]
        assert (kind, flags) == ("graph", 0)
        status = self._did("instantiate")
        if status == SUCCESS:
            executable._obj.value = self._new("executable", nodes)
        return status

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:  # noqa: N802
        """Destroy what was captured; what was made of it lives on."""
        return self._destroy("graph", graph)

    def cuGraphLaunch(self, executable: ctypes.c_void_p, handle: int) -> int:  # noqa: N802
        """Queue everything on a stream, in order."""
        kind, nodes = self.live.get(int(executable.value or 0), ("nothing", []))
        if kind != "executable":
            raise self._driver.hazard("a graph is launched that was destroyed")
        status = self._did("graph launch")
        if status == SUCCESS:
            for node in nodes:
                if any(block not in self._driver.blocks for block in node.blocks):
                    raise self._driver.hazard(f"a graph is launched whose {node.name} uses memory that was freed")
                self._driver.enqueue(self._driver.streams[handle], node.name, node.reads, node.writes, node.work)
        return status

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:  # noqa: N802
        """Destroy what can be launched."""
        return self._destroy("executable", executable)

    def _did(self, what: str) -> int:
        try:
            self._driver.did(what)
        except self._driver.Error:
            return LOST
        return NOT_SUPPORTED if what in self.refuses else SUCCESS

    def _void(self, handle: int, what: str) -> None:
        self.captures[handle].is_void = True
        raise self._driver.Error(f"{what}: operation not permitted")

    def _new(self, kind: str, nodes: list[Node]) -> int:
        self._handles += 1
        self.live[self._handles] = (kind, nodes)
        return self._handles

    def _destroy(self, kind: str, handle: ctypes.c_void_p) -> int:
        if self._driver.depth == 0:
            raise self._driver.hazard("a graph is destroyed without its context")
        if self.live.pop(int(handle.value or 0), ("nothing", []))[0] != kind:
            raise self._driver.hazard("a graph is destroyed twice")
        return LOST if self._driver.lost else SUCCESS
