"""Which frames make the clip of frame t, and the ring that makes clips from a live stream.

The label of frame *t* is predicted from 16 successive frames: the 8 before it, itself and the 7 after it (Nguyen et
al. 2019, section 2.2). A segment is a maximal run of consecutive frames; a clip never leaves its segment.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class ClipGeometry(BaseModel):
    """How many frames a clip has and what happens at the ends of a segment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: int = Field(default=8, ge=0, le=64)
    """Frames before the centre frame."""
    after: int = Field(default=7, ge=1, le=64)
    """Frames after the centre frame; at least one, since a segment's first flow needs its second frame."""
    boundary: Literal["repeat", "wrap"] = "repeat"
    """``repeat`` repeats a segment's first and last frame; ``wrap`` continues at its other end, as the authors did."""

    @property
    def frames(self) -> int:
        """Frames in a clip (16)."""
        return self.before + 1 + self.after


def clip_indices(centre: int, segment_frames: int, geometry: ClipGeometry) -> NDArray[np.int64]:
    """Return the segment's frames that make the clip of frame `centre`.

    Parameters
    ----------
    centre
        0 <= centre < segment_frames.
    segment_frames
        Length of the segment.

    Returns
    -------
    (T,) int64
        Positions in the segment.

    Examples
    --------
    >>> clip_indices(1, 4, ClipGeometry(before=2, after=3)).tolist()
    [0, 0, 1, 2, 3, 3]
    """
    if not 0 <= centre < segment_frames:
        raise IndexError(f"centre {centre} lies outside a segment of {segment_frames} frames")
    positions = np.arange(centre - geometry.before, centre + geometry.after + 1)
    if geometry.boundary == "wrap":
        return positions % segment_frames
    return positions.clip(0, segment_frames - 1)


def is_padded(centre: int, segment_frames: int, geometry: ClipGeometry) -> bool:
    """Say whether the clip of `centre` repeats frames because its segment is too short on one side."""
    return centre < geometry.before or centre + geometry.after >= segment_frames


class ClipRing:
    """The last T frames of a stream, always contiguous in memory, without moving any.

    Each frame is written twice, T slots apart, so that some T successive slots always hold the last T frames.

    Parameters
    ----------
    frames
        T.
    shape
        (C, H, W) of one network-ready frame.

    Examples
    --------
    >>> ring = ClipRing(2, (1, 1, 1))
    >>> for value in (1.0, 2.0, 3.0):
    ...     ring.slot[...] = value
    ...     ring.advance()
    >>> ring.clip.ravel().tolist()
    [2.0, 3.0]
    """

    def __init__(self, frames: int, shape: tuple[int, int, int]) -> None:
        self._frames = frames
        self._buffer = np.zeros((2 * frames, *shape), dtype=np.float32)
        self._next = 0

    @property
    def slot(self) -> NDArray[np.float32]:
        """(C, H, W) float32: where the next frame is to be written before `advance`."""
        slot: NDArray[np.float32] = self._buffer[self._next]
        return slot

    def advance(self) -> None:
        """Admit the frame written to `slot`."""
        self._buffer[self._next + self._frames] = self._buffer[self._next]
        self._next = (self._next + 1) % self._frames

    def repeat(self) -> None:
        """Admit the newest frame once more."""
        newest = (self._next - 1) % self._frames
        self._buffer[self._next] = self._buffer[newest]
        self.advance()

    @property
    def clip(self) -> NDArray[np.float32]:
        """(1, C, T, H, W) float32 view of the last T frames, oldest first; valid until the next write.

        Its memory is time-major, (T, C, H, W) contiguous, which is what a backend feeds to its engine.
        """
        window: NDArray[np.float32] = self._buffer[self._next : self._next + self._frames]
        clip: NDArray[np.float32] = window.transpose(1, 0, 2, 3)[np.newaxis]
        return clip
