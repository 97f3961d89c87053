"""What is launched for a captured frame: the kernels of `preprocess.cu` with their arguments.

Plain data, so that a GPU and the tests' CPU run the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.engine.resampling import Resampling
from toolkit.flow import FlowEncoding
from toolkit.flow.cuda_plan import THREADS_PER_BLOCK, Launch
from toolkit.preprocess import StreamInput


@dataclass(frozen=True)
class DeviceResampling:
    """A `Resampling` whose taps lie on the device."""

    host: Resampling
    taps: int
    """Address."""

    @property
    def arguments(self) -> tuple[np.generic, ...]:
        """What kernels take of it: taps, arithmetic, taps per column and per row, factor."""
        numbers = (self.host.arithmetic, self.host.columns.shape[1], self.host.rows.shape[1])
        return (np.uint64(self.taps), *map(np.int32, numbers), self.host.factor)


@dataclass(frozen=True)
class Region:
    """The part of a captured frame that is used, on the device, and where it lies in its padding."""

    address: int
    """(height, width, 3) uint8 RGB."""
    width: int
    height: int
    left: int
    top: int
    infrared: bool


@dataclass(frozen=True)
class WorkingFrame:
    """Where the working frame lies on the device."""

    colour: int
    """(height, width, 3) uint8 RGB."""
    grey: int
    """(height, width) uint8."""
    width: int
    height: int


@dataclass(frozen=True)
class Slots:
    """Which of a ring's frames are written: `count` of them from `first` on, `step` apart."""

    first: int
    step: int
    count: int


def working_launch(region: Region, resampling: DeviceResampling, working: WorkingFrame) -> Launch:
    """Return the launch that makes the working frame and its grey image."""
    source = (region.width, region.height, region.left, region.top, region.infrared)
    target = (np.int32(working.width), np.int32(working.height))
    return Launch(
        "prepare_working",
        (_blocks(working.width * working.height), 1, 1),
        (
            np.uint64(region.address),
            *map(np.int32, source),
            *resampling.arguments,
            np.uint64(working.colour),
            np.uint64(working.grey),
            *target,
        ),
    )


def rgb_launch(
    working: WorkingFrame, resampling: DeviceResampling, spec: StreamInput, ring: int, slots: Slots
) -> Launch:
    """Return the launch that writes the working frame, resized, cropped and scaled, into slots of the RGB ring."""
    return Launch(
        "prepare_rgb",
        (_blocks(spec.crop * spec.crop), 1, 1),
        (
            np.uint64(working.colour),
            np.int32(working.width),
            np.int32(working.height),
            *resampling.arguments,
            *_written(spec, ring, slots),
        ),
    )


def flow_launch(
    flow: int | None,
    working: WorkingFrame,
    encoding: FlowEncoding,
    resampling: DeviceResampling,
    spec: StreamInput,
    ring: int,
    slots: Slots,
) -> Launch:
    """Return the launch that writes flow, quantised, resized, cropped and scaled, into slots of the flow ring.

    Parameters
    ----------
    flow
        Address of (height, width, 2) float32, px per frame; None for no motion.
    """
    return Launch(
        "prepare_flow",
        (_blocks(spec.crop * spec.crop), 1, 1),
        (
            np.uint64(flow or 0),
            np.int32(working.width),
            np.int32(working.height),
            np.float32(encoding.bound_px),
            np.float32(encoding.steps_per_px),
            *resampling.arguments,
            *_written(spec, ring, slots),
        ),
    )


def _written(spec: StreamInput, ring: int, slots: Slots) -> tuple[np.generic, ...]:
    where = (spec.crop, slots.first, slots.step, slots.count)
    return (np.uint64(ring), *map(np.int32, where), *map(np.float32, spec.scale), *map(np.float32, spec.offset))


def _blocks(count: int) -> int:
    return -(-count // THREADS_PER_BLOCK)
