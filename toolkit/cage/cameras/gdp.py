"""Reads what GStreamer's ``gdppay`` writes: the GStreamer Data Protocol 1.0, pictures with their times and format.

Every message is a header of `HEADER` bytes, big-endian, and a payload: a picture, or as text its format ("caps") or an
event. Raw RGB pictures have rows padded to a multiple of four bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER = 62
"""Bytes."""

PICTURE, CAPS = 1, 2

MOST_BYTES = 1 << 28
"""A longer payload is none that a camera sends."""

_NO_TIME = (1 << 64) - 1

# Major and minor version, two bytes of flags and padding, the message's type, the payload's bytes, the time (ns).
_LAYOUT = struct.Struct(">BBxxHIQ")


@dataclass(frozen=True, slots=True)
class Header:
    """What a message is."""

    kind: int
    """`PICTURE`, `CAPS`, or an event's number."""
    payload_bytes: int
    pts_ns: int | None
    """Of a picture, if it has one."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How the pictures that follow are laid out."""

    width: int
    """px."""
    height: int
    """px."""
    fps: float | None
    """Frames per second; None where the source does not say, or says that they vary."""


def parse_header(data: bytes) -> Header:
    """Read a header of `HEADER` bytes.

    Raises
    ------
    ValueError
        If it is none of version 1.0, or of an impossible length.
    """
    major, minor, kind, payload_bytes, pts_ns = _LAYOUT.unpack_from(data)
    if (major, minor) != (1, 0) or payload_bytes > MOST_BYTES:
        raise ValueError(f"expected a header of GDP 1.0, found {data[:10].hex()}")
    return Header(kind, payload_bytes, None if pts_ns == _NO_TIME else pts_ns)


def parse_caps(payload: bytes) -> Caps:
    """Read a picture's format.

    Raises
    ------
    ValueError
        If it is not raw RGB of a stated size.
    """
    text = payload.rstrip(b"\0").decode(errors="replace")
    width, height = (re.search(rf"\b{key}=\(int\)(\d+)", text) for key in ("width", "height"))
    if (
        not text.startswith("video/x-raw,")
        or re.search(r"\bformat=\(string\)RGB\b", text) is None
        or width is None
        or height is None
    ):
        raise ValueError(f"expected raw RGB pictures, found {text}")
    rate = re.search(r"\bframerate=\(fraction\)(\d+)/(\d+)", text)
    fps = int(rate[1]) / int(rate[2]) if rate is not None and int(rate[2]) else 0.0
    return Caps(int(width[1]), int(height[1]), fps or None)


def picture_of(payload: NDArray[np.uint8], caps: Caps) -> NDArray[np.uint8]:
    """Return a payload's picture, (H, W, 3) uint8 RGB, contiguous.

    Raises
    ------
    ValueError
        If it has another length than its format asks for.
    """
    row = (3 * caps.width + 3) // 4 * 4
    if payload.size != row * caps.height:
        raise ValueError(
            f"expected {row * caps.height} bytes for {caps.width} x {caps.height} px, found {payload.size}"
        )
    rows = payload.reshape(caps.height, row)[:, : 3 * caps.width]
    return np.ascontiguousarray(rows).reshape(caps.height, caps.width, 3)
