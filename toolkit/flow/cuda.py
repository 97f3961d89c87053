"""TV-L1 on the GPU: the kernels of `tvl1.cu`, for one pair with least latency and for a batch with most throughput.

Images, pyramids and flow stay on the device; the newest frame's pyramid serves the next pair. What one pair launches is
captured once as a CUDA graph. Most warps converge in their first rounds of iterations, so only `USUAL_ROUNDS` are
launched; a pair that needs more says so, and is done again with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import FlowError
from toolkit.flow.contract import MIN_SIDE_PX, FlowParameters, check_pair
from toolkit.flow.cpu import IMPLEMENTATION, check_supported
from toolkit.flow.cuda_driver import CudaDevice, CudaGraph, why_not_here
from toolkit.flow.cuda_plan import CONTROL, Addresses, Launch, Layout, flow_launches, pyramid_launches

USUAL_ROUNDS = 2


class CudaFlow:
    """TV-L1 on one GPU, with memory for one size of image at a time; a context manager.

    Parameters
    ----------
    parameters
        TV-L1's parameters; gamma must be 0 and the median 1, 3 or 5 px.
    device
        Number of the CUDA device.
    batch
        Pairs that `flow_batch` computes at a time.

    Raises
    ------
    FlowError
        If PyCUDA, a device or nvcc is missing, or the GPU is out of memory.
    """

    def __init__(self, parameters: FlowParameters, *, device: int = 0, batch: int = 32) -> None:
        check_supported(parameters)
        self._parameters, self._batch = parameters, batch
        self._device = CudaDevice(device)
        self._stream: _Work | None = None
        self._bulk: _Work | None = None
        self._newest: NDArray[np.uint8] | None = None
        self._slot = 0
        self._has_flow = False

    @staticmethod
    def available() -> str | None:
        """Return None if there are PyCUDA and a device, else what is missing."""
        return why_not_here()

    @property
    def parameters(self) -> FlowParameters:
        """The parameter set it runs."""
        return self._parameters

    @property
    def implementation(self) -> str:
        """`IMPLEMENTATION`, the CPU's too: both give the same bits."""
        return IMPLEMENTATION

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate (H, W, 2) float32 flow in px per frame; see `FlowEstimator.flow`."""
        check_pair(previous, current)
        with self._device.current():
            work = self._work_for_pairs(current.shape)
            if self._newest is None or not np.array_equal(self._newest, previous):
                self._push(work, previous)
            self._push(work, current)
            self._newest = current.copy()
            flow: NDArray[np.float32] = self._solve(work, 1 - self._slot, self._slot)[0]
        return flow

    @property
    def stream(self) -> Any:
        """The stream of the device's primary context on which flow is computed, for whoever must wait for it."""
        return self._device.stream

    def flow_on_device(self, grey: int, height: int, width: int) -> int | None:
        """Estimate the flow from the last frame given here or to `flow` to one that is on the device already.

        Parameters
        ----------
        grey
            Device address of (height, width) uint8 grey levels; read before this returns.

        Returns
        -------
        int or None
            Device address of (height, width, 2) float32, px per frame, x then y, complete and valid until the next
            call; None for the first frame of its size.
        """
        self.begin_on_device(grey, height, width)
        return self.finish_on_device()

    def begin_on_device(self, grey: int, height: int, width: int, *, first: bool = False) -> None:
        """Queue what `flow_on_device` does, and return; `grey` is read until `finish_on_device` has returned.

        `first`: there is no flow to this frame, whatever came before it.
        """
        if min(height, width) < MIN_SIDE_PX:
            raise FlowError(f"optical flow needs at least {MIN_SIDE_PX} px a side, found {width} x {height}.")
        with self._device.current():
            work = self._work_for_pairs((height, width))
            self._slot = 1 - self._slot
            self._device.launch(pyramid_launches(work.layout, work.addresses, grey, self._slot, 1))
            self._has_flow = work.pushed and not first
            work.pushed, self._newest = True, None
            if self._has_flow:
                self._queue(work, 1 - self._slot, self._slot, USUAL_ROUNDS, download=False)

    def finish_on_device(self) -> int | None:
        """Wait for what `begin_on_device` queued, and return what `flow_on_device` does."""
        work = self._stream
        if work is None:
            raise FlowError("there is no flow on the device to finish: begin it first.")
        with self._device.current():
            if not self._has_flow:
                self._device.wait()
                return None
            self._finish(work, 1 - self._slot, self._slot, download=False)
        return work.addresses.out

    def flow_batch(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate the flow between successive frames, many pairs at a time.

        Parameters
        ----------
        frames
            (N + 1, H, W) uint8 grey images.

        Returns
        -------
        (N, H, W, 2) float32
            px per frame, x then y.
        """
        if frames.ndim != 3 or len(frames) < 2:
            raise FlowError(f"a batch of flow needs (N, H, W) frames, N at least 2; found shape {frames.shape}.")
        check_pair(frames[0], frames[1])
        pairs = len(frames) - 1
        flow = np.empty((pairs, *frames.shape[1:], 2), dtype=np.float32)
        with self._device.current():
            work = self._work_for_batches(frames.shape[1:])
            for start in range(0, pairs, work.layout.pairs):
                part = frames[start : start + work.layout.slots]
                # A short last part repeats its last frame, whose flow to itself is not asked for.
                work.grey[: len(part)] = part
                work.grey[len(part) :] = part[-1]
                self._upload(work, 0, work.layout.slots)
                done = len(part) - 1
                flow[start : start + done] = self._solve(work, 0, 1)[:done]
        return flow

    def close(self) -> None:
        """Free the device's memory and let go of it."""
        try:
            for work in (self._stream, self._bulk):
                if work is not None:
                    with self._device.current():
                        work.free()
        finally:
            self._stream = self._bulk = self._newest = None
            self._device.close()

    def __enter__(self) -> CudaFlow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work_for_pairs(self, shape: tuple[int, ...]) -> _Work:
        if self._stream is None or self._stream.shape != shape:
            if self._stream is not None:
                self._stream.free()
            self._stream, self._newest = None, None
            self._stream = _Work.of(self._device, Layout(shape[1], shape[0], 1, 2, self._parameters))
        return self._stream

    def _work_for_batches(self, shape: tuple[int, ...]) -> _Work:
        if self._bulk is None or self._bulk.shape != shape:
            if self._bulk is not None:
                self._bulk.free()
            self._bulk = None
            layout = Layout(shape[1], shape[0], self._batch, self._batch + 1, self._parameters)
            self._bulk = _Work.of(self._device, layout)
        return self._bulk

    def _push(self, work: _Work, image: NDArray[np.uint8]) -> None:
        self._slot = 1 - self._slot
        # The last copy out of it is done: every solve waits.
        work.grey[self._slot] = image
        self._upload(work, self._slot, 1)
        work.pushed = True

    def _upload(self, work: _Work, slot: int, count: int) -> None:
        address = work.grey_address + slot * work.layout.plane
        self._device.upload(address, work.grey[slot : slot + count])
        self._device.launch(pyramid_launches(work.layout, work.addresses, address, slot, count))

    def _solve(self, work: _Work, first: int, second: int) -> NDArray[np.float32]:
        """Estimate the batch's flow and return it, borrowed until the next call."""
        self._queue(work, first, second, USUAL_ROUNDS, download=True)
        self._finish(work, first, second, download=True)
        return work.flow

    def _finish(self, work: _Work, first: int, second: int, *, download: bool) -> None:
        self._device.wait()
        if (work.controls["unfinished"] != 0).any() or (work.controls["stopped"] == 0).any():
            self._queue(work, first, second, None, download=download)
            self._device.wait()

    def _queue(self, work: _Work, first: int, second: int, rounds: int | None, *, download: bool) -> None:
        key = (first, rounds)
        if key not in work.launches:
            launches = tuple(flow_launches(work.layout, work.addresses, first, second, rounds))
            # A batch is launched seldom and holds the GPU long; a single pair is over before the host has launched it.
            graph = self._device.capture(lambda: self._device.launch(launches)) if work.layout.pairs == 1 else None
            work.launches[key] = graph or launches
        queued = work.launches[key]
        if isinstance(queued, CudaGraph):
            queued.replay()
        else:
            self._device.launch(queued)
        if download:
            self._device.download(work.flow, work.addresses.out)
        self._device.download(work.controls, work.addresses.controls)


@dataclass
class _Work:
    """Memory for one layout, on both sides."""

    layout: Layout
    memory: list[Any]
    addresses: Addresses
    grey_address: int
    grey: NDArray[np.uint8]
    """(slots, H, W) uint8, page-locked."""
    flow: NDArray[np.float32]
    """(pairs, H, W, 2) float32, page-locked."""
    controls: NDArray[np.void]
    launches: dict[tuple[int, int | None], CudaGraph | tuple[Launch, ...]]
    """By first slot and rounds: what computes the flow."""
    pushed: bool = False
    """There is a frame that the next one's flow starts from."""

    @classmethod
    def of(cls, device: CudaDevice, layout: Layout) -> _Work:
        memory: list[Any] = []
        shape = (layout.height, layout.width)
        try:
            for size in (layout.slots * layout.plane, *layout.sizes().values()):
                memory.append(device.allocate(size))
            grey = device.pinned((layout.slots, *shape), np.uint8)
            flow = device.pinned((layout.pairs, *shape, 2), np.float32)
            controls = device.pinned((layout.pairs,), CONTROL)
        except BaseException:
            for block in memory:
                block.free()
            raise
        addresses = Addresses(**dict(zip(layout.sizes(), map(int, memory[1:]), strict=True)))
        return cls(layout, memory, addresses, int(memory[0]), grey, flow, controls, {})

    @property
    def shape(self) -> tuple[int, int]:
        return self.layout.height, self.layout.width

    def free(self) -> None:
        for queued in self.launches.values():
            if isinstance(queued, CudaGraph):
                queued.free()
        for block in self.memory:
            block.free()
