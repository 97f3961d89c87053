"""Runs a TensorRT plan through PyCUDA.

Unverified on hardware: no machine that this was written on could load a plan (the GPU that ran the rest had no
TensorRT). It is written against the interface that TensorRT 10.3 to 11 and TensorRT for RTX share; the first machine
that builds an engine also verifies this file, since an engine is installed only after it has labelled the golden
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.engine.device import cuda_driver, find_gpu
from toolkit.engine.plan import OpenPlan, PlanFile
from toolkit.engine.tensors import checked_time_major
from toolkit.errors import EngineError


@dataclass(frozen=True)
class _Session:
    """Everything that lives on the device between entering and leaving."""

    plan: OpenPlan
    stream: Any
    host_clips: NDArray[np.float32]
    host_logits: NDArray[np.float32]
    device_clips: Any
    device_logits: Any


class TensorRtBackend:
    """`Backend` by TensorRT.

    The primary context of the device is used, so that other libraries of the process share it. It is current only
    during calls, so any thread may infer; the thread that enters must leave, since PyCUDA ties a context to the thread
    that made it. A clip is copied once, into page-locked memory.

    Parameters
    ----------
    plan
        A plan built by `build_plan` on this machine.
    precision
        Of the graph it was built from; names it in `identity`.
    device
        CUDA ordinal.
    """

    def __init__(self, plan: Path, *, precision: str, device: int = 0) -> None:
        self._plan = plan
        self.file = PlanFile(plan, precision, device)
        """What it runs, for whoever runs it otherwise."""
        self._device = device
        self._cuda: Any = None
        self._context: Any = None
        self._session: _Session | None = None
        self._entered = ExitStack()

    @property
    def identity(self) -> str:
        """``RUNTIME-VERSION/GPU (smNN)/PRECISION``."""
        return self.file.identity

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, C, T, H, W) clips, N at most the engine's batch; see `Backend.infer`."""
        session = self._session
        if session is None:
            raise EngineError(f"{self._plan.name}: the engine is not open. Use it inside a with block.")
        feed = checked_time_major(clips, session.plan.shape, self._plan.name)
        batch = len(feed)
        if batch > session.plan.max_batch:
            raise EngineError(
                f"{self._plan.name}: expected at most {session.plan.max_batch} clips, found {batch}. "
                "Build the engine for larger batches: toolkit build-engine --max-batch"
            )
        with self._current():
            np.copyto(session.host_clips[:batch], feed)
            self._cuda.memcpy_htod_async(session.device_clips, session.host_clips[:batch], session.stream)
            session.plan.set_batch(batch)
            session.plan.enqueue(int(session.device_clips), int(session.device_logits), session.stream)
            self._cuda.memcpy_dtoh_async(session.host_logits[:batch], session.device_logits, session.stream)
            session.stream.synchronize()
        # A copy, since the memory goes when the engine is left.
        logits: NDArray[np.float32] = session.host_logits[:batch].copy()
        return logits

    def __enter__(self) -> Self:
        self._cuda = cuda_driver()
        find_gpu(self._device)
        with ExitStack() as stack:
            self._context = self._cuda.Device(self._device).retain_primary_context()
            stack.callback(self._leave)
            with self._current():
                self._session = self._open(stack)
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context current in this thread, and say CUDA's errors in ours."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._cuda.Error as error:
            raise EngineError(
                f"{self._plan}: the GPU failed ({error}). Free its memory, or check it with: nvidia-smi"
            ) from error

    def _open(self, stack: ExitStack) -> _Session:
        """Open everything on the device, and leave to `stack` what closes it again, last first.

        Memory is freed by name: the traceback of an error holds references for as long as it is looked at.
        """

        def on_exit(free: Callable[[], object]) -> None:
            stack.callback(self._with_context, free)

        def pinned(*shape: int) -> NDArray[np.float32]:
            memory = self._cuda.pagelocked_empty(shape, np.float32)
            on_exit(memory.base.free)
            return memory  # type: ignore[no-any-return]

        def allocated(size: int) -> Any:
            memory = self._cuda.mem_alloc(size)
            on_exit(memory.free)
            return memory

        plan = self.file.open()
        on_exit(plan.close)
        host_clips = pinned(plan.max_batch, *plan.shape.time_major)
        host_logits = pinned(plan.max_batch, plan.shape.classes)
        device_clips, device_logits = allocated(host_clips.nbytes), allocated(host_logits.nbytes)
        stream = self._cuda.Stream()
        # Leaving begins here: what is still queued must end before its memory goes.
        on_exit(stream.synchronize)
        return _Session(plan, stream, host_clips, host_logits, device_clips, device_logits)

    def _with_context(self, free: Callable[[], object]) -> None:
        # A device that is lost has nothing left to free, and its error was said where it was met.
        with suppress(EngineError), self._current():
            free()

    def _leave(self) -> None:
        self._session = None
        self._context.detach()
        self._context = None
