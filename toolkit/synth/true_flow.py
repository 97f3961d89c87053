"""The true optical flow of the synthetic cage: what moves, where to, and what is no longer to be seen.

The mouse is made of spheres and flat discs, so every visible point belongs to a section of one part and has a place in
that section's own frame. The same place in the same section at the next pose is where it went. The cage stands still;
light, shadow and sensor noise move nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from toolkit.synth.backdrop import paint_backdrop
from toolkit.synth.body import Disc, Part, Tube, body_parts
from toolkit.synth.scene import Appearance, Camera, Pose

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_HIDDEN = 0.5
"""A part that covers less of a pixel than this, or is covered more than this, does not own it."""


@dataclass(frozen=True)
class TrueFlow:
    """Flow from one frame to the next, defined at the pixels of the earlier one, as `FlowEstimator` has it."""

    flow: NDArray[np.float32]
    """(H, W, 2), px per frame, x then y; 0 where the cage is seen."""
    valid: Mask
    """(H, W) where the point that is seen in the earlier frame is also seen in the later one."""
    mouse: Mask
    """(H, W) where the earlier frame shows the mouse."""


class FlowTruth:
    """True flow between poses of one video's mouse.

    Parameters
    ----------
    appearance
        How the video looks.
    size
        Width and height of the frames, px.
    """

    def __init__(self, appearance: Appearance, size: tuple[int, int]) -> None:
        self._scale = appearance.mouse_scale
        self._camera = Camera.of(appearance, size)
        self._size = size
        self._front: Mask = paint_backdrop(appearance, self._camera, size).cover[..., 0] > _HIDDEN

    def between(self, previous: Pose, current: Pose) -> TrueFlow:
        """Return the flow from the frame that shows `previous` to the one that shows `current`."""
        then = {_key(part): part for part in body_parts(current, self._scale)}
        width, height = self._size
        flow = np.zeros((height, width, 2))
        owner = np.zeros((height, width), np.int16)
        faces_us = np.ones((height, width), bool)
        for number, part in enumerate(body_parts(previous, self._scale), start=1):
            at = self._visible(part)
            later = then.get(_key(part))
            owner[at.rows, at.columns] = number
            moved, still_seen = at.moved(part, later, self._camera)
            flow[at.rows, at.columns] = moved
            faces_us[at.rows, at.columns] = still_seen
        owner[self._front] = 0
        mouse = owner > 0
        flow[~mouse] = 0
        faces_us[~mouse] = True
        names: list[tuple[str, float] | None] = [None, *(_key(part) for part in body_parts(previous, self._scale))]
        seen = self._seen_later(owner, names, body_parts(current, self._scale), flow)
        return TrueFlow(flow.astype(np.float32), faces_us & seen, mouse)

    def _seen_later(
        self, owner: NDArray[np.int16], names: list[tuple[str, float] | None], later: list[Part], flow: Floats
    ) -> Mask:
        """Return where the point that moved by `flow` lies in the later frame and its part is topmost there."""
        numbers = {name: number for number, name in enumerate(names)}
        there = np.zeros(owner.shape, np.int16)
        for part in later:
            at = self._visible(part)
            there[at.rows, at.columns] = numbers.get(_key(part), len(names))
        there[self._front] = 0
        rows, columns = np.indices(owner.shape)
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        height, width = owner.shape
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        nearest_x = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
        nearest_y = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
        seen: Mask = inside & (there[nearest_y, nearest_x] == owner)
        return seen

    def _visible(self, part: Part) -> _Surface:
        return _disc_surface(part, self._camera, self._size) if isinstance(part, Disc) else self._tube_surface(part)

    def _tube_surface(self, tube: Tube) -> _Surface:
        centres, radii = self._camera.project(tube.centres), tube.radii * self._camera.scale
        rows, columns = _pixels((centres - radii[:, None]).min(0), (centres + radii[:, None]).max(0), self._size)
        right = columns[:, None] - centres[:, 0]
        up = centres[:, 1] - rows[:, None]
        towards_us = radii**2 - right**2 - up**2
        section = towards_us.argmax(axis=1)
        chosen = np.arange(len(section)), section
        radius = radii[section]
        local = np.stack([right[chosen], up[chosen], np.sqrt(np.maximum(towards_us[chosen], 0))], axis=-1)
        place = _to_section(local / radius[:, None], tube.slopes[section], tube.yaw)
        seen = towards_us[chosen] > 0
        if tube.fade:
            from_root = tube.arc[section] - tube.arc[0] + place[:, 0] * tube.radii[section]
            seen &= from_root > _HIDDEN * tube.fade
        return _Surface(rows[seen], columns[seen], section[seen], place[seen])


@dataclass(frozen=True)
class _Surface:
    """Pixels in which a part can be seen, and where on it each lies."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    section: NDArray[np.intp]
    place: Floats
    """(N, 3) along, back and aside in a section's frame, in its radii; of a disc u, v in its axes, and 0."""

    def moved(self, part: Part, later: Part | None, camera: Camera) -> tuple[Floats, Mask]:
        """Return (N, 2) px that each point moves until the part is `later`, and whether it still faces the camera."""
        none = np.zeros((len(self.rows), 2)), np.zeros(len(self.rows), bool)
        if isinstance(part, Disc):
            if not isinstance(later, Disc):
                return none
            now, then = (camera.project(disc.centre) + self._on_disc(disc, camera) for disc in (part, later))
            return then - now, np.ones(len(self.rows), bool)
        if not isinstance(later, Tube):
            return none
        local = _from_section(self.place, later.slopes[self.section], later.yaw)
        radius = later.radii[self.section, None] * camera.scale
        there = camera.project(later.centres)[self.section] + local[:, :2] * radius * (1, -1)
        return there - np.stack([self.columns, self.rows], axis=-1), local[:, 2] > 0

    def _on_disc(self, disc: Disc, camera: Camera) -> Floats:
        offset: Floats = self.place[:, :2] @ (disc.axes * camera.scale * (1, -1))
        return offset


def _disc_surface(disc: Disc, camera: Camera, size: tuple[int, int]) -> _Surface:
    centre, axes = camera.project(disc.centre), disc.axes * camera.scale * (1, -1)
    reach = np.abs(axes).sum(axis=0)
    rows, columns = _pixels(centre - reach, centre + reach, size)
    place = np.zeros((len(rows), 3))
    place[:, :2] = (np.stack([columns, rows], axis=-1) - centre) @ np.linalg.inv(axes)
    seen = (place**2).sum(axis=1) < 1
    return _Surface(rows[seen], columns[seen], np.zeros(seen.sum(), np.intp), place[seen])


def _to_section(local: Floats, slopes: Floats, yaw: float) -> Floats:
    """Turn (N, 3) right, up, towards us into along, back, aside of sections of these slopes."""
    right, up, near = local.T
    forward, aside = right * cos(yaw) + near * sin(yaw), near * cos(yaw) - right * sin(yaw)
    along, back = forward * np.cos(slopes) + up * np.sin(slopes), up * np.cos(slopes) - forward * np.sin(slopes)
    return np.stack([along, back, aside], axis=-1)


def _from_section(place: Floats, slopes: Floats, yaw: float) -> Floats:
    along, back, aside = place.T
    forward, up = along * np.cos(slopes) - back * np.sin(slopes), along * np.sin(slopes) + back * np.cos(slopes)
    return np.stack([forward * cos(yaw) - aside * sin(yaw), up, forward * sin(yaw) + aside * cos(yaw)], axis=-1)


def _pixels(low: Floats, high: Floats, size: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    width, height = size
    left, top = (max(0, int(np.floor(value))) for value in low)
    right, bottom = (min(limit, int(np.ceil(value)) + 1) for limit, value in zip((width, height), high, strict=True))
    grid = np.mgrid[top : max(top, bottom), left : max(left, right)]
    return grid[0].ravel(), grid[1].ravel()


def _key(part: Part) -> tuple[str, float]:
    return part.name, part.side
