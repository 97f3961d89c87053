"""The motion within each behaviour: what is added to a held posture, frame by frame.

Rest adds nothing but breathing. Micro-movement adds head bobs and paw shifts to the very same postures, drink and eat
draw from one and the same motion, so that between these two only the place differs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np
from numpy.typing import NDArray

from toolkit.synth.scene import POSE_FIELDS

Poses = NDArray[np.float64]
_COLUMN = {name: column for column, name in enumerate(POSE_FIELDS)}
_BREATH_PX = 0.18


def smooth_noise(frames: int, hz: float, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (frames,) noise of unit variance whose frequencies lie around and below `hz`."""
    padded = frames + 64
    spectrum = np.fft.rfft(rng.standard_normal(padded))
    frequencies = np.fft.rfftfreq(padded, 1 / fps)
    spectrum *= np.exp(-((frequencies / hz) ** 4))
    noise = np.fft.irfft(spectrum, padded)
    smooth: NDArray[np.float64] = noise[:frames] / max(float(noise.std()), 1e-9)
    return smooth


def breathing(frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the flank's displacement by breath in px; it moves less than 0.3 px between frames."""
    rate = 2.2 * (1 + 0.12 * smooth_noise(frames, 0.3, fps, rng))
    breath: NDArray[np.float64] = _BREATH_PX * np.sin(2 * pi * np.cumsum(rate) / fps)
    return breath


def _rest(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    del fps, rng
    return poses


def _micro(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    n = len(poses)
    strength = _envelope(n, fps) * (1 + 0.25 * smooth_noise(n, 0.5, fps, rng))
    bob = _beat(n, rng.uniform(2.2, 3.4), fps, rng)
    poses[:, _COLUMN["head_pitch"]] += strength * (0.11 * bob + 0.05 * smooth_noise(n, 3.0, fps, rng))
    poses[:, _COLUMN["head_yaw"]] += strength * 0.17 * smooth_noise(n, 2.2, fps, rng)
    poses[:, _COLUMN["pitch"]] += strength * 0.014 * smooth_noise(n, 1.6, fps, rng)
    poses[:, _COLUMN["paw_shift"]] += strength * 2.2 * smooth_noise(n, 2.4, fps, rng)
    poses[:, _COLUMN["ear"]] += strength * 0.10 * smooth_noise(n, 3.0, fps, rng)
    return poses


def _mouthing(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    """Lick or gnaw: the head nods by about a pixel, the body keeps still."""
    n = len(poses)
    strength = _envelope(n, fps) * (1 + 0.2 * smooth_noise(n, 0.6, fps, rng))
    poses[:, _COLUMN["head_pitch"]] += strength * 0.036 * _beat(n, rng.uniform(5.2, 6.8), fps, rng)
    poses[:, _COLUMN["pitch"]] += strength * 0.008 * smooth_noise(n, 1.2, fps, rng)
    poses[:, _COLUMN["head_yaw"]] += strength * 0.05 * smooth_noise(n, 1.0, fps, rng)
    poses[:, _COLUMN["ear"]] += strength * 0.05 * smooth_noise(n, 2.0, fps, rng)
    return poses


def _groom(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    n = len(poses)
    strength = _envelope(n, fps, 0.3)
    rate = rng.uniform(4.2, 6.0)
    stroke = _beat(n, rate, fps, rng)
    poses[:, _COLUMN["stroke"]] += strength * stroke * rng.uniform(0.7, 1.0)
    poses[:, _COLUMN["head_pitch"]] += strength * (0.10 * np.roll(stroke, 1) + 0.12 * smooth_noise(n, 1.2, fps, rng))
    poses[:, _COLUMN["head_yaw"]] += strength * 0.16 * smooth_noise(n, 1.2, fps, rng)
    poses[:, _COLUMN["pitch"]] += strength * (0.02 * stroke + 0.03 * smooth_noise(n, 0.8, fps, rng))
    return poses


def _rear(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    n = len(poses)
    strength = _envelope(n, fps, 0.4)
    poses[:, _COLUMN["pitch"]] += strength * 0.07 * smooth_noise(n, 0.8, fps, rng)
    poses[:, _COLUMN["stretch"]] += strength * 0.03 * smooth_noise(n, 0.8, fps, rng)
    poses[:, _COLUMN["head_pitch"]] += strength * 0.20 * smooth_noise(n, 1.6, fps, rng)
    poses[:, _COLUMN["head_yaw"]] += strength * 0.25 * smooth_noise(n, 1.1, fps, rng)
    poses[:, _COLUMN["paw_shift"]] += strength * 1.8 * smooth_noise(n, 2.0, fps, rng)
    return poses


def _hang(poses: Poses, fps: float, rng: np.random.Generator) -> Poses:
    n = len(poses)
    strength = _envelope(n, fps, 0.5)
    poses[:, _COLUMN["pitch"]] += strength * 0.07 * _beat(n, rng.uniform(0.8, 1.3), fps, rng)
    poses[:, _COLUMN["x"]] += strength * 3.5 * smooth_noise(n, 0.6, fps, rng)
    poses[:, _COLUMN["lift"]] += strength * 1.6 * smooth_noise(n, 1.2, fps, rng)
    poses[:, _COLUMN["head_pitch"]] += strength * 0.18 * smooth_noise(n, 1.6, fps, rng)
    poses[:, _COLUMN["paw_shift"]] += strength * 0.9 * smooth_noise(n, 2.2, fps, rng)
    poses[:, _COLUMN["tail_sway"]] += strength * 0.3 * smooth_noise(n, 1.2, fps, rng)
    return poses


ACTIVITIES: dict[str, Callable[[Poses, float, np.random.Generator], Poses]] = {
    "drink": _mouthing,
    "eat": _mouthing,
    "groom": _groom,
    "hang": _hang,
    "micro-movement": _micro,
    "rear": _rear,
    "rest": _rest,
}
"""Motion of each behaviour but walking, which is locomotion: (N, fields) poses are changed in place and returned."""


def _beat(frames: int, hz: float, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    rate = hz * (1 + 0.15 * smooth_noise(frames, 0.8, fps, rng))
    beat: NDArray[np.float64] = np.sin(2 * pi * (rng.uniform() + np.cumsum(rate) / fps))
    return beat


def _envelope(frames: int, fps: float, ramp_s: float = 0.15) -> NDArray[np.float64]:
    """Return 0 before the first and after the last frame, 1 after `ramp_s`."""
    ramp = max(1.0, ramp_s * fps)
    t = np.arange(1, frames + 1)
    edge = np.clip(np.minimum(t, frames + 1 - t) / ramp, 0, 1)
    envelope: NDArray[np.float64] = edge * edge * (3 - 2 * edge)
    return envelope
