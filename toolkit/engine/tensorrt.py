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
from toolkit.engine.tensorrt_api import TensorRt, create_logger, import_tensorrt
from toolkit.engine.tensors import GraphShape, checked_time_major
from toolkit.errors import EngineError


@dataclass(frozen=True)
class _Session:
    """Everything that lives on the device between entering and leaving."""

    execution: Any
    stream: Any
    shape: GraphShape
    max_batch: int
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
        self._precision = precision
        self._device = device
        self._cuda: Any = None
        self._context: Any = None
        self._session: _Session | None = None

    @property
    def identity(self) -> str:
        """``RUNTIME-VERSION/GPU (smNN)/PRECISION``."""
        api = import_tensorrt()
        gpu = find_gpu(self._device)
        major, minor = gpu.compute_capability
        return f"{api.runtime}-{api.version}/{gpu.name} (sm{major}{minor})/{self._precision}"

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, C, T, H, W) clips, N at most the engine's batch; see `Backend.infer`."""
        session = self._session
        if session is None:
            raise EngineError(f"{self._plan.name}: the engine is not open. Use it inside a with block.")
        feed = checked_time_major(clips, session.shape, self._plan.name)
        batch = len(feed)
        if batch > session.max_batch:
            raise EngineError(
                f"{self._plan.name}: expected at most {session.max_batch} clips, found {batch}. "
                "Build the engine for larger batches: toolkit build-engine --max-batch"
            )
        with self._current():
            np.copyto(session.host_clips[:batch], feed)
            self._cuda.memcpy_htod_async(session.device_clips, session.host_clips[:batch], session.stream)
            session.execution.set_input_shape("clips", (batch, *session.shape.time_major))
            if not session.execution.execute_async_v3(session.stream.handle):
                raise EngineError(f"{self._plan}: TensorRT failed to start the inference.")
            self._cuda.memcpy_dtoh_async(session.host_logits[:batch], session.device_logits, session.stream)
            session.stream.synchronize()
        return session.host_logits[:batch]

    def __enter__(self) -> Self:
        self._cuda = cuda_driver()
        find_gpu(self._device)
        self._context = self._cuda.Device(self._device).retain_primary_context()
        try:
            with self._current():
                self._session = self._open(import_tensorrt())
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

    def _open(self, api: TensorRt) -> _Session:
        trt = api.module
        logger = create_logger(api)
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(self._plan.read_bytes())
        if engine is None:
            raise EngineError(
                f"{self._plan}: {api.runtime} {api.version} cannot load it "
                f"({'; '.join(logger.errors) or 'no reason was given'}). Run: toolkit build-engine"
            )
        shape, max_batch = _engine_shape(trt, engine, self._plan)
        execution = engine.create_execution_context()
        if execution is None:
            raise EngineError(f"{self._plan}: no memory for its execution ({'; '.join(logger.errors)}).")
        host_clips = self._cuda.pagelocked_empty((max_batch, *shape.time_major), np.float32)
        host_logits = self._cuda.pagelocked_empty((max_batch, shape.classes), np.float32)
        device_clips = self._cuda.mem_alloc(host_clips.nbytes)
        device_logits = self._cuda.mem_alloc(host_logits.nbytes)
        execution.set_tensor_address("clips", int(device_clips))
        execution.set_tensor_address("logits", int(device_logits))
        stream = self._cuda.Stream()
        return _Session(execution, stream, shape, max_batch, host_clips, host_logits, device_clips, device_logits)


def _engine_shape(trt: Any, engine: Any, plan: Path) -> tuple[GraphShape, int]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    types = {name: engine.get_tensor_dtype(name) for name in names}
    if types != {"clips": trt.DataType.FLOAT, "logits": trt.DataType.FLOAT}:
        raise EngineError(
            f"{plan}: expected float32 tensors clips and logits, found {types}. Run: toolkit build-engine"
        )
    _, frames, channels, height, width = engine.get_tensor_shape("clips")
    _, classes = engine.get_tensor_shape("logits")
    _, _, largest = engine.get_tensor_profile_shape("clips", 0)
    shape = GraphShape(channels=channels, frames=frames, height=height, width=width, classes=classes)
    return shape, int(largest[0])
