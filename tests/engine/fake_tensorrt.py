"""A TensorRT over the played driver of `fake_cuda`: inferences are queued, ordered and checked like any other work."""

from __future__ import annotations

import ctypes
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engine.fake_cuda import FakeCuda


def fake_tensorrt(cuda: FakeCuda) -> ModuleType:
    """Return a TensorRT whose plans are `plan_bytes`; an inference is `logits_of`."""
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = "10.3.0"
    trt.DataType = SimpleNamespace(FLOAT="float")
    trt.refuses_captures = False

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    class Execution:
        def __init__(self, plan: dict[str, Any], logger: Any) -> None:
            self.plan, self.logger, self.addresses = plan, logger, {}
            self.shape: tuple[int, ...] = ()
            self.is_settled = False
            self.life = SimpleNamespace(ended=False)
            cuda.executions += 1

        def __del__(self) -> None:
            self.life.ended = True
            if cuda.depth:
                cuda.executions -= 1

        def set_tensor_address(self, name: str, address: int) -> None:
            if address % 256:
                raise cuda.hazard(f"address of {name} is not aligned")
            self.addresses[name] = address

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
            self.shape, self.is_settled = shape, False

        def execute_async_v3(self, handle: int) -> bool:
            clips, logits, shape = self.addresses["clips"], self.addresses["logits"], self.shape
            size, classes, life = int(np.prod(shape)), int(self.plan["classes"]), self.life
            if handle in cuda.graphs.captures and (not self.is_settled or trt.refuses_captures):
                # It allocates for these shapes, or synchronises within: what voids a capture.
                cuda.graphs.captures[handle].is_void = True
                self.logger.log(ILogger.Severity.ERROR, "cannot be captured")
                return False
            self.is_settled = True

            def run() -> None:
                if life.ended:
                    raise cuda.hazard("an inference outlives its execution context")
                clip = np.ctypeslib.as_array(ctypes.cast(clips, ctypes.POINTER(ctypes.c_float)), (size,))
                result = logits_of(clip.reshape(shape), classes)
                ctypes.memmove(logits, result.ctypes.data, result.nbytes)

            name = f"execute {self.plan['name']}"
            try:
                cuda.queue(cuda.streams[handle], name, [(clips, 4 * size)], [(logits, 4 * classes)], run)
            except cuda.Error as error:
                self.logger.log(ILogger.Severity.ERROR, str(error))
                return False
            return True

    class Engine:
        num_io_tensors = 2

        def __init__(self, plan: dict[str, Any], logger: Any) -> None:
            self.plan, self.logger = plan, logger

        def get_tensor_name(self, index: int) -> str:
            return ("clips", "logits")[index]

        def get_tensor_dtype(self, name: str) -> str:
            return "float"

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (-1, *self.plan["shape"]) if name == "clips" else (-1, self.plan["classes"])

        def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
            return [(1, *self.plan["shape"])] * 3

        def create_execution_context(self) -> Execution:
            return Execution(self.plan, self.logger)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine:
            cuda.did("deserialize")
            return Engine(json.loads(plan), self.logger)

    trt.ILogger, trt.Runtime = ILogger, Runtime
    return trt  # type: ignore[no-any-return]


def plan_bytes(name: str, shape: tuple[int, ...], classes: int) -> bytes:
    """Return a plan of the fake TensorRT for (N, *shape) clips, shape = (T, C, H, W)."""
    return json.dumps({"name": name, "shape": shape, "classes": classes}).encode()


def logits_of(clips: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Return (N, K) float32 of (N, T, C, H, W) clips in which every value counts, each with its own weights."""
    flat = clips.reshape(len(clips), -1).astype(np.float64)
    weights = np.random.default_rng(7).normal(size=(flat.shape[1], classes))
    return (flat @ weights).astype(np.float32)
