"""Runs a bundle's float32 graph on the CPU with OpenVINO: the fastest on x86-64 (docs/decisions/0011)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.engine.tensors import GraphShape, checked_time_major
from toolkit.errors import EngineError, MissingDependency


class OpenVinoBackend:
    """`Backend` by OpenVINO's CPU plugin, in float32 on every processor.

    Compiled for one clip: a known batch is a tenth faster, and several clips at once are hardly faster than one after
    another, which is how a batch runs.

    Parameters
    ----------
    path
        A float32 ONNX graph of a bundle.
    threads
        Threads of one inference; 0 takes one per physical core.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path = path
        self._threads = threads
        self._request: Any = None
        self._shape: GraphShape | None = None

    @property
    def identity(self) -> str:
        """``openvino-VERSION/cpu/fp32``."""
        return f"openvino-{openvino_version()}/cpu/fp32"

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, C, T, H, W) clips; see `Backend.infer`."""
        if self._request is None or self._shape is None:
            raise EngineError(f"{self._path.name}: the engine is not open. Use it inside a with block.")
        openvino = import_openvino()
        feed = checked_time_major(clips, self._shape, self._path.name)
        logits = np.empty((len(feed), self._shape.classes), dtype=np.float32)
        try:
            for index in range(len(feed)):
                # The tensor borrows: `feed` must outlive the inference, and does.
                self._request.set_input_tensor(openvino.Tensor(feed[index : index + 1], shared_memory=True))
                self._request.infer()
                logits[index] = self._request.get_output_tensor().data[0]
        except _openvino_errors(openvino) as error:
            raise EngineError(f"{self._path}: OpenVINO failed: {_reason(error)}") from error
        return logits

    def __enter__(self) -> Self:
        openvino = import_openvino()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            # Left alone, OpenVINO computes in bfloat16 where the processor can.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned to cores, two daemons on one machine would share the first ones and leave the others idle.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            model = core.read_model(str(self._path))
            shape = _graph_shape(openvino, model, self._path)
            model.reshape([1, *shape.time_major])
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
        except _openvino_errors(openvino) as error:
            raise EngineError(
                f"{self._path}: OpenVINO cannot load it ({_reason(error)}). Copy the bundle again from where it was "
                "exported."
            ) from error
        self._shape = shape
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request = None


def import_openvino() -> Any:
    """Return OpenVINO's module.

    Raises
    ------
    MissingDependency
        If it is not installed, or does not load.
    """
    # On import OpenVINO reports to its makers' analytics that it was imported and leaves files in the home folder,
    # unless it cannot find the package that does so. What happens in a cage is nobody else's business.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(f"OpenVINO is not here ({error}): pip install openvino") from error
    return openvino


def openvino_version() -> str:
    """Return the installed OpenVINO's version, without its build number."""
    return str(import_openvino().__version__).split("-", maxsplit=1)[0]


def _graph_shape(openvino: Any, model: Any, path: Path) -> GraphShape:
    found = [
        (sorted(port.names), port.element_type, [axis.to_string() for axis in port.partial_shape])
        for port in (*model.inputs, *model.outputs)
    ]
    float32 = openvino.Type.f32
    match found:
        case [(["clips"], clip_type, [_, *clip]), (["logits"], logit_type, [_, classes])] if (
            clip_type == logit_type == float32 and len(clip) == 4 and all(axis.isdigit() for axis in (*clip, classes))
        ):
            frames, channels, height, width = map(int, clip)
            return GraphShape(channels=channels, frames=frames, height=height, width=width, classes=int(classes))
    raise EngineError(
        f"{path}: expected one float32 input clips (N, T, C, H, W) and one float32 output logits (N, K), "
        f"found {found}. Export the bundle again."
    )


def _openvino_errors(openvino: Any) -> tuple[type[Exception], ...]:
    # Most are RuntimeErrors; those of its importers share no base class.
    kinds = vars(openvino.frontend).values()
    return (RuntimeError, *(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)))


def _reason(error: Exception) -> str:
    """Return OpenVINO's message without the places in its source code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join(telling or lines)
