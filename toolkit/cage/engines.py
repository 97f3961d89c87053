"""A daemon's networks while it runs: timed, opened again where they fail, and replaced where that does not help.

A failed device may take its context with it, so nothing of the old networks is used again. A failure long after the
one before is mended by opening the same engine; another one within `WINDOW_S` is answered by `[engine] on_failure`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import Bundle
from toolkit.cage.config import EngineTable
from toolkit.cage.stages import ADMIT, INFER, Stages
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.select import EngineChoice, choose_engine
from toolkit.errors import EngineError, ToolkitError
from toolkit.flow import FlowChoice
from toolkit.flow.select import why_absent

if TYPE_CHECKING:
    from toolkit.engine.build import BuildProgress

WINDOW_S = 600.0
"""Failures at least so far apart are mended one by one."""


class NetworkSource(Protocol):
    """Where a daemon gets networks from once those that it began with have failed."""

    def open(self) -> ClipNetworks:
        """Return networks by the engine that is in use, not entered yet.

        Raises
        ------
        ToolkitError
            If they cannot be had.
        """
        ...

    def fall_back(self) -> bool:
        """Take the next engine into use; False where there is none."""
        ...

    @property
    def fallen_back(self) -> bool:
        """Whether another engine is in use than was configured."""
        ...


@dataclass(frozen=True, slots=True)
class EngineState:
    """How a daemon's engines do."""

    failures: int = 0
    fault: str | None = None
    """The newest failure."""
    fallen_back: bool = False
    """Whether another engine runs than the one that was configured."""


class Engines:
    """`ClipNetworks` of a daemon; a context manager that is entered and left with it.

    Parameters
    ----------
    networks
        Those to begin with, not entered yet.
    source
        Of others after a failure; None: a failure is the end.
    on_failure
        What is done where opening them again does not help.
    stages
        Told what they take.
    warn
        Told what went wrong in between.
    """

    def __init__(
        self,
        networks: ClipNetworks,
        source: NetworkSource | None,
        on_failure: Literal["fall-back", "stop"],
        stages: Stages,
        warn: Callable[[str], None],
    ) -> None:
        self._networks = networks
        self._source = source
        self._on_failure = on_failure
        self._stages = stages
        self._warn = warn
        self._entered = False
        self._failed_s = -float("inf")
        self.state = EngineState()
        """How they do; replaced as a whole."""

    @property
    def engines(self) -> Mapping[str, str]:
        """What computes; see `ClipNetworks.engines`."""
        return self._networks.engines

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        """Take the next frame of a segment; see `ClipNetworks.admit`."""
        with _engine_errors(), self._stages.time(ADMIT):
            self._networks.admit(image, first=first)

    def repeat(self) -> None:
        """Admit the newest frame once more; see `ClipNetworks.repeat`."""
        with _engine_errors():
            self._networks.repeat()

    def infer(self) -> NDArray[np.float32]:
        """Return the (S, K) logits; see `ClipNetworks.infer`."""
        with _engine_errors(), self._stages.time(INFER):
            return self._networks.infer()

    def recover(self, error: ToolkitError, now_s: float) -> None:
        """Replace the networks, which failed, by others.

        Parameters
        ----------
        error
            Why they failed.
        now_s
            Monotonic time.

        Raises
        ------
        ToolkitError
            The newest failure, where there is nothing left to try.
        """
        mendable = now_s - self._failed_s > WINDOW_S
        self._failed_s = now_s
        self.state = EngineState(self.state.failures + 1, str(error), self.state.fallen_back)
        self._leave()
        if self._source is None:
            raise error
        if mendable:
            failure = self._enter_from(self._source)
            if failure is None:
                # Where cages share engines, another cage may have fallen back.
                self.state = replace(self.state, fallen_back=self._source.fallen_back)
                return
            error = failure
        while self._on_failure == "fall-back" and self._source.fall_back():
            failure = self._enter_from(self._source)
            if failure is None:
                self.state = EngineState(self.state.failures, str(error), fallen_back=True)
                return
            error = failure
        raise error

    def __enter__(self) -> Self:
        self._networks.__enter__()
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            self._entered = False
            self._networks.__exit__(kind, error, trace)

    def _enter_from(self, source: NetworkSource) -> ToolkitError | None:
        try:
            with _engine_errors():
                networks = source.open()
                networks.__enter__()
        except ToolkitError as failure:
            self._warn(f"engines could not be opened again: {failure}")
            return failure
        self._networks, self._entered = networks, True
        return None

    def _leave(self) -> None:
        try:
            self.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  whatever a lost device says on leaving, it is left
            self._warn(f"the failed engines could not be closed: {error}")


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn what a device's libraries raise into EngineError: each has exceptions of its own."""
    try:
        yield
    except ToolkitError:
        raise
    except Exception as error:
        raise EngineError(f"the engines failed: {type(error).__name__}: {error}") from error


class BundleNetworks:
    """A bundle's networks by the engines of this machine: a `NetworkSource`.

    Parameters
    ----------
    table
        What was configured. Where it is ``auto``, what that comes to now is what is fallen back from.
    on_build
        Told how far a build of stale engines is; what it raises stops it.
    warn
        Told what is not as it should be.
    """

    def __init__(
        self,
        bundle: Bundle,
        table: EngineTable,
        on_build: Callable[[BuildProgress], None],
        warn: Callable[[str], None],
    ) -> None:
        self._bundle, self._table = bundle, table
        self._on_build, self._warn = on_build, warn
        self._engine, self._flow = table.kind, table.flow
        self._others = others_than(table.kind)

    def open(self) -> ClipNetworks:
        """Return the networks, not entered yet; stale engines are built first, if so configured.

        Raises
        ------
        EngineError, EngineMismatch, FlowError, MissingDependency
            If they cannot be had here.
        """
        from toolkit.engine.current import ensure_current
        from toolkit.engine.networks import open_networks

        table, engine, warn = self._table, self._engine, self._warn
        ensure_current(self._bundle, engine=engine, stale=table.stale, on_progress=self._on_build, warn=warn)
        return open_networks(self._bundle, engine=engine, threads=table.threads, flow=self._flow, warn=warn)

    def fall_back(self) -> bool:
        """Take the next engine into use, and no flow on a GPU: what failed may have been the device itself."""
        if not self._others:
            return False
        self._engine = self._others.pop(0)
        self._flow = flow_without_gpu(self._flow)
        return True

    @property
    def fallen_back(self) -> bool:
        """Whether another engine is in use than was configured."""
        return self._engine != self._table.kind


def flow_without_gpu(flow: FlowChoice) -> FlowChoice:
    """Return what computes flow where it was not to be on a GPU."""
    if flow not in ("auto", "cuda"):
        return flow
    return "cpu" if why_absent("cpu") is None else "opencv"


def others_than(engine: EngineChoice) -> list[EngineChoice]:
    """Return what can take over from an engine on this machine, the faster first."""
    in_use, _ = choose_engine(engine)
    order: list[EngineChoice] = ["tensorrt", "openvino", "onnxruntime"]
    return [other for other in order[order.index(in_use) + 1 :] if _can_run(other)]


def _can_run(engine: EngineChoice) -> bool:
    try:
        choose_engine(engine)
    except ToolkitError:
        return False
    return True
