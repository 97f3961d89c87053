"""What runs a network, and what runs a bundle's networks on a stream of frames: the engine room's contracts."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.flow import FlowEstimator
from toolkit.preprocess import Stream


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


class Identified(Protocol):
    """Something that says what it is: a backend, or a plan."""

    @property
    def identity(self) -> str:
        """See `Backend.identity`."""
        ...


def engine_names(networks: Mapping[Stream, Identified], estimator: FlowEstimator | None) -> dict[str, str]:
    """Return what `ClipNetworks.engines` says of networks by stream and of their flow."""
    names: dict[str, str] = {stream: network.identity for stream, network in networks.items()}
    if estimator is not None:
        names["optical flow"] = f"{estimator.implementation}/{estimator.parameters.name}"
    return names


class ClipNetworks(Protocol):
    """Keeps the newest frames of a segment as every stream's clip, and runs the networks on them.

    Two forms: `HostNetworks`, and `DeviceNetworks`, whose frames and clips never leave a GPU. Constructing touches no
    device; entering does; leaving frees. Whose frame is the centre of the clip is the pipeline's business.
    """

    @property
    def engines(self) -> Mapping[str, str]:
        """What computes, by stream and ``optical flow``; goes into the log."""
        ...

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Take the next frame of a segment.

        The first fills the whole clip of every stream, with no motion; the second's flow is the first's too.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, as the source gave it.
        first
            Whether a segment starts here.
        """
        ...

    def repeat(self) -> None:
        """Admit the newest frame and its flow once more, as at the end of a segment."""
        ...

    def infer(self) -> NDArray[np.float32]:
        """Return the (S, K) float32 logits of the clips, streams in the bundle's order. The caller may keep them."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
