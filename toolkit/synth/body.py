"""The mouse's anatomy: from a pose to furry tubes and flat discs placed in the cage.

Every part carries its own coordinates (`arc` along a tube and the frame of each section), in which the fur is fixed.
The fur therefore moves with the body, and the motion of every visible point between two poses follows from the parts
of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from toolkit.synth.scene import LID_HEIGHT, Pose

Points = NDArray[np.float64]

_BACK_LENGTH = 46.0
_HEAD_LENGTH = 28.0
_HIP_HEIGHT = 17.0
_STEP_REACH = 8.0
STRIDE_PX = 2 * _STEP_REACH / 0.6
"""Distance walked per gait cycle at full step, so that a foot on the floor does not slide."""

# Radius of the back from behind the rump (negative) to the shoulders (1), and of the head from neck to nose.
_BACK_PROFILE = (
    (-0.24, -0.16, -0.04, 0.12, 0.30, 0.50, 0.70, 0.86, 1.0),
    (4.0, 10.0, 14.4, 17.0, 17.6, 16.6, 14.6, 12.8, 11.2),
)
_HEAD_PROFILE = (
    (0.0, 0.18, 0.36, 0.52, 0.68, 0.82, 0.93, 1.0),
    (10.8, 11.0, 10.6, 9.2, 7.0, 5.0, 3.6, 2.3),
)


@dataclass(frozen=True)
class Tube:
    """Overlapping spheres along a line: back, head, limb or tail."""

    name: str
    centres: Points
    """(N, 3): x, height, depth in world pixels."""
    radii: Points
    """(N,) px."""
    slopes: Points
    """(N,) direction of the line in its own vertical plane, radians."""
    yaw: float
    """Direction of that plane."""
    arc: Points
    """(N,) position along the line at rest length: the fur's coordinate."""
    skin: Points
    """(N,) 0 where covered in fur, 1 where bare."""
    shade: float = 1.0
    """Gain of its light: what is on the far side lies in shadow."""
    fade: float = 0.0
    """Length over which the first part melts into what lies beneath, in arc px."""
    side: float = 0.0
    """-1 or 1 where the body has two of them: which of the two."""

    @property
    def depth(self) -> float:
        return float(self.centres[:, 2].mean())


@dataclass(frozen=True)
class Disc:
    """A flat ellipse: ear, eye or nose."""

    name: str
    centre: Points
    """(3,) world pixels."""
    axes: Points
    """(2, 2): rows are the half axes in the image plane (right, up), world pixels."""
    depth: float
    shade: float = 1.0
    side: float = 0.0
    """-1 or 1: which of the two."""


Part = Tube | Disc


def body_parts(pose: Pose, scale: float) -> list[Part]:
    """Return the parts of a mouse of size `scale` in the order in which a painter lays them, farthest first."""
    back = _back(pose, scale)
    head = _head(pose, back, scale)
    parts: list[tuple[float, Part]] = [(0.0, back), (head.depth - back.depth + 0.5, head)]
    parts.append((-0.5, _tail(pose, back, scale)))
    parts += _head_discs(pose, head, scale, base=head.depth - back.depth + 0.5)
    for side in (-1.0, 1.0):
        facing = side * cos(pose.yaw)
        parts.append((8.0 * facing + 8.0 * sin(pose.yaw), _foreleg(pose, back, head, side, scale)))
        parts.append((8.5 * facing - 6.0 * sin(pose.yaw), _hindleg(pose, back, side, scale)))
    return [part for _, part in sorted(parts, key=lambda item: item[0])]


def mouth(pose: Pose, scale: float) -> Points:
    """Return the (3,) world position of the mouth."""
    head = _head(pose, _back(pose, scale), scale)
    down = np.array([sin(head.slopes[-1]) * cos(head.yaw), -cos(head.slopes[-1]), 0.0])
    position: Points = head.centres[-1] + 1.5 * scale * down
    return position


def top(pose: Pose, scale: float) -> float:
    """Return the greatest height of back and head."""
    back = _back(pose, scale)
    head = _head(pose, back, scale)
    return max(float((part.centres[:, 1] + part.radii).max()) for part in (back, head))


def _back(pose: Pose, scale: float) -> Tube:
    length = _BACK_LENGTH * scale * pose.stretch
    s = np.linspace(_BACK_PROFILE[0][0], 1.0, 19)
    slopes = pose.pitch + pose.arch * (0.42 - np.clip(s, 0.0, 1.0))
    radii = np.interp(s, *_BACK_PROFILE) * scale / np.sqrt(pose.stretch)
    radii += pose.breath * np.exp(-(((s - 0.4) / 0.3) ** 2))
    forward, up = _walked(slopes, length * (s[1] - s[0]))
    origin = int(np.argmin(np.abs(s)))
    forward, up = forward - forward[origin], up - up[origin]
    hips = -0.45 * _BACK_LENGTH * scale
    height = (_HIP_HEIGHT - 4.5 * pose.crouch) * scale + pose.lift
    centres = _placed(pose.x, height, 0.0, pose.yaw, hips + forward, up)
    arc = s * _BACK_LENGTH * scale
    return Tube("back", centres, radii, slopes, pose.yaw, arc, np.zeros_like(s))


def _head(pose: Pose, back: Tube, scale: float) -> Tube:
    s = np.linspace(0.0, 1.0, 15)
    length = _HEAD_LENGTH * scale
    # The nape carries half of the bend, the skull the rest.
    slopes = back.slopes[-1] + pose.head_pitch * (0.55 + 0.45 * np.clip(s / 0.3, 0, 1)) - 0.22 * s
    radii = np.interp(s, *_HEAD_PROFILE) * scale
    yaw = pose.yaw + pose.head_yaw
    forward, up = _walked(slopes, length * (s[1] - s[0]))
    neck = back.centres[-1]
    centres = _placed(neck[0], neck[1], neck[2], yaw, forward - 2.0 * scale, up)
    skin = np.clip((s - 0.95) / 0.05, 0, 1)
    return Tube("head", centres, radii, slopes, yaw, 70 + s * length, skin, fade=9.0 * scale)


def _head_discs(pose: Pose, head: Tube, scale: float, base: float) -> list[tuple[float, Part]]:
    parts: list[tuple[float, Part]] = []
    for side in (-1.0, 1.0):
        near = side * cos(head.yaw)
        for name, at, rise, aside, order in (("ear", 3, 0.86, 0.62, 0.3), ("eye", 8, 0.34, 0.86, 0.4)):
            slope, radius = head.slopes[at], head.radii[at]
            offset = _turned(head.yaw, -rise * sin(slope), rise * cos(slope), side * aside) * radius
            centre = head.centres[at] + offset
            if name == "ear":
                # The shell faces forwards and outwards; its width is what of that shows from the side.
                tilt = 0.75 + 0.25 * side * cos(head.yaw) + pose.ear
                width = scale * 5.7 * max(0.38, abs(cos(head.yaw - side * 0.7 + pose.ear)))
                lean = slope * cos(head.yaw) + 0.35 * tilt * cos(head.yaw)
                axes = np.array(
                    [
                        [width * cos(lean), width * sin(lean)],
                        [-6.3 * scale * sin(lean), 6.3 * scale * cos(lean)],
                    ]
                )
                centre = centre + np.array([-2.4 * sin(lean), 2.4 * cos(lean), 0.0]) * scale
                order_here = order if near > -0.2 else -0.3
                parts.append((base + order_here, Disc("ear", centre, axes, near, 1.0 if near > -0.2 else 0.7, side)))
            else:
                shows = near + 0.55 * sin(head.yaw)
                if shows > 0.12:
                    width = scale * 2.15 * min(1.0, 0.35 + shows)
                    axes = np.array([[width, 0.0], [0.0, 2.0 * scale]])
                    parts.append((base + order, Disc("eye", centre, axes, near, side=side)))
    return parts


def _tail(pose: Pose, back: Tube, scale: float) -> Tube:
    s = np.linspace(0.0, 1.0, 34)
    length = 70.0 * scale
    root = back.centres[1]
    slope = back.slopes[0]
    away = pose.yaw + pi + pose.tail_sway * s * 1.6
    start = -slope - 0.55 + 0.5 * pose.tail_lift
    droop = start * np.exp(-s * 5.0)
    step = length * (s[1] - s[0])
    x = root[0] + np.cumsum(np.cos(droop) * np.cos(away)) * step
    z = root[2] + np.cumsum(np.cos(droop) * np.sin(away)) * step
    height = root[1] + np.cumsum(np.sin(droop)) * step
    radii = (2.5 - 1.8 * s) * scale
    floor = radii * 0.8 + pose.tail_lift * 10 * s * (1.2 - s)
    fall = np.exp(-s * 4.0)
    hanging = min(1.0, max(0.0, (root[1] - 34 * scale) / 20))
    resting = floor + (root[1] - floor) * fall
    height = np.maximum((1 - hanging) * resting + hanging * (root[1] - length * 0.8 * s**0.9), radii)
    x = x + hanging * (0.65 * (root[0] - x))
    centres = np.stack([x, height, z], axis=-1)
    return Tube("tail", centres, radii, np.zeros_like(s), pose.yaw, 140 + s * length, np.ones_like(s))


def _foreleg(pose: Pose, back: Tube, head: Tube, side: float, scale: float) -> Tube:
    slope = back.slopes[-3]
    shoulder = (
        back.centres[-3] + _turned(pose.yaw, 0.45 * sin(slope), -0.45 * cos(slope), side * 0.55) * (back.radii[-3])
    )
    chest_forward = cos(slope)
    shift, raised = _step(pose.gait + (0.0 if side > 0 else 0.5))
    ground = shoulder + _turned(
        pose.yaw, 3.0 * scale + shift * pose.step * scale + side * pose.paw_shift - 4 * (1 - chest_forward), 0, 0
    )
    ground[1] = 2.0 * scale + raised * pose.step * scale + max(0.0, side * pose.paw_shift) * 0.5
    tuck = shoulder + scale * _turned(
        pose.yaw, 11.0 * sin(slope) + 4 * cos(slope), -11.0 * cos(slope) + 5 * sin(slope), -side * 2.0
    )
    tuck = tuck + _turned(pose.yaw, side * 0.5 * pose.paw_shift, side * 0.5 * pose.paw_shift, 0)
    along = 0.60 + 0.30 * side * pose.stroke
    at = min(14, max(0, round(along * 14)))
    fine = along * 14 - at
    snout = head.centres[at] + fine * (head.centres[min(14, at + 1)] - head.centres[at])
    under = head.slopes[at]
    face = snout + _turned(head.yaw, 0.35 * sin(under), -0.35 * cos(under), side * 0.9) * head.radii[at]
    bar = shoulder + _turned(pose.yaw, side * 4.0 * scale, 0, 0)
    bar[1] = LID_HEIGHT - 1.0
    floor_share = 1.0 - pose.tuck - pose.face - pose.grip
    paw = floor_share * ground + pose.tuck * tuck + pose.face * face + pose.grip * bar
    line = _bent(shoulder, paw, 11.5 * scale, 12.5 * scale, pose.yaw, bend=-1.0)
    toes = paw + _turned(pose.yaw, 3.2 * scale * chest_forward, 1.5 * scale * sin(slope), 0) * (1 - pose.grip)
    return _limb("foreleg", [*line, toes], (6.2, 3.4, 2.1, 1.7), 0.52, pose, side, scale)


def _hindleg(pose: Pose, back: Tube, side: float, scale: float) -> Tube:
    slope = back.slopes[5]
    hip = back.centres[5] + _turned(pose.yaw, 0.20 * sin(slope), -0.20 * cos(slope), side * 0.62) * back.radii[5]
    shift, raised = _step(pose.gait + (0.5 if side > 0 else 0.0) + 0.05)
    upright = sin(min(max(pose.pitch, 0.0), pi / 2))
    ankle = hip + _turned(pose.yaw, -7.0 * scale + shift * pose.step * scale + 3.0 * upright * scale, 0, 0)
    ankle[1] = 3.6 * scale + raised * pose.step * scale
    kick = side * 3.0 * pose.paw_shift
    hanging = hip + scale * _turned(
        pose.yaw, 15 * sin(slope) - 9 * cos(slope) + kick, -15 * cos(slope) - 9 * sin(slope) + kick, 0
    )
    bar = hip + _turned(pose.yaw, side * 5.0 * scale, 0, 0)
    bar[1] = LID_HEIGHT - 3.0
    floor_share = 1.0 - pose.hind_grip - pose.dangle
    foot = floor_share * ankle + pose.hind_grip * bar + pose.dangle * hanging
    line = _bent(hip, foot, 15.0 * scale, 13.0 * scale, pose.yaw, bend=1.0)
    toe_flat = _turned(pose.yaw, 10.5 * scale, -1.7 * scale + raised * pose.step * -0.4, 0)
    toe_free = _turned(pose.yaw, 10.0 * scale * cos(slope), 10.0 * scale * sin(slope), 0)
    toes = foot + floor_share * toe_flat + (1 - floor_share) * 0.8 * toe_free
    return _limb("hindleg", [*line, toes], (11.5, 7.6, 2.3, 1.9), 0.60, pose, side, scale)


def _limb(
    name: str,
    joints: list[Points],
    radii: tuple[float, ...],
    bare_from: float,
    pose: Pose,
    side: float,
    scale: float,
) -> Tube:
    line = np.array(joints)
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    s = np.linspace(0.0, 1.0, 14)
    at = s * reach[-1]
    centres = np.stack([np.interp(at, reach, line[:, axis]) for axis in range(3)], axis=-1)
    step = np.diff(centres, axis=0, append=centres[-1:] * 2 - centres[-2:-1])
    forward = step[:, 0] * cos(pose.yaw) + step[:, 2] * sin(pose.yaw)
    slopes = np.arctan2(step[:, 1], forward)
    share = reach / reach[-1]
    near = side * cos(pose.yaw)
    return Tube(
        name,
        centres,
        np.interp(s, share, radii) * scale,
        slopes,
        pose.yaw,
        (200.0 if name == "foreleg" else 240.0) + 20.0 * side + s * 34 * scale,
        np.clip((s - bare_from) / 0.12, 0, 1),
        shade=1.0 if near > -0.15 else 0.62,
        fade=7.0 * scale if name == "foreleg" else 13.0 * scale,
        side=side,
    )


def _step(phase: float) -> tuple[float, float]:
    """Return a foot's forward offset and lift (px at full step) at `phase` cycles: stance, then swing."""
    share = phase % 1.0
    if share < 0.6:
        return _STEP_REACH * (1 - 2 * share / 0.6), 0.0
    swing = (share - 0.6) / 0.4
    return -_STEP_REACH * cos(pi * swing), 4.5 * sin(pi * swing)


def _bent(root: Points, end: Points, upper: float, lower: float, yaw: float, bend: float) -> list[Points]:
    """Return root, joint and end of a two-bone limb that bends forwards (`bend` > 0) or backwards in plane `yaw`."""
    span = end - root
    distance = float(np.linalg.norm(span))
    share = 0.5 + (upper**2 - lower**2) / (2 * max(distance, 1.0) ** 2)
    share = min(max(share, 0.2), 0.8)
    out = max(upper**2 - (share * distance) ** 2, 0.0) ** 0.5
    forward = span[0] * cos(yaw) + span[2] * sin(yaw)
    length = max((forward**2 + span[1] ** 2) ** 0.5, 1e-6)
    # Perpendicular to the limb in the body's plane, on the side of the body's front when the limb hangs down.
    normal = _turned(yaw, -span[1] / length, forward / length, 0)
    return [root, root + share * span + bend * min(out, 0.6 * upper) * normal, end]


def _walked(slopes: Points, step: float) -> tuple[Points, Points]:
    middle = (slopes[1:] + slopes[:-1]) / 2
    forward = np.concatenate([[0.0], np.cumsum(np.cos(middle))]) * step
    up = np.concatenate([[0.0], np.cumsum(np.sin(middle))]) * step
    return forward, up


def _placed(x: float, height: float, depth: float, yaw: float, forward: Points, up: Points) -> Points:
    return np.stack([x + forward * cos(yaw), height + up, depth + forward * sin(yaw)], axis=-1)


def _turned(yaw: float, forward: float, up: float, aside: float) -> Points:
    """Return (x, height, depth) of an offset in the body's directions; `aside` is towards the camera at yaw 0."""
    return np.array([forward * cos(yaw) - aside * sin(yaw), up, forward * sin(yaw) + aside * cos(yaw)])
