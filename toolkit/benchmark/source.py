"""Frames to measure on, without end: a video over and over, or the bundle's golden sample."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Bundle
from toolkit.errors import BundleError
from toolkit.frames import probe, read_frames

Images = Generator[NDArray[np.uint8], None, None]


@dataclass(frozen=True)
class Source:
    """Where the frames come from."""

    name: str
    """A video's file name, without its folder, or ``golden sample``."""
    width: int
    """px."""
    height: int
    """px."""
    fps: float
    """Frames per second that a camera would deliver."""
    decoded: bool
    """Whether taking a frame decodes it; else it lies in memory."""
    images: Callable[[], Images]
    """Begins an endless run of (H, W, 3) uint8 RGB frames."""


def open_source(bundle: Bundle, video: Path | None) -> Source:
    """Return the video as a source, or else the bundle's golden sample.

    Raises
    ------
    VideoError
        If the video cannot be opened or does not fit the bundle.
    BundleError
        If the golden sample is empty.
    """
    if video is None:
        return _golden(bundle)
    info = probe(video)
    bundle.manifest.geometry.check_source(info.width, info.height, float(info.fps), video.name)
    return Source(video.name, info.width, info.height, float(info.fps), True, lambda: _looped(video))


def _looped(video: Path) -> Images:
    while True:
        for frame in read_frames(video):
            yield frame.image


def _golden(bundle: Bundle) -> Source:
    clips = bundle.golden_frames()
    if not clips:
        raise BundleError(f"{bundle.path}: the golden sample holds no clip. Give a video: --video FILE.")
    height, width = clips[0].shape[1:3]
    # Forwards, then backwards: the motion is that of the cage, and each clip has one cut in 32 frames.
    played = [image for clip in clips for image in chain(clip, clip[-2:0:-1])]
    return Source("golden sample", width, height, bundle.manifest.geometry.fps, False, lambda: _repeated(played))


def _repeated(images: list[NDArray[np.uint8]]) -> Images:
    while True:
        yield from images
