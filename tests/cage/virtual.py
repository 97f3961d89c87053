"""A daemon in a time that passes only where work is done or a frame is waited for.

The daemon, its queue, its pipeline and its log are real; the clocks, the camera's pace and what flow and networks cost
are made up. So hours of overload take seconds, and come out the same every time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import Self

from tests.behaviour_log.sessions import NOON_NS
from tests.bundles import manifest
from tests.cage.parts import config
from toolkit.behaviour_log import BehaviourLog, ClockReading, Reason, read_log
from toolkit.bundle import Bundle
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.capture import Delivery, FrameQueue
from toolkit.cage.daemon import run
from toolkit.cage.recovery import SourceState
from toolkit.cage.summary import Summary
from toolkit.cage.watch import Parts
from toolkit.clips import ClipGeometry, clip_indices
from toolkit.engine.host import HostNetworks
from toolkit.flow import PARAMETER_SETS, FlowParameters
from toolkit.frames import NS_PER_S, Frame, is_consecutive

FPS = 30.0
LEVELS = 200
"""A frame's grey level is its number, modulo this."""

Cost = Callable[[float], float]
"""Seconds that work takes, by the seconds since the start."""


@dataclass
class Clock:
    """Stands in for the module `time`."""

    begun_ns: int = 1_000 * NS_PER_S
    now_ns: int = 1_000 * NS_PER_S

    def monotonic_ns(self) -> int:
        return self.now_ns

    perf_counter_ns = monotonic_ns

    def monotonic(self) -> float:
        return self.now_ns / NS_PER_S

    def read(self) -> ClockReading:
        return ClockReading(self.now_ns, self.now_ns - self.begun_ns + NOON_NS, True)

    def work(self, cost: Cost) -> None:
        self.now_ns += round(cost((self.now_ns - self.begun_ns) / NS_PER_S) * NS_PER_S)


class WorkingFlow:
    """A flow that takes its time; x = by how much grey levels rose, in px."""

    parameters: FlowParameters = PARAMETER_SETS["fast"]
    implementation = "working"

    def __init__(self, clock: Clock, cost: Cost) -> None:
        self._clock, self._cost = clock, cost

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._clock.work(self._cost)
        return np.full((*previous.shape, 2), float(current[0, 0]) - float(previous[0, 0]), dtype=np.float32)


class WorkingBackend:
    """A network that takes its time and remembers what it was shown: a number for each frame of each clip."""

    identity = "working/cpu/fp32"

    def __init__(self, clock: Clock, cost: Cost) -> None:
        self._clock, self._cost = clock, cost
        self.seen: list[NDArray[np.float32]] = []

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        self._clock.work(self._cost)
        self.seen.append(clips[0, 0, :, 0, 0].copy())
        return np.array([[0, 0, 0, 0, 0, 0, 2, 0]], dtype=np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class VirtualCapture:
    """Stands in for `CaptureThread`: offers the queue what the camera delivered while the daemon worked."""

    def __init__(self, world: World, queue_frames: int) -> None:
        self._world = world
        self.queue = FrameQueue(queue_frames)
        self.source = SourceState()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def deliveries(self, stop: threading.Event, tick_s: float) -> Iterator[Delivery | None]:
        del tick_s
        world, frames = self._world, self._world.frames()
        due = next(frames, None)
        while not stop.is_set():
            while due is not None and due.capture_time_ns <= world.clock.now_ns:
                self.queue.offer(due)
                due = next(frames, None)
            world.deepest = max(world.deepest, len(self.queue))
            delivery = self.queue.take(0.0)
            if delivery is not None:
                world.taken.append(delivery.frame)
                yield delivery
            elif due is None:
                break
            else:
                world.clock.now_ns = due.capture_time_ns
        self.queue.end()


@dataclass
class World:
    """A camera, and what flow and networks cost."""

    seconds: float
    flow_s: Cost
    window_s: Cost
    clock: Clock = field(default_factory=Clock)
    taken: list[Frame] = field(default_factory=list)
    """What the daemon took from the queue."""
    deepest: int = 0
    """Most frames that were waiting."""

    def __post_init__(self) -> None:
        self.info = CameraInfo("virtual", 64, 48, FPS, live=True, frames=None, hole=Reason.CAMERA_LOST)
        self.rgb = WorkingBackend(self.clock, self.window_s)
        self.motion = WorkingBackend(self.clock, lambda _: 0.0)

    def frames(self) -> Iterator[Frame]:
        """Yield what the camera delivers, when it is due."""
        for index in range(round(self.seconds * FPS)):
            image = np.full((48, 64, 3), index % LEVELS, dtype=np.uint8)
            yield Frame(index, self.clock.begun_ns + round(index * NS_PER_S / FPS), image)

    def parts(self) -> Parts:
        described = manifest()
        networks = HostNetworks(described, WorkingFlow(self.clock, self.flow_s), {"rgb": self.rgb, "flow": self.motion})
        return Parts(Bundle(Path("none"), described, "b" * 64), self, networks)  # type: ignore[arg-type]


def watched(world: World, folder: Path, parts: Parts | None = None, **tables: Any) -> tuple[Summary, BehaviourLog]:
    """Run a daemon to the camera's end, and return what it says and what it logged."""
    with pytest.MonkeyPatch.context() as patched:
        for module in ("watch", "stages"):
            patched.setattr(f"toolkit.cage.{module}.time", world.clock)
        for module in ("watch", "daemon"):
            patched.setattr(f"toolkit.cage.{module}.read_clock", world.clock.read)
        patched.setattr(
            "toolkit.cage.daemon.CaptureThread", lambda _camera, size, _recovery: VirtualCapture(world, size)
        )
        summary = run(config(folder, **tables), stop=threading.Event(), parts=parts or world.parts())
    return summary, read_log(folder / "log")


def segments(frames: list[Frame]) -> list[list[Frame]]:
    """Cut frames where one does not follow the other."""
    cut: list[list[Frame]] = []
    for frame in frames:
        if cut and is_consecutive(cut[-1][-1].capture_time_ns, frame.capture_time_ns, FPS):
            cut[-1].append(frame)
        else:
            cut.append([frame])
    return cut


def assert_no_clip_crosses_a_gap(world: World, log: BehaviourLog) -> None:
    """Assert that each row's clip held its own segment's frames and their flow, as `clip_indices` says."""
    geometry = ClipGeometry()
    places = {frame.index: (segment, place) for segment in segments(world.taken) for place, frame in enumerate(segment)}
    assert len(world.rgb.seen) == len(world.motion.seen) == len(log.time_ns)
    for index, image, flow in zip(log.source_index.tolist(), world.rgb.seen, world.motion.seen, strict=True):
        segment, place = places[index]
        levels = [frame.index % LEVELS for frame in segment]
        rises = [b - a for a, b in itertools.pairwise(levels)] or [0]
        rises = np.clip([rises[0], *rises] if len(levels) > 1 else rises, -20, 20)
        shown = clip_indices(place, len(segment), geometry)
        assert np.rint((image + 1) * 127.5).astype(int).tolist() == [levels[i] for i in shown]
        assert np.allclose(flow * 20, rises[shown], atol=0.1)


def assert_covered_once(log: BehaviourLog) -> None:
    """Assert that rows and unobserved intervals follow one another without a hole."""
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    assert all(start < stop for start, stop in spans)
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
