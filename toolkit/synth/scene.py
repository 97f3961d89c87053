"""What is in the cage: how one video looks, where things stand, and the mouse's pose. Nothing here draws.

Positions are world pixels: the side view of the cage at 320 x 240, x to the right. Heights are above the floor that
the mouse stands on, depths towards the camera. A camera maps them to the image (see `Camera`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORLD_WIDTH = 320.0
WORLD_HEIGHT = 240.0
FLOOR_Y = 193.0
"""Image row (world pixels) of the line on which the mouse's feet stand."""
LID_HEIGHT = 107.0
"""Height of the lid's bars above the floor."""
DEPTH_SLOPE = 0.22
"""Rows per pixel of depth: the camera looks slightly down."""
CAGE_LEFT = 22.0
CAGE_RIGHT = 298.0
SPOUT_HEIGHT = 38.0
HOPPER_HEIGHT = 38.0

Colour = tuple[float, float, float]


class Coat(NamedTuple):
    """Colours of one strain, RGB 0 to 255 under neutral light."""

    back: Colour
    belly: Colour
    skin: Colour
    ear: Colour
    sheen: float
    """Strength of the fur's highlight, 0 to 1."""


COATS = {
    "black": Coat((44, 40, 38), (62, 56, 52), (136, 112, 106), (92, 74, 70), 0.55),
    "agouti": Coat((112, 88, 62), (168, 146, 116), (186, 148, 136), (150, 112, 98), 0.35),
    "grey": Coat((104, 104, 108), (146, 144, 144), (184, 150, 144), (146, 118, 116), 0.40),
    "chocolate": Coat((82, 56, 42), (116, 86, 66), (170, 130, 118), (128, 92, 80), 0.40),
    "fawn": Coat((176, 138, 92), (214, 186, 150), (208, 164, 150), (186, 140, 122), 0.25),
    "white": Coat((204, 200, 192), (222, 216, 208), (222, 170, 160), (214, 164, 154), 0.15),
}


@dataclass(frozen=True)
class Appearance:
    """How one video looks; drawn once per video, constant within it."""

    coat: str
    """A key of `COATS`."""
    mouse_scale: float
    """Size of the mouse relative to one of about 75 px from nose to rump."""
    fur_seed: int
    bedding: Colour
    """Mean colour of the bedding, RGB 0 to 255."""
    bedding_seed: int
    wall: Colour
    """Colour of the room behind the cage, RGB 0 to 255."""
    light_level: float
    """Brightness of the room light, 1 is neutral."""
    tint: Colour
    """Gain per RGB channel of the light's colour."""
    light_side: float
    """Where the light comes from, -1 (left) to 1 (right)."""
    flicker: float
    """Amplitude of the light's flicker, as a fraction of its level."""
    flicker_hz: float
    """Beat of the mains flicker with the shutter."""
    noise_sigma: float
    """Standard deviation of the sensor noise, grey levels of 255."""
    zoom: float
    offset_x: float
    """Camera shift in world pixels."""
    offset_y: float
    spout_x: float
    """Where the mouse's mouth meets the drinking spout; always in the cage's left."""
    hopper_x: float
    """Where the mouse's mouth meets the food hopper; always in the cage's right."""
    water_level: float
    """Fill of the bottle, 0 to 1."""

    @classmethod
    def draw(cls, rng: np.random.Generator, strain: str | None = None) -> Appearance:
        """Draw an appearance; the same generator state gives the same one, but for the coat where `strain` names it."""
        warmth = rng.uniform(-1.0, 1.0)
        straw, grey = np.array((196.0, 166.0, 122.0)), np.array((178.0, 168.0, 154.0))
        mix = rng.uniform()
        bedding = (straw * mix + grey * (1 - mix)) * rng.uniform(0.84, 1.08)
        wall = np.array((172.0, 170.0, 164.0)) * rng.uniform(0.74, 1.16) + rng.uniform(-9, 9, 3)
        coat = str(rng.choice(list(COATS), p=(0.30, 0.20, 0.16, 0.14, 0.12, 0.08)))
        return cls(
            coat=strain or coat,
            mouse_scale=float(rng.uniform(1.06, 1.20)),
            fur_seed=int(rng.integers(1 << 31)),
            bedding=_colour(bedding),
            bedding_seed=int(rng.integers(1 << 31)),
            wall=_colour(wall),
            light_level=float(rng.uniform(0.80, 1.12)),
            tint=(1.0 + 0.055 * warmth, 1.0 + 0.008 * warmth, 1.0 - 0.075 * warmth),
            light_side=float(rng.uniform(-0.8, 0.8)),
            flicker=float(rng.uniform(0.004, 0.012)),
            flicker_hz=float(rng.uniform(0.7, 6.0)),
            noise_sigma=float(rng.uniform(1.4, 2.6)),
            zoom=float(rng.uniform(0.97, 1.04)),
            offset_x=float(rng.uniform(-5, 5)),
            offset_y=float(rng.uniform(-4, 4)),
            spout_x=float(rng.uniform(58, 74)),
            hopper_x=float(rng.uniform(232, 248)),
            water_level=float(rng.uniform(0.35, 0.9)),
        )


@dataclass(frozen=True)
class Camera:
    """World pixels to image pixels: one scale and one shift."""

    scale: float
    """Image pixels per world pixel."""
    shift_x: float
    shift_y: float

    @classmethod
    def of(cls, appearance: Appearance, size: tuple[int, int]) -> Camera:
        """Frame the cage in an image of `size` (width, height), with the appearance's zoom and offset."""
        width, height = size
        scale = min(width / WORLD_WIDTH, height / WORLD_HEIGHT) * appearance.zoom
        return cls(
            scale=scale,
            shift_x=width / 2 - scale * (WORLD_WIDTH / 2 - appearance.offset_x),
            shift_y=height / 2 - scale * (WORLD_HEIGHT / 2 - appearance.offset_y),
        )

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (..., 3) world points (x, height, depth) to (..., 2) image points (x, y), in pixels."""
        x = points[..., 0] * self.scale + self.shift_x
        row = FLOOR_Y - points[..., 1] + DEPTH_SLOPE * points[..., 2]
        return np.stack([x, row * self.scale + self.shift_y], axis=-1)


@dataclass(frozen=True)
class Pose:
    """The mouse's joints at one moment. Lengths in world pixels, angles in radians; all of it blends linearly."""

    x: float = 160.0
    """The body's middle."""
    lift: float = 0.0
    """Height gained by the hips over standing."""
    yaw: float = 0.0
    """Heading: 0 faces right, pi faces left, pi / 2 faces the camera."""
    pitch: float = 0.0
    """Slope of the back at the hips: 0 is level, pi / 2 upright, pi upside down."""
    arch: float = 0.5
    """How much the back bends down towards the shoulders."""
    stretch: float = 1.0
    """Length of the back relative to walking."""
    crouch: float = 0.0
    """How far the hips sink, 0 to 1."""
    head_pitch: float = 0.0
    """Head against the shoulders, up positive."""
    head_yaw: float = 0.0
    """Head turned sideways against the body."""
    gait: float = 0.0
    """Phase of the steps in cycles."""
    step: float = 0.0
    """Size of the steps, 0 (standing) to 1."""
    tuck: float = 0.0
    """Share of the forepaws held under the chest; what the three shares leave is on the floor."""
    face: float = 0.0
    """Share of the forepaws at the snout."""
    grip: float = 0.0
    """Share of the forepaws on the lid's bars."""
    hind_grip: float = 0.0
    """Share of the hind feet on the lid's bars."""
    dangle: float = 0.0
    """Share of the hind feet hanging freely."""
    stroke: float = 0.0
    """Where along the face the left forepaw is in a grooming stroke, -1 to 1 (the right one mirrors it)."""
    paw_shift: float = 0.0
    """Forward displacement of the forepaws on the floor, opposite for the two."""
    breath: float = 0.0
    """Growth of the flank's radius, px."""
    tail_sway: float = 0.0
    """Sideways bend of the tail."""
    tail_lift: float = 0.0
    """How far the tail leaves the floor, 0 to 1."""
    ear: float = 0.0
    """Turn of the ears."""


POSE_FIELDS = tuple(field.name for field in fields(Pose))


@dataclass(frozen=True)
class SceneState:
    """All that changes from frame to frame; with an `Appearance` it determines the image up to sensor noise."""

    index: int
    pose: Pose
    light: float
    """Gain of the room light at this frame, about 1."""


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (float(value) for value in np.clip(values, 20, 235))
    return red, green, blue
