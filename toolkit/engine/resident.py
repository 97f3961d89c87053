"""From captured frames to clips without leaving the device: one upload per frame, kernels, flow and rings.

Two CUDA streams, each in order by itself. On the first: upload, working frame, RGB ring. On the second, flow's own:
flow, flow ring. Between them:

* flow waits, by an event, for the grey image of its frame;
* the host waits for flow before it queues what overwrites that grey image, which it must do anyway to know whether
  flow needs more iterations; until then it is free to queue the RGB network;
* of two page-locked frames the host writes the one whose upload, two frames ago, is done, by an event.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Manifest
from toolkit.engine.device_memory import DeviceMemory, DeviceRing, slot_bytes
from toolkit.engine.preprocess_plan import (
    DeviceResampling,
    Region,
    WorkingFrame,
    flow_launch,
    rgb_launch,
    working_launch,
)
from toolkit.engine.resampling import to_network_frame, to_working_frame
from toolkit.errors import EngineError
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.cuda_driver import CudaDevice
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry


class ResidentClips:
    """The newest frames of a segment as every stream's clip, in device memory.

    The device's context must be current for every call. After the first frame of a size nothing is allocated.

    Parameters
    ----------
    device
        With the kernels of `preprocess.cu`.
    flow
        On the same device; None for a bundle without a flow stream.
    """

    def __init__(self, device: CudaDevice, manifest: Manifest, flow: CudaFlow | None) -> None:
        self._device, self._manifest, self._flow = device, manifest, flow
        self._memory = DeviceMemory(device)
        self._source: _Source | None = None
        self._flow_begun = self._has_moved = False
        try:
            width, height = manifest.geometry.width, manifest.geometry.height
            colour, grey = (self._memory.allocate(channels * width * height) for channels in (3, 1))
            self._working = WorkingFrame(colour, grey, width, height)
            self._grey_ready = device.event()
            self._clips = {spec.stream: self._clip(spec) for spec in manifest.inputs}
        except BaseException:
            self._memory.free()
            raise

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Queue what takes the next (H, W, 3) uint8 RGB frame; see `ClipNetworks.admit`.

        Raises
        ------
        EngineError
            If the frame is no such image, lacks the region of interest, or changes size within a segment.
        """
        region = _region(image, self._manifest.geometry.roi)
        source = self._source_for(region, first)
        source.upload(region)
        self.finish_flow()
        self._device.launch([working_launch(source.region, source.resampling, self._working)])
        if "rgb" in self._clips:
            clip = self._clips["rgb"]
            slots = clip.ring.admit(fill=first)
            self._device.launch([rgb_launch(self._working, clip.resampling, clip.spec, clip.ring.address, slots)])
        if self._flow is not None:
            self._grey_ready.record(self._device.stream)
            self._flow.stream.wait_for_event(self._grey_ready)
            self._flow.begin_on_device(self._working.grey, self._working.height, self._working.width, first=first)
            self._flow_begun = True

    def finish_flow(self) -> None:
        """Wait for the newest frame's flow, if it is not in its ring yet, and queue what writes it there."""
        if self._flow is None or not self._flow_begun:
            return
        self._flow_begun = False
        flow, clip = self._flow.finish_on_device(), self._clips["flow"]
        # flow[0] = flow[1]: the first frame has no predecessor. After it the ring holds nothing else.
        slots = clip.ring.admit(fill=flow is None or not self._has_moved)
        self._has_moved = flow is not None
        encoding = self._manifest.flow.encoding
        launch = flow_launch(flow, self._working, encoding, clip.resampling, clip.spec, clip.ring.address, slots)
        self._device.launch([launch], self.stream("flow"))

    def repeat(self) -> None:
        """Queue what admits the newest frame and its flow once more."""
        self.finish_flow()
        for name, clip in self._clips.items():
            for copy in clip.ring.repeat():
                self._device.copy(*copy, self.stream(name))

    def clip(self, stream: Stream) -> int:
        """Return the device address of a stream's (T, C, H, W) float32 clip, for work queued on `stream` of it.

        Flow's is complete only after `finish_flow`. The next frame may be admitted once that work is done.
        """
        return self._clips[stream].ring.clip

    def stream(self, stream: Stream) -> Any:
        """Return the CUDA stream on which a stream's clip is written, and its network is to run."""
        return self._flow.stream if stream == "flow" and self._flow is not None else self._device.stream

    def free(self) -> None:
        """Free the memory; nothing may be queued."""
        if self._source is not None:
            self._source.free()
            self._source = None
        self._memory.free()

    def _clip(self, spec: StreamInput) -> _Clip:
        frames, size = self._manifest.clip.frames, slot_bytes((spec.channels, spec.crop, spec.crop))
        resampling = to_network_frame(spec, self._manifest.geometry.width, self._manifest.geometry.height)
        ring = DeviceRing(self._memory.allocate(2 * frames * size), frames, size)
        return _Clip(spec, ring, DeviceResampling(resampling, self._memory.uploaded(resampling.taps)))

    def _source_for(self, region: NDArray[np.uint8], first: bool) -> _Source:
        source = self._source
        if source is not None and source.size == region.shape[:2]:
            return source
        if not first:
            raise EngineError(
                f"a frame whose used region is {region.shape[1]} x {region.shape[0]} px follows one of another size. "
                "A source must not change its size within a segment: restart the camera at its configured size."
            )
        if source is not None:
            self._device.wait()
            source.free()
            self._source = None
        self._source = _Source(self._device, self._manifest.geometry, region.shape[0], region.shape[1])
        return self._source


class _Clip:
    """One stream's ring, and how a frame gets into it."""

    def __init__(self, spec: StreamInput, ring: DeviceRing, resampling: DeviceResampling) -> None:
        self.spec, self.ring, self.resampling = spec, ring, resampling


class _Source:
    """Page-locked and device memory for frames of one size."""

    def __init__(self, device: CudaDevice, geometry: WorkingGeometry, height: int, width: int) -> None:
        self._device, self._memory = device, DeviceMemory(device)
        self.size = (height, width)
        resampling, left, top = to_working_frame(geometry, width, height)
        try:
            self._staged = self._memory.pinned((2, height, width, 3), np.uint8)
            self._uploaded = (device.event(), device.event())
            self._turn = 0
            address = self._memory.allocate(3 * height * width)
            self.region = Region(address, width, height, left, top, geometry.light == "infrared")
            self.resampling = DeviceResampling(resampling, self._memory.uploaded(resampling.taps))
        except BaseException:
            self._memory.free()
            raise

    def upload(self, region: NDArray[np.uint8]) -> None:
        """Queue the upload of a frame's region."""
        self._turn = 1 - self._turn
        staged, uploaded = self._staged[self._turn], self._uploaded[self._turn]
        uploaded.synchronize()
        np.copyto(staged, region)
        self._device.upload(self.region.address, staged)
        uploaded.record(self._device.stream)

    def free(self) -> None:
        self._memory.free()


def _region(image: NDArray[np.uint8], roi: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise EngineError(
            f"expected a frame of (H, W, 3) uint8 RGB, found {image.dtype} of {image.shape}. Convert it before."
        )
    if roi is None:
        return image
    x, y, width, height = roi
    region = image[y : y + height, x : x + width]
    if region.shape[:2] != (height, width):
        raise EngineError(
            f"the region of interest {list(roi)} reaches outside a frame of {image.shape[1]} x {image.shape[0]} px. "
            "Set the region inside the picture."
        )
    return region
