"""A recorded video's flow, drawn: one picture or a whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import ConfigError, VideoError
from toolkit.files import atomic_write
from toolkit.flow.contract import MIN_SIDE_PX, FlowEstimator
from toolkit.flow.picture import flow_picture
from toolkit.frames import count_frames, probe, read_frames
from toolkit.preprocess import WorkingGeometry, grey_frame

VIEW_WIDTH_PX = 320


def viewing_geometry(video: Path, size: tuple[int, ...] | None = None) -> WorkingGeometry:
    """Return the working geometry in which a video is shown, at its own frame rate.

    Parameters
    ----------
    size
        Working width and height, px; None keeps the video's shape, at most 320 px wide.

    Raises
    ------
    VideoError
        If the video cannot be read.
    ConfigError
        If the size is out of range.
    """
    info = probe(video)
    width = min(info.width, VIEW_WIDTH_PX)
    width, height = size or (width, round(info.height * width / info.width))
    if not (min(width, height) >= MIN_SIDE_PX and max(width, height) <= 4096):
        raise ConfigError(f"--working-size: expected sides of {MIN_SIDE_PX} to 4096 px, found {width} x {height}.")
    return WorkingGeometry(width=width, height=height, aspect="stretch", fps=float(info.fps))


def write_flow_picture(
    video: Path, path: Path, geometry: WorkingGeometry, estimator: FlowEstimator, *, frame: int, max_px: float
) -> None:
    """Write the picture of one frame and the flow from the frame before it.

    Raises
    ------
    VideoError
        If the video cannot be read or has no such frame.
    """
    for index, drawn in _drawn(video, geometry, estimator, max_px, only=frame):
        if index == frame:
            with atomic_write(path) as partial:
                encoded = cv2.imencode(".png", drawn[..., ::-1])[1]
                partial.write_bytes(encoded.tobytes())
            return
    raise VideoError(f"{video}: has {count_frames(video)} frames, numbered from 0; no flow leads to frame {frame}.")


def write_flow_video(
    video: Path,
    path: Path,
    geometry: WorkingGeometry,
    estimator: FlowEstimator,
    *,
    max_px: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a video of every frame but the first, each with the flow from the frame before it.

    Raises
    ------
    VideoError
        If the video cannot be read or has fewer than two frames.
    """
    total = count_frames(video)
    if total < 2:
        raise VideoError(f"{video}: expected at least 2 frames for flow, found {total}.")
    rate = Fraction(geometry.fps).limit_denominator(1001)
    with atomic_write(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for index, drawn in _drawn(video, geometry, estimator, max_px):
            if not stream.codec_context.is_open:
                stream.height, stream.width = drawn.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
            if on_progress:
                on_progress(index + 1, total)
        container.mux(stream.encode())


def _drawn(
    video: Path, geometry: WorkingGeometry, estimator: FlowEstimator, max_px: float, only: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    previous: NDArray[np.uint8] | None = None
    for frame in read_frames(video):
        if only is not None and frame.index < only - 1:
            continue
        working = geometry.working_frame(frame.image)
        grey = grey_frame(working)
        if previous is not None:
            caption = f"{video.name.encode('ascii', 'replace').decode()}, frame {frame.index - 1} to {frame.index}"
            yield frame.index, flow_picture(working, estimator.flow(previous, grey), max_px, caption)
        previous = grey
