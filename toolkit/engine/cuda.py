"""A bundle's networks on a stream of frames, by one GPU: frames go up once, only logits come back.

Verified on an NVIDIA H100 with torch's networks in the place of TensorRT's engines, which no such machine could run.
Kernels, order and lifetime are tested on a CPU too (docs/device-runtime.md says what that shows).

Engines run as CUDA graphs, one per engine and address of a clip, where the driver and TensorRT can capture them
(`toolkit.engine.graphs`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import Manifest
from toolkit.engine.contract import engine_names
from toolkit.engine.device import find_gpu
from toolkit.engine.device_memory import ALIGNMENT, DeviceMemory, slot_bytes
from toolkit.engine.graphs import GraphedPlan
from toolkit.engine.plan import OpenPlan, PlanFile
from toolkit.engine.resident import ResidentClips
from toolkit.engine.tensors import GraphShape
from toolkit.errors import EngineError, FlowError
from toolkit.flow import close_flow
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.cuda_driver import CudaDevice, CudaUser
from toolkit.preprocess import Stream

KERNELS = Path(__file__).parent / "preprocess.cu"
USER = CudaUser("the device runtime", EngineError)


@dataclass(frozen=True)
class _Engine:
    """One stream's plan, ready to be queued, and where its logits go."""

    inferences: GraphedPlan
    device_logits: int
    host_logits: NDArray[np.float32]
    """(1, K) float32, page-locked: a row of `_Open.logits`."""


@dataclass(frozen=True)
class _Open:
    """Everything that lives on the device between entering and leaving."""

    device: CudaDevice
    clips: ResidentClips
    engines: Mapping[Stream, _Engine]
    """RGB first: its network runs while flow is computed."""
    logits: NDArray[np.float32]
    """(S, K) float32, page-locked, streams in the bundle's order."""


class DeviceNetworks:
    """`ClipNetworks` on a GPU: `HostNetworks` to the bit, up to what the engines round.

    The primary context of the device is used, and current only during calls; the thread that enters must leave, since
    PyCUDA ties a context to the thread that made it.

    Parameters
    ----------
    manifest
        The bundle's: geometry, inputs, clip.
    plans
        One per stream, on one device.
    flow
        On that device; None for a bundle without a flow stream. Closed with this object, which can be entered once.
    """

    def __init__(self, manifest: Manifest, plans: Mapping[Stream, PlanFile], flow: CudaFlow | None) -> None:
        self._manifest = manifest
        self._plans = {stream: plans[stream] for stream in manifest.streams}
        self._flow = flow
        self._open: _Open | None = None
        self._was_entered = False
        self._entered = ExitStack()

    @staticmethod
    def why_not(manifest: Manifest) -> str | None:
        """Return why a bundle's frames cannot stay on a GPU that runs its engines, or None if they can."""
        for spec in manifest.inputs:
            if slot_bytes((spec.channels, spec.crop, spec.crop)) % ALIGNMENT:
                return f"{spec.stream}: a frame of {spec.crop} x {spec.crop} px is not a multiple of {ALIGNMENT} bytes"
        if shutil.which("nvcc") is None:
            return "nvcc, which compiles the kernels once, is not on PATH"
        return None

    @property
    def engines(self) -> dict[str, str]:
        """What computes, by stream and ``optical flow``."""
        return engine_names(self._plans, self._flow)

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Take the next (H, W, 3) uint8 RGB frame; see `ClipNetworks.admit`. Returns before the device is done.

        Raises
        ------
        EngineError
            If the frame's shape or dtype is wrong, or the device fails.
        """
        with self._running() as run:
            run.clips.admit(image, first=first)

    def repeat(self) -> None:
        """Admit the newest frame and its flow once more."""
        with self._running() as run:
            run.clips.repeat()

    def infer(self) -> NDArray[np.float32]:
        """Return the (S, K) float32 logits of the clips.

        It waits for them, so whatever is admitted next may overwrite what the engines have read.
        """
        with self._running() as run:
            for stream, engine in run.engines.items():
                if stream == "flow":
                    run.clips.finish_flow()
                queue = run.clips.stream(stream)
                engine.inferences.enqueue(run.clips.clip(stream))
                run.device.download(engine.host_logits, engine.device_logits, queue)
            for stream in run.engines:
                run.clips.stream(stream).synchronize()
            logits: NDArray[np.float32] = run.logits.copy()
            return logits

    def __enter__(self) -> Self:
        if self._was_entered:
            raise EngineError(f"{self._manifest.name}: networks can be opened once, and were before. Make new ones.")
        self._was_entered = True
        with ExitStack() as stack:
            if self._flow is not None:
                stack.callback(close_flow, self._flow)
            ordinal = next(iter(self._plans.values())).device
            find_gpu(ordinal)
            device = CudaDevice(ordinal, kernels=KERNELS, user=USER)
            stack.callback(device.close)
            with device.current():
                self._open = self._opened(device, stack)
            stack.callback(setattr, self, "_open", None)
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)

    @contextmanager
    def _running(self) -> Iterator[_Open]:
        """Make the context current, and flow's errors engine errors: one kind for whoever runs networks."""
        run = self._open
        if run is None:
            raise EngineError(f"{self._manifest.name}: the networks are not open. Use them inside a with block.")
        try:
            with run.device.current():
                yield run
        except FlowError as error:
            raise EngineError(str(error)) from error

    def _opened(self, device: CudaDevice, stack: ExitStack) -> _Open:
        """Open everything on the device, and leave to `stack` what closes it again, last first."""

        def on_exit(free: Callable[[], object]) -> None:
            stack.callback(_with_context, device, free)

        clips = ResidentClips(device, self._manifest, self._flow)
        on_exit(clips.free)
        memory = DeviceMemory(device)
        on_exit(memory.free)
        logits = memory.pinned((len(self._plans), len(self._manifest.ethogram)), np.float32)
        engines: dict[Stream, _Engine] = {}
        for row, (stream, file) in enumerate(self._plans.items()):
            plan = file.open()
            on_exit(plan.close)
            self._check(stream, plan)
            plan.set_batch(1)
            address = memory.allocate(logits[row].nbytes)
            inferences = GraphedPlan(device, plan, address, clips.stream(stream))
            on_exit(inferences.free)
            engines[stream] = _Engine(inferences, address, logits[row : row + 1])
        # Leaving begins here: what is still queued must end before its memory goes.
        for queue in {id(queue): queue for queue in (device.stream, *map(clips.stream, engines))}.values():
            on_exit(queue.synchronize)
        return _Open(device, clips, dict(sorted(engines.items(), reverse=True)), logits)

    def _check(self, stream: Stream, plan: OpenPlan) -> None:
        spec = next(spec for spec in self._manifest.inputs if spec.stream == stream)
        expected = GraphShape(
            channels=spec.channels,
            frames=self._manifest.clip.frames,
            height=spec.crop,
            width=spec.crop,
            classes=len(self._manifest.ethogram),
        )
        if plan.shape != expected:
            raise EngineError(f"{plan.path}: expected {expected}, found {plan.shape}. Run: toolkit build-engine")


def _with_context(device: CudaDevice, free: Callable[[], object]) -> None:
    # A device that is lost has nothing left to free, and its error was said where it was met.
    with suppress(EngineError), device.current():
        free()
