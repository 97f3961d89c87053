"""H.264 encoders behind one contract: a picture in, its packet out, key frames with their headers where asked for.

FFmpeg lists encoders that the machine cannot run, so each is tried with three pictures before it is chosen. What does
not keep the contract is passed over: a file begins at any key frame, and a frame is found by the time of its packet.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from numpy.typing import NDArray

from toolkit.cage.recording.table import EncoderChoice
from toolkit.errors import CameraError

TIME_BASE = Fraction(1, 1_000_000)
"""Of packets: microseconds."""

HARDWARE: tuple[EncoderChoice, ...] = ("h264_nvmpi", "h264_v4l2m2m", "h264_nvenc")
SOFTWARE: EncoderChoice = "libx264"

_SPS = b"\x00\x00\x01\x67"
"""Start code and first byte of a sequence parameter set: without it a decoder cannot begin here."""

_SMPTE170M = 6
_LIMITED_RANGE = 1


class Encoder:
    """One running encoder.

    Parameters
    ----------
    name
        As FFmpeg calls it.
    width, height
        px; of an odd size the last column or row is doubled, as H.264 stores colour for two by two pixels.
    fps
        Nominal frames per second.
    quality
        Constant quality, 1 to 51.

    Raises
    ------
    av.error.FFmpegError
        If the encoder cannot be opened.
    """

    def __init__(self, name: str, width: int, height: int, fps: float, quality: int) -> None:
        self.name = name
        self._odd = (height % 2, width % 2)
        context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
        self.width, self.height = width + width % 2, height + height % 2
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base = TIME_BASE
        context.framerate = Fraction(fps).limit_denominator(1001)
        context.color_range, context.colorspace = _LIMITED_RANGE, _SMPTE170M
        # The daemon's other threads come first, and a packet must not wait for later pictures.
        context.thread_count = 1
        context.max_b_frames = 0
        # Key frames are asked for.
        context.gop_size = 1 << 20
        context.options = _options(name, quality)
        context.open()
        self._context = context

    def encode(self, image: NDArray[np.uint8], time_us: int, *, key: bool) -> list[Packet[Any]]:
        """Return the packets that are ready, their times in microseconds.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB.
        time_us
            Later than the picture's before.
        key
            Whether decoding must be able to begin here.
        """
        if any(self._odd):
            image = np.pad(image, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24")
        picture = picture.reformat(format="yuv420p")
        picture.pts, picture.time_base = time_us, TIME_BASE
        picture.pict_type = PictureType.I if key else PictureType.NONE
        return self._context.encode(picture)


def choose_encoder(choice: EncoderChoice, width: int, height: int, fps: float, warn: Callable[[str], None]) -> str:
    """Return the name of an encoder that works here.

    Parameters
    ----------
    warn
        Told where "auto" finds no hardware.

    Raises
    ------
    CameraError
        If none works.
    """
    names = (*HARDWARE, SOFTWARE) if choice == "auto" else (choice,)
    faults: list[str] = []
    for name in names:
        fault = _fault_of(name, width, height, fps)
        if fault is None:
            if choice == "auto" and name == SOFTWARE:
                warn(f"no hardware encoder for recordings works here ({'; '.join(faults)}); {SOFTWARE} runs on the CPU")
            return name
        faults.append(f"{name}: {fault}")
    raise CameraError(
        f"recording: no H.264 encoder works ({'; '.join(faults)}). Expected one of {', '.join((*HARDWARE, SOFTWARE))}. "
        'Set [recording] encoder = "auto", or install PyAV from its wheels, which have libx264.'
    )


def _fault_of(name: str, width: int, height: int, fps: float) -> str | None:
    """Return why an encoder does not keep the contract; None where it does."""
    try:
        encoder = Encoder(name, width, height, fps, quality=23)
        grey = np.full((height, width, 3), 128, dtype=np.uint8)
        for number, key in enumerate((True, False, True)):
            time_us = round(number * 1e6 / fps)
            packets = encoder.encode(grey, time_us, key=key)
            if [packet.pts for packet in packets] != [time_us]:
                return "does not give a packet for every picture at once"
            if key and not (packets[0].is_keyframe and _SPS in bytes(packets[0])[:256]):
                return "does not give key frames with headers"
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def _options(name: str, quality: int) -> dict[str, str]:
    if name == SOFTWARE:
        return {"preset": "ultrafast", "tune": "zerolatency", "crf": str(quality)}
    if name == "h264_nvenc":
        return {
            "preset": "p1",
            "tune": "ull",
            "rc": "constqp",
            "qp": str(quality),
            "delay": "0",
            "zerolatency": "1",
            "forced-idr": "1",
        }
    return {}
