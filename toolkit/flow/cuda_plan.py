"""The kernels of `tvl1.cu` in order: what is launched for a pyramid and for the flow of a batch of pairs.

Plain data, so that a GPU and the tests' CPU run the same sequence. No step waits for the host: a warp whose iterations
have converged is skipped on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.flow.contract import MIN_SIDE_PX, FlowParameters

THREADS_PER_BLOCK = 256
TILE_WIDTH, TILE_HEIGHT = 32, 16
ITERATIONS_PER_GROUP = 5
STOPPING_UNITS = 256
CONTROL_BYTES = 32
CONTROL = np.dtype(
    [
        *((name, np.int32) for name in ("flow", "dual", "stopped", "ticket", "unfinished", "groups")),
        ("units", np.uint64),
    ]
)
"""The kernels' `Control`, one per pair."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch, with blocks of `THREADS_PER_BLOCK` threads."""

    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...]
    """NumPy scalars; addresses are uint64."""


@dataclass(frozen=True)
class Addresses:
    """Where on the device the buffers lie that `sizes` describes."""

    controls: int
    images: int
    flow: int
    dual: int
    terms: int
    out: int


@dataclass(frozen=True)
class Layout:
    """Sizes of a batch of pairs, and of what the device holds for it."""

    width: int
    height: int
    pairs: int
    slots: int
    """Images held, each with its pyramid: pair i is from image slot first + i to second + i."""
    parameters: FlowParameters

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each pyramid level, finest first."""
        sizes = [(self.width, self.height)]
        while len(sizes) < self.parameters.scales:
            # As the kernels see it: the step is a float32.
            step = float(np.float32(self.parameters.scale_step))
            size = (round(sizes[-1][0] * step), round(sizes[-1][1] * step))
            if min(size) < MIN_SIDE_PX:
                break
            sizes.append(size)
        return tuple(sizes)

    @property
    def plane(self) -> int:
        """Pixels of the finest level."""
        return self.width * self.height

    def sizes(self) -> dict[str, int]:
        """Return each buffer's size in bytes, by the names of `Addresses`."""
        floats = {
            "images": self.slots * sum(w * h for w, h in self.levels),
            "flow": 2 * self.pairs * 2 * self.plane,
            "dual": 2 * self.pairs * 4 * self.plane,
            "terms": self.pairs * 4 * self.plane,
            "out": self.pairs * 2 * self.plane,
        }
        return {"controls": self.pairs * CONTROL_BYTES, **{name: 4 * count for name, count in floats.items()}}

    def image(self, addresses: Addresses, level: int, slot: int) -> int:
        """Return the address of a slot's image on a level; the next slot's follows it."""
        before = sum(w * h for w, h in self.levels[:level])
        width, height = self.levels[level]
        return addresses.images + 4 * (self.slots * before + slot * width * height)


def pyramid_launches(layout: Layout, addresses: Addresses, grey: int, slot: int, count: int) -> Iterator[Launch]:
    """Yield the launches that make the pyramids of `count` 8-bit images at address `grey`, in slots from `slot` on."""
    ratio = np.float32(1) / np.float32(layout.parameters.scale_step)
    pixels = count * layout.plane
    yield Launch(
        "tvl1_load",
        (_blocks(pixels), 1, 1),
        (np.uint64(grey), np.uint64(layout.image(addresses, 0, slot)), np.int32(pixels)),
    )
    for level in range(1, len(layout.levels)):
        (from_width, from_height), (width, height) = layout.levels[level - 1 : level + 1]
        yield Launch(
            "tvl1_shrink_images",
            (_blocks(width * height), 1, count),
            (
                np.uint64(layout.image(addresses, level - 1, slot)),
                np.int32(from_width),
                np.int32(from_height),
                np.uint64(layout.image(addresses, level, slot)),
                np.int32(width),
                np.int32(height),
                ratio,
            ),
        )


def flow_launches(
    layout: Layout, addresses: Addresses, first: int, second: int, rounds: int | None = None
) -> Iterator[Launch]:
    """Yield the launches that estimate the flow of the batch's pairs into `Addresses.out`, (pairs, H, W, 2) float32.

    Parameters
    ----------
    first, second
        Slots of the first pair's images.
    rounds
        Rounds of median and iterations to launch for each warp. None: all that the parameters allow. With fewer, a pair
        that is not done sets its `CONTROL`'s `unfinished` or leaves `stopped` zero, and its flow is not to be used.
    """
    parameters, pairs = layout.parameters, np.int32(layout.pairs)
    limited = rounds is not None and rounds < parameters.outer_iterations
    rounds = rounds if rounds is not None and limited else parameters.outer_iterations
    controls, flow = np.uint64(addresses.controls), np.uint64(addresses.flow)
    dual, terms, plane = np.uint64(addresses.dual), np.uint64(addresses.terms), np.int32(layout.plane)
    per_pair = (_blocks(layout.pairs), 1, 1)
    yield Launch("tvl1_begin", per_pair, (controls, pairs))
    coarser: tuple[int, int] | None = None
    for level in reversed(range(len(layout.levels))):
        width, height = layout.levels[level]
        size = (np.int32(width), np.int32(height))
        each_pixel = (_blocks(width * height), 1, layout.pairs)
        each_tile = (-(-width // TILE_WIDTH), -(-height // TILE_HEIGHT), layout.pairs)
        from_width, from_height = coarser or (0, 0)
        yield Launch(
            "tvl1_start_level",
            each_pixel,
            (
                *(controls, flow, dual, pairs, plane, np.int32(from_width), np.int32(from_height), *size),
                np.float32(from_width) / np.float32(width),
                np.float32(from_height) / np.float32(height),
                np.float32(1) / np.float32(parameters.scale_step),
            ),
        )
        coarser = (width, height)
        images = [np.uint64(layout.image(addresses, level, slot)) for slot in (first, second)]
        for _ in range(parameters.warps):
            yield Launch("tvl1_warp", each_pixel, (controls, *images, flow, terms, pairs, plane, *size))
            for _ in range(rounds):
                if parameters.median > 1:
                    yield Launch(
                        "tvl1_filter", each_tile, (controls, flow, pairs, plane, *size, np.int32(parameters.median))
                    )
                for done in range(0, parameters.inner_iterations, ITERATIONS_PER_GROUP):
                    count = min(ITERATIONS_PER_GROUP, parameters.inner_iterations - done)
                    yield Launch(
                        "tvl1_iterate",
                        each_tile,
                        (controls, terms, flow, dual, pairs, plane, *size, np.int32(count), *_constants(parameters)),
                    )
            if not limited:
                yield Launch("tvl1_end_warp", per_pair, (controls, pairs))
    yield Launch(
        "tvl1_finish",
        (_blocks(layout.plane), 1, layout.pairs),
        (controls, flow, np.uint64(addresses.out), pairs, plane, np.int32(layout.width), np.int32(layout.height)),
    )


def _constants(parameters: FlowParameters) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return lambda theta, tau / theta, theta and the scale of the stopping test, in float32 throughout."""
    tau, lambda_, theta = (np.float32(getattr(parameters, name)) for name in ("tau", "lambda_", "theta"))
    epsilon = np.float32(parameters.epsilon)
    return lambda_ * theta, tau / theta, theta, np.float32(STOPPING_UNITS) / (epsilon * epsilon)


def _blocks(count: int) -> int:
    return -(-count // THREADS_PER_BLOCK)
