"""Frames in, logits of each centre frame out: one path for recorded video and for the daemon.

What a segment is, which frame of it is a centre and when its clip is complete are decided here; clips and networks are
`ClipNetworks`, on the host or on a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Manifest
from toolkit.engine.contract import ClipNetworks
from toolkit.errors import BundleError
from toolkit.frames import Frame, FrameRateGate, is_consecutive


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
    stride: int
    """Frames, at the network's rate, from this one to the next centre of its segment."""


class HeldCentres:
    """Centres that may yet turn out to be of frozen frames, until `toolkit.view` knows what their clips hold."""

    def __init__(self) -> None:
        # Oldest first, each with the time of its clip's last frame.
        self._held: deque[tuple[CentreLogits, int]] = deque()

    def hold(self, centres: Iterable[CentreLogits], clips_end_ns: int) -> None:
        """Add centres whose clips end at this capture time, later than those before."""
        self._held.extend((centre, clips_end_ns) for centre in centres)

    def release(self, sound_until_ns: int) -> Iterator[CentreLogits]:
        """Let go of the centres whose clips end by then, one by one, oldest first."""
        while self._held and self._held[0][1] <= sound_until_ns:
            yield self._held.popleft()[0]

    def clear(self) -> list[CentreLogits]:
        """Let go of all, oldest first."""
        centres = [centre for centre, _ in self._held]
        self._held.clear()
        return centres


class Pipeline:
    """Turns a stream of frames into logits.

    Parameters
    ----------
    manifest
        The bundle's: geometry, clip.
    networks
        The bundle's, entered.
    source_fps
        The source's nominal frame rate, already accepted by `WorkingGeometry.check_source`.
    stride
        Classify every `stride`-th frame (at the network's frame rate). It may be set anew at any time; the next
        centre then is as far away as it was before.

    Raises
    ------
    BundleError
        If the bundle's clips wrap around: a live stream has no end to wrap to.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: ClipNetworks,
        *,
        source_fps: float,
        stride: int = 1,
    ) -> None:
        if manifest.clip.boundary != "repeat":
            raise BundleError(
                f"bundle {manifest.name}: clips wrap around ({manifest.clip.boundary}), which a stream of frames "
                "cannot do. Export it with boundary = repeat."
            )
        self._fps = manifest.geometry.fps
        self._clip = manifest.clip
        self._networks = networks
        self.stride = stride
        self._gate = FrameRateGate(self._fps, source_fps)
        # (index, time) of the frames that have not been centres yet, oldest first.
        self._waiting: deque[tuple[int, int]] = deque()
        # How many of them come before the next centre.
        self._to_pass = 0
        self._segment_frames = 0
        self._previous_ns = 0

    def push(self, frame: Frame) -> list[CentreLogits]:
        """Take the next frame and return the centres that it completes.

        A frame that a faster source delivered between two of the network's is dropped. A frame that does not
        follow the one before it ends the segment, whose remaining centres come first.
        """
        results: list[CentreLogits] = []
        follows = is_consecutive(self._previous_ns, frame.capture_time_ns, self._fps)
        if self._segment_frames and not follows:
            results = self.end_segment()
        if not self._gate.accept(frame.capture_time_ns):
            return results
        self._previous_ns = frame.capture_time_ns
        self._waiting.append((frame.index, frame.capture_time_ns))
        self._networks.admit(frame.image, first=self._segment_frames == 0)
        self._segment_frames += 1
        centre = self._segment_frames - 1 - self._clip.after
        if centre >= 0:
            results += self._centre(padded=centre < self._clip.before)
        return results

    def end_segment(self) -> list[CentreLogits]:
        """Return the centres that still wait, their clips padded by repeating the last frame; then start afresh."""
        results: list[CentreLogits] = []
        for repeats in range(1, self._clip.after + 1 if self._segment_frames else 1):
            self._networks.repeat()
            centre = self._segment_frames - 1 - self._clip.after + repeats
            if centre >= 0:
                results += self._centre(padded=True)
        self._restart()
        return results

    def abandon_segment(self) -> int | None:
        """Forget the centres that still wait, because the networks failed; then start afresh.

        Returns
        -------
        int or None
            `Frame.capture_time_ns` of the oldest frame that no result will stand for; None if there is none.
        """
        lost = list(self._waiting)[self._to_pass :]
        self._waiting.clear()
        self._restart()
        return lost[0][1] if lost else None

    def _restart(self) -> None:
        self._segment_frames = self._to_pass = 0
        self._gate.restart()

    def _centre(self, *, padded: bool) -> list[CentreLogits]:
        if self._to_pass:
            self._to_pass -= 1
            self._waiting.popleft()
            return []
        logits = self._networks.infer()
        index, capture_time_ns = self._waiting.popleft()
        self._to_pass = self.stride - 1
        return [CentreLogits(index, capture_time_ns, logits, padded, self.stride)]
