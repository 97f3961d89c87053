"""A clip as a small video: the very frames, and beside it, where asked for, the same with their numbers below."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from toolkit.sampling.footage import Clip, Image

STRIP_PX = 24
"""Height of the strip below a numbered picture."""

MIN_WIDTH_PX = 240
"""A numbered picture is enlarged to it, or the strip could not be read."""

_QUALITY = "10"
"""x264's constant rate factor: differences that nobody sees, and networks hardly."""

_SMPTE170M = 6
_LIMITED_RANGE = 1
_CENTRE, _PAPER, _INK = (255, 196, 0), (32, 32, 32), (255, 255, 255)


def write_clip(path: Path, images: Iterator[Image] | list[Image], fps: Fraction) -> None:
    """Write pictures as H.264, 4:2:0, BT.601, that any player shows; an odd side is extended by its last pixels."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": _QUALITY, "bf": "0", "preset": "veryfast"})
        for number, image in enumerate(images):
            height, width = image.shape[:2]
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if number == 0:
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.color_range, stream.codec_context.colorspace = _LIMITED_RANGE, _SMPTE170M
                stream.codec_context.time_base = 1 / fps
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / fps
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def numbered(clip: Clip) -> Iterator[Image]:
    """Yield a clip's pictures with a strip below: the frame's number in the clip, and a mark at the centre."""
    for number, image in enumerate(clip.images):
        scale = max(1, -(-MIN_WIDTH_PX // image.shape[1]))
        large = np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
        centre = number == clip.centre
        strip = np.full((STRIP_PX, large.shape[1], 3), _CENTRE if centre else _PAPER, dtype=np.uint8)
        text = f"frame {number} of 0-{len(clip.images) - 1}{'   SCORE THIS' if centre else ''}"
        cv2.putText(strip, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0) if centre else _INK, 1, cv2.LINE_AA)
        yield np.concatenate([large, strip])
