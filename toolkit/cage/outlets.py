"""Where what a daemon sees and logs goes besides its log: recorded video, a broker. None can delay the loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from toolkit.behaviour_log import LogWriter
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.health import Health, ailments
from toolkit.cage.mqtt import Publisher
from toolkit.cage.recording import Choice, Origin, Recorder
from toolkit.errors import ConfigError
from toolkit.frames import Frame


class Outlets:
    """A daemon's outlets; a context manager. The loop calls the methods.

    Parameters
    ----------
    info
        The camera's.
    log
        The cage's, entered.
    warn
        Told what somebody should know.

    Raises
    ------
    ConfigError
        If a behaviour to record is not in the ethogram. On entering: if a secret's file cannot be used.
    """

    def __init__(
        self, config: CageConfig, info: CameraInfo, log: LogWriter, health: Health, warn: Callable[[str], None]
    ) -> None:
        session = log.session
        self._log = log
        self._health = health
        self._recorder: Recorder | None = None
        self._stack = ExitStack()
        table = config.recording
        unknown = sorted(set(table.behaviours) - set(session.ethogram.names))
        if unknown:
            raise ConfigError(
                f"recording.behaviours names {', '.join(unknown)}: the bundle has {', '.join(session.ethogram.names)}. "
                "Correct the name, or remove it."
            )
        if table.mode != "off":
            self._recorder = Recorder(
                table,
                Origin(config.cage.name, session.uuid, 0),
                Choice(table, config.view.frozen_s),
                size=(info.width, info.height),
                fps=info.fps,
                utc_offset_ns=lambda: log.session.utc_offset_ns,
                synchronised=lambda: health.clock_synchronised,
                warn=warn,
            )
        self._commits = 0
        self._publisher: Publisher | None = None
        if config.mqtt.host is not None:
            folder = config.log.folder / config.cage.name
            self._publisher = Publisher(
                config.mqtt,
                config.cage.name,
                folder,
                session.start_ns,
                status=lambda: _status(health, folder),
                synchronised=lambda: health.clock_synchronised,
                warn=warn,
            )

    def __enter__(self) -> Self:
        if self._recorder is not None:
            self._stack.enter_context(self._recorder)
        if self._publisher is not None:
            try:
                self._stack.enter_context(self._publisher)
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what still goes on; waits a few seconds at most."""
        self._stack.close()
        self.tell()

    def frame(self, frame: Frame) -> None:
        """Take a frame that the loop has seen."""
        if self._recorder is not None:
            self._recorder.frame(frame)

    def row(self, capture_time_ns: int, interval_ns: int, behaviour: str | None) -> None:
        """Take a row of the log, which stands for `interval_ns`."""
        if self._recorder is not None:
            self._recorder.row(capture_time_ns, interval_ns, behaviour)

    def flushed(self) -> None:
        """Take note of what the log has committed, and of the bouts that have ended; after each of its flushes."""
        commits, ended = self._log.account.commits, self._log.ended_bouts
        if self._publisher is not None and commits != self._commits:
            self._commits = commits
            if ended:
                self._publisher.committed(ended[-1].start_ns)

    def tell(self) -> None:
        """Bring the daemon's health up to date."""
        if self._recorder is not None:
            self._health.recording = self._recorder.state.values()
        if self._publisher is not None:
            self._health.mqtt = self._publisher.state.values()


def _status(health: Health, folder: Path) -> tuple[dict[str, Any], list[str]]:
    status = health.status(folder)
    return status, ailments(status, health.age_s)
