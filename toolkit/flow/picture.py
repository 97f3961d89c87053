"""Flow as a picture: direction as hue and speed as saturation, beside the frame it belongs to, with a legend."""

from __future__ import annotations

from math import pi

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_INK = (40, 40, 40)
_PAPER = 255
_MARGIN_PX = 8


def flow_colours(flow: NDArray[np.float32], max_px: float) -> Image:
    """Colour flow by direction and speed.

    Red moves to the right, yellow-green down, cyan to the left, violet up. White is no motion, full colour `max_px` or
    more.

    Parameters
    ----------
    flow
        (H, W, 2) float32, px per frame, x then y.
    max_px
        Speed of full saturation, px per frame, above 0.

    Returns
    -------
    (H, W, 3) uint8
        RGB.
    """
    speed = np.minimum(np.hypot(flow[..., 0], flow[..., 1]) / np.float32(max_px), 1)
    turn = np.mod(np.arctan2(flow[..., 1], flow[..., 0]) / np.float32(2 * pi), 1)
    # OpenCV's float HSV: hue in degrees, saturation and value 0 to 1.
    hsv = np.stack([turn * 360, speed, np.ones_like(speed)], axis=-1).astype(np.float32)
    colours: Image = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
    return colours


def flow_picture(frame: Image, flow: NDArray[np.float32], max_px: float, caption: str = "") -> Image:
    """Put a frame, its flow and the legend side by side.

    Parameters
    ----------
    frame
        (H, W, 3) uint8 RGB at working size.
    flow
        (H, W, 2) float32 from the frame before it to it, px per frame.
    max_px
        Speed of full saturation, px per frame.
    caption
        A line in ASCII under the frame.

    Returns
    -------
    uint8 RGB
        Both sides even, as video encoders want them.
    """
    scale = max(1, round(240 / frame.shape[0]))
    panels = [
        cv2.resize(panel, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        for panel in (frame, flow_colours(flow, max_px))
    ]
    height, width = panels[0].shape[:2]
    legend = _legend(max_px)
    rows = max(height, legend.shape[0])
    text_rows = 22
    sheet = np.full(
        (rows + text_rows + 2 * _MARGIN_PX, 2 * width + legend.shape[1] + 4 * _MARGIN_PX, 3), _PAPER, dtype=np.uint8
    )
    for column, panel in enumerate(panels):
        left = _MARGIN_PX + column * (width + _MARGIN_PX)
        sheet[_MARGIN_PX : _MARGIN_PX + height, left : left + width] = panel
    left = 2 * (width + _MARGIN_PX) + _MARGIN_PX
    sheet[_MARGIN_PX : _MARGIN_PX + legend.shape[0], left : left + legend.shape[1]] = legend
    _write(sheet, caption, (_MARGIN_PX, rows + _MARGIN_PX + 15))
    return np.ascontiguousarray(sheet[: sheet.shape[0] // 2 * 2, : sheet.shape[1] // 2 * 2])


def _legend(max_px: float) -> Image:
    """Draw the wheel: a flow vector from the centre to a point has that point's colour."""
    radius = 44
    span = np.arange(-radius, radius + 1, dtype=np.float32) * np.float32(max_px / radius)
    flow = np.stack(np.meshgrid(span, span), axis=-1)
    wheel = flow_colours(flow, max_px)
    wheel[np.hypot(flow[..., 0], flow[..., 1]) > max_px] = _PAPER
    legend = np.full((2 * radius + 60, 2 * radius + 33, 3), _PAPER, dtype=np.uint8)
    left = (legend.shape[1] - wheel.shape[1]) // 2
    legend[: wheel.shape[0], left : left + wheel.shape[1]] = wheel
    centre = (left + radius, radius)
    cv2.circle(legend, centre, radius, _INK, 1, cv2.LINE_AA)
    cv2.line(legend, centre, (centre[0] + radius, centre[1]), _INK, 1, cv2.LINE_AA)
    _write(legend, f"rim: {max_px:g} px", (4, 2 * radius + 24))
    _write(legend, "per frame", (4, 2 * radius + 42))
    return legend


def _write(image: Image, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
