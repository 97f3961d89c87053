"""From a scene's state to pixels: the mouse is rasterised analytically over a painted cage, then lit and sensed."""

from __future__ import annotations

from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.synth.backdrop import paint_backdrop
from toolkit.synth.body import Disc, Tube, body_parts
from toolkit.synth.scene import COATS, FLOOR_Y, Appearance, Camera, SceneState

Image = NDArray[np.float32]

_TEXELS_PER_PX = 2.0
_FUR_WIDTH = 640
_FUR_HEIGHT = 128
_LUT = np.arange(256, dtype=np.float32)


class Renderer:
    """Draws the frames of one video.

    Parameters
    ----------
    appearance
        How the video looks.
    size
        Width and height of the frames, px.
    seed
        Of the sensor noise.
    """

    def __init__(self, appearance: Appearance, size: tuple[int, int], seed: int) -> None:
        self._appearance = appearance
        self._camera = Camera.of(appearance, size)
        self._size = size
        self._seed = seed
        backdrop = paint_backdrop(appearance, self._camera, size)
        gain = np.array(appearance.tint, np.float32) * appearance.light_level
        self._gain = gain
        self._behind = backdrop.behind * gain
        self._front = backdrop.front * gain
        self._cover = backdrop.cover
        self._still = np.clip(self._lit_over(self._behind, slice(None), slice(None)), 0, 255).astype(np.uint8)
        self._coat = _CoatColours(appearance)
        self._fur = _fur_texture(appearance.fur_seed)
        self._noise = _noise_bank(seed, size, appearance.noise_sigma)

    def render(self, state: SceneState) -> NDArray[np.uint8]:
        """Return the frame of `state`, (H, W, 3) uint8 RGB."""
        frame = self._still.copy()
        parts = body_parts(state.pose, self._appearance.mouse_scale)
        rows, columns = self._mouse_window(parts)
        if rows.stop > rows.start and columns.stop > columns.start:
            window = self._behind[rows, columns].copy()
            canvas = _Canvas(window, columns.start, rows.start, self._camera, self._coat, self._fur, self._gain)
            canvas.shadow(parts)
            for part in parts:
                if isinstance(part, Tube):
                    canvas.tube(part)
                else:
                    canvas.disc(part)
            canvas.whiskers(parts)
            lit = self._lit_over(window, rows, columns)
            frame[rows, columns] = cv2.convertScaleAbs(np.maximum(lit, 0.0))
        return self._sensed(frame, state)

    def _lit_over(self, window: Image, rows: slice, columns: slice) -> Image:
        """Lay what stands before the mouse (bedding, reflections of the glass) over `window`."""
        merged: Image = window * (1 - self._cover[rows, columns]) + self._front[rows, columns]
        return merged

    def _sensed(self, frame: NDArray[np.uint8], state: SceneState) -> NDArray[np.uint8]:
        gained = cv2.LUT(frame, np.clip(_LUT * state.light + 0.5, 0, 255).astype(np.uint8))
        rng = np.random.default_rng((self._seed, state.index))
        width, height = self._size
        which = int(rng.integers(len(self._noise)))
        y, x = int(rng.integers(_NOISE_MARGIN)), int(rng.integers(_NOISE_MARGIN))
        noise = self._noise[which][y : y + height, x : x + width]
        sensed: NDArray[np.uint8] = cv2.add(gained, noise, dtype=cv2.CV_8U)
        return sensed

    def _mouse_window(self, parts: list[Tube | Disc]) -> tuple[slice, slice]:
        lows, highs = [], []
        for part in parts:
            if isinstance(part, Tube):
                image = self._camera.project(part.centres)
                reach = part.radii[:, None] * self._camera.scale + 4
                lows.append((image - reach).min(axis=0))
                highs.append((image + reach).max(axis=0))
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        width, height = self._size
        margin = 10 * self._camera.scale
        left, right = max(0, int(low[0] - margin)), min(width, int(high[0] + margin))
        top = max(0, int(low[1] - margin))
        floor = (FLOOR_Y + 8) * self._camera.scale + self._camera.shift_y
        bottom = min(height, int(max(high[1] + margin, floor)))
        return slice(top, bottom), slice(left, right)


class _CoatColours:
    """Colours by how far a surface turns to the back (-1 belly, 1 back), as tables of 256 entries."""

    def __init__(self, appearance: Appearance) -> None:
        coat = COATS[appearance.coat]
        rng = np.random.default_rng(appearance.fur_seed)
        hue = rng.uniform(0.94, 1.06, 3).astype(np.float32)
        back, belly = np.array(coat.back, np.float32) * hue, np.array(coat.belly, np.float32) * hue
        turn = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
        share = 1 / (1 + np.exp(-(turn + 0.25) * 5))
        self.fur: Image = (belly + (back - belly) * share).astype(np.float32)
        self.skin = np.array(coat.skin, np.float32)
        self.ear = np.array(coat.ear, np.float32)
        self.rim = back * 0.9
        self.sheen = coat.sheen
        light = np.array((appearance.light_side * 0.5, 0.80, 0.55))
        self.light = (light / np.linalg.norm(light)).astype(np.float32)


class _Canvas:
    """The window of the image that holds the mouse, and how parts are laid into it."""

    def __init__(
        self, window: Image, left: int, top: int, camera: Camera, coat: _CoatColours, fur: Image, gain: Image
    ) -> None:
        self._window = window
        self._left, self._top = left, top
        self._camera = camera
        self._coat = coat
        self._fur = fur
        self._gain = gain

    def _box(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
        height, width = self._window.shape[:2]
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right, bottom = min(width, int(high[0]) + 2), min(height, int(high[1]) + 2)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def _image_points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._camera.project(points) - (self._left, self._top)

    def tube(self, tube: Tube) -> None:
        """Paint the visible surface of a tube: shaded, furred, with a soft fringe."""
        scale = self._camera.scale
        centres = self._image_points(tube.centres)
        radii = tube.radii * scale
        box = self._box((centres - radii[:, None] - 2).min(axis=0), (centres + radii[:, None] + 2).max(axis=0))
        if box is None:
            return
        pixels, x, y, nearest = self._covered(box, centres, radii)
        if not len(pixels):
            return
        thick = np.maximum(radii, 1.2)
        sections = (*centres.T, 1 / thick, np.cos(tube.slopes), np.sin(tube.slopes), tube.arc, tube.skin, radii)
        at_x, at_y, inverse, cosine, sine, arc, skin, radius = (
            np.take(section.astype(np.float32), nearest) for section in sections
        )
        dx, up = (x - at_x) * inverse, (at_y - y) * inverse
        squared = dx * dx + up * up
        nz = np.sqrt(np.maximum(1 - squared, 0))
        forward = dx * np.float32(cos(tube.yaw)) + nz * np.float32(sin(tube.yaw))
        back = up * cosine - forward * sine
        along = forward * cosine + up * sine
        shade, fringe = self._hair(arc + along * radius / np.float32(scale), back * radius / np.float32(scale))
        bare = 1 - skin
        limit = radius + fringe * bare * np.minimum(radius * np.float32(0.07), np.float32(0.75))
        alpha = np.clip((limit - np.sqrt(squared) * radius) * np.float32(0.75) + np.float32(0.5), 0, 1)
        if tube.fade:
            start = arc - np.float32(tube.arc[0]) + along * radius / np.float32(scale)
            alpha *= np.clip(start / np.float32(tube.fade), 0, 1)
        lit = self._lit(dx, up, nz) * np.float32(tube.shade)
        lit *= 1 + shade * (np.float32(0.21) * bare + np.float32(0.03))
        colour = np.take(self._coat.fur, np.clip(back * 127.5 + 127.5, 0, 255).astype(np.uint8), axis=0)
        if tube.skin.any():
            colour += (self._coat.skin - colour) * skin[:, None]
        sheen = np.maximum(back * 0.5 + up * 0.5, 0) ** 2
        sheen *= sheen * np.float32(70 * self._coat.sheen) * (1 + shade) * bare
        colour *= lit[:, None]
        colour += sheen[:, None]
        colour *= self._gain
        flat = self._window.reshape(-1, 3)
        under = np.take(flat, pixels, axis=0)
        flat[pixels] = under + (colour - under) * alpha[:, None]

    def _covered(
        self, box: tuple[int, int, int, int], centres: NDArray[np.float64], radii: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], Image, Image, NDArray[np.intp]]:
        """Return the pixels near the spheres: index in the window, x, y, and the sphere that shows there.

        That is the sphere of greatest power, r^2 - d^2, whose cells are linear in x and y.
        """
        left, top, right, bottom = box
        x, y = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
        cx, cy, r = (values.astype(np.float32) for values in (*centres.T, radii))
        by_column = np.outer(2 * cx, x)
        by_row = np.outer(2 * cy, y) + (r * r - cx * cx - cy * cy)[:, None]
        power = by_row[:, :, None] + by_column[:, None, :]
        best = power.max(axis=0) - (y * y)[:, None] - (x * x)[None, :]
        inside = np.flatnonzero(best > -4 * (r.max() + 1))
        rows, columns = np.divmod(inside, right - left)
        nearest = np.argmax(np.take(power.reshape(len(r), -1), inside, axis=1), axis=0)
        return (rows + top) * self._window.shape[1] + columns + left, x[columns], y[rows], nearest

    def _hair(self, arc: Image, across: Image) -> tuple[Image, Image]:
        """Look up lightness and fringe of the fur at coordinates on the skin, px at rest."""
        folded = (-(-len(arc) // 512), 512)
        u = np.resize(arc * np.float32(_TEXELS_PER_PX), folded)
        v = np.resize(across * np.float32(_TEXELS_PER_PX) + np.float32(_FUR_HEIGHT / 2), folded)
        fur = cv2.remap(self._fur, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).reshape(-1, 2)
        return fur[: len(arc), 0], fur[: len(arc), 1]

    def disc(self, disc: Disc) -> None:
        """Paint an ear or an eye."""
        scale = self._camera.scale
        centre = self._image_points(disc.centre[None])[0]
        axes = disc.axes * scale * (1.0, -1.0)
        reach = np.abs(axes).sum(axis=0) + 1.5
        box = self._box(centre - reach, centre + reach)
        if box is None:
            return
        left, top, right, bottom = box
        x = np.arange(left, right, dtype=np.float32) - np.float32(centre[0])
        y = np.arange(top, bottom, dtype=np.float32) - np.float32(centre[1])
        inverse = np.linalg.inv(axes).astype(np.float32)
        u = x[None, :] * inverse[0, 0] + y[:, None] * inverse[1, 0]
        v = x[None, :] * inverse[0, 1] + y[:, None] * inverse[1, 1]
        away = np.sqrt(u * u + v * v)
        size = np.float32(np.sqrt(np.abs(np.linalg.det(axes))))
        alpha = np.clip((1 - away) * size + 0.5, 0, 1)
        if disc.name == "eye":
            glint = np.exp(-(((u + 0.25) ** 2 + (v - 0.35) ** 2) * 9))[..., None]
            colour = np.array((16, 12, 12), np.float32) + glint * np.float32(190)
        else:
            inner = np.clip((0.86 - away) * 4, 0, 1)[..., None]
            hollow = (1 - 0.28 * np.clip(0.5 - v * 0.8 - u * 0.3, 0, 1))[..., None]
            colour = (self._coat.rim * 1.15 + (self._coat.ear - self._coat.rim * 1.15) * inner) * hollow
            colour = colour * np.float32(disc.shade)
        self._blend(box, colour.astype(np.float32) * self._gain, alpha)

    def shadow(self, parts: list[Tube | Disc]) -> None:
        """Darken the bedding under the body, less the higher the body is."""
        back = next(part for part in parts if isinstance(part, Tube) and part.name == "back")
        weight = back.radii / back.radii.sum()
        x = float((back.centres[:, 0] * weight).sum())
        height = float(np.min(back.centres[:, 1] - back.radii))
        spread = float(np.ptp(back.centres[:, 0])) / 2 + 16 + 0.15 * max(height, 0)
        ground = self._image_points(np.array([[x, 0.0, 4.0]]))[0]
        rows = np.arange(self._window.shape[0], dtype=np.float32) - np.float32(ground[1])
        columns = np.arange(self._window.shape[1], dtype=np.float32) - np.float32(ground[0])
        scale = self._camera.scale
        across = np.exp(-((columns / (spread * scale)) ** 2) * 1.3)
        deep = np.exp(-((rows / (7.5 * scale)) ** 2))
        strength = 0.62 / (1 + max(height, 0) / 22)
        self._window *= (1 - np.float32(strength) * deep[:, None] * across[None, :])[..., None]

    def whiskers(self, parts: list[Tube | Disc]) -> None:
        """Draw a few pale hairs at the snout."""
        head = next(part for part in parts if isinstance(part, Tube) and part.name == "head")
        root = self._image_points(head.centres[12:13])[0]
        side = cos(head.yaw)
        slope = float(head.slopes[12])
        tint = tuple(float(value) for value in np.array((190.0, 182.0, 172.0)) * self._gain)
        layer = self._window
        box = self._box(root - 14 * self._camera.scale, root + 14 * self._camera.scale)
        if box is None:
            return
        left, top, right, bottom = box
        patch = np.ascontiguousarray(layer[top:bottom, left:right])
        drawn = patch.copy()
        for spread in (-1.25, -0.85, -0.45):
            angle = slope + spread
            tip = root + 10 * self._camera.scale * np.array([cos(angle) * side, -sin(angle)])
            ends = [tuple(round((p - o) * 16) for p, o in zip(e, (left, top), strict=True)) for e in (root, tip)]
            cv2.line(drawn, ends[0], ends[1], tint, 1, cv2.LINE_8, 4)
        layer[top:bottom, left:right] = patch * 0.78 + drawn * 0.22

    def _lit(self, dx: Image, up: Image, nz: Image) -> Image:
        light = self._coat.light
        diffuse = np.maximum(dx * light[0] + up * light[1] + nz * light[2], 0)
        lit: Image = np.float32(0.50) + np.float32(0.62) * diffuse
        return lit

    def _blend(self, box: tuple[int, int, int, int], colour: Image, alpha: Image) -> None:
        left, top, right, bottom = box
        target = self._window[top:bottom, left:right]
        target += (colour - target) * alpha[..., None]


_NOISE_MARGIN = 48


def _noise_bank(seed: int, size: tuple[int, int], sigma: float) -> NDArray[np.int8]:
    """Return sheets of noise from which each frame cuts its own piece."""
    rng = np.random.default_rng((seed, 7))
    width, height = size
    shape = (6, height + _NOISE_MARGIN, width + _NOISE_MARGIN)
    grey = rng.standard_normal((*shape, 1), dtype=np.float32)
    colour = rng.standard_normal((*shape, 3), dtype=np.float32)
    mixed = (grey * 0.8 + colour * 0.6) * np.float32(sigma)
    return np.asarray(np.rint(np.clip(mixed, -100, 100)), np.int8)


def _fur_texture(seed: int) -> Image:
    """Return (H, W, 2) float32: the coat's light and dark hair, and the fringe's length, each about -1 to 1."""
    rng = np.random.default_rng((seed, 3))
    shape = (_FUR_HEIGHT, _FUR_WIDTH)
    layers = []
    for along, across, weight in ((2.4, 1.0, 0.75), (5.0, 1.6, 0.5), (14.0, 7.0, 0.4)):
        layer = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), along, sigmaY=across)
        layers.append(weight * layer / layer.std())
    coat = np.sum(layers, axis=0, dtype=np.float32)
    fringe = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 1.1, sigmaY=2.0)
    return np.stack([np.clip(coat, -2, 2) * 0.6, np.clip(fringe / fringe.std(), -2, 2)], axis=-1).astype(np.float32)
