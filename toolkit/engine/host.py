"""A bundle's networks on a stream of frames, by the CPU: estimator, time-major rings, and a backend per stream.

No clip is copied per frame: backends read the rings' memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import Manifest
from toolkit.clips import ClipRing
from toolkit.engine.contract import Backend, engine_names
from toolkit.flow import FlowEstimator, close_flow
from toolkit.preprocess import Stream, grey_frame


class HostNetworks:
    """`ClipNetworks` in host memory; its backends may compute anywhere.

    Parameters
    ----------
    manifest
        The bundle's: geometry, inputs, clip.
    estimator
        Flow; None for a bundle without a flow stream. Closed with this object (`close_flow`).
    backends
        One per stream; entered and left with this object.
    """

    def __init__(self, manifest: Manifest, estimator: FlowEstimator | None, backends: Mapping[Stream, Backend]) -> None:
        self._manifest = manifest
        self._estimator = estimator
        self._backends = {stream: backends[stream] for stream in manifest.streams}
        self._inputs = {spec.stream: spec for spec in manifest.inputs}
        self._rings = {
            spec.stream: ClipRing(manifest.clip.frames, (spec.channels, spec.crop, spec.crop))
            for spec in manifest.inputs
        }
        self._previous_grey: NDArray[np.uint8] | None = None
        self._no_flow_yet = True
        self._entered = ExitStack()

    def wrapped(
        self,
        estimator: Callable[[FlowEstimator], FlowEstimator],
        backend: Callable[[Stream, Backend], Backend],
    ) -> HostNetworks:
        """Return the same networks, not entered, around wrapped parts, e.g. such as measure the time they take."""
        return HostNetworks(
            self._manifest,
            None if self._estimator is None else estimator(self._estimator),
            {stream: backend(stream, inner) for stream, inner in self._backends.items()},
        )

    @property
    def engines(self) -> dict[str, str]:
        """What computes, by stream and ``optical flow``."""
        return engine_names(self._backends, self._estimator)

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Take the next (H, W, 3) uint8 RGB frame; see `ClipNetworks.admit`."""
        working = self._manifest.geometry.working_frame(image)
        if first:
            self._previous_grey = None
        if "rgb" in self._rings:
            self._write("rgb", working, fill=first)
        flow = self.flow(working)
        if flow is not None:
            # flow[0] = flow[1]: the first frame has no predecessor. After it the ring holds nothing else.
            self._write("flow", flow, fill=self._no_flow_yet)
            self._no_flow_yet = False
        elif "flow" in self._rings:
            self._write("flow", np.zeros((*working.shape[:2], 2), dtype=np.float32), fill=True)
            self._no_flow_yet = True

    def repeat(self) -> None:
        """Admit the newest frame and its flow once more."""
        for ring in self._rings.values():
            ring.repeat()

    def flow(self, working: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the quantised flow from the frame before to this (H, W, 3) working frame; None for a first frame.

        (H, W, 2) float32, px per frame, through the bundle's encoding as it was in training.
        """
        if self._estimator is None:
            return None
        previous, self._previous_grey = self._previous_grey, grey_frame(working)
        if previous is None:
            return None
        return self._manifest.flow.encoding.quantise(self._estimator.flow(previous, self._previous_grey))

    def infer(self) -> NDArray[np.float32]:
        """Return the (S, K) float32 logits of the clips that the rings hold."""
        logits = [backend.infer(self._rings[stream].clip) for stream, backend in self._backends.items()]
        return np.concatenate(logits)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._estimator is not None:
                stack.callback(close_flow, self._estimator)
            for backend in self._backends.values():
                stack.enter_context(backend)
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)

    def _write(self, stream: Stream, image: NDArray[np.uint8] | NDArray[np.float32], *, fill: bool) -> None:
        ring = self._rings[stream]
        self._inputs[stream].network_frame(image, ring.slot)
        ring.advance()
        if fill:
            for _ in range(self._manifest.clip.frames - 1):
                ring.repeat()
