"""Whether a cage could run: configuration, bundle, engine, camera, log and disk, every fault said."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2

from toolkit.behaviour_log.damage import log_errors
from toolkit.behaviour_log.day_file import accounted_until, day_of
from toolkit.bouts import decision_filter
from toolkit.bundle import Bundle, load_bundle
from toolkit.cage.cameras import Camera, CameraInfo, open_camera
from toolkit.cage.capacity import capacity
from toolkit.cage.config import CageConfig
from toolkit.cage.health import Health
from toolkit.cage.mqtt.client import check_broker
from toolkit.cage.pace import demand_of
from toolkit.cage.page import open_page
from toolkit.cage.recording.encoder import choose_encoder
from toolkit.cage.recording.retention import GB
from toolkit.errors import CameraError, ConfigError, EngineError, LogError, ToolkitError
from toolkit.flow import open_flow

BYTES_PER_DAY = 80_000_000
"""A cage's log at 30 rows a second: DESIGN.md's bound."""

LEAST_DAYS = 7
"""Days of log that must fit on the disk."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    ok: bool
    subject: str
    """What was checked: configuration, bundle, engine, flow, decision, camera, speed, log, disk, recording, mqtt or
    health."""
    text: str
    """What was found; for a fault also what was expected and what to do."""


def check(config: CageConfig) -> list[Finding]:
    """Check everything that `toolkit.cage.daemon.run` needs, and go on after a fault.

    Engines are loaded, and work for some seconds on frames of the camera; nothing is written but a probe that is
    removed again.
    """
    return list(_findings(config))


def _findings(config: CageConfig) -> Iterator[Finding]:
    rate = "every frame" if config.cage.stride == 1 else f"one frame in {config.cage.stride}"
    yield Finding(True, "configuration", f"cage {config.cage.name}, {rate} classified")
    try:
        bundle: Bundle | None = load_bundle(config.cage.bundle)
    except ToolkitError as error:
        bundle = None
        yield Finding(False, "bundle", str(error))
    if bundle is not None:
        manifest = bundle.manifest
        names = ", ".join(manifest.ethogram.names)
        yield Finding(True, "bundle", f"{manifest.name}, {manifest.architecture}, {bundle.sha256[:12]} ({names})")
        able = [_finding("engine", lambda: _engine(config, bundle))]
        if "flow" in manifest.streams:
            able.append(_finding("flow", lambda: _flow(config, bundle)))
        yield from able
        if config.decision.filter != "off":
            yield _finding("decision", lambda: _decision(config, bundle))
    camera, cameras = _camera_findings(config, bundle)
    yield from cameras
    if bundle is not None and camera is not None and all(finding.ok for finding in (*able, *cameras)):
        yield _finding("speed", lambda: _speed(config, bundle, camera))
    yield _finding("log", lambda: _log(config))
    yield _finding("disk", lambda: _disk(config))
    if config.recording.mode != "off" and camera is not None:
        yield _finding("recording", lambda: _recording(config, camera.info))
    if config.mqtt.host is not None:
        yield _finding("mqtt", lambda: check_broker(config.mqtt, config.cage.name))
    if config.health.listen is not None:
        yield _finding("health", lambda: _health(config))


def _finding(subject: str, examine: Callable[[], str]) -> Finding:
    try:
        return Finding(True, subject, examine())
    except ToolkitError as error:
        return Finding(False, subject, str(error))


def _engine(config: CageConfig, bundle: Bundle) -> str:
    from toolkit.engine.select import open_backends, stale_engines

    reasons = stale_engines(bundle, engine=config.engine.kind)
    if reasons and config.engine.stale == "rebuild":
        return f"built at the next start, which takes minutes with TensorRT ({'; '.join(reasons)})"
    backends = open_backends(bundle, engine=config.engine.kind, threads=config.engine.threads)
    with ExitStack() as stack:
        entered = {stream: stack.enter_context(backend) for stream, backend in backends.items()}
        return ", ".join(f"{stream} {backend.identity}" for stream, backend in entered.items())


def _flow(config: CageConfig, bundle: Bundle) -> str:
    spec, notes = bundle.manifest.flow, list[str]()
    here = open_flow(config.engine.flow, spec.parameters, warn=notes.append).implementation
    both_opencv = here.startswith("opencv-") and spec.implementation.startswith("opencv-")
    if both_opencv and here.split(".")[0] != spec.implementation.split(".")[0]:
        raise EngineError(
            f"the networks were trained on flow by {spec.implementation}; this machine has {here}, whose flow differs. "
            "Install the same major version of opencv-contrib-python, or export a bundle that was trained on this one."
        )
    trained = f"{here}, parameters {spec.parameters.name} (trained on {spec.implementation})"
    if here != spec.implementation:
        notes.append("`toolkit doctor` measures their difference.")
    return " ".join([trained, *notes])


def _decision(config: CageConfig, bundle: Bundle) -> str:
    manifest = bundle.manifest
    interval_ns = config.row_interval_ns(manifest.geometry.fps)
    decision_filter(config.decision, manifest.decision, manifest.ethogram.names, interval_ns)
    return f"bouts are decided by the filter {config.decision.filter}; rows keep their raw labels"


def _camera_findings(config: CageConfig, bundle: Bundle | None) -> tuple[Camera | None, list[Finding]]:
    try:
        camera = open_camera(config.camera)
    except ToolkitError as error:
        return None, [Finding(False, "camera", str(error))]
    refused = [Finding(False, "camera", f"{camera.info.name}: {fault}") for fault in camera.info.refused]
    return camera, [_finding("camera", lambda: _camera(camera, bundle)), *refused]


def _camera(camera: Camera, bundle: Bundle | None) -> str:
    info = camera.info
    if bundle is not None:
        bundle.manifest.geometry.check_source(info.width, info.height, info.fps, info.name)
    stop = threading.Event()
    with closing(camera.frames(stop)) as frames:  # type: ignore[type-var]
        frame = next(frames, None)
    if frame is None or frame.image.shape != (info.height, info.width, 3):
        found = "no frame" if frame is None else f"{frame.image.shape[1]} x {frame.image.shape[0]} px"
        raise CameraError(
            f"{info.name}: declares {info.width} x {info.height} px and delivers {found}. Set the camera to a mode "
            "that it supports, or rewrite the video."
        )
    return " ".join(
        [
            f"{info.name}: {info.width} x {info.height} px, {info.fps:.2f} frames per second, "
            f"dated by {info.dated_by}.",
            *info.warnings,
        ]
    )


def _speed(config: CageConfig, bundle: Bundle, camera: Camera) -> str:
    from toolkit.engine.networks import open_networks
    from toolkit.engine.select import stale_engines

    table = config.engine
    demand_of(config, bundle.manifest, camera.info)
    if stale_engines(bundle, engine=table.kind) and table.stale == "rebuild":
        return "measured once the engines are built: check again then"
    if table.flow_threads:
        cv2.setNumThreads(table.flow_threads)
    networks = open_networks(bundle, engine=table.kind, threads=table.threads, flow=table.flow, warn=lambda _line: None)
    return capacity(config, bundle, networks, camera)


def _log(config: CageConfig) -> str:
    folder = config.log.folder
    cage_folder = folder / config.cage.name
    place = _nearest(cage_folder)
    with log_errors(cage_folder):
        if not place.is_dir():
            raise LogError(
                f"{cage_folder}: {place} is a file. Expected a folder, or a place for one. Set [log] folder elsewhere."
            )
        tempfile.TemporaryFile(dir=place).close()
    until_ns = accounted_until(folder, config.cage.name)
    state = "new" if until_ns is None else f"goes on from {day_of(until_ns)}"
    return f"{cage_folder}: {state}"


def _disk(config: CageConfig) -> str:
    place = _nearest(config.log.folder)
    with log_errors(place):
        free = shutil.disk_usage(place).free
    days = free / BYTES_PER_DAY
    if days < LEAST_DAYS:
        raise LogError(
            f"{place}: {free / 1e6:.0f} MB free, {days:.1f} days of log. Expected at least {LEAST_DAYS} days "
            f"({LEAST_DAYS * BYTES_PER_DAY / 1e6:.0f} MB). Free some space, or set [log] folder to another disk."
        )
    return f"{free / 1e9:.1f} GB free, {days:.0f} days of log at 30 rows per second"


def _recording(config: CageConfig, info: CameraInfo) -> str:
    table, notes = config.recording, list[str]()
    encoder = choose_encoder(table.encoder, info.width, info.height, info.fps, notes.append)
    folder = (table.folder or Path()) / config.cage.name
    free_gb = shutil.disk_usage(_nearest(folder)).free / GB
    if free_gb < table.min_free_gb:
        raise ConfigError(
            f"{folder}: {free_gb:.1f} GB free. Expected more than min_free_gb = {table.min_free_gb:g}. Free some "
            "space, or set [recording] folder to another disk."
        )
    return "; ".join([f"{table.mode}, by {encoder}, to {folder}: {free_gb:.1f} GB free", *notes])


def _health(config: CageConfig) -> str:
    # Not listened on: where the daemon runs already, the port is its own.
    open_page(config.health, Health(config.cage.name), config.log.folder)
    token = "no token" if config.health.token_file is None else f"token in {config.health.token_file}"
    return f"http://{config.health.listen}/healthz, {token}"


def _nearest(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
