"""How the flow store compresses: every frame and every flow field by itself, without loss, by FFmpeg's own codecs.

RGB is Ut Video (median prediction), flow is FFV1 of 16-bit grey: docs/decisions/0009-flow-store.md says why.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import VideoError

SIGN = np.uint16(0x8000)
"""Flipping this bit maps int16 to uint16 in order, so that small steps of either sign are neighbours."""

DECODERS_KEPT = 4
"""Two streams of two recipes: videos of one recipe share a decoder, and a data set may have thousands."""


@dataclass(frozen=True)
class Picture:
    """What a stream's pictures are, as arrays and for FFmpeg."""

    name: str
    dtype: type[np.generic]
    channels: int
    stacked: int
    """Images below one another in FFmpeg's picture."""
    codec: str
    tag: str | None
    """Codec tag that the decoder asks for."""
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    from_array: Callable[[NDArray[Any]], av.VideoFrame]
    into_array: Callable[[av.VideoFrame, NDArray[Any]], None]


def _rgb_picture(image: NDArray[Any]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="gbrp")


def _rgb_into_array(picture: av.VideoFrame, out: NDArray[Any]) -> None:
    green, blue, red = (_plane(picture, index, np.uint8) for index in range(3))
    cv2.merge([red, green, blue], out)


def _flow_picture(steps: NDArray[Any]) -> av.VideoFrame:
    stacked = np.concatenate([steps[..., 0], steps[..., 1]])
    return av.VideoFrame.from_ndarray(stacked.view(np.uint16) ^ SIGN, format="gray16le")


def _flow_into_array(picture: av.VideoFrame, out: NDArray[Any]) -> None:
    steps = (_plane(picture, 0, np.uint16) ^ SIGN).view(np.int16)
    out[..., 0], out[..., 1] = np.split(steps, 2)


def _plane(picture: av.VideoFrame, index: int, dtype: type[np.generic]) -> NDArray[Any]:
    plane = picture.planes[index]
    values: NDArray[Any] = np.frombuffer(bytes(plane), dtype=dtype)
    return values.reshape(plane.height, -1)[:, : plane.width]


RGB = Picture(
    name="frame",
    dtype=np.uint8,
    channels=3,
    stacked=1,
    codec="utvideo",
    tag="ULRG",
    pixel_format="gbrp",
    options=(("pred", "median"),),
    from_array=_rgb_picture,
    into_array=_rgb_into_array,
)
FLOW = Picture(
    name="flow",
    dtype=np.int16,
    channels=2,
    stacked=2,
    codec="ffv1",
    tag=None,
    pixel_format="gray16le",
    options=(("level", "3"), ("g", "1")),
    from_array=_flow_picture,
    into_array=_flow_into_array,
)
PICTURES = (RGB, FLOW)


class Encoder:
    """Compresses pictures of one size, each into a packet that can be read without any other, and checks that it can.

    FFmpeg's Ut Video loses pictures that do not compress, such as pure noise at some sizes. What does not come back
    bit by bit, or saves nothing, is kept uncompressed.

    Parameters
    ----------
    height, width
        Of the arrays, px.
    """

    def __init__(self, picture: Picture, height: int, width: int) -> None:
        self._picture = picture
        self._context = _context(picture, "w", height, width)
        self._context.time_base = Fraction(1, 30)
        self._context.options = dict(picture.options)
        self._count = 0

    @property
    def header(self) -> bytes:
        """What a decoder needs to know beside the packets; complete after the first one."""
        return bytes(self._context.extradata or b"")

    def encode(self, array: NDArray[Any]) -> bytes:
        """Return the packet of a (H, W, C) array of the picture's dtype."""
        array = np.ascontiguousarray(array, dtype=self._picture.dtype)
        picture = self._picture.from_array(array)
        picture.pts = self._count
        self._count += 1
        # Both codecs answer at once: without threads they hold nothing back.
        packet = b"".join(bytes(part) for part in self._context.encode(picture))
        return packet if len(packet) < array.nbytes and self._gives_back(packet, array) else array.tobytes()

    def _gives_back(self, packet: bytes, array: NDArray[Any]) -> bool:
        again = np.empty_like(array)
        try:
            decode(self._picture, self.header, packet, again)
        except VideoError:
            return False
        return np.array_equal(again, array)


def decode(picture: Picture, header: bytes, packet: bytes, out: NDArray[Any]) -> None:
    """Decompress a packet into `out`, (H, W, C) contiguous of the picture's dtype.

    Raises
    ------
    VideoError
        If it holds no such picture.
    """
    if len(packet) == out.nbytes:
        out[...] = np.frombuffer(packet, out.dtype).reshape(out.shape)
        return
    height, width, _ = out.shape
    try:
        frames = _decoder(picture, height, width, header).decode(av.Packet(packet))
    except av.error.FFmpegError as error:
        raise VideoError(f"{picture.codec} cannot decode it ({error.strerror})") from error
    if [(f.height, f.width) for f in frames] != [(picture.stacked * height, width)]:
        raise VideoError(f"{picture.codec} found no picture of {width} x {height} px in it")
    picture.into_array(frames[0], out)


class _Decoders(threading.local):
    """Open decoders of one thread: they are not to be shared; a forked process's copies are its own."""

    def __init__(self) -> None:
        self.opened: OrderedDict[tuple[str, int, int, bytes], av.VideoCodecContext] = OrderedDict()


_decoders = _Decoders()


def _decoder(picture: Picture, height: int, width: int, header: bytes) -> av.VideoCodecContext:
    opened, key = _decoders.opened, (picture.codec, height, width, header)
    if key not in opened:
        context = _context(picture, "r", height, width)
        context.extradata = header
        if picture.tag is not None:
            context.codec_tag = picture.tag
        opened[key] = context
    opened.move_to_end(key)
    while len(opened) > DECODERS_KEPT:
        opened.popitem(last=False)
    return opened[key]


def _context(picture: Picture, mode: Literal["r", "w"], height: int, width: int) -> av.VideoCodecContext:
    context = cast(av.VideoCodecContext, av.CodecContext.create(picture.codec, mode))
    context.width, context.height = width, picture.stacked * height
    context.pix_fmt = picture.pixel_format
    # A loader runs many processes; and threads would hold frames back, and not survive a fork.
    context.thread_count = 1
    return context
