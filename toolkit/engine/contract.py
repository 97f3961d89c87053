"""What runs a network: the one contract that TensorRT, ONNX Runtime and a network that costs nothing all meet."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self


class Backend(Protocol):
    """Runs one stream's network. Constructing touches no device; entering does; leaving frees."""

    @property
    def identity(self) -> str:
        """Runtime, version, device and precision, e.g. ``onnxruntime-1.24.2/cpu/fp32``; goes into the log."""
        ...

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Parameters
        ----------
        clips
            (N, C, T, H, W) float32. Memory that is time-major, as `ClipRing.clip` has it, is not copied.

        Returns
        -------
        (N, K) float32
            Logits. Borrowed: valid until the next call.

        Raises
        ------
        EngineError
            If the shape or dtype is not the engine's, or the device fails.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
