"""One definition of how a camera's frame becomes a network's input, for training and for the cage.

Two steps. `WorkingGeometry` brings any source to the size, region and colour that the network was trained on, before
flow. `StreamInput` resizes, crops and scales a working frame, or its flow, for one network.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from toolkit.errors import VideoError
from toolkit.frames import LEAST_DECIMATION

Stream = Literal["rgb", "flow"]
STREAMS: tuple[Stream, ...] = ("rgb", "flow")

_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


class WorkingGeometry(BaseModel):
    """What every frame is brought to before flow (DESIGN.md, Frame geometry)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=320, ge=16, le=4096)
    """Working width, px (paper: 320)."""
    height: int = Field(default=240, ge=16, le=4096)
    """Working height, px (paper: 240)."""
    roi: tuple[int, int, int, int] | None = None
    """Region of interest in the source: x, y, width, height in px; None takes the whole frame."""
    aspect: Literal["refuse", "stretch", "pad"] = "refuse"
    """What to do with a region of another aspect ratio: refuse it, stretch it, or pad it with black."""
    fps: float = Field(default=30.0, gt=0, le=1000)
    """Frames per second of the network's clips. A faster source is decimated by capture time."""
    fps_tolerance: float = Field(default=0.02, ge=0, lt=0.5)
    """A source slower than `fps` by more than this fraction is refused."""
    light: Literal["colour", "infrared"] = "colour"
    """Infrared frames are grey: colour is removed from them before anything else."""
    grey: Literal["bt601-full"] = "bt601-full"
    """Grey formula for flow: 0.299 R + 0.587 G + 0.114 B, full range (ITU-R BT.601)."""
    interpolation: Literal["area", "linear"] = "area"
    """OpenCV's interpolation from region to working size."""

    @model_validator(mode="after")
    def _roi_is_a_region(self) -> WorkingGeometry:
        if self.roi is not None and (min(self.roi) < 0 or min(self.roi[2:]) < 16):
            raise ValueError(f"roi must be x, y >= 0 and width, height >= 16 px, found {self.roi}")
        return self

    def check_source(self, width: int, height: int, fps: float, name: str) -> None:
        """Raise VideoError unless a source of this size (px) and rate (frames per second) can be used."""
        x, y, region_width, region_height = self.roi or (0, 0, width, height)
        if x + region_width > width or y + region_height > height:
            raise VideoError(
                f"{name}: region of interest {list(self.roi or ())} reaches outside its {width} x {height} px. "
                "Set the region inside the picture."
            )
        ratio = region_width * self.height / (region_height * self.width)
        if self.aspect == "refuse" and not 0.98 <= ratio <= 1.02:
            raise VideoError(
                f"{name}: the picture is {region_width} x {region_height} px, the networks want the shape of "
                f"{self.width} x {self.height}. Choose a region of that shape (roi), or train with aspect "
                '"pad" or "stretch".'
            )
        if fps < self.fps * (1 - self.fps_tolerance):
            raise VideoError(
                f"{name}: {fps:.2f} frames per second, the networks need {self.fps:g} "
                f"(tolerance {100 * self.fps_tolerance:g} %). A slower camera cannot be used: raise its rate, or "
                "train at a lower one."
            )
        if self.fps * (1 + self.fps_tolerance) < fps < self.fps * LEAST_DECIMATION:
            raise VideoError(
                f"{name}: {fps:.2f} frames per second cannot be decimated to the networks' {self.fps:g} without "
                f"gaps. Use a source at {self.fps:g}, or at {self.fps * LEAST_DECIMATION:g} or more."
            )

    def working_frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the (height, width, 3) uint8 RGB working frame of a (H, W, 3) uint8 RGB source frame."""
        if self.roi is not None:
            x, y, width, height = self.roi
            image = image[y : y + height, x : x + width]
        if self.light == "infrared":
            image = cv2.cvtColor(grey_frame(image), cv2.COLOR_GRAY2RGB)
        if image.shape[:2] == (self.height, self.width):
            return image
        if self.aspect == "pad":
            image = _padded(image, self.width / self.height)
        resized: NDArray[np.uint8] = cv2.resize(
            image, (self.width, self.height), interpolation=_INTERPOLATION[self.interpolation]
        )
        return resized


def grey_frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 BT.601 full-range grey image of a (H, W, 3) uint8 RGB image."""
    grey: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return grey


class StreamInput(BaseModel):
    """How one stream's network sees a working frame or its flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: Stream
    """``rgb`` or ``flow``."""
    resize: int = Field(ge=16, le=1024)
    """Side that the working frame is resized to, px, whatever its shape (paper: 255 for I3D, 128 for R(2+1)D)."""
    crop: int = Field(ge=16, le=1024)
    """Side of the crop that the network sees, px (paper: 224 and 112)."""
    scale: tuple[FiniteFloat, ...]
    """Per channel: input = value * scale + offset. RGB values are 0..255, flow values px per frame."""
    offset: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> StreamInput:
        if self.crop > self.resize:
            raise ValueError(f"crop ({self.crop}) must not exceed resize ({self.resize})")
        if len(self.scale) != self.channels or len(self.offset) != self.channels:
            raise ValueError(f"{self.stream} needs {self.channels} values in scale and offset")
        return self

    @property
    def channels(self) -> int:
        """C: 3 for RGB, 2 for flow (x, y)."""
        return 3 if self.stream == "rgb" else 2

    def resized(self, image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Resize (H, W, C) to (resize, resize, C), bilinear, same dtype. Flow vectors are not rescaled."""
        size = (self.resize, self.resize)
        result: NDArray[np.uint8] | NDArray[np.float32] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return result

    def network_frame(
        self,
        image: NDArray[np.uint8] | NDArray[np.float32],
        out: NDArray[np.float32],
        *,
        corner: tuple[int, int] | None = None,
        mirror: bool = False,
    ) -> None:
        """Resize, crop and scale one working frame, or its flow, into `out`.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, or (H, W, 2) float32 flow in px per frame.
        out
            (C, crop, crop) float32, overwritten.
        corner
            (y, x) of the crop in the resized frame; None crops centrally.
        mirror
            Flip horizontally. The horizontal channel of flow is negated.
        """
        margin = self.resize - self.crop
        y, x = corner if corner is not None else (margin // 2, margin // 2)
        cropped = self.resized(image)[y : y + self.crop, x : x + self.crop]
        if mirror:
            cropped = cropped[:, ::-1]
        for channel in range(self.channels):
            sign = -1.0 if mirror and self.stream == "flow" and channel == 0 else 1.0
            np.multiply(cropped[..., channel], np.float32(sign * self.scale[channel]), out=out[channel])
            if self.offset[channel]:
                out[channel] += np.float32(self.offset[channel])


def rgb_input(
    resize: int,
    crop: int,
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
    std: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> StreamInput:
    """Return the RGB stream's input: (value / 255 - mean) / std per channel; the default gives [-1, 1]."""
    return StreamInput(
        stream="rgb",
        resize=resize,
        crop=crop,
        scale=tuple(1 / (255 * s) for s in std),
        offset=tuple(-m / s for m, s in zip(mean, std, strict=True)),
    )


def flow_input(resize: int, crop: int, bound_px: float = 20.0) -> StreamInput:
    """Return the flow stream's input: px per frame divided by `bound_px`, in [-1, 1]."""
    scale = 1 / bound_px
    return StreamInput(stream="flow", resize=resize, crop=crop, scale=(scale, scale), offset=(0.0, 0.0))


def _padded(image: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    add_x = max(0, round(height * aspect) - width)
    add_y = max(0, round(width / aspect) - height)
    padded: NDArray[np.uint8] = cv2.copyMakeBorder(
        image,
        add_y // 2,
        add_y - add_y // 2,
        add_x // 2,
        add_x - add_x // 2,
        cv2.BORDER_CONSTANT,
        value=(0, 0, 0),
    )
    return padded
