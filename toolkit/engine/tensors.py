"""What every backend checks of the clips it is given, and how it feeds them without copying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import EngineError


@dataclass(frozen=True)
class GraphShape:
    """The fixed sizes of a graph's input, (N, T, C, H, W), and output, (N, K)."""

    channels: int
    frames: int
    height: int
    width: int
    classes: int

    @property
    def clip(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip."""
        return (self.channels, self.frames, self.height, self.width)

    @property
    def time_major(self) -> tuple[int, int, int, int]:
        """(T, C, H, W) of one clip as the graph takes it."""
        return (self.frames, self.channels, self.height, self.width)


def checked_time_major(clips: NDArray[np.float32], shape: GraphShape, name: str) -> NDArray[np.float32]:
    """Return (N, C, T, H, W) clips as the contiguous (N, T, C, H, W) that the graph takes.

    Clips whose memory is time-major already, as `ClipRing.clip` has it, are not copied.

    Raises
    ------
    EngineError
        If the clips are not float32 of the graph's shape.
    """
    if clips.ndim != 5 or clips.shape[1:] != shape.clip or clips.dtype != np.float32 or not len(clips):
        channels, frames, height, width = shape.clip
        raise EngineError(
            f"{name}: expected float32 clips of shape (N >= 1, C {channels}, T {frames}, H {height}, W {width}), "
            f"found {clips.dtype} of {clips.shape}. Feed the engine with the preprocessing of its own bundle."
        )
    return np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4))
