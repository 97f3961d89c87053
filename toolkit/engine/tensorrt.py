"""Runs a TensorRT plan through PyCUDA.

Unverified on hardware: no machine that this was written on could load a plan. It is written against the interface
that TensorRT 10.3 to 11 and TensorRT for RTX share; the first machine that builds an engine also verifies this file,
since an engine is installed only after it has labelled the golden sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        return session.host_logits[:batch]

    def __enter__(self) -> Self:
        self._cuda = cuda_driver()
        find_gpu(self._device)
        self._context = self._cuda.Device(self._device).retain_primary_context()
        try:
            with self._current():
                self._session = self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._context is None:
            return
        # Buffers are freed by their destructors, which need their context to be current.
        with self._current():
            if self._session is not None:
                self._session.plan.close()
            self._session = None
        self._context.detach()
        self._context = None

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

    def _open(self) -> _Session:
        plan = self.file.open()
        host_clips = self._cuda.pagelocked_empty((plan.max_batch, *plan.shape.time_major), np.float32)
        host_logits = self._cuda.pagelocked_empty((plan.max_batch, plan.shape.classes), np.float32)
        device_clips = self._cuda.mem_alloc(host_clips.nbytes)
        device_logits = self._cuda.mem_alloc(host_logits.nbytes)
        return _Session(plan, self._cuda.Stream(), host_clips, host_logits, device_clips, device_logits)
