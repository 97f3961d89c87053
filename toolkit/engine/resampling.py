"""How OpenCV resizes an image, as tables of source pixels and weights that a kernel can follow.

Per axis, each target pixel has the same number of taps: source pixels and their weights. How they are summed:

* ``LINEAR``: 2 x 2 taps. 8-bit images: weights in 1/2048, rows summed in integers, a sum's last 4 bits dropped before
  its weight and 16 after. Flow: in float32.
* ``AREA``: any number of taps, float32, along rows first; rounded half to even.
* ``BOX``: the sum of whole pixels, divided by their number in float32, rounded half to even. One tap copies.
* ``HALVE``: the sum of 2 x 2 whole pixels, divided by four, rounded half up.

Found in OpenCV's ``resize.cpp`` and held to it by `tests/engine/test_preprocess_kernels.py`, bit for bit. OpenCV's own
results differ in the last bit where it is built with other vector instructions (on ARM its float sums are fused): the
kernels follow x86-64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.preprocess import StreamInput, WorkingGeometry

LINEAR, AREA, BOX, HALVE = range(4)
_LINEAR_UNITS = 2048

TAP = np.dtype([("index", np.int32), ("weight", np.float32)])
"""The kernels' `Tap`."""

Weights = Literal["fixed", "float"]
"""Of bilinear taps: of 8-bit images, or of flow."""


@dataclass(frozen=True)
class Resampling:
    """From a source of one size to a target of another, or to a part of it."""

    arithmetic: int
    """``LINEAR``, ``AREA``, ``BOX`` or ``HALVE``."""
    columns: NDArray[np.void]
    """(target width, taps) of `TAP`."""
    rows: NDArray[np.void]
    """(target height, taps) of `TAP`."""

    @property
    def taps(self) -> NDArray[np.void]:
        """Every column's taps, then every row's: what the kernels read."""
        return np.concatenate([self.columns.ravel(), self.rows.ravel()])

    @property
    def factor(self) -> np.float32:
        """What ``BOX`` multiplies its sum by, and ``HALVE`` that of flow."""
        across, down = self.columns.shape[1], self.rows.shape[1]
        factor: np.float32 = np.float32(1 / (across * down))
        return factor

    def cropped(self, x: int, y: int, side: int) -> Resampling:
        """Return the resampling to the `side` x `side` px of the target whose corner is (x, y)."""
        return Resampling(self.arithmetic, self.columns[x : x + side], self.rows[y : y + side])


def to_working_frame(geometry: WorkingGeometry, width: int, height: int) -> tuple[Resampling, int, int]:
    """Return how `WorkingGeometry.working_frame` resizes a region of this size, and where it lies in the padding.

    Returns
    -------
    resampling, left, top
        Taps are pixels of the padded region, in which the region's corner is (left, top) px.
    """
    add_x = add_y = 0
    if geometry.aspect == "pad" and (width, height) != (geometry.width, geometry.height):
        aspect = geometry.width / geometry.height
        add_x, add_y = max(0, round(height * aspect) - width), max(0, round(width / aspect) - height)
    source, target = (width + add_x, height + add_y), (geometry.width, geometry.height)
    return _resampling(source, target, area=geometry.interpolation == "area", weights="fixed"), add_x // 2, add_y // 2


def to_network_frame(spec: StreamInput, width: int, height: int) -> Resampling:
    """Return how `StreamInput.network_frame` resizes and centrally crops a working frame, or its flow, of this size."""
    weights: Weights = "fixed" if spec.stream == "rgb" else "float"
    resized = _resampling((width, height), (spec.resize, spec.resize), area=False, weights=weights)
    margin = (spec.resize - spec.crop) // 2
    return resized.cropped(margin, margin, spec.crop)


def _resampling(source: tuple[int, int], target: tuple[int, int], *, area: bool, weights: Weights) -> Resampling:
    ratios = [1 / (to / of) for of, to in zip(source, target, strict=True)]
    whole = all(abs(ratio - round(ratio)) < np.finfo(np.float64).eps for ratio in ratios)
    sides = [round(ratio) for ratio in ratios]
    if source == target:
        return Resampling(BOX, _box(target[0], 1), _box(target[1], 1))
    if whole and sides == [2, 2]:
        return Resampling(HALVE, _box(target[0], 2), _box(target[1], 2))
    if area and min(ratios) >= 1:
        make = [_box(to, side) if whole else _area(of, to) for of, to, side in zip(source, target, sides, strict=True)]
        return Resampling(BOX if whole else AREA, *make)
    columns = _linear(source[0], target[0], as_area=area, weights=weights)
    # Beyond an edge OpenCV moves all weight to the last column, but repeats the last row.
    outside = columns["index"][:, 0] == columns["index"][:, 1]
    columns["weight"][outside] = [_LINEAR_UNITS if weights == "fixed" else 1, 0]
    return Resampling(LINEAR, columns, _linear(source[1], target[1], as_area=area, weights=weights))


def _box(target: int, side: int) -> NDArray[np.void]:
    taps = np.ones((target, side), dtype=TAP)
    taps["index"] = np.arange(target * side).reshape(target, side)
    return taps


def _area(source: int, target: int) -> NDArray[np.void]:
    scale = 1 / (target / source)
    pixels: list[list[tuple[int, float]]] = []
    for start in (column * scale for column in range(target)):
        end, cell = start + scale, min(scale, source - start)
        last = min(math.floor(end), source - 1)
        first = min(math.ceil(start), last)
        taps = [(first - 1, (first - start) / cell)] if first - start > 1e-3 else []
        taps += [(index, 1 / cell) for index in range(first, last)]
        if end - last > 1e-3:
            taps.append((last, min(end - last, 1.0, cell) / cell))
        pixels.append(taps)
    most = max(map(len, pixels))
    # A tap without weight adds nothing, to the bit.
    return np.array([taps + [(0, 0.0)] * (most - len(taps)) for taps in pixels], dtype=TAP)


def _linear(source: int, target: int, *, as_area: bool, weights: Weights) -> NDArray[np.void]:
    """Return the two taps of each target pixel; `as_area`: of an enlargement that was asked for as ``area``."""
    inverse = target / source
    scale = 1 / inverse
    at = np.arange(target)
    if as_area:
        left = np.floor(at * scale)
        right_weight = ((at + 1) - (left + 1) * inverse).astype(np.float32)
        right_weight = np.where(right_weight <= 0, np.float32(0), right_weight - np.floor(right_weight))
    else:
        middle = ((at + 0.5) * scale - 0.5).astype(np.float32)
        left = np.floor(middle)
        right_weight = middle - left
    taps = np.empty((target, 2), dtype=TAP)
    taps["index"] = np.stack([left, left + 1], axis=1).clip(0, source - 1)
    taps["weight"] = np.stack([np.float32(1) - right_weight, right_weight], axis=1)
    if weights == "fixed":
        taps["weight"] = np.rint(taps["weight"] * np.float32(_LINEAR_UNITS))
    return taps
