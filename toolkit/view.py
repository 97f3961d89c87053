"""Whether a picture can show a mouse's behaviour at all: frames in, a reason not to believe them out.

Silence is not rest. A frozen, dark, saturated, blurred, shifted or covered picture of a cage makes a network say
something, and most often "rest"; here such frames are told apart, so that their time is logged as unobserved.

Dark, saturated and frozen are absolute. Blurred, shifted and obstructed are measured against the cage's own picture: a
slow mean of the frames that were good. Not against the bundle's golden frames, which other cameras took of other cages.
Everything is measured on small grey images, so that it costs a fraction of a millisecond (docs/view.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from toolkit.behaviour_log import Reason
from toolkit.frames import NS_PER_S
from toolkit.preprocess import grey_frame

Check = Literal["frozen", "dark", "saturated", "blurred", "shifted", "obstructed"]
CHECKS: tuple[Check, ...] = ("frozen", "dark", "saturated", "blurred", "shifted", "obstructed")

_FINE = (160, 120)
_COARSE = (80, 60)
_BLOCKS = (8, 6)
_BLOCK_AGREES = 0.3
_FLAT_VARIANCE = 4.0
"""Grey levels squared: a block that varies less than this is as good as flat."""
_LOG_LEVEL = 0.15
"""A block whose brightness, in any colour, changed by more than this against the whole picture's has changed."""
_BREAK = 4.0
_FORGET = 0.125
"""Changed frames that break a freeze, and what a repeated frame forgets of one: an encoder's key frames differ too."""


class ViewTable(BaseModel):
    """When a picture of the cage is not believed: its time is then unobserved, with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    checks: tuple[Check, ...] = CHECKS
    """What is looked for; leave one out to switch it off."""
    frozen_s: float = Field(default=3.0, gt=0, le=60)
    """Frames that repeat one another for this many seconds are frozen, from the first repetition on."""
    frozen_level: int = Field(default=2, ge=0, le=255)
    """Grey levels by which a value may differ and still be repeated: an encoder goes on refining a picture at rest."""
    frozen_share: float = Field(default=0.0005, ge=0, lt=1)
    """A frame repeats the one before if at most this share of its sampled values differs by more."""
    dark_level: int = Field(default=24, ge=0, le=255)
    """Grey level up to which a pixel is dark."""
    dark_share: float = Field(default=0.97, gt=0, le=1)
    """A picture is dark if at least this share of it is."""
    saturated_level: int = Field(default=250, ge=0, le=255)
    """Grey level from which on a pixel is saturated."""
    saturated_share: float = Field(default=0.5, gt=0, le=1)
    """A picture is saturated if at least this share of it is."""
    blurred_share: float = Field(default=0.7, gt=0, lt=1)
    """A picture is blurred if its edges, relative to its contrast, are below this share of what they were."""
    shifted_share: float = Field(default=0.03, gt=0, lt=0.5)
    """The camera has moved if the scene lies further from its place than this share of the picture's width."""
    obstructed_share: float = Field(default=0.3, gt=0, lt=1)
    """The view is obstructed, or the cage open, if more than this share of the picture looks unlike before."""
    adapt_s: float = Field(default=600.0, gt=0, le=86_400)
    """Seconds in which the cage's own picture follows what changes slowly: bedding, nest, light."""
    relearn_s: float = Field(default=0.0, ge=0, le=86_400)
    """A shifted, obstructed or blurred view that lasts so many seconds is the cage's new picture; 0: never."""
    recover_s: float = Field(default=0.5, ge=0, le=60)
    """Frames are believed again once nothing was found for this many seconds."""


@dataclass(frozen=True, slots=True)
class View:
    """What is to be thought of a frame."""

    reason: Reason | None
    """Why the frame is not believed; None: nothing was found."""
    sound_until_ns: int
    """Frames after this capture time may yet turn out to be frozen; the frame's own time if none may."""


class ViewMonitor:
    """Judges a camera's frames one after the other.

    A frame is not believed from the first one on in which something is found, and again once nothing was found for
    `ViewTable.recover_s`, so that single frames do not flap. Only freezing shows later than it begins: meanwhile
    `View.sound_until_ns` stays behind. Its state is four small images, whatever the camera.

    Parameters
    ----------
    table
        Thresholds.
    roi
        x, y, width, height in px of the part of the frames that shows the cage; None: all.
    """

    def __init__(self, table: ViewTable, roi: tuple[int, int, int, int] | None = None) -> None:
        self._table = table
        self._roi = roi
        self._freeze = _Freeze(table)
        self._scene = _Scene(table)
        self._reason: Reason | None = None
        # What was found instead of `_reason`, and since when: it counts once it has lasted.
        self._candidate: Reason | None = None
        self._candidate_ns = 0
        self._reason_ns = 0

    def judge(self, image: NDArray[np.uint8], capture_time_ns: int) -> View:
        """Judge the next frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB.
        capture_time_ns
            Later than the frame's before.
        """
        if not self._table.checks:
            return View(None, capture_time_ns)
        if self._roi is not None:
            x, y, width, height = self._roi
            image = image[y : y + height, x : x + width]
        sound_until_ns = self._freeze.follow(image, capture_time_ns)
        found = self._found(cv2.resize(image, _FINE, interpolation=cv2.INTER_AREA))
        if found is None and capture_time_ns - sound_until_ns >= self._table.frozen_s * NS_PER_S:
            found = Reason.FROZEN
        self._settle(found, capture_time_ns)
        if self._reason is None:
            self._scene.learn(capture_time_ns)
        return View(self._reason, sound_until_ns)

    def _found(self, small: NDArray[np.uint8]) -> Reason | None:
        table = self._table
        grey = grey_frame(small)
        if "dark" in table.checks and np.count_nonzero(grey <= table.dark_level) >= table.dark_share * grey.size:
            return Reason.DARK
        bright = np.count_nonzero(grey >= table.saturated_level)
        if "saturated" in table.checks and bright >= table.saturated_share * grey.size:
            return Reason.SATURATED
        return self._scene.compare(small, grey)

    def _settle(self, found: Reason | None, time_ns: int) -> None:
        if found is self._reason:
            self._candidate = found
        elif found is not self._candidate:
            self._candidate, self._candidate_ns = found, time_ns
        lasted_ns = time_ns - self._candidate_ns
        if found is not self._reason and (self._reason is None or lasted_ns >= self._table.recover_s * NS_PER_S):
            self._reason = found
            self._reason_ns = time_ns
        relearns = self._reason in (Reason.SHIFTED, Reason.OBSTRUCTED, Reason.BLURRED) and self._table.relearn_s > 0
        if relearns and time_ns - self._reason_ns >= self._table.relearn_s * NS_PER_S:
            self._scene.forget()


class _Freeze:
    """Since when frames repeat one another, by values taken from all over the picture as the sensor gave them."""

    def __init__(self, table: ViewTable) -> None:
        self._enabled = "frozen" in table.checks
        self._level, self._share = table.frozen_level, table.frozen_share
        self._samples: NDArray[np.uint8] | None = None
        self._changes = _BREAK
        self._since_ns = 0

    def follow(self, image: NDArray[np.uint8], time_ns: int) -> int:
        """Return the time of the newest frame before the repetitions that last; of this one if none do."""
        if not self._enabled:
            return time_ns
        # Picked, not averaged: a mean over pixels would hide the noise by which a live sensor is known.
        steps = [max(1, side // size) for side, size in zip(image.shape[:2], reversed(_FINE), strict=True)]
        samples = np.ascontiguousarray(image[:: steps[0], :: steps[1]])
        before, self._samples = self._samples, samples
        if before is None:
            self._since_ns = time_ns
            return time_ns
        if np.count_nonzero(cv2.absdiff(before, samples) > self._level) <= self._share * samples.size:
            self._changes = max(0.0, self._changes - _FORGET)
            return self._since_ns
        self._changes = min(_BREAK, self._changes + 1.0)
        if self._changes >= _BREAK:
            self._since_ns = time_ns
        return self._since_ns


class _Scene:
    """The cage's own picture, and how a frame differs from it."""

    def __init__(self, table: ViewTable) -> None:
        self._table = table
        self._window = cv2.createHanningWindow(_COARSE, cv2.CV_32F)
        self.forget()

    def forget(self) -> None:
        """Take the next good frame for the cage's picture."""
        self._picture: _Sketch | None = None
        self._begun_ns = self._learned_ns = 0

    def compare(self, small: NDArray[np.uint8], grey: NDArray[np.uint8]) -> Reason | None:
        """Say how a (120, 160, 3) uint8 RGB frame, and its grey image, differ from the cage's picture."""
        self._frame = _Sketch.of(small, grey)
        if self._picture is None:
            return None
        table, checks = self._table, self._table.checks
        changed = _changed_share(self._picture, self._frame)
        if "shifted" in checks and changed > table.obstructed_share / 2 and self._is_shifted(self._picture):
            return Reason.SHIFTED
        # Only where the scene is still there, if softer: what covers the lens has few edges too.
        soft = self._frame.sharpness < table.blurred_share * self._picture.sharpness
        if "blurred" in checks and soft and changed < 0.5:
            return Reason.BLURRED
        return Reason.OBSTRUCTED if "obstructed" in checks and changed > table.obstructed_share else None

    def learn(self, time_ns: int) -> None:
        """Let the cage's picture follow the frame compared last, which was good."""
        if self._picture is None:
            self._picture, self._begun_ns = self._frame, time_ns
        else:
            # A plain mean at first, then one that forgets within `adapt_s`.
            age_ns = min(time_ns - self._begun_ns, self._table.adapt_s * NS_PER_S)
            self._picture.follow(self._frame, min(time_ns - self._learned_ns, NS_PER_S) / max(age_ns, 1))
        self._learned_ns = time_ns

    def _is_shifted(self, picture: _Sketch) -> bool:
        """Say whether the frame is the cage's picture elsewhere: laid back over it, most of the structure is there."""
        # Windowed here: OpenCV writes the windowed images over the ones it is given.
        (x, y), _ = cv2.phaseCorrelate(picture.grey * self._window, self._frame.grey * self._window)
        if not self._table.shifted_share * _COARSE[0] < float(np.hypot(x, y)) < _COARSE[0] / 2:
            return False
        back = np.array([[1, 0, -x], [0, 1, -y]], dtype=np.float32)
        laid = cv2.warpAffine(self._frame.grey, back, _COARSE, borderMode=cv2.BORDER_REPLICATE)
        return bool(_unlike(picture.grey, laid).mean() < _unlike(picture.grey, self._frame.grey).mean() / 2)


@dataclass
class _Sketch:
    """What is kept of a frame, or of the mean of many."""

    grey: NDArray[np.float32]
    """(60, 80) grey levels."""
    levels: NDArray[np.float32]
    """(6, 8, 3): mean RGB of each block."""
    sharpness: float

    @classmethod
    def of(cls, small: NDArray[np.uint8], grey: NDArray[np.uint8]) -> _Sketch:
        coarse = cv2.resize(grey, _COARSE, interpolation=cv2.INTER_AREA).astype(np.float32)
        levels = cv2.resize(small, _BLOCKS, interpolation=cv2.INTER_AREA).astype(np.float32)
        return cls(coarse, levels, _sharpness(grey))

    def follow(self, frame: _Sketch, weight: float) -> None:
        cv2.accumulateWeighted(frame.grey, self.grey, weight)
        cv2.accumulateWeighted(frame.levels, self.levels, weight)
        self.sharpness += weight * (frame.sharpness - self.sharpness)


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """Root mean square of the differences between neighbours, relative to the picture's standard deviation."""
    fine = grey.astype(np.float32)
    across, down = cv2.norm(fine[:, 1:], fine[:, :-1]), cv2.norm(fine[1:], fine[:-1])
    return float(np.hypot(across, down) / np.sqrt(fine.size) / max(float(fine.std()), 1.0))


def _changed_share(picture: _Sketch, frame: _Sketch) -> float:
    """Return the share of blocks that look unlike: in structure, or in brightness or colour against the others."""
    ratio = np.log((frame.levels + 8) / (picture.levels + 8))
    # Against the median block, so that a change of the light is none of the scene.
    recoloured = (np.abs(ratio - np.median(ratio, axis=(0, 1))) > _LOG_LEVEL).any(axis=2)
    return float((recoloured | _unlike(picture.grey, frame.grey)).mean())


def _unlike(picture: NDArray[np.float32], frame: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the (6, 8) blocks whose structure differs, whatever their brightness.

    Per block 2 cov / (var + var), the structure and contrast of the structural similarity index (Wang et al. 2004).
    """
    mean_p, mean_f, square_p, square_f, product = (
        cv2.resize(image, _BLOCKS, interpolation=cv2.INTER_AREA)
        for image in (picture, frame, picture * picture, frame * frame, picture * frame)
    )
    covariance = product - mean_p * mean_f
    variances = square_p - mean_p * mean_p + square_f - mean_f * mean_f
    unlike: NDArray[np.bool_] = (2 * covariance + _FLAT_VARIANCE) / (variances + _FLAT_VARIANCE) < _BLOCK_AGREES
    return unlike
