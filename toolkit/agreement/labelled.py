"""What every source of labels is read into: a name for each frame of a video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import NO_LABEL
from toolkit.errors import InputError


@dataclass(frozen=True, eq=False)
class Labelled:
    """One labelling of a video. F frames."""

    source: str
    """What messages call it."""
    labels: NDArray[np.int16]
    """(F,) position in `names`, `NO_LABEL` where there is none."""
    names: tuple[str, ...]
    fps: float
    """Frames per second."""
    complete: bool = False
    """Whether `names` are all behaviours that its maker knows, not only those that it used."""
    notes: tuple[str, ...] = ()
    """What was left out of the file, and what was taken from it."""

    @property
    def used(self) -> tuple[str, ...]:
        """The names that a frame has."""
        present = set(np.unique(self.labels).tolist())
        return tuple(name for position, name in enumerate(self.names) if position in present)


def held(index: NDArray[np.int64], labels: NDArray[np.integer], frames: int, source: str) -> NDArray[np.int16]:
    """Return (frames,) labels of rows that stand for the frames up to the next row's.

    A row stands for no more frames than rows are usually apart, so that a stretch without rows keeps no label.

    Parameters
    ----------
    index
        (N,) frame numbers of the rows.
    labels
        (N,) their labels.

    Raises
    ------
    InputError
        If the numbers do not increase, or one is not of the video.
    """
    out = np.full(frames, NO_LABEL, dtype=np.int16)
    if not len(index):
        return out
    if np.any(np.diff(index) <= 0):
        raise InputError(
            f"{source}: frame {int(index[1:][np.diff(index) <= 0][0])} has more than one row, or comes too late. "
            "Expected one row per frame, in order: no video in a loop, and one run of a daemon."
        )
    if index[0] < 0 or index[-1] >= frames:
        raise InputError(
            f"{source}: goes to frame {int(index[-1])}, the video has {frames} (0 to {frames - 1}). Expected labels of "
            "this very video, not of a cut or re-encoded one."
        )
    # Where a faster video is decimated steps of one and two alternate; gaps are rarer than one row in five.
    step = int(np.ceil(np.percentile(np.diff(index), 80))) if len(index) > 1 else 1
    stops = np.minimum(np.append(index[1:], frames), index + step)
    for start, stop, label in zip(index.tolist(), stops.tolist(), labels.tolist(), strict=True):
        out[start:stop] = label
    return out
