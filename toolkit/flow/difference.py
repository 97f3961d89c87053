"""How far two implementations of TV-L1 lie apart, measured on this machine on a pair that is made here."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.flow.contract import FlowEstimator

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FlowDifference:
    """Endpoint difference between two flows, px per frame."""

    mean_px: float
    p99_px: float


def endpoint_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> FlowDifference:
    """Return mean and 99th percentile of the Euclidean distance between two (..., 2) flows in px per frame."""
    distance = np.linalg.norm(one.astype(np.float64) - other, axis=-1)
    return FlowDifference(float(distance.mean()), float(np.percentile(distance, 99)))


def measure_difference(one: FlowEstimator, other: FlowEstimator, width: int = 160, height: int = 120) -> FlowDifference:
    """Return how far two estimators lie apart on `textured_pair`."""
    pair = textured_pair(width, height)
    return endpoint_difference(one.flow(*pair).copy(), other.flow(*pair))


def textured_pair(width: int, height: int, seed: int = 0) -> tuple[Grey, Grey]:
    """Render a furry, softly lit texture and the same after a smooth displacement of up to some 3 px.

    Returns
    -------
    two (height, width) uint8
        The earlier and the later frame, with sensor noise.
    """
    rng = np.random.default_rng(seed)
    fine, coarse = (_smooth(rng, width, height, sigma) for sigma in (1.2, 12.0))
    texture = np.clip(118 + 26 * fine + 30 * coarse, 0, 255).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = (1.2 * _smooth(rng, width, height, 16.0) for _ in range(2))
    moved = cv2.remap(texture, x + u, y + v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    earlier, later = (
        np.rint(np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255)).astype(np.uint8) for image in (texture, moved)
    )
    return earlier, later


def _smooth(rng: np.random.Generator, width: int, height: int, sigma_px: float) -> NDArray[np.float32]:
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), sigma_px)
    smooth: NDArray[np.float32] = noise / np.float32(noise.std())
    return smooth
