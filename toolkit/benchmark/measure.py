"""Runs a bundle as a cage's daemon would, as fast as it can, and times every stage of it.

Frames are taken one after the other, without a camera's pace: what is measured is the work. A real log is written, with
the daemon's commits. A stride is measured for a given time, cut into windows, so that a board that slows down when it
becomes warm is seen to.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from toolkit import __version__
from toolkit.behaviour_log import LogWriter, Session
from toolkit.behaviour_log.damage import log_errors
from toolkit.benchmark.cage import FLUSH_S, TimedCage
from toolkit.benchmark.compare import check_comparable
from toolkit.benchmark.machine import describe_machine, versions_here
from toolkit.benchmark.readings import Readings
from toolkit.benchmark.report import HEADROOM, BenchReport, Setup, StrideRun, Window
from toolkit.benchmark.source import Source
from toolkit.benchmark.statistics import statistics_of
from toolkit.benchmark.timed import (
    CAPTURE,
    LOG_ROW,
    Stopwatch,
    TimedNetworks,
)
from toolkit.bundle import Bundle
from toolkit.cage.clock import boot_id, read_clock
from toolkit.engine.board import peak_memory_mib
from toolkit.engine.contract import ClipNetworks
from toolkit.errors import ConfigError, raise_faults
from toolkit.frames import NS_PER_S

WINDOWS = 10
"""Into which a stride's time is cut."""

LEAST_ROWS = 2
"""A window goes on beyond its time until it has so many."""

Progress = Callable[[str, int, int, str], None]
"""Told a task, how much is done, of how much, and of what."""


def bench(
    bundle: Bundle,
    networks: ClipNetworks,
    source: Source,
    *,
    strides: Sequence[int] = (1, 2, 4, 8),
    duration_s: float = 10.0,
    log_folder: Path | None = None,
    expected: Setup | None = None,
    on_progress: Progress | None = None,
) -> BenchReport:
    """Measure a bundle's latency on this machine.

    Parameters
    ----------
    networks
        The bundle's, not entered: `toolkit.engine.networks.open_networks`. Of `HostNetworks` every part is timed.
    strides
        Measured one after the other.
    duration_s
        Wall time of each stride after its warm-up, s.
    log_folder
        Where the log is written, in a temporary folder: the disk of the cages' logs. Default: the system's.
    expected
        The setup of a benchmark that this one is to be compared with.

    Raises
    ------
    ConfigError
        If strides or duration make no sense.
    InputError
        If this setup is not the expected one.
    EngineError, FlowError, VideoError, LogError
        If the networks, the source or the log fail.
    """
    _check(strides, duration_s, log_folder)
    watch = Stopwatch()
    timed = TimedNetworks(networks, watch)
    opened_s = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(timed)
        open_s = time.perf_counter() - opened_s
        setup = _setup(bundle, timed, source, strides)
        if expected is not None:
            check_comparable(expected, setup)
        with log_errors(log_folder or Path(tempfile.gettempdir())):
            temporary = tempfile.TemporaryDirectory(prefix=".toolkit-bench-", dir=log_folder)
        folder = Path(stack.enter_context(temporary))
        readings = stack.enter_context(Readings())
        bench = _Bench(bundle, timed, source, watch, readings, duration_s, folder, on_progress)
        runs = tuple(bench.run(stride) for stride in strides)
        peak_device_mib = readings.peak_device_mib
    return BenchReport(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        setup=setup,
        versions=versions_here(),
        open_s=open_s,
        warm_up_frames=_warm_up_frames(bundle),
        headroom=HEADROOM,
        log_flush_s=FLUSH_S,
        peak_host_mib=peak_memory_mib(),
        peak_device_mib=peak_device_mib,
        runs=runs,
    )


def _check(strides: Sequence[int], duration_s: float, log_folder: Path | None) -> None:
    faults = []
    if not strides or min(strides) < 1 or len(set(strides)) < len(strides):
        faults.append(f"--stride: expected different whole numbers from 1 on, found {','.join(map(str, strides))!r}")
    if not 0 < duration_s <= 86_400:
        faults.append(f"--duration: expected seconds above 0, at most a day, found {duration_s:g}")
    if log_folder is not None and not log_folder.is_dir():
        faults.append(f"--log-dir: {log_folder} is not a folder; make it, or name another")
    raise_faults(ConfigError, "nothing can be measured", faults)


def _warm_up_frames(bundle: Bundle) -> int:
    # From the second clip on none is padded, and at any stride the first frame was classified: every engine has run.
    return 2 * bundle.manifest.clip.frames


def _setup(bundle: Bundle, networks: ClipNetworks, source: Source, strides: Sequence[int]) -> Setup:
    manifest = bundle.manifest
    return Setup(
        machine=describe_machine(),
        bundle=manifest.name,
        bundle_sha256=bundle.sha256,
        architecture=manifest.architecture,
        engines=dict(networks.engines),
        source=source.name,
        width=source.width,
        height=source.height,
        fps=source.fps,
        network_fps=manifest.geometry.fps,
        clip_wait_s=manifest.clip.after / manifest.geometry.fps,
        strides=tuple(strides),
    )


@dataclass(frozen=True)
class _Bench:
    """What all strides share."""

    bundle: Bundle
    networks: TimedNetworks
    source: Source
    watch: Stopwatch
    readings: Readings
    duration_s: float
    folder: Path
    on_progress: Progress | None

    def run(self, stride: int) -> StrideRun:
        """Measure one stride."""
        parts: list[_Part] = []
        with ExitStack() as stack:
            images = stack.enter_context(closing(self.source.images()))
            log = stack.enter_context(LogWriter(self.folder, f"stride-{stride}", self._session(stride)))
            cage = TimedCage(self.bundle.manifest, self.networks, self.source, images, log, self.watch, stride)
            for _ in range(_warm_up_frames(self.bundle)):
                cage.step()
            cage.commit()
            self.watch.take()
            self.readings.take()
            while len(parts) < WINDOWS:
                parts.append(self._part(cage, parts[-1].window.stop_s if parts else 0.0))
                if self.on_progress is not None:
                    self.on_progress(f"stride {stride}", len(parts), WINDOWS, "windows")
            log.close("stopped")
        return _stride_run(stride, self.source.fps, parts)

    def _part(self, cage: TimedCage, begin_s: float) -> _Part:
        frames, busy_ns = cage.frames, cage.busy_ns
        started_s, elapsed_s = time.perf_counter(), 0.0
        while elapsed_s < self.duration_s / WINDOWS or self.watch.count(LOG_ROW) < LEAST_ROWS:
            cage.step()
            self.readings.sample()
            elapsed_s = time.perf_counter() - started_s
        durations_ms = self.watch.take()
        frames, busy_s = cage.frames - frames, (cage.busy_ns - busy_ns) / NS_PER_S
        window = Window(
            start_s=begin_s,
            stop_s=begin_s + elapsed_s,
            frames=frames,
            realtime_factor=_realtime_factor(frames, self.source.fps, busy_s),
            stages={stage: statistics_of(values) for stage, values in durations_ms.items()},
            readings=self.readings.take(),
        )
        return _Part(window, durations_ms, busy_s)

    def _session(self, stride: int) -> Session:
        manifest, clock = self.bundle.manifest, read_clock()
        return Session(
            uuid=str(uuid.uuid4()),
            boot_id=boot_id(),
            host="benchmark",
            toolkit_version=__version__,
            bundle_name=manifest.name,
            bundle_sha256=self.bundle.sha256,
            engines=self.networks.engines,
            config_sha256="",
            config="{}",
            ethogram=manifest.ethogram,
            utc_offset_ns=clock.utc_offset_ns,
            row_interval_ns=round(stride * NS_PER_S / manifest.geometry.fps),
            start_ns=clock.utc_ns,
        )


@dataclass(frozen=True)
class _Part:
    """A window with all that its figures were made of."""

    window: Window
    durations_ms: dict[str, list[float]]
    busy_s: float


def _stride_run(stride: int, fps: float, parts: Sequence[_Part]) -> StrideRun:
    durations_ms: defaultdict[str, list[float]] = defaultdict(list)
    for part in parts:
        for stage, values in part.durations_ms.items():
            durations_ms[stage] += values
    busy_s = sum(part.busy_s for part in parts)
    frames = sum(part.window.frames for part in parts)
    busy_share, capture_share = (spent_s * fps / frames for spent_s in (busy_s, sum(durations_ms[CAPTURE]) / 1000))
    return StrideRun(
        stride=stride,
        frames=frames,
        rows=len(durations_ms[LOG_ROW]),
        elapsed_s=parts[-1].window.stop_s,
        busy_share=busy_share,
        capture_share=capture_share,
        realtime_factor=_realtime_factor(frames, fps, busy_s),
        cages=int((1 - HEADROOM) / (busy_share + capture_share)),
        stages={stage: statistics_of(values) for stage, values in durations_ms.items() if values},
        windows=tuple(part.window for part in parts),
    )


def _realtime_factor(frames: int, fps: float, busy_s: float) -> float:
    return frames / fps / busy_s
