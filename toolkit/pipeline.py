"""Frames in, logits of each centre frame out: one path for recorded video and for the daemon.

The host form: a flow estimator, a time-major ring per stream, and a backend per stream. No clip is copied per frame:
backends read the rings' memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Manifest
from toolkit.clips import ClipRing
from toolkit.engine.contract import Backend
from toolkit.errors import BundleError
from toolkit.flow import FlowEstimator
from toolkit.frames import Frame, FrameRateGate, is_consecutive
from toolkit.preprocess import Stream, grey_frame


@dataclass(frozen=True, slots=True)
class CentreLogits:
    """What the networks say about one frame."""

    index: int
    """`Frame.index` of the centre frame."""
    capture_time_ns: int
    """`Frame.capture_time_ns` of the centre frame."""
    logits: NDArray[np.float32]
    """(S, K) float32, streams in the bundle's order."""
    padded: bool
    """Whether the clip repeats frames at an end of its segment."""


class Pipeline:
    """Turns a stream of frames into logits.

    Parameters
    ----------
    manifest
        The bundle's: geometry, inputs, clip.
    estimator
        Flow; None for a bundle without a flow stream.
    backends
        One entered backend per stream.
    source_fps
        The source's nominal frame rate, already accepted by `WorkingGeometry.check_source`.
    stride
        Classify every `stride`-th frame (at the network's frame rate).

    Raises
    ------
    BundleError
        If the bundle's clips wrap around: a live stream has no end to wrap to.
    """

    def __init__(
        self,
        manifest: Manifest,
        estimator: FlowEstimator | None,
        backends: Mapping[Stream, Backend],
        *,
        source_fps: float,
        stride: int = 1,
    ) -> None:
        if manifest.clip.boundary != "repeat":
            raise BundleError(
                f"bundle {manifest.name}: clips wrap around ({manifest.clip.boundary}), which a stream of frames "
                "cannot do. Export it with boundary = repeat."
            )
        self._manifest = manifest
        self._clip = manifest.clip
        self._estimator = estimator
        self._backends = [backends[stream] for stream in manifest.streams]
        self._stride = stride
        self._gate = FrameRateGate(manifest.geometry.fps, source_fps)
        self._rings = {
            spec.stream: ClipRing(manifest.clip.frames, (spec.channels, spec.crop, spec.crop))
            for spec in manifest.inputs
        }
        self._inputs = {spec.stream: spec for spec in manifest.inputs}
        # (index, time) of the frames that have not been centres yet, oldest first.
        self._waiting: deque[tuple[int, int]] = deque()
        self._segment_frames = 0
        self._previous_ns = 0
        self._previous_grey: NDArray[np.uint8] | None = None

    def push(self, frame: Frame) -> list[CentreLogits]:
        """Take the next frame and return the centres that it completes.

        A frame that a faster source delivered between two of the network's is dropped. A frame that does not
        follow the one before it ends the segment, whose remaining centres come first.
        """
        results: list[CentreLogits] = []
        follows = is_consecutive(self._previous_ns, frame.capture_time_ns, self._manifest.geometry.fps)
        if self._segment_frames and not follows:
            results = self.end_segment()
        if not self._gate.accept(frame.capture_time_ns):
            return results
        self._previous_ns = frame.capture_time_ns
        self._waiting.append((frame.index, frame.capture_time_ns))
        self._admit(self._manifest.geometry.working_frame(frame.image))
        self._segment_frames += 1
        centre = self._segment_frames - 1 - self._clip.after
        if centre >= 0:
            results += self._centre(centre, padded=centre < self._clip.before)
        return results

    def end_segment(self) -> list[CentreLogits]:
        """Return the centres that still wait, their clips padded by repeating the last frame; then start afresh."""
        results: list[CentreLogits] = []
        if self._segment_frames == 1 and self._previous_grey is not None and "flow" in self._rings:
            self._start_ring("flow", np.zeros((*self._previous_grey.shape, 2), dtype=np.float32))
        for repeats in range(1, self._clip.after + 1):
            for ring in self._rings.values():
                ring.repeat()
            centre = self._segment_frames - 1 - self._clip.after + repeats
            if self._segment_frames and centre >= 0:
                results += self._centre(centre, padded=True)
        self._segment_frames = 0
        self._previous_grey = None
        self._gate.restart()
        return results

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
        rings = self._rings.values()
        return np.concatenate([backend.infer(ring.clip) for backend, ring in zip(self._backends, rings, strict=True)])

    def _admit(self, working: NDArray[np.uint8]) -> None:
        first = self._segment_frames == 0
        if "rgb" in self._rings:
            self._start_ring("rgb", working) if first else self._extend_ring("rgb", working)
        flow = self.flow(working)
        if flow is not None and self._segment_frames == 1:
            # flow[0] = flow[1]: the first frame has no predecessor.
            self._start_ring("flow", flow)
            self._rings["flow"].repeat()
        elif flow is not None:
            self._extend_ring("flow", flow)

    def _start_ring(self, stream: Stream, image: NDArray[np.uint8] | NDArray[np.float32]) -> None:
        self._extend_ring(stream, image)
        for _ in range(self._clip.before):
            self._rings[stream].repeat()

    def _extend_ring(self, stream: Stream, image: NDArray[np.uint8] | NDArray[np.float32]) -> None:
        ring = self._rings[stream]
        self._inputs[stream].network_frame(image, ring.slot)
        ring.advance()

    def _centre(self, position: int, *, padded: bool) -> list[CentreLogits]:
        index, capture_time_ns = self._waiting.popleft()
        if position % self._stride:
            return []
        return [CentreLogits(index, capture_time_ns, self.infer(), padded)]
