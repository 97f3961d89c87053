"""A TensorRT plan on disk, and opened for inference: what both of TensorRT's runtimes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.engine.device import find_gpu
from toolkit.engine.tensorrt_api import (
    TensorRt,
    create_execution,
    create_logger,
    create_runtime,
    import_tensorrt,
    load_engine,
    sizes_of,
)
from toolkit.engine.tensors import GraphShape
from toolkit.errors import EngineError

if TYPE_CHECKING:
    import tensorrt

    from toolkit.engine.tensorrt_api import ErrorLog


@dataclass(frozen=True)
class PlanFile:
    """A plan built by `build_plan` on this machine."""

    path: Path
    precision: str
    """Of the graph it was built from; names it in `identity`."""
    device: int = 0
    """CUDA ordinal."""

    @property
    def identity(self) -> str:
        """``RUNTIME-VERSION/GPU (smNN)/PRECISION``."""
        api = import_tensorrt()
        gpu = find_gpu(self.device)
        major, minor = gpu.compute_capability
        return f"{api.runtime}-{api.version}/{gpu.name} (sm{major}{minor})/{self.precision}"

    def open(self) -> OpenPlan:
        """Load the plan in the current context; it lives as long as what is returned.

        Raises
        ------
        EngineError
            If this TensorRT cannot load it, its tensors are not a bundle's, or the device has no memory for it.
        """
        api = import_tensorrt()
        logger = create_logger(api)
        runtime = create_runtime(api, logger)
        engine = load_engine(runtime, self.path.read_bytes())
        if engine is None:
            raise EngineError(
                f"{self.path}: {api.runtime} {api.version} cannot load it "
                f"({'; '.join(logger.errors) or 'no reason was given'}). Run: toolkit build-engine"
            )
        shape, max_batch = _engine_shape(api, engine, self.path)
        execution = create_execution(engine)
        if execution is None:
            raise EngineError(f"{self.path}: no memory for its execution ({'; '.join(logger.errors)}).")
        return OpenPlan(self.path, execution, shape, max_batch, logger)


class OpenPlan:
    """A plan ready to run in the context that it was opened in. Close it while that is current.

    Parameters
    ----------
    execution
        TensorRT's execution context, which holds its engine.
    max_batch
        Clips that it takes at a time.
    logger
        Keeps what TensorRT says of errors.
    """

    def __init__(
        self, path: Path, execution: tensorrt.IExecutionContext, shape: GraphShape, max_batch: int, logger: ErrorLog
    ) -> None:
        self.path, self.shape, self.max_batch = path, shape, max_batch
        self.execution, self._logger = execution, logger

    def set_batch(self, batch: int) -> None:
        """Say how many clips the next inferences take, 1 to `max_batch`."""
        self.execution.set_input_shape("clips", (batch, *self.shape.time_major))

    def enqueue(self, clips: int, logits: int, stream: Any) -> None:
        """Queue an inference from (N, T, C, H, W) float32 at one device address to (N, K) float32 at another.

        Raises
        ------
        EngineError
            If TensorRT refuses.
        """
        self.execution.set_tensor_address("clips", clips)
        self.execution.set_tensor_address("logits", logits)
        if not self.execution.execute_async_v3(stream.handle):
            raise EngineError(
                f"{self.path}: TensorRT failed to start the inference "
                f"({'; '.join(self._logger.errors) or 'no reason was given'}). Restart the process."
            )

    def close(self) -> None:
        """Let TensorRT free the engine, whoever still refers to this object."""
        del self.execution


def _engine_shape(api: TensorRt, engine: tensorrt.ICudaEngine, plan: Path) -> tuple[GraphShape, int]:
    trt = api.module
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    types = {name: engine.get_tensor_dtype(name) for name in names}
    if types != {"clips": trt.DataType.FLOAT, "logits": trt.DataType.FLOAT}:
        raise EngineError(
            f"{plan}: expected float32 tensors clips and logits, found {types}. Run: toolkit build-engine"
        )
    _, frames, channels, height, width = sizes_of(engine.get_tensor_shape("clips"))
    _, classes = sizes_of(engine.get_tensor_shape("logits"))
    _, _, largest = engine.get_tensor_profile_shape("clips", 0)
    shape = GraphShape(channels=channels, frames=frames, height=height, width=width, classes=classes)
    return shape, int(largest[0])
