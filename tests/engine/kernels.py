"""The engine room's CUDA kernels on the CPU, from arrays to arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.flow.shim import Shim
from toolkit.engine.preprocess_plan import (
    DeviceResampling,
    Region,
    Slots,
    WorkingFrame,
    flow_launch,
    rgb_launch,
    working_launch,
)
from toolkit.engine.resampling import Resampling, to_network_frame, to_working_frame
from toolkit.flow import FlowEncoding
from toolkit.preprocess import StreamInput, WorkingGeometry

SOURCE = Path(__file__).parent / "preprocess_shim.cpp"


class Kernels:
    """Runs what `preprocess_plan` launches; buffers start as garbage, so that what is not written shows."""

    def __init__(self, folder: Path, *, backwards: bool = False) -> None:
        self.shim = Shim(folder, source=SOURCE, backwards=backwards)

    def working_frame(
        self, image: NDArray[np.uint8], geometry: WorkingGeometry
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the (h, w, 3) working frame and the (h, w) grey image of a source frame."""
        if geometry.roi is not None:
            x, y, width, height = geometry.roi
            image = image[y : y + height, x : x + width]
        image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        resampling, left, top = to_working_frame(geometry, width, height)
        working = np.full((geometry.height, geometry.width, 3), 0xAA, np.uint8)
        grey = np.full((geometry.height, geometry.width), 0xAA, np.uint8)
        region = Region(image.ctypes.data, width, height, left, top, geometry.light == "infrared")
        with_taps, _taps = on_device(resampling)
        self.shim.run([working_launch(region, with_taps, frame_at(working, grey))])
        return working, grey

    def rgb(self, working: NDArray[np.uint8], spec: StreamInput, ring: NDArray[np.float32], slots: Slots) -> None:
        """Write a working frame into slots of a (2 T, 3, crop, crop) ring."""
        resampling, _taps = on_device(to_network_frame(spec, working.shape[1], working.shape[0]))
        frame = frame_at(working, working)
        self.shim.run([rgb_launch(frame, resampling, spec, ring.ctypes.data, slots)])

    def flow(
        self,
        flow: NDArray[np.float32] | None,
        size: tuple[int, int],
        spec: StreamInput,
        ring: NDArray[np.float32],
        slots: Slots,
        encoding: FlowEncoding,
    ) -> None:
        """Write (h, w, 2) flow, or none, into slots of a (2 T, 2, crop, crop) ring; `size` is (h, w)."""
        resampling, _taps = on_device(to_network_frame(spec, size[1], size[0]))
        address = None if flow is None else flow.ctypes.data
        frame = WorkingFrame(0, 0, size[1], size[0])
        self.shim.run([flow_launch(address, frame, encoding, resampling, spec, ring.ctypes.data, slots)])


def on_device(resampling: Resampling) -> tuple[DeviceResampling, NDArray[np.void]]:
    """Return the resampling and the taps that it points to."""
    taps = resampling.taps
    return DeviceResampling(resampling, taps.ctypes.data), taps


def frame_at(working: NDArray[np.uint8], grey: NDArray[np.uint8]) -> WorkingFrame:
    """Return where a working frame lies."""
    return WorkingFrame(working.ctypes.data, grey.ctypes.data, working.shape[1], working.shape[0])
