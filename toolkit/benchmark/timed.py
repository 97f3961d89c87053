"""Measures the parts of a pipeline from outside: each part is wrapped, and the hot path is left as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter_ns
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.engine.contract import Backend, ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.flow import FlowEstimator, FlowParameters, close_flow
from toolkit.preprocess import Stream

CAPTURE = "capture"
FLOW = "flow"
PREPROCESS = "preprocess"
FUSION = "fusion"
LOG_ROW = "log row"
LOG_COMMIT = "log commit"
FRAME_TO_ROW = "frame to row"
FRAME_TO_COMMIT = "frame to committed row"

DEVICE_ADMIT = "upload, flow, preprocess"
DEVICE_INFER = "engines"

_Result = TypeVar("_Result")


def engine_stage(stream: Stream) -> str:
    """Return the name of a stream's engine as a stage."""
    return f"engine {stream}"


class Stopwatch:
    """Durations by stage since it was last emptied, ms."""

    def __init__(self) -> None:
        self._durations_ms: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time what is done within."""
        begun_ns = perf_counter_ns()
        yield
        self.add(stage, perf_counter_ns() - begun_ns)

    def call(self, stage: str, function: Callable[[], _Result]) -> _Result:
        """Time a call."""
        with self.time(stage):
            return function()

    def add(self, stage: str, duration_ns: int) -> None:
        """Record a duration."""
        self._durations_ms[stage].append(duration_ns / 1e6)

    def newest_ms(self, stage: str) -> float:
        """Return a stage's newest duration, ms; 0 if there is none."""
        return self._durations_ms[stage][-1] if self.count(stage) else 0.0

    def count(self, stage: str) -> int:
        """Return how many durations of a stage there are."""
        return len(self._durations_ms[stage]) if stage in self._durations_ms else 0

    def take(self) -> dict[str, list[float]]:
        """Return all durations, ms, and begin anew."""
        taken = dict(self._durations_ms)
        self._durations_ms.clear()
        return taken


class TimedFlow:
    """A flow estimator that is timed."""

    def __init__(self, inner: FlowEstimator, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch

    @property
    def parameters(self) -> FlowParameters:
        """The inner estimator's."""
        return self._inner.parameters

    @property
    def implementation(self) -> str:
        """The inner estimator's."""
        return self._inner.implementation

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate (H, W, 2) flow; see `FlowEstimator.flow`."""
        with self._watch.time(FLOW):
            return self._inner.flow(previous, current)

    def close(self) -> None:
        """Free what the inner estimator holds."""
        close_flow(self._inner)


class TimedBackend:
    """A backend that is timed; an upload and a download of its own are part of it."""

    def __init__(self, stream: Stream, inner: Backend, watch: Stopwatch) -> None:
        self._stage, self._inner, self._watch = engine_stage(stream), inner, watch

    @property
    def identity(self) -> str:
        """The inner backend's."""
        return self._inner.identity

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see `Backend.infer`."""
        with self._watch.time(self._stage):
            return self._inner.infer(clips)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class TimedNetworks:
    """`ClipNetworks` whose parts are timed: on the host flow, preprocessing and each engine.

    On a device all of a frame is queued by one call and waited for by another; only these two can be told apart from
    outside.
    """

    def __init__(self, networks: ClipNetworks, watch: Stopwatch) -> None:
        self._watch = watch
        self._on_host = isinstance(networks, HostNetworks)
        self._inner: ClipNetworks = networks
        if isinstance(networks, HostNetworks):
            self._inner = networks.wrapped(
                lambda estimator: TimedFlow(estimator, watch),
                lambda stream, backend: TimedBackend(stream, backend, watch),
            )

    @property
    def engines(self) -> Mapping[str, str]:
        """The inner networks'."""
        return self._inner.engines

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Take the next (H, W, 3) uint8 frame; see `ClipNetworks.admit`."""
        if not self._on_host:
            self._watch.call(DEVICE_ADMIT, lambda: self._inner.admit(image, first=first))
            return
        flows = self._watch.count(FLOW)
        begun_ns = perf_counter_ns()
        self._inner.admit(image, first=first)
        spent_ns = perf_counter_ns() - begun_ns
        if self._watch.count(FLOW) > flows:
            spent_ns -= round(self._watch.newest_ms(FLOW) * 1e6)
        self._watch.add(PREPROCESS, spent_ns)

    def repeat(self) -> None:
        """Admit the newest frame once more."""
        self._inner.repeat()

    def infer(self) -> NDArray[np.float32]:
        """Return the (S, K) logits; see `ClipNetworks.infer`."""
        return self._inner.infer() if self._on_host else self._watch.call(DEVICE_INFER, self._inner.infer)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)
