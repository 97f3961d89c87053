"""What a daemon tells the outside while it runs: systemd, the journal, and whoever asks its health page.

Ready is a daemon whose first row is in the log. Its watchdog is pinged by progress alone: a frame that was processed,
or silence of the camera that was recorded. A loop that hangs, in a network or in the log, pings no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.health import SILENT_S, Health
from toolkit.cage.journal import EventLog
from toolkit.cage.notify import Notifier, Voice
from toolkit.cage.pace import Costs
from toolkit.cage.page import open_page
from toolkit.cage.recovery import SourceState
from toolkit.errors import CameraError, LogBusy, ToolkitError
from toolkit.frames import NS_PER_S

if TYPE_CHECKING:
    from toolkit.engine.build import BuildProgress

BUILD_S = 600
"""What each step of a build of engines asks systemd to wait for the next one."""

ABSENT_S = 600
"""What each attempt at a camera that is away asks systemd to wait for the next one."""

MOVE_S = 60
"""What each step of dating rows asks systemd to wait for the next one."""

CLOCK_STEP_S = 1.0
"""Steps of the system's clock from here on are worth a line."""


class Service:
    """A daemon's voice; a context manager around its whole run, so that the health page is up while engines are built.

    Parameters
    ----------
    voice
        To the service manager; closed with this object. Default: what the environment says.

    Raises
    ------
    ConfigError
        On entering: if the health page cannot be served, or its token's file cannot be used.
    """

    def __init__(self, config: CageConfig, health: Health, voice: Voice | None = None) -> None:
        self._voice = voice
        self._config = config
        self._health = health
        self._folder = config.log.folder / config.cage.name
        self._events = EventLog(config.cage.name)
        self._stack = ExitStack()
        self._ready = False
        self._silent = self._overloaded = False
        self._clock_step_ns = 0
        self._source = SourceState()
        self._log_faults: dict[str, str] = {}

    def __enter__(self) -> Self:
        config = self._config
        page = open_page(config.health, self._health, self._folder)
        if page is not None:
            self._stack.enter_context(page)
        self._notifier: Voice = self._voice or Notifier()
        self._stack.callback(self._notifier.close)
        self._events.info("starting", bundle=config.cage.bundle, log=config.log.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._events.info("stopped", rows=self._health.rows)
        else:
            self._health.state, self._health.error = "failed", str(error)
            self._leave_status(error)
            self._events.error("failed", error=error)
            self._notifier.send(STOPPING=1, STATUS=f"failed: {error}")
        self._stack.close()

    def _leave_status(self, error: BaseException) -> None:
        # The folder may be another daemon's.
        if not isinstance(error, LogBusy) and self._folder.is_dir():
            with suppress(OSError):
                self._health.write(self._folder)

    def warn(self, text: str) -> None:
        """Pass on what a part of the daemon has to say."""
        self._events.warning("warning", text=text)

    def opened(self, camera: CameraInfo) -> None:
        """Say what the camera is, and what is amiss with it."""
        self._health.source = SourceState()
        size = f"{camera.width}x{camera.height}"
        self._events.info("camera", name=camera.name, size=size, fps=camera.fps, dated_by=camera.dated_by)
        for text in (*camera.refused, *camera.warnings):
            self.warn(f"{camera.name}: {text}")

    def camera_absent(self, error: CameraError) -> None:
        """Say that the camera is not there yet, and ask systemd to wait."""
        fault = str(error)
        if fault != self._health.source.fault:
            self._events.warning("camera-absent", fault=fault)
        self._health.source = SourceState(fault=fault)
        self._notifier.send(EXTEND_TIMEOUT_USEC=ABSENT_S * 1_000_000, STATUS=f"waiting for the camera: {fault}")
        self._leave_status(error)

    def building(self, progress: BuildProgress) -> None:
        """Ask systemd to wait while engines are built."""
        self._notifier.send(EXTEND_TIMEOUT_USEC=BUILD_S * 1_000_000, STATUS=f"building engines: {progress.stage}")
        # The engine that takes over from one that failed may have to be built, too: each step of it is progress.
        self._notifier.ping()

    def moving(self) -> None:
        """Say that rows which waited for their date are moved, at the start or while the daemon runs."""
        self._notifier.send(EXTEND_TIMEOUT_USEC=MOVE_S * 1_000_000, STATUS="dating rows that waited")
        self._notifier.ping()

    def progress(self, rows: int) -> None:
        """Say that a frame was processed, or silence recorded; called for every frame.

        Parameters
        ----------
        rows
            In the log by now; the first one makes the service ready.
        """
        if rows and not self._ready:
            self._ready = self._notifier.send(READY=1)
            if self._ready:
                self._events.info("ready", engines=", ".join(sorted(set(self._health.engines.values()))))
        self._notifier.ping()

    def engine_failed(self, error: ToolkitError) -> None:
        """Say that the networks failed."""
        self._events.error("engine-failed", error=error)

    def engine_back(self, fallen_back: bool) -> None:
        """Say that networks run again, and by what."""
        engines = ", ".join(sorted(set(self._health.engines.values())))
        self._events.warning("engine-fallen-back" if fallen_back else "engine-back", engines=engines)

    def paced(self, stride: int, costs: Costs) -> None:
        """Say that another stride is gone at, and what work takes."""
        frame_ms, window_ms = costs.frame_s * 1e3, costs.window_s * 1e3
        self._events.warning("stride-changed", stride=stride, frame_ms=frame_ms, window_ms=window_ms)

    def tell(self) -> None:
        """Say what has changed since the last time; called once a second or so."""
        health = self._health
        lost_s = sum(health.unobserved_s.values())
        missing = f"nothing observed: {health.unobserved_now}" if health.unobserved_now else "no behaviour"
        self._notifier.send(
            STATUS=f"{health.behaviour or missing}, {health.rows} rows, {health.frames_dropped} frames dropped, "
            f"{lost_s:.0f} s unobserved"
        )
        silent = health.silent_s > SILENT_S
        if silent and not self._silent:
            self._events.warning("camera-silent", seconds=health.silent_s)
        elif self._silent and not silent:
            self._events.info("camera-back")
        self._tell_of_source(health.source)
        if health.overloaded and not self._overloaded:
            self._events.warning("overloaded", dropped=health.frames_dropped)
        elif self._overloaded and not health.overloaded:
            self._events.info("overload-over", dropped=health.frames_dropped)
        self._tell_of_log(health.log_faults)
        step_s = (health.clock_step_ns - self._clock_step_ns) / NS_PER_S
        if abs(step_s) >= CLOCK_STEP_S:
            self._events.warning("clock-stepped", seconds=step_s, synchronised=health.clock_synchronised)
        self._silent, self._overloaded, self._clock_step_ns = silent, health.overloaded, health.clock_step_ns

    def _tell_of_source(self, source: SourceState) -> None:
        if source.restarts > self._source.restarts:
            self._events.warning("camera-restarted", restarts=source.restarts, fault=source.fault or "over")
        if source.given_up and not self._source.given_up:
            self._events.error("camera-given-up", restarts=source.restarts, fault=source.fault)
        self._source = source

    def _tell_of_log(self, faults: tuple[str, ...]) -> None:
        # The words after the colon may count; what comes before tells one fault from another.
        by_name = {fault.partition(":")[0]: fault for fault in faults}
        for name in by_name.keys() - self._log_faults.keys():
            self._events.error("log-fault", fault=by_name[name])
        for name in self._log_faults.keys() - by_name.keys():
            self._events.info("log-fault-over", fault=name)
        self._log_faults = by_name

    def removed(self, days: Sequence[Path]) -> None:
        """Say which days' files were removed."""
        for path in days:
            self._events.info("day-removed", file=path.name)

    def stopping(self, reason: str) -> None:
        """Say that the daemon is ending as it should."""
        self._notifier.send(STOPPING=1, STATUS=reason)
        self._events.info("stopping", reason=reason)
