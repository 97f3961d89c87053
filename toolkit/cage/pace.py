"""How a daemon keeps up: which frames it classifies, from what a frame and a window cost.

Every frame of a window needs its flow, so a frame costs `frame_s` whether it is classified or not, and a window costs
`window_s` more. At a stride s a second of frames is a load of (frame_s + window_s / s) / frame interval. Up to 1 the
daemon keeps up. Beyond it first the stride grows; where no stride is enough, the frame queue passes on bursts of
consecutive frames and drops what lies between them (`toolkit.cage.capture`). A burst's length does not change how
much is seen: while c seconds are spent on a frame, 1 in c / interval is processed, however the others are dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from toolkit.bundle import Manifest
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.stages import ADMIT, INFER, Stages
from toolkit.errors import ConfigError

ROOM = 0.9
"""Load at which a stride is taken to keep up: clocks are read, commits come late, costs vary."""

SHRINK_ROOM = 0.8
"""Load below which a smaller stride is gone back to."""

LOSS = 0.1
"""In bursts a larger stride must save so much of a frame's cost, or its fewer rows are not worth it."""

SHRINK_LOSS = 0.05

HOLD_S = 10.0
"""Time after a change of stride before it shrinks."""

BACKLOG = 0.25
"""Share of the queue that must be waiting before the stride grows: whoever keeps up is not measured."""

FRAMES = 32
WINDOWS = 16
"""Costs are means of about so many."""

Regime = Literal["every window", "stride", "bursts"]


@dataclass(frozen=True, slots=True)
class Costs:
    """What work takes."""

    frame_s: float
    """Of each frame: flow, preprocessing, and everything else but the networks."""
    window_s: float
    """Of each frame that is classified: the networks."""

    def at(self, stride: int) -> float:
        """Return the seconds per frame where every `stride`-th is classified."""
        return self.frame_s + self.window_s / stride


@dataclass(frozen=True, slots=True)
class Demand:
    """What a camera and a configuration ask for."""

    interval_s: float
    """From frame to frame, at the networks' rate."""
    stride: int
    """Every n-th frame is classified where the machine is fast enough."""
    max_stride: int
    """Largest stride under overload; not below `stride`."""
    queue_frames: float
    """Frames that can wait, at the networks' rate."""
    frames_after: int
    """Frames of a clip after its centre."""


def demand_of(config: CageConfig, manifest: Manifest, info: CameraInfo) -> Demand:
    """Return what a cage asks of its machine.

    Raises
    ------
    ConfigError
        If the queue is too short for a burst of a clip's frames and one more.
    """
    # A faster camera's frames are decimated after the queue.
    ratio = max(1.0, info.fps / manifest.geometry.fps)
    needed = math.ceil((manifest.clip.frames + 1) * ratio)
    if config.camera.queue_frames < needed:
        raise ConfigError(
            f"camera.queue_frames: expected at least {needed}, a clip's {manifest.clip.frames} frames and one more at "
            f"{info.fps:g} frames per second; found {config.camera.queue_frames}. Set it to {needed} or more."
        )
    return Demand(
        interval_s=1 / manifest.geometry.fps,
        stride=config.cage.stride,
        max_stride=config.cage.max_stride,
        queue_frames=config.camera.queue_frames / ratio,
        frames_after=manifest.clip.after,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will become of a demand."""

    regime: Regime
    stride: int
    load: float
    """Seconds of work per second of frames."""
    coverage: float
    """Share of the time that is observed."""
    latency_s: float
    """From a frame to its row, at most (not counting a machine that is busy otherwise)."""


def stride_for(costs: Costs, demand: Demand, room: float = ROOM, loss: float = LOSS) -> int:
    """Return the smallest stride that keeps up; where none does, the smallest that sees nearly as much as the largest.

    Parameters
    ----------
    room
        Load that counts as keeping up.
    loss
        By how much more than at the largest stride a frame may cost, in bursts.
    """
    strides = range(demand.stride, max(demand.stride, demand.max_stride) + 1)
    for stride in strides:
        if costs.at(stride) <= room * demand.interval_s:
            return stride
    if costs.at(strides[-1]) <= demand.interval_s:
        return strides[-1]
    return next(stride for stride in strides if costs.at(stride) <= (1 + loss) * costs.at(strides[-1]))


def forecast(costs: Costs, demand: Demand) -> Forecast:
    """Return how a daemon with these costs will do."""
    stride = stride_for(costs, demand)
    frame_s = costs.at(stride)
    load = frame_s / demand.interval_s
    if load > 1:
        waiting = demand.queue_frames + demand.frames_after + 1
        return Forecast("bursts", stride, load, 1 / load, waiting * frame_s)
    # Frames of a stride are not all alike: the one that is classified may take longer than a frame's interval.
    latency_s = demand.frames_after * demand.interval_s + costs.frame_s + costs.window_s
    return Forecast("every window" if stride == demand.stride else "stride", stride, load, 1.0, latency_s)


class Pace:
    """Chooses the stride while a daemon runs.

    It grows at once where frames wait and another stride would do better; it shrinks after a while without a change,
    to one that leaves more room.
    """

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self.stride = demand.stride
        self._changed_s = -float("inf")
        self.forget()

    def forget(self) -> None:
        """Forget what work took: other engines do it now."""
        self._frame, self._window = _Mean(FRAMES), _Mean(WINDOWS)
        self._before: tuple[int, int, int] | None = None
        self._spent_ns = 0

    @property
    def costs(self) -> Costs:
        """What work takes, by the newest frames and windows."""
        return Costs(self._frame.value, self._window.value)

    def note(self, spent_ns: int, stages: Stages) -> None:
        """Take account of a frame.

        Parameters
        ----------
        spent_ns
            On everything, the frame's networks and the log included.
        stages
            Of all frames up to this one.
        """
        admit, infer = stages[ADMIT], stages[INFER]
        before, now = self._before, (admit.count, infer.count, infer.spent_ns)
        self._spent_ns += spent_ns
        if before is None:
            self._before, self._spent_ns = now, 0
            return
        if now[0] == before[0]:
            # A frame that a faster camera delivered between two of the networks' is part of the next one's cost.
            return
        frames, windows, infer_ns = (a - b for a, b in zip(now, before, strict=True))
        self._frame.add(max(0, self._spent_ns - infer_ns) / 1e9 / frames)
        if windows:
            self._window.add(infer_ns / 1e9 / windows)
        self._before, self._spent_ns = now, 0

    def adjust(self, waiting: float, now_s: float) -> bool:
        """Choose the stride anew; return whether it is another one.

        Parameters
        ----------
        waiting
            Share of the queue that is full, 0 to 1.
        now_s
            Monotonic time.
        """
        if not self._window.count:
            return False
        stride = self.stride
        if waiting >= BACKLOG:
            stride = max(stride, stride_for(self.costs, self._demand))
        elif now_s - self._changed_s >= HOLD_S:
            stride = min(stride, stride_for(self.costs, self._demand, SHRINK_ROOM, SHRINK_LOSS))
        if stride == self.stride:
            return False
        self.stride, self._changed_s = stride, now_s
        return True


class _Mean:
    """A mean that forgets: of all values at first, later of about the newest `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) / min(self.count, self._size)
