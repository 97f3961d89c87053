"""What the mouse does and when: a seeded plan of bouts, each turned into poses frame by frame.

A plan is made of cycles. In each the mouse visits the spout, the hopper and one or two places on the floor, and shows
every behaviour once. The rules of labelling:

- Approaching and leaving are walking: by the last frame of a walk the next posture is reached, and turning on the spot
  is walking too.
- Rising on the hind legs and coming down again belong to the raised behaviour, since the forepaws are off the floor.
- The way up to the lid is rearing until the hips leave the floor, and so is the way down after they touch it.
- Rest and micro-movement of a cycle share one place and one posture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, pi

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.synth.activity import ACTIVITIES, breathing, smooth_noise
from toolkit.synth.body import STRIDE_PX, mouth, top
from toolkit.synth.scene import (
    HOPPER_HEIGHT,
    LID_HEIGHT,
    POSE_FIELDS,
    SPOUT_HEIGHT,
    Appearance,
    Pose,
)

SHORTEST_S = 20.0
"""Shortest video that holds every behaviour for at least a second."""

_SHORTEST_BOUT_S = 1.2
_CYCLE_S = 20.0
_WALKING = Pose(arch=0.45, head_pitch=0.38, tail_lift=0.25)
_COLUMN = {name: column for column, name in enumerate(POSE_FIELDS)}


@dataclass(frozen=True)
class Motion:
    """What the mouse does in every frame of a video."""

    labels: NDArray[np.int8]
    """(N,) indices into `MOUSE_HOME_CAGE`."""
    poses: NDArray[np.float64]
    """(N, len(POSE_FIELDS))."""

    def pose(self, index: int) -> Pose:
        """Return the pose of frame `index`."""
        return Pose(*self.poses[index].tolist())


@dataclass(frozen=True)
class _Bout:
    behaviour: str
    home: Pose
    frames: int = 0


@dataclass(frozen=True)
class _Walk:
    to: Pose
    speed: float
    """World px per second."""


def plan_motion(appearance: Appearance, duration_s: float, fps: float, rng: np.random.Generator) -> Motion:
    """Plan and animate a video.

    Parameters
    ----------
    appearance
        Gives the mouse's size and where the spout and the hopper are.
    duration_s, fps
        The video has ``round(duration_s * fps)`` frames.
    rng
        Source of all chance.

    Raises
    ------
    InputError
        If `duration_s` is too short to hold every behaviour, or `fps` is out of range.
    """
    if not 10 <= fps <= 120:
        raise InputError(f"a synthetic video needs 10 to 120 frames a second, found {fps:g}.")
    if not duration_s >= SHORTEST_S:
        raise InputError(
            f"a synthetic video needs at least {SHORTEST_S:g} s to hold all eight behaviours, "
            f"found {duration_s:g} s. Ask for a longer one."
        )
    frames = round(duration_s * fps)
    for hurry in np.linspace(1.0, 1.9, 40):
        steps = _plan(appearance, duration_s, float(hurry), rng)
        animator = _Animator(appearance.mouse_scale, fps, rng)
        spent = sum(animator.cost(before, step) for before, step in _with_previous(steps))
        bouts = sum(isinstance(step, _Bout) for step in steps)
        spare = frames - spent - bouts * ceil(_SHORTEST_BOUT_S * fps)
        if spare >= 0:
            break
    else:
        raise InputError(f"a synthetic video of {duration_s:g} s cannot hold all eight behaviours.")
    return animator.animate(_timed(steps, spare, ceil(_SHORTEST_BOUT_S * fps), rng))


def _plan(appearance: Appearance, duration_s: float, hurry: float, rng: np.random.Generator) -> list[_Bout | _Walk]:
    scale = appearance.mouse_scale
    steps: list[_Bout | _Walk] = []
    last_kind = ""
    for _ in range(max(1, round(duration_s / _CYCLE_S))):
        on_floor = [["rest", "micro-movement"], []]
        for behaviour in ("groom", "rear", "hang"):
            on_floor[int(rng.uniform() < 0.45 and hurry < 1.3)].append(behaviour)
        visits: list[tuple[str, list[str]]] = [("drink", ["drink"]), ("eat", ["eat"])]
        visits += [("floor", behaviours) for behaviours in on_floor if behaviours]
        order = list(rng.permutation(len(visits)))
        if visits[order[0]][0] == last_kind:
            order = order[1:] + order[:1]
        for position in order:
            kind, behaviours = visits[position]
            here = steps[-1].home if steps and isinstance(steps[-1], _Bout) else None
            home = _home(kind, appearance, here, scale, rng)
            if here is not None:
                steps.append(_Walk(home, speed=rng.uniform(62, 135) * hurry))
            steps += [_Bout(str(behaviour), home) for behaviour in rng.permutation(behaviours)]
            last_kind = kind
    return steps


def _home(kind: str, appearance: Appearance, here: Pose | None, scale: float, rng: np.random.Generator) -> Pose:
    """Return the posture in which the mouse arrives at a place."""
    sway = rng.uniform(-0.5, 0.5)
    if kind == "floor":
        xs = [x for x in np.linspace(78, 242, 42) if here is None or 60 < abs(x - here.x) < 150]
        x = float(rng.choice(xs))
        heading = 0.0 if (rng.uniform() < 0.5 if here is None else x > here.x) else pi
        return Pose(
            x=x,
            yaw=heading + rng.uniform(-0.4, 0.4),
            arch=rng.uniform(0.70, 1.0),
            stretch=rng.uniform(0.86, 0.96),
            crouch=rng.uniform(0.75, 1.0),
            head_pitch=rng.uniform(0.35, 0.65),
            head_yaw=rng.uniform(-0.25, 0.25),
            tail_sway=sway,
        )
    drinking = kind == "drink"
    target = appearance.spout_x if drinking else appearance.hopper_x
    height = SPOUT_HEIGHT if drinking else HOPPER_HEIGHT
    pose = Pose(
        yaw=(pi if drinking else 0.0) + rng.uniform(-0.2, 0.2),
        arch=0.35,
        stretch=1.0,
        crouch=0.35,
        head_pitch=0.30,
        tail_sway=sway,
    )
    pitches = np.linspace(0.0, 0.8, 41)
    heights = [mouth(replace(pose, pitch=float(pitch)), scale)[1] for pitch in pitches]
    pose = replace(pose, pitch=float(np.interp(height, heights, pitches)))
    return replace(pose, x=pose.x + target - float(mouth(pose, scale)[0]))


def _timed(steps: list[_Bout | _Walk], spare: int, shortest: int, rng: np.random.Generator) -> list[_Bout | _Walk]:
    """Share `spare` frames among the bouts."""
    bouts = [position for position, step in enumerate(steps) if isinstance(step, _Bout)]
    weights = rng.uniform(0.5, 1.5, len(bouts))
    ends = np.floor(np.cumsum(weights) / weights.sum() * spare + 1e-9).astype(int)
    timed = list(steps)
    for position, extra in zip(bouts, np.diff(ends, prepend=0), strict=True):
        step = steps[position]
        if isinstance(step, _Bout):
            timed[position] = replace(step, frames=shortest + int(extra))
    return timed


def _with_previous(steps: Sequence[_Bout | _Walk]) -> list[tuple[Pose | None, _Bout | _Walk]]:
    homes = [step.to if isinstance(step, _Walk) else step.home for step in steps]
    return list(zip([None, *homes[:-1]], steps, strict=True))


class _Animator:
    """Turns a timed plan into poses."""

    def __init__(self, scale: float, fps: float, rng: np.random.Generator) -> None:
        self._scale = scale
        self._fps = fps
        self._rng = rng
        self._labels: list[NDArray[np.int8]] = []
        self._poses: list[NDArray[np.float64]] = []

    def cost(self, before: Pose | None, step: _Bout | _Walk) -> int:
        """Return the frames that `step` takes on top of its bout's own."""
        if isinstance(step, _Walk) and before is not None:
            turn = abs(_heading(before, step.to) - before.yaw) > pi / 2
            seconds = abs(step.to.x - before.x) / step.speed + 0.35 + 0.35 * turn
            return max(round(seconds * self._fps), round(0.9 * self._fps))
        if isinstance(step, _Bout) and step.behaviour == "hang":
            return 2 * self._frames(0.7)
        return 0

    def animate(self, steps: Sequence[_Bout | _Walk]) -> Motion:
        for before, step in _with_previous(steps):
            if isinstance(step, _Bout):
                self._bout(step)
            elif before is not None:
                self._walk(before, step, self.cost(before, step))
        poses = np.concatenate(self._poses)
        poses[:, _COLUMN["breath"]] = breathing(len(poses), self._fps, self._rng)
        return Motion(np.concatenate(self._labels), poses)

    def _frames(self, seconds: float) -> int:
        return round(seconds * self._fps)

    def _add(self, behaviour: str, poses: NDArray[np.float64]) -> None:
        self._poses.append(poses)
        self._labels.append(np.full(len(poses), MOUSE_HOME_CAGE.index(behaviour), np.int8))

    def _bout(self, bout: _Bout) -> None:
        home = _vector(bout.home)
        frames, behaviour = bout.frames, bout.behaviour
        if behaviour == "hang":
            self._hang(bout)
            return
        if behaviour in ("groom", "rear"):
            raised = _vector(_groom(bout.home, self._rng) if behaviour == "groom" else _rear(bout.home, self._rng))
            ramp = min(self._frames(self._rng.uniform(0.3, 0.45)), frames // 3)
            share = np.ones(frames)
            share[:ramp] = _ease(ramp)
            share[-ramp:] = _ease(ramp)[::-1]
            poses = home + share[:, None] * (raised - home)
        else:
            poses = np.repeat(home[None], frames, axis=0)
        self._add(behaviour, ACTIVITIES[behaviour](poses, self._fps, self._rng))

    def _hang(self, bout: _Bout) -> None:
        """Rise, pull up to the lid, hang, let go and come down."""
        rng = self._rng
        up = self._frames(0.7)
        standing = replace(_rear(bout.home, rng), pitch=1.42, arch=0.1, stretch=1.14, tuck=0.6, grip=0.4)
        inverted = rng.uniform() < 0.6
        hanging = replace(
            standing,
            pitch=rng.uniform(2.45, 2.85) if inverted else rng.uniform(1.60, 1.95),
            arch=-0.25 if inverted else 0.1,
            stretch=1.0,
            crouch=0.0,
            tuck=0.0,
            grip=1.0,
            hind_grip=1.0 if inverted else 0.0,
            dangle=0.0 if inverted else 1.0,
            head_pitch=-0.2 if inverted else 0.1,
        )
        hanging = replace(hanging, lift=LID_HEIGHT - 3 - top(hanging, self._scale))
        home, stand, hang = _vector(bout.home), _vector(standing), _vector(hanging)
        self._add("rear", _blend(home, stand, up))
        swing = min(self._frames(0.5), bout.frames // 3)
        share = np.ones(bout.frames)
        share[:swing], share[-swing:] = _ease(swing), _ease(swing)[::-1]
        poses = stand + share[:, None] * (hang - stand)
        self._add("hang", ACTIVITIES["hang"](poses, self._fps, rng))
        self._add("rear", _blend(stand, home, up))

    def _walk(self, before: Pose, walk: _Walk, frames: int) -> None:
        rng, column = self._rng, _COLUMN
        heading = _heading(before, walk.to)
        start, end = _vector(before), _vector(walk.to)
        # The same direction may be written with another turn of 2 pi: leave on the side where the mouse is.
        start[column["yaw"]] = before.yaw
        middle = _vector(replace(_WALKING, tail_sway=float(rng.uniform(-0.4, 0.4)), yaw=heading))
        rise, settle = min(self._frames(0.4), frames // 3), min(self._frames(0.45), frames // 3)
        poses = np.repeat(middle[None], frames, axis=0)
        poses[:rise] = _blend(start, middle, rise)
        poses[-settle:] = _blend(middle, end, settle)
        turning = abs(heading - before.yaw) > pi / 2
        turn_frames = min(self._frames(rng.uniform(0.5, 0.7)), frames - settle) if turning else rise
        poses[:turn_frames, column["yaw"]] = before.yaw + (heading - before.yaw) * _ease(turn_frames)
        speed = np.minimum(1.0, np.arange(1, frames + 1) / (0.28 * self._fps)) * (
            1 + 0.25 * smooth_noise(frames, 1.0, self._fps, rng)
        )
        speed[: turn_frames // 2 if turning else 0] *= 0.12
        slowing = min(self._frames(0.35), frames // 2)
        speed[-slowing:] *= np.linspace(1.0, 0.25, slowing)
        speed = np.maximum(speed, 0.05)
        distance = np.cumsum(speed) / speed.sum() * (walk.to.x - before.x)
        poses[:, column["x"]] = before.x + distance
        pace = np.abs(np.diff(distance, prepend=0.0)) + np.abs(np.diff(poses[:, column["yaw"]], prepend=before.yaw)) * 9
        poses[:, column["gait"]] = rng.uniform() + np.cumsum(pace) / STRIDE_PX
        poses[:, column["step"]] = np.minimum(1.0, pace / 1.0) * np.minimum(1, (np.arange(frames)[::-1]) / 3)
        phase = 2 * pi * poses[:, column["gait"]]
        strength = poses[:, column["step"]]
        poses[:, column["lift"]] += strength * 0.9 * np.sin(2 * phase)
        poses[:, column["pitch"]] += strength * 0.035 * np.sin(2 * phase + 1.0)
        poses[:, column["head_pitch"]] += strength * (0.06 * np.sin(2 * phase + 2.2))
        poses[:, column["tail_sway"]] += strength * 0.16 * np.sin(phase)
        self._add("walk", poses)


def _groom(home: Pose, rng: np.random.Generator) -> Pose:
    return replace(
        home,
        pitch=rng.uniform(0.85, 1.1),
        arch=rng.uniform(1.0, 1.35),
        crouch=1.0,
        stretch=0.88,
        face=1.0,
        head_pitch=rng.uniform(-0.75, -0.4),
        head_yaw=rng.uniform(-0.15, 0.35),
    )


def _rear(home: Pose, rng: np.random.Generator) -> Pose:
    return replace(
        home,
        pitch=rng.uniform(1.15, 1.45),
        arch=rng.uniform(0.05, 0.3),
        crouch=0.7,
        stretch=rng.uniform(1.0, 1.12),
        tuck=1.0,
        head_pitch=rng.uniform(-0.35, 0.15),
        head_yaw=home.head_yaw,
    )


def _heading(before: Pose, to: Pose) -> float:
    """Return the yaw (with as many whole turns as `to` needs to blend) that faces from `before` towards `to`."""
    return 0.0 if to.x > before.x else pi


def _vector(pose: Pose) -> NDArray[np.float64]:
    return np.array([getattr(pose, name) for name in POSE_FIELDS])


def _ease(frames: int) -> NDArray[np.float64]:
    """Return a rise to 1 over `frames` whose ends are brisk, so that no still frame carries a moving label."""
    t = 0.12 + 0.76 * np.arange(frames + 1) / max(frames, 1)
    eased = t * t * (3 - 2 * t)
    rise: NDArray[np.float64] = (eased[1:] - eased[0]) / (eased[-1] - eased[0])
    return rise


def _blend(start: NDArray[np.float64], end: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    blended: NDArray[np.float64] = start + _ease(frames)[:, None] * (end - start)
    return blended
