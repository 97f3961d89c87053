"""The video for review: each frame with its label, the probabilities of all behaviours, and its flow.

It is drawn from the frames that were decoded and the flow that was computed for the labels. A frame waits for its
label, scaled down, so that memory does not grow with the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.ethogram import Ethogram
from toolkit.flow import FlowEstimator, FlowParameters, close_flow
from toolkit.flow.picture import flow_colours
from toolkit.frames import MAX_STEP, NS_PER_S, Frame
from toolkit.labelling.rows import LabelledRow

Image = NDArray[np.uint8]

VIEW_WIDTH_PX = 480
MIN_HEIGHT_PX = 360
PANEL_PX = 280
FLOW_MAX_PX = 5.0
"""Speed drawn in full colour, px per frame at working size."""

_TIME_BASE = Fraction(1, 90_000)
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (215, 215, 215)
_MARGIN_PX = 10


class WatchedFlow:
    """A flow estimator that keeps the newest flow, so that drawing it costs no second one."""

    def __init__(self, inner: FlowEstimator) -> None:
        self._inner = inner
        self.parameters: FlowParameters = inner.parameters
        self.implementation: str = inner.implementation
        self._newest: NDArray[np.float32] | None = None

    def flow(self, previous: Image, current: Image) -> NDArray[np.float32]:
        """Compute flow as the estimator inside does."""
        self._newest = self._inner.flow(previous, current)
        return self._newest

    def take(self) -> NDArray[np.float32] | None:
        """Return the flow computed since the last call, (H, W, 2) px per frame; None if there was none."""
        newest, self._newest = self._newest, None
        return newest

    def close(self) -> None:
        """Free what the estimator inside holds."""
        close_flow(self._inner)


@dataclass(frozen=True, slots=True)
class _Waiting:
    index: int
    time_ns: int
    image: Image
    flow: Image | None


class OverlayVideo:
    """Writes the video for review, H.264 in MP4: as many frames as the source, at the source's times.

    Parameters
    ----------
    path
        File to write.
    fps
        The source's nominal rate.
    ethogram
        Names and colours of the behaviours.
    flow
        What the networks compute flow with; None where there is no flow to draw.
    kept_fps
        Rate at which frames reach the networks: those between show the flow before.
    """

    def __init__(
        self, path: Path, fps: Fraction, ethogram: Ethogram, flow: WatchedFlow | None, kept_fps: float
    ) -> None:
        self._path, self._fps, self._ethogram, self._flow = path, fps, ethogram, flow
        self._inset: Image | None = None
        self._inset_ns = 0
        # The next frame with a flow comes by then; later ones begin a segment, which has none.
        self._inset_lasts_ns = MAX_STEP * NS_PER_S / kept_fps
        self._waiting: deque[_Waiting] = deque()
        # The newest row whose frame is drawn or next; it stands for the frames up to the next row's.
        self._row: LabelledRow | None = None
        self._stream: Any = None

    def admit(self, frame: Frame) -> None:
        """Take a frame, after the networks have."""
        small = min(VIEW_WIDTH_PX, frame.image.shape[1])
        image = _fitted(frame.image, small, frame.image.shape[0])
        flow = self._flow.take() if self._flow is not None else None
        if flow is not None:
            self._inset = _fitted(flow_colours(flow, FLOW_MAX_PX), PANEL_PX - 2 * _MARGIN_PX, 130)
            self._inset_ns = frame.capture_time_ns
        elif frame.capture_time_ns - self._inset_ns > self._inset_lasts_ns:
            self._inset = None
        self._waiting.append(_Waiting(frame.index, frame.capture_time_ns, image, self._inset))

    def label(self, rows: Sequence[LabelledRow]) -> None:
        """Take the next rows and draw the frames that no later one can be of."""
        for row in rows:
            while self._waiting and self._waiting[0].index < row.index:
                self._draw()
            self._row = row

    def end(self) -> None:
        """Draw what remains and complete the video."""
        while self._waiting:
            self._draw()
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def __enter__(self) -> Self:
        self._container = av.open(str(self._path), "w", format="mp4")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def _draw(self) -> None:
        waiting = self._waiting.popleft()
        picture = overlay_picture(
            waiting.image, waiting.flow, self._row, self._ethogram, waiting.index, waiting.time_ns
        )
        if self._stream is None:
            self._stream = self._container.add_stream(
                "libx264", rate=self._fps, options={"crf": "23", "preset": "veryfast"}
            )
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = _TIME_BASE
        encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
        encoded.pts, encoded.time_base = round(waiting.time_ns * 90_000 / NS_PER_S), _TIME_BASE
        self._container.mux(self._stream.encode(encoded))


def overlay_picture(
    image: Image, flow: Image | None, row: LabelledRow | None, ethogram: Ethogram, index: int, time_ns: int
) -> Image:
    """Draw a frame with what is said of it.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB; drawn `VIEW_WIDTH_PX` wide.
    flow
        Flow coloured by `flow_colours`, of any size; None: not drawn.
    row
        What is said of the frame; None: nothing yet.
    index, time_ns
        The frame's number, and its time from the first frame.

    Returns
    -------
    uint8 RGB
        Both sides even, as video encoders want them.
    """
    image = _fitted(image, VIEW_WIDTH_PX, round(VIEW_WIDTH_PX * image.shape[0] / image.shape[1]))
    height = max(image.shape[0], MIN_HEIGHT_PX + 18 * max(0, len(ethogram) - 8))
    sheet: Image = np.full((height + height % 2, VIEW_WIDTH_PX + PANEL_PX, 3), _PAPER, dtype=np.uint8)
    sheet[: image.shape[0], : image.shape[1]] = image
    left = image.shape[1] + _MARGIN_PX
    _write(sheet, f"frame {index}   {time_ns / NS_PER_S:.2f} s", (left, 18), 0.42)
    name, colour = _headline(row, ethogram)
    cv2.rectangle(sheet, (left, 30), (left + 16, 46), colour, cv2.FILLED)
    _write(sheet, name, (left + 24, 45), 0.6)
    if row is not None and row.smoothed != row.label:
        _write(sheet, f"before smoothing: {ethogram.names[row.label]}", (left + 24, 62), 0.38)
    top = 82
    for position, behaviour in enumerate(ethogram.behaviours):
        p = None if row is None or row.probabilities is None else float(row.probabilities[position])
        _bar(sheet, (left, top + 18 * position), behaviour.name, behaviour.colour, p)
    if flow is not None:
        below = sheet.shape[0] - _MARGIN_PX
        sheet[below - flow.shape[0] : below, left : left + flow.shape[1]] = flow
        cv2.rectangle(sheet, (left, below - flow.shape[0]), (left + flow.shape[1], below), _FAINT, 1)
        for line, text in enumerate(("flow; full", f"colour: {FLOW_MAX_PX:g}", "px per frame")):
            _write(sheet, text, (left + flow.shape[1] + 6, below - flow.shape[0] + 12 + 15 * line), 0.35)
    return sheet


def _headline(row: LabelledRow | None, ethogram: Ethogram) -> tuple[str, tuple[int, int, int]]:
    if row is None:
        return "no label", _FAINT
    if row.view is not None:
        return f"no label: {row.view.value}", _FAINT
    return ethogram.names[row.smoothed], _rgb(ethogram.colours[row.smoothed])


def _bar(sheet: Image, at: tuple[int, int], name: str, colour: str, probability: float | None) -> None:
    left, middle = at
    start, length = left + 116, PANEL_PX - 116 - 2 * _MARGIN_PX - 34
    _write(sheet, name[:16], (left, middle + 4), 0.38)
    cv2.rectangle(sheet, (start, middle - 5), (start + length, middle + 5), _FAINT, 1)
    if (filled := round((probability or 0.0) * length)) > 0:
        cv2.rectangle(sheet, (start, middle - 5), (start + filled, middle + 5), _rgb(colour), cv2.FILLED)
    _write(sheet, "-" if probability is None else f"{probability:.2f}", (start + length + 6, middle + 4), 0.35)


def _fitted(image: Image, width: int, height: int) -> Image:
    scale = min(width / image.shape[1], height / image.shape[0])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast(Image, cv2.resize(image, None, fx=scale, fy=scale, interpolation=how))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _write(image: Image, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
