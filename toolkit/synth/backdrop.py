"""The cage, painted once per video: what stands behind the mouse, and what stands before it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.synth.scene import (
    CAGE_LEFT,
    CAGE_RIGHT,
    FLOOR_Y,
    HOPPER_HEIGHT,
    LID_HEIGHT,
    SPOUT_HEIGHT,
    Appearance,
    Camera,
    Colour,
)

Image = NDArray[np.float32]

_OVERSAMPLING = 3
_LID_Y = FLOOR_Y - LID_HEIGHT
_BACK_FLOOR_Y = FLOOR_Y - 11
_FRONT_FLOOR_Y = FLOOR_Y + 8
_CAGE_BOTTOM_Y = FLOOR_Y + 20
_STEEL: Colour = (150, 152, 154)


@dataclass(frozen=True)
class Backdrop:
    """Layers of the still scene under neutral light."""

    behind: Image
    """(H, W, 3) RGB, 0 to 255."""
    front: Image
    """(H, W, 3) what stands before the mouse, already multiplied by `cover`, plus reflections."""
    cover: Image
    """(H, W, 1) how much of the mouse it hides, 0 to 1."""


def paint_backdrop(appearance: Appearance, camera: Camera, size: tuple[int, int]) -> Backdrop:
    """Paint the cage that `appearance` describes, seen by `camera`, at `size` (width, height)."""
    rng = np.random.default_rng(appearance.bedding_seed)
    behind = _Painter(camera, size)
    _paint_room(behind, appearance)
    _paint_cage_inside(behind, appearance)
    _paint_bedding(behind, appearance, rng)
    _paint_lid(behind)
    _paint_bottle(behind, appearance)
    _paint_hopper(behind, appearance, rng)
    front = _Painter(camera, size)
    cover = _Painter(camera, size)
    _paint_front(front, cover, appearance, rng)
    hidden = cover.finished()[..., :1] / np.float32(255)
    return Backdrop(behind.finished(), front.finished() * hidden + _reflections(camera, size), hidden)


class _Painter:
    """Draws in world pixels on an oversampled canvas."""

    def __init__(self, camera: Camera, size: tuple[int, int]) -> None:
        self._camera = camera
        self._size = size
        self.unit = camera.scale * _OVERSAMPLING
        self.canvas: Image = np.zeros((size[1] * _OVERSAMPLING, size[0] * _OVERSAMPLING, 3), np.float32)

    def finished(self) -> Image:
        small: Image = cv2.resize(self.canvas, self._size, interpolation=cv2.INTER_AREA)
        return small

    def _fixed(self, points: NDArray[np.float64] | list[tuple[float, float]]) -> NDArray[np.int32]:
        shift = np.array((self._camera.shift_x, self._camera.shift_y)) * _OVERSAMPLING
        return np.asarray(np.rint((np.asarray(points) * self.unit + shift) * 16), np.int32)

    def polygon(self, points: list[tuple[float, float]], colour: Colour, opacity: float = 1.0) -> None:
        target = self.canvas if opacity >= 1 else self.canvas.copy()
        cv2.fillPoly(target, [self._fixed(points)], colour, cv2.LINE_8, 4)
        self._mix(target, opacity)

    def line(self, points: list[tuple[float, float]], colour: Colour, width: float, opacity: float = 1.0) -> None:
        target = self.canvas if opacity >= 1 else self.canvas.copy()
        thickness = max(1, round(width * self.unit))
        cv2.polylines(target, [self._fixed(points)], False, colour, thickness, cv2.LINE_8, 4)
        self._mix(target, opacity)

    def ellipse(self, centre: tuple[float, float], axes: tuple[float, float], colour: Colour) -> None:
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([centre[0] + axes[0] * np.cos(turn), centre[1] + axes[1] * np.sin(turn)], axis=-1)
        cv2.fillPoly(self.canvas, [self._fixed(ring)], colour, cv2.LINE_8, 4)

    def soften(self, radius: float) -> None:
        self.canvas = cv2.GaussianBlur(self.canvas, (0, 0), radius * self.unit)

    def world_rows(self) -> Image:
        rows = np.arange(self.canvas.shape[0], dtype=np.float32) + np.float32(0.5)
        return np.asarray((rows - self._camera.shift_y * _OVERSAMPLING) / self.unit, np.float32)

    def world_columns(self) -> Image:
        columns = np.arange(self.canvas.shape[1], dtype=np.float32) + np.float32(0.5)
        return np.asarray((columns - self._camera.shift_x * _OVERSAMPLING) / self.unit, np.float32)

    def _mix(self, target: Image, opacity: float) -> None:
        if target is not self.canvas:
            self.canvas += (target - self.canvas) * np.float32(opacity)


def _paint_room(paint: _Painter, appearance: Appearance) -> None:
    wall = np.array(appearance.wall, np.float32)
    rows, columns = paint.world_rows()[:, None], paint.world_columns()[None, :]
    glow = 1.06 - 0.0012 * rows + 0.0011 * appearance.light_side * (columns - 160)
    paint.canvas[:] = (wall * glow[..., None]).astype(np.float32)
    shelf = _scaled(appearance.wall, 1.18)
    paint.polygon([(-60, 204), (380, 198), (380, 300), (-60, 300)], shelf)
    paint.polygon([(-60, 201), (380, 195), (380, 198), (-60, 204)], _scaled(appearance.wall, 0.72))
    paint.polygon([(-60, -30), (20, -30), (34, 52), (-60, 66)], _scaled(appearance.wall, 0.88))
    paint.polygon([(128, -30), (190, -30), (190, 40), (128, 42)], _scaled(appearance.wall, 1.10))
    paint.soften(2.2)


def _paint_cage_inside(paint: _Painter, appearance: Appearance) -> None:
    left, right, top, bottom = CAGE_LEFT, CAGE_RIGHT, _LID_Y, _CAGE_BOTTOM_Y
    shadow = _scaled(appearance.wall, 0.66)
    paint.polygon([(left, top), (right, top), (right - 3, bottom), (left + 3, bottom)], shadow, 0.30)
    # The far wall of the tub: a smaller frame, seen through the near one.
    far = [(left + 13, top + 8), (right - 13, top + 8), (right - 15, _BACK_FLOOR_Y), (left + 15, _BACK_FLOOR_Y)]
    paint.polygon(far, _scaled(appearance.wall, 0.93), 0.35)
    for x in (left + 13, right - 13):
        paint.line([(x, top + 8), (x + (2 if x < 160 else -2), _BACK_FLOOR_Y)], _scaled(appearance.wall, 1.24), 1.2)
        paint.line([(x + 1.6, top + 8), (x + 1.6, _BACK_FLOOR_Y)], shadow, 0.9, 0.6)
    for x in (left + 44, right - 70):
        paint.line([(x, top + 16), (x - 1, _BACK_FLOOR_Y - 8)], _scaled(appearance.wall, 1.12), 2.0, 0.45)


def _paint_bedding(paint: _Painter, appearance: Appearance, rng: np.random.Generator) -> None:
    base = np.array(appearance.bedding)
    xs = np.linspace(CAGE_LEFT + 3, CAGE_RIGHT - 3, 60)
    mound = _smooth(rng, 60) * 2.2
    edge = [(float(x), float(_BACK_FLOOR_Y + 1 + m)) for x, m in zip(xs, mound, strict=True)]
    outline = [*edge, (CAGE_RIGHT - 4, _CAGE_BOTTOM_Y - 1), (CAGE_LEFT + 4, _CAGE_BOTTOM_Y - 1)]
    paint.polygon(outline, _colour(base * 0.78))
    for _ in range(3600):
        x = rng.uniform(CAGE_LEFT + 4, CAGE_RIGHT - 4)
        near = rng.uniform() ** 0.9
        top = _BACK_FLOOR_Y + 1 + float(np.interp(x, xs, mound))
        y = top + near * (_FRONT_FLOOR_Y - top + 3)
        _shaving(paint, rng, base * (0.62 + 0.30 * near), x, y, 1.6 + 2.6 * near)


def _paint_lid(paint: _Painter) -> None:
    front_y, back_y = _LID_Y - 7, _LID_Y + 1.5
    for x in np.arange(CAGE_LEFT - 2, CAGE_RIGHT + 3, 5.6):
        behind = 160 + (x - 160) * 0.91
        paint.line([(x, front_y), (behind, back_y)], (92, 94, 96), 1.3)
        paint.line([(x - 0.4, front_y), (behind - 0.4, back_y)], (196, 198, 200), 0.5)
    for share in (0.0, 0.38, 0.72, 1.0):
        y = front_y + (back_y - front_y) * share
        half = (CAGE_RIGHT - CAGE_LEFT) / 2 * (1 - 0.09 * share) + 2
        paint.line([(160 - half, y), (160 + half, y)], (104, 106, 108), 1.8)
        paint.line([(160 - half, y - 0.5), (160 + half, y - 0.5)], (206, 208, 210), 0.6)


def _paint_bottle(paint: _Painter, appearance: Appearance) -> None:
    tip = np.array((appearance.spout_x - 1.0, FLOOR_Y - SPOUT_HEIGHT - 0.5))
    lean = np.array((-0.24, -0.971))
    side = np.array((-lean[1], lean[0]))
    neck = tip + lean * 62

    def at(along: float, aside: float) -> tuple[float, float]:
        point = neck + lean * along + side * aside
        return float(point[0]), float(point[1])

    paint.polygon([at(0, -13), at(0, 13), at(70, 13), at(70, -13)], (176, 186, 190), 0.62)
    full = 8 + 56 * appearance.water_level
    paint.polygon([at(1, -12), at(1, 12), at(full - 4, 12), at(full + 5, -12)], (134, 160, 178), 0.55)
    paint.line([at(4, -9), at(66, -9)], (240, 244, 246), 2.2, 0.7)
    paint.line([at(4, 11), at(66, 11)], (110, 118, 124), 1.4, 0.6)
    paint.polygon([at(2, -9), at(2, 9), at(-8, 7), at(-8, -7)], (60, 62, 70))
    paint.line([tuple(tip + lean * 56), tuple(tip + lean * 2)], (96, 100, 104), 6.4)
    paint.line([tuple(tip + lean * 56 - (0.6, 0)), tuple(tip + lean * 2 - (0.6, 0))], _STEEL, 4.6)
    paint.line([tuple(tip + lean * 56 - (1.2, 0)), tuple(tip + lean * 2 - (1.2, 0))], (232, 234, 236), 1.3)
    paint.ellipse((float(tip[0]), float(tip[1])), (2.5, 2.5), (120, 124, 128))
    paint.ellipse((float(tip[0]) - 0.6, float(tip[1]) - 0.7), (1.0, 1.0), (236, 238, 240))


def _paint_hopper(paint: _Painter, appearance: Appearance, rng: np.random.Generator) -> None:
    low = FLOOR_Y - HOPPER_HEIGHT - 4
    inner, right = appearance.hopper_x + 2, CAGE_RIGHT - 8
    top_left = inner - 34
    hull = [(top_left, _LID_Y), (right, _LID_Y), (right - 4, low - 16), (inner + 18, low), (inner, low)]
    paint.polygon(hull, (66, 60, 54), 0.80)

    def left_edge(y: float) -> float:
        return top_left + (inner - top_left) * (y - _LID_Y) / (low - _LID_Y)

    def right_edge(y: float) -> float:
        if y < low - 16:
            return right - 4 * (y - _LID_Y) / (low - 16 - _LID_Y)
        return right - 4 - (right - 4 - inner - 18) * (y - low + 16) / 16

    for y in np.arange(_LID_Y - 6, low - 1, 3.6):
        for x in np.arange(left_edge(max(y, _LID_Y)) + 4, right_edge(y) - 3, 5.2):
            _pellet(paint, rng, float(x + rng.uniform(-1.5, 1.5)), float(y + rng.uniform(-1.2, 1.2)))
    for share in np.linspace(0.0, 1.0, 15):
        upper = top_left + (right - top_left) * share
        lower = inner + (inner + 18 - inner) * share
        bend = (right - 4 if share == 1.0 else lower, low - 16 if share == 1.0 else low)
        paint.line([(upper, _LID_Y), bend], (84, 86, 88), 1.5)
        paint.line([(upper - 0.4, _LID_Y), (bend[0] - 0.4, bend[1])], (200, 202, 204), 0.6)
    paint.line([*hull[1:], hull[0]], (112, 114, 116), 2.0)
    paint.line([(x - 0.5, y - 0.5) for x, y in [*hull[1:], hull[0]]], (204, 206, 208), 0.7)


def _paint_front(front: _Painter, cover: _Painter, appearance: Appearance, rng: np.random.Generator) -> None:
    """Paint the bedding against the near wall, the tub's near edges and its rim."""
    base = np.array(appearance.bedding)
    xs = np.linspace(CAGE_LEFT + 2, CAGE_RIGHT - 2, 70)
    heap = FLOOR_Y + 3.5 + _smooth(rng, 70) * 2.0
    outline = [(float(x), float(y)) for x, y in zip(xs, heap, strict=True)]
    outline += [(CAGE_RIGHT - 4, _CAGE_BOTTOM_Y - 2), (CAGE_LEFT + 4, _CAGE_BOTTOM_Y - 2)]
    front.canvas[:] = base * 0.9
    cover.polygon(outline, (255, 255, 255))
    for _ in range(2600):
        x = rng.uniform(CAGE_LEFT + 3, CAGE_RIGHT - 3)
        top = float(np.interp(x, xs, heap))
        y = top + abs(rng.normal(0, 7.0)) - 1.0
        if y < _CAGE_BOTTOM_Y - 2:
            _shaving(front, rng, base * (0.97 - 0.018 * (y - top)), x, y, 4.2, cover)
    glass = _scaled(appearance.wall, 1.30)
    edge = _scaled(appearance.wall, 0.60)
    for x, inwards in ((CAGE_LEFT, 1.0), (CAGE_RIGHT, -1.0)):
        wall = [(x, _LID_Y - 6), (x + 2 * inwards, _CAGE_BOTTOM_Y - 7), (x + 7 * inwards, _CAGE_BOTTOM_Y)]
        for ink, shift, width in ((glass, 0.0, 3.0), (edge, 2.2, 1.2)):
            front.line([(px + shift * inwards, py) for px, py in wall], ink, width)
            cover.line([(px + shift * inwards, py) for px, py in wall], (200, 200, 200), width)
    floor = [(CAGE_LEFT + 7, _CAGE_BOTTOM_Y), (CAGE_RIGHT - 7, _CAGE_BOTTOM_Y)]
    front.line(floor, glass, 2.6)
    cover.line(floor, (220, 220, 220), 2.6)
    rim_y = _LID_Y - 9
    for y, ink, width in ((rim_y, _scaled(appearance.wall, 1.22), 5.0), (rim_y + 3, edge, 1.0), (rim_y - 3, edge, 0.8)):
        rim = [(CAGE_LEFT - 8, y), (CAGE_RIGHT + 8, y)]
        front.line(rim, ink, width)
        cover.line(rim, (225, 225, 225), width)


def _reflections(camera: Camera, size: tuple[int, int]) -> Image:
    paint = _Painter(camera, size)
    paint.polygon([(88, _LID_Y + 4), (112, _LID_Y + 4), (84, FLOOR_Y), (60, FLOOR_Y)], (11, 11, 12))
    paint.polygon([(120, _LID_Y + 4), (127, _LID_Y + 4), (99, FLOOR_Y), (92, FLOOR_Y)], (8, 8, 9))
    paint.polygon([(262, _LID_Y + 4), (280, _LID_Y + 4), (254, FLOOR_Y), (236, FLOOR_Y)], (7, 7, 8))
    paint.soften(1.6)
    return paint.finished()


def _shaving(
    paint: _Painter,
    rng: np.random.Generator,
    base: NDArray[np.float64],
    x: float,
    y: float,
    length: float,
    cover: _Painter | None = None,
) -> None:
    turn = rng.normal(0, 0.7)
    reach = length * rng.uniform(0.4, 1.0) / 2
    bow = rng.normal(0, 0.5)
    across, rise = reach * np.cos(turn), reach * np.sin(turn) * 0.6
    curl = [(x - across, y - rise), (x, y + bow), (x + across, y + rise)]
    width = rng.uniform(0.7, 1.5)
    paint.line(curl, _colour(base * rng.uniform(0.72, 1.26) + rng.normal(0, 3, 3)), width)
    if cover is not None:
        cover.line(curl, (255, 255, 255), width)


def _pellet(paint: _Painter, rng: np.random.Generator, x: float, y: float) -> None:
    turn = rng.uniform(-0.9, 0.9)
    across, rise = 3.0 * np.cos(turn), 3.0 * np.sin(turn)
    brown = np.array((138, 108, 72)) * rng.uniform(0.62, 1.15)
    paint.line([(x - across, y - rise), (x + across, y + rise)], _colour(brown * 0.6), 4.4)
    paint.line([(x - across, y - rise - 0.5), (x + across, y + rise - 0.5)], _colour(brown), 3.0)


def _smooth(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    rough = rng.standard_normal(count + 8)
    return np.convolve(rough, np.hanning(9) / np.hanning(9).sum(), mode="valid") * 1.6


def _scaled(colour: Colour, gain: float) -> Colour:
    return _colour(np.array(colour) * gain)


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (float(value) for value in np.clip(values, 0, 255))
    return red, green, blue
