"""Runs a bundle's graph on the CPU with ONNX Runtime: the backend of every machine without TensorRT."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.engine.tensors import GraphShape, checked_time_major
from toolkit.errors import EngineError

_SILENT = 4


class OnnxRuntimeBackend:
    """`Backend` by ONNX Runtime's CPU provider.

    Parameters
    ----------
    path
        An ONNX graph of a bundle.
    precision
        What the graph is, ``fp32`` or ``fp16``; names it in `identity`. ONNX Runtime computes an FP16 graph on an x86
        CPU in FP32, so such a run says little about FP16 on a GPU.
    threads
        Threads of one inference; 0 takes one per physical core.
    spin
        Whether these threads wait for the next inference at full speed: the fastest for one network alone, and at the
        cost of whatever else runs.
    """

    def __init__(self, path: Path, *, precision: str = "fp32", threads: int = 0, spin: bool = True) -> None:
        self._path = path
        self._precision = precision
        self._threads = threads
        self._spin = spin
        self._session: Any = None
        self._shape: GraphShape | None = None

    @property
    def identity(self) -> str:
        """``onnxruntime-VERSION/cpu/PRECISION``."""
        return f"onnxruntime-{onnxruntime_version()}/cpu/{self._precision}"

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, C, T, H, W) clips; see `Backend.infer`."""
        if self._session is None or self._shape is None:
            raise EngineError(f"{self._path.name}: the engine is not open. Use it inside a with block.")
        feed = checked_time_major(clips, self._shape, self._path.name)
        try:
            logits: NDArray[np.float32] = self._session.run(None, {"clips": feed})[0]
        except _onnxruntime_errors() as error:
            raise EngineError(f"{self._path}: ONNX Runtime failed: {error}") from error
        return logits

    def __enter__(self) -> Self:
        session = session_of(str(self._path), str(self._path), threads=self._threads, spin=self._spin)
        self._shape = _graph_shape(session, self._path)
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None


def session_of(graph: str | bytes, name: str, *, threads: int = 0, spin: bool = True) -> Any:
    """Open ONNX Runtime's session of a graph, a file's path or its content; `name` is for the message.

    See `OnnxRuntimeBackend` for the rest.

    Raises
    ------
    EngineError
        If ONNX Runtime cannot load it.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(_SILENT)
    options = onnxruntime.SessionOptions()
    # The errors come as exceptions; their copies on stderr would only garble a progress display.
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except _onnxruntime_errors() as error:
        raise EngineError(
            f"{name}: ONNX Runtime cannot load it ({error}). Copy the bundle again from where it was exported."
        ) from error


def onnxruntime_version() -> str:
    """Return the installed ONNX Runtime's version."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _graph_shape(session: Any, path: Path) -> GraphShape:
    inputs = [(tensor.name, tensor.type, list(tensor.shape)) for tensor in session.get_inputs()]
    outputs = [(tensor.name, tensor.type, list(tensor.shape)) for tensor in session.get_outputs()]
    match inputs, outputs:
        case (
            [("clips", "tensor(float)", [_, int() as frames, int() as channels, int() as height, int() as width])],
            [("logits", "tensor(float)", [_, int() as classes])],
        ):
            return GraphShape(channels=channels, frames=frames, height=height, width=width, classes=classes)
    raise EngineError(
        f"{path}: expected one float32 input clips (N, T, C, H, W) and one float32 output logits (N, K), "
        f"found {inputs} and {outputs}. Export the bundle again."
    )


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    # ONNX Runtime's exceptions share no base class.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
