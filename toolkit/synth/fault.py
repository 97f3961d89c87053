"""What goes wrong between a cage and its log: faults of the view, drawn over a rendered video for a while.

Each is drawn as it reaches the encoder: the light or the lens changes first, and the sensor's noise comes last, so that
a dark or covered picture is still a noisy one. Only a frozen one is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError, raise_faults

FaultKind = Literal["freeze", "dark", "saturate", "blur", "shift", "obstruct"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

NOISE_SIGMA = 2.0
"""Standard deviation of the sensor noise over a fault, grey levels of 255."""


@dataclass(frozen=True)
class ViewFault:
    """One fault of the view.

    Attributes
    ----------
    kind
        ``freeze`` repeats the frame before; ``dark`` puts the light out; ``saturate`` overexposes; ``blur`` defocuses;
        ``shift`` moves the camera; ``obstruct`` holds a hand and its arm through the open lid.
    start_s, stop_s
        From the first frame at or after `start_s` to the last one before `stop_s`, from the video's begin.
    """

    kind: FaultKind
    start_s: float
    stop_s: float

    def covers(self, index: int, fps: float) -> bool:
        """Say whether frame `index` of an `fps` video lies within the fault."""
        return self.start_s <= index / fps < self.stop_s


def check_faults(faults: Sequence[ViewFault]) -> None:
    """Raise InputError unless every fault is known and lies after the video's first frame."""
    found = [
        f"expected a fault of {', '.join(FAULT_KINDS)}, found {f.kind!r}" for f in faults if f.kind not in FAULT_KINDS
    ]
    found += [
        f"{fault.kind}: expected 0 < start_s < stop_s, found {fault.start_s:g} and {fault.stop_s:g}"
        for fault in faults
        if not 0 < fault.start_s < fault.stop_s
    ]
    raise_faults(InputError, "the faults of a synthetic video cannot be drawn", found)


def with_faults(
    frames: Iterable[NDArray[np.uint8]], faults: Sequence[ViewFault], fps: float, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield (H, W, 3) uint8 RGB frames with the faults in them; the same seed gives the same frames."""
    before: NDArray[np.uint8] | None = None
    for index, image in enumerate(frames):
        for fault in faults:
            if not fault.covers(index, fps):
                continue
            if fault.kind == "freeze":
                image = image if before is None else before
            else:
                image = _sensed(_DRAW[fault.kind](image, index), seed, index)
        before = image
        yield image


def _dark(image: NDArray[np.uint8], _index: int) -> NDArray[np.uint8]:
    dim: NDArray[np.uint8] = cv2.convertScaleAbs(image, alpha=0.03, beta=3.0)
    return dim


def _saturated(image: NDArray[np.uint8], _index: int) -> NDArray[np.uint8]:
    bright: NDArray[np.uint8] = cv2.convertScaleAbs(image, alpha=5.0)
    return bright


def _blurred(image: NDArray[np.uint8], _index: int) -> NDArray[np.uint8]:
    soft: NDArray[np.uint8] = cv2.GaussianBlur(image, (0, 0), image.shape[1] / 80)
    return soft


def _shifted(image: NDArray[np.uint8], _index: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    move = np.array([[1, 0, width / 10], [0, 1, -height / 16]], dtype=np.float32)
    moved: NDArray[np.uint8] = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return moved


def _obstructed(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    # It moves a little, as hands do.
    sway = 0.02 * width * np.sin(index / 5)
    hand = np.zeros((height, width), dtype=np.float32)
    centre = (round(0.45 * width + sway), round(0.55 * height))
    cv2.ellipse(hand, centre, (round(0.30 * width), round(0.27 * height)), 15, 0, 360, 1.0, -1)
    cv2.line(hand, centre, (round(0.7 * width + sway), -height // 4), 1.0, round(0.22 * width))
    # Near the lens it is out of focus.
    hand = cv2.GaussianBlur(hand, (0, 0), width / 100)[..., None]
    skin = np.array((206, 160, 138), dtype=np.float32) * np.linspace(1.1, 0.7, width, dtype=np.float32)[None, :, None]
    covered: NDArray[np.uint8] = (image * (1 - hand) + skin * hand).clip(0, 255).astype(np.uint8)
    return covered


_DRAW = {"dark": _dark, "saturate": _saturated, "blur": _blurred, "shift": _shifted, "obstruct": _obstructed}


def _sensed(image: NDArray[np.uint8], seed: int, index: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng((seed, 7, index)).standard_normal(image.shape, dtype=np.float32)
    sensed: NDArray[np.uint8] = (image + NOISE_SIGMA * noise).round().clip(0, 255).astype(np.uint8)
    return sensed
