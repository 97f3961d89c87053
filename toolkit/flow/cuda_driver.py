"""The CUDA driver as we need it: one device's primary context, compiled kernels, memory, copies, captured graphs.

The only module outside the engine room that imports PyCUDA. PyCUDA's errors leave it as its user's, in a sentence.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import FlowError, ToolkitError
from toolkit.flow.cuda_plan import THREADS_PER_BLOCK, Launch

SOURCES = Path(__file__).parent
COMPILER_OPTIONS = ["--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false", f"-I{SOURCES}"]
"""Exact arithmetic, so that the result is the CPU's to the bit."""

CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True)
class CudaUser:
    """Who uses a device: what its errors are, and what they begin with."""

    name: str
    error: type[ToolkitError]


FLOW = CudaUser("CUDA flow", FlowError)


class CudaDevice:
    """A device's primary context with kernels and a stream in it.

    Close it, or memory stays taken until the process ends. Every object of one process shares the primary context, so
    that streams and events of one may be given to another.

    Parameters
    ----------
    number
        Number of the CUDA device.
    kernels
        Source of the kernels; compiled by nvcc, once.
    user
        Whose errors are raised.
    """

    def __init__(self, number: int = 0, *, kernels: Path = SOURCES / "tvl1.cu", user: CudaUser = FLOW) -> None:
        self._user = user
        self._cuda = _import_driver(user)
        self._context: Any = None
        with _as_errors(self._cuda, user):
            self._cuda.init()
            if number >= self._cuda.Device.count():
                raise user.error(f"{user.name}: no CUDA device {number}; there are {self._cuda.Device.count()} here.")
            device = self._cuda.Device(number)
            self.name: str = device.name()
            self._context = device.retain_primary_context()
        try:
            with self.current():
                module = self._cuda.module_from_buffer(_compiled(kernels, device.compute_capability(), user))
                self._module = module
                self.stream = self._cuda.Stream()
        except BaseException:
            self.close()
            raise
        self._functions: dict[str, Any] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current for the duration, and turn the driver's errors into ours."""
        if self._context is None:
            raise self._user.error(f"{self._user.name} is closed.")
        with _as_errors(self._cuda, self._user):
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()

    def allocate(self, size: int) -> Any:
        """Return device memory of `size` bytes; ``int`` of it is its address, ``free()`` gives it back."""
        return self._cuda.mem_alloc(size)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a page-locked host array."""
        return self._cuda.pagelocked_empty(shape, dtype)

    def event(self) -> Any:
        """Return an event: ``record(stream)`` it, then ``stream.wait_for_event`` or ``synchronize()`` by the host."""
        return self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)

    def upload(self, to: int, array: Any) -> None:
        """Queue the copy of a page-locked array to an address."""
        self._cuda.memcpy_htod_async(to, array, self.stream)

    def download(self, array: Any, address: int, stream: Any = None) -> None:
        """Queue the copy of an address to a page-locked array, on another stream than this object's if one is given."""
        self._cuda.memcpy_dtoh_async(array, address, stream or self.stream)

    def copy(self, to: int, origin: int, size: int, stream: Any = None) -> None:
        """Queue the copy of `size` bytes from one address to another."""
        self._cuda.memcpy_dtod_async(to, origin, size, stream or self.stream)

    def launch(self, launches: Iterable[Launch], stream: Any = None) -> None:
        """Queue launches."""
        for launch in launches:
            if launch.kernel not in self._functions:
                self._functions[launch.kernel] = self._module.get_function(launch.kernel)
            self._functions[launch.kernel](
                *launch.arguments, grid=launch.grid, block=(THREADS_PER_BLOCK, 1, 1), stream=stream or self.stream
            )

    def capture(self, queue: Callable[[], None], stream: Any = None) -> CudaGraph | None:
        """Return what `queue` queues on a stream as a graph, which the host queues in one call. None of it has run.

        Parameters
        ----------
        queue
            Queues work on that stream, or on others that start from it and end in it. It may neither wait nor allocate.
        stream
            Where the graph will run, too; this object's if none is given.

        Returns
        -------
        CudaGraph or None
            None if this driver has no graphs, or that work cannot be one. The stream is then as it was before.
        """
        library, handle = _graph_library(), (stream or self.stream).handle
        if library is None or library.cuStreamBeginCapture_v2(handle, CAPTURE_THREAD_LOCAL) != 0:
            return None
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        is_whole = False
        try:
            # What cannot be captured may be queued all the same. A device that is lost will say so then.
            with suppress(self._cuda.Error, self._user.error):
                queue()
                is_whole = True
        finally:
            if library.cuStreamEndCapture(handle, ctypes.byref(graph)) != 0:
                is_whole = False
            if is_whole and library.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0) != 0:
                is_whole = False
            if graph.value:
                library.cuGraphDestroy(graph)
        return CudaGraph(library, executable, handle, self._user) if is_whole else None

    def wait(self) -> None:
        """Wait until everything queued is done."""
        self.stream.synchronize()

    def close(self) -> None:
        """Let go of the context."""
        if self._context is not None:
            self._context.detach()
            self._context = None


class CudaGraph:
    """Captured work. PyCUDA has no graphs, so this speaks to the driver itself.

    Whatever memory it reads or writes must live for as long as it is replayed.
    """

    def __init__(self, library: Any, executable: ctypes.c_void_p, stream: int, user: CudaUser) -> None:
        self._library, self._executable, self._stream, self._user = library, executable, stream, user

    def replay(self) -> None:
        """Queue all of it on the stream that it was captured on.

        Raises
        ------
        ToolkitError
            The error of the device's user, if the driver refuses.
        """
        status = self._library.cuGraphLaunch(self._executable, self._stream)
        if status != 0:
            raise self._user.error(
                f"{self._user.name}: the captured work failed (CUDA error {status}). Restart the process."
            )

    def free(self) -> None:
        """Give its memory back; the device's context must be current."""
        self._library.cuGraphExecDestroy(self._executable)


def why_not_here() -> str | None:
    """Return None if CUDA flow can be opened as far as can be told without a context, else why not."""
    try:
        driver = _import_driver(FLOW)
        with _as_errors(driver, FLOW):
            driver.init()
            if driver.Device.count() == 0:
                return "no CUDA device is here."
    except FlowError as error:
        return str(error)
    return None


def _import_driver(user: CudaUser) -> Any:
    try:
        import pycuda.driver as driver
    except ImportError as error:
        raise user.error(
            f"{user.name} needs PyCUDA, and it cannot be imported ({error}). On a machine with an NVIDIA driver: "
            "pip install 'toolkit[tensorrt]'."
        ) from error
    return driver


def _compiled(kernels: Path, capability: tuple[int, int], user: CudaUser) -> bytes:
    """Return the kernels for a compute capability; PyCUDA keeps what nvcc made of the same source and options."""
    import pycuda.compiler as compiler

    arch = f"sm_{capability[0]}{capability[1]}"
    try:
        cubin: bytes = compiler.compile(kernels.read_text(), options=COMPILER_OPTIONS, no_extern_c=True, arch=arch)
    except OSError as error:
        raise user.error(
            f"{user.name} needs nvcc to compile its kernels once, and it cannot be run ({error}). Install the CUDA "
            "toolkit and put its bin folder on PATH."
        ) from error
    return cubin


@contextmanager
def _as_errors(driver: Any, user: CudaUser) -> Iterator[None]:
    try:
        yield
    except driver.MemoryError as error:
        raise user.error(
            f"{user.name}: the GPU is out of memory ({error}). Take a smaller batch or working size."
        ) from error
    except driver.CompileError as error:
        raise user.error(
            f"{user.name}: nvcc cannot compile for this GPU ({_last_line(error)}). Its CUDA toolkit must know the "
            "GPU's compute capability."
        ) from error
    except driver.Error as error:
        raise user.error(f"{user.name}: the GPU or its driver failed ({error}). Restart the process.") from error


def _last_line(error: Any) -> str:
    lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
    return lines[-1] if lines else "no message"


def _graph_library() -> Any:
    try:
        library = ctypes.CDLL("libcuda.so.1")
        library.cuStreamBeginCapture_v2.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.cuStreamEndCapture.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.cuGraphInstantiateWithFlags.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulonglong]
        library.cuGraphDestroy.argtypes = [ctypes.c_void_p]
        library.cuGraphLaunch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.cuGraphExecDestroy.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError):
        return None
    return library
