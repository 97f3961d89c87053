"""One cage's daemon: camera -> flow -> clips -> networks -> fusion -> behaviour log, until it is told to stop.

The capture thread never waits (see `toolkit.cage.capture`); everything else happens in one thread (see
`toolkit.cage.watch`). When the networks are slower than the camera, fewer frames are classified (`toolkit.cage.pace`).
When flow is, the daemon logs bursts of consecutive frames at least a queue long, and the time between them as
unobserved because of overload. No flow and no clip crosses a gap. Engines that fail are opened again, or replaced
(`toolkit.cage.engines`).
"""

from __future__ import annotations

import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import cv2

from toolkit import __version__
from toolkit.behaviour_log import ClockReading, Level, LogWriter, Session
from toolkit.behaviour_log.day_file import accounted_until
from toolkit.bouts import decision_filter
from toolkit.bundle import Bundle, load_bundle
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import Camera, open_camera
from toolkit.cage.capture import CaptureThread
from toolkit.cage.clock import boot_id, read_clock
from toolkit.cage.config import CageConfig
from toolkit.cage.engines import BundleNetworks, Engines
from toolkit.cage.health import Health
from toolkit.cage.notify import Voice
from toolkit.cage.outlets import Outlets
from toolkit.cage.pace import Pace, demand_of
from toolkit.cage.recovery import Recovery, opened_when_there
from toolkit.cage.service import Service
from toolkit.cage.stages import Stages
from toolkit.cage.summary import Progress, Summary
from toolkit.cage.watch import Parts, Watch
from toolkit.errors import CameraError, EngineError, ToolkitError
from toolkit.frames import NS_PER_S
from toolkit.pipeline import Pipeline
from toolkit.terminal import print_warning

if TYPE_CHECKING:
    from toolkit.engine.build import BuildProgress


class Opening(Protocol):
    """Finds a daemon's parts; see `open_parts`."""

    def __call__(
        self,
        config: CageConfig,
        *,
        stop: threading.Event,
        on_build: Callable[[BuildProgress], None] | None,
        warn: Callable[[str], None],
        on_absent: Callable[[CameraError], None],
    ) -> Parts: ...


def open_parts(
    config: CageConfig,
    *,
    stop: threading.Event,
    on_build: Callable[[BuildProgress], None] | None = None,
    warn: Callable[[str], None] = print_warning,
    on_absent: Callable[[CameraError], None] | None = None,
) -> Parts:
    """Load the bundle, choose its engines and find the camera. Stale engines are built first, if so configured.

    Parameters
    ----------
    stop
        Ends a build of engines, and the wait for a camera.
    on_build
        Told how far such a build is.
    warn
        Told what is not as it should be, but does not keep the daemon from running.
    on_absent
        Told, again and again, that a live camera cannot be opened, which is waited for; None: that is an error.

    Raises
    ------
    BundleError, EngineError, EngineMismatch, CameraError, VideoError, MissingDependency
        If one of them cannot be had.
    """

    def tell(progress: BuildProgress) -> None:
        if stop.is_set():
            raise EngineError("stopped while engines were being built; those that were installed stay as they were.")
        if on_build is not None:
            on_build(progress)

    bundle = load_bundle(config.cage.bundle)
    camera = camera_of(config.camera, stop, on_absent)
    if config.engine.flow_threads:
        cv2.setNumThreads(config.engine.flow_threads)
    source = BundleNetworks(bundle, config.engine, tell, warn)
    return Parts(bundle=bundle, camera=camera, networks=source.open(), source=source)


def camera_of(table: CameraTable, stop: threading.Event, on_absent: Callable[[CameraError], None] | None) -> Camera:
    """Open a daemon's camera; see `open_parts`."""
    if on_absent is None or table.video is not None or table.segments is not None:
        return open_camera(table)
    return opened_when_there(lambda: open_camera(table), recovery_of(table), stop=stop, on_absent=on_absent)


def run(
    config: CageConfig,
    *,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None = None,
    on_build: Callable[[BuildProgress], None] | None = None,
    parts: Parts | None = None,
    opening: Opening | None = None,
    voice: Voice | None = None,
) -> Summary:
    """Watch a cage until `stop` is set or its video ends.

    Parameters
    ----------
    stop
        Ends the daemon within a frame; everything is flushed and the session marked closed.
    on_progress
        Told twice a second how far it is.
    on_build
        Told how far a build of engines is, which comes first where they are stale.
    parts
        Default: what `opening` returns.
    opening
        Called as `open_parts` is, which is the default.
    voice
        See `Service`.

    Raises
    ------
    ToolkitError
        If a part cannot be opened, the source or the decision filter does not fit the bundle, a camera that does not
        recover fails, or engines do and none can take over, or the log cannot be opened, is damaged, or cannot be
        written at the end. What was seen until then is in the log, but in the last case.
    """

    def building(progress: BuildProgress) -> None:
        service.building(progress)
        if on_build is not None:
            on_build(progress)

    health = Health(config.cage.name)
    with ExitStack() as stack:
        service = stack.enter_context(Service(config, health, voice))
        parts = parts or (opening or open_parts)(
            config, stop=stop, on_build=building, warn=service.warn, on_absent=service.camera_absent
        )
        manifest, info = parts.bundle.manifest, parts.camera.info
        service.opened(info)
        manifest.geometry.check_source(info.width, info.height, info.fps, info.name)
        stages, pace = Stages(), Pace(demand_of(config, manifest, info))
        engines = Engines(parts.networks, parts.source, config.engine.on_failure, stages, service.warn)
        stack.enter_context(engines)
        pipeline = Pipeline(manifest, engines, source_fps=info.fps, stride=config.cage.stride)
        clock = read_clock() if info.begin_utc_ns is None else ClockReading(0, info.begin_utc_ns, None)
        session = session_of(config, parts.bundle, engines.engines, clock)
        if info.begin_utc_ns is not None:
            session = _after_the_log(config, session)
        health.bundle_sha256, health.engines = parts.bundle.sha256, engines.engines
        health.behaviours, health.min_coverage = manifest.ethogram.names, config.cage.min_coverage
        log = stack.enter_context(
            LogWriter(
                config.log.folder,
                config.cage.name,
                session,
                partial(decision_filter, config.decision, manifest.decision, manifest.ethogram.names),
                most_held=round(config.log.unwritable_s * NS_PER_S / session.row_interval_ns),
                clock=clock,
                # A recording's times are not a camera's: they need no true clock.
                accept_unsynchronised=config.log.unsynchronised == "accept" or not info.recovers,
                on_move=service.moving,
            )
        )
        outlets = stack.enter_context(Outlets(config, info, log, health, service.warn))
        capture = stack.enter_context(
            CaptureThread(parts.camera, config.camera.queue_frames, recovery_of(config.camera))
        )
        watch = Watch(
            config, parts, pipeline, engines, stages, pace, log, capture, health, service, outlets, on_progress
        )
        watch.clock(clock)
        try:
            watch.run(stop)
        except ToolkitError as error:
            watch.fail(error)
            raise
        reason = "stopped" if stop.is_set() else "end-of-source"
        service.stopping(reason)
        return watch.finish(reason)


def _after_the_log(config: CageConfig, session: Session) -> Session:
    """Return a recording's session, begun at the log's end: what is logged already is refused, and none is redated."""
    until_ns = accounted_until(config.log.folder, config.cage.name)
    return session if until_ns is None else replace(session, start_ns=max(session.start_ns, until_ns))


def recovery_of(table: CameraTable) -> Recovery:
    """Return when a camera is opened again."""
    return Recovery(table.stall_s, table.retry_s, table.retry_max_s, table.max_restarts)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, and put the handlers back afterwards. For the main thread."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def session_of(config: CageConfig, bundle: Bundle, engines: Mapping[str, str], clock: ClockReading) -> Session:
    """Return the provenance of a start of the daemon at the moment that `clock` tells."""
    return Session(
        uuid=str(uuid.uuid4()),
        boot_id=boot_id(),
        host=socket.gethostname(),
        toolkit_version=__version__,
        bundle_name=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        engines=engines,
        config_sha256=config.sha256(),
        config=config.snapshot(),
        ethogram=bundle.manifest.ethogram,
        utc_offset_ns=clock.utc_offset_ns,
        row_interval_ns=config.row_interval_ns(bundle.manifest.geometry.fps),
        start_ns=clock.utc_ns,
        level=Level(config.log.level),
    )
