"""How a daemon does: counters, latency in bounded memory, the status file beside the log, and whether that is well."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.bouts import Bout
from toolkit.cage.engines import EngineState
from toolkit.cage.recovery import SourceState
from toolkit.files import atomic_write
from toolkit.frames import NS_PER_S

STATUS = "status.json"

SILENT_S = 20.0
"""A camera without a frame for so long is not well."""

BROKER_S = 60.0
"""A broker that has been away for so long is worth a word."""

STALE_S = 30.0
"""A daemon that has said nothing for so long hangs, or is dead; it says something every ten seconds."""


class LatencyHistogram:
    """Latencies in bins a tenth apart from 0.1 ms to 10 minutes: constant memory, and percentiles good to 5 %.

    Examples
    --------
    >>> latency = LatencyHistogram()
    >>> for ms in range(1, 101):
    ...     latency.add(ms / 1000)
    >>> 0.045 < latency.percentile_s(50) < 0.055
    True
    """

    _LEAST_S = 1e-4
    _STEP = math.log(1.1)
    _BINS = 165

    def __init__(self) -> None:
        self._counts = [0] * self._BINS
        self._total = 0
        self.sum_s = 0.0

    def add(self, latency_s: float) -> None:
        """Count one latency."""
        place = int(math.log(max(latency_s, self._LEAST_S) / self._LEAST_S) / self._STEP)
        self._counts[min(place, self._BINS - 1)] += 1
        self._total += 1
        self.sum_s += latency_s

    @property
    def count(self) -> int:
        """Latencies counted."""
        return self._total

    def percentile_s(self, percent: float) -> float | None:
        """Return a percentile, seconds; None while nothing was counted."""
        wanted = math.ceil(self._total * percent / 100)
        seen = 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return self._LEAST_S * math.exp((place + 0.5) * self._STEP)
        return None


@dataclass
class Health:
    """What `cage status` and the health page show; written to `STATUS` beside the log.

    The daemon's loop is the only one that writes to it, and replaces what it changes; others may read at any time.
    """

    cage: str
    bundle_sha256: str = ""
    engines: Mapping[str, str] = field(default_factory=dict)
    state: str = "starting"
    """starting, running, stopped or failed."""
    frames_captured: int = 0
    frames_dropped: int = 0
    frames_processed: int = 0
    rows: int = 0
    rows_refused: int = 0
    unobserved_s: dict[str, float] = field(default_factory=dict)
    queue_depth: int = 0
    overloaded: bool = False
    """Whether frames are being dropped, or were within the last minute, or the stride is larger than configured."""
    overload_share: float = 0.0
    """Share of the last minute that overload left unobserved."""
    min_coverage: float = 0.0
    """As configured: more unobserved than the rest of it is not well."""
    stride: int = 1
    """Every n-th frame is classified now."""
    windows_skipped: int = 0
    """Windows that the configured stride would have classified, and a larger one did not."""
    silent_s: float = 0.0
    """Seconds since the newest frame, live cameras only."""
    source: SourceState = field(default_factory=SourceState)
    """Restarts of the camera, and what is wrong with it."""
    engine: EngineState = field(default_factory=EngineState)
    """Failures of the engines, and whether others took over."""
    stages: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """How often and how many seconds each stage has worked; see `toolkit.cage.stages`."""
    unobserved_now: str | None = None
    """Why what happens now is not observed; None where it is."""
    busy_s: float = 0.0
    """Seconds spent on flow, networks and rows."""
    behaviour: str | None = None
    """Label of the newest row."""
    clock_synchronised: bool | None = None
    clock_step_ns: int = 0
    """By how much the system clock has moved since the session began."""
    log_faults: tuple[str, ...] = ()
    """What is wrong with the log: it cannot be written now, damaged files that were set aside."""
    error: str | None = None
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    """Seconds from a frame's capture to its row, live cameras only."""
    recording: Mapping[str, Any] | None = None
    """As `toolkit.cage.recording.state.RecorderState` has it; None where nothing is to be recorded."""
    mqtt: Mapping[str, Any] | None = None
    """As `toolkit.cage.mqtt.publisher.PublisherState` has it; None where nothing is to be published."""
    behaviours: tuple[str, ...] = ()
    """Names of the ethogram, which bouts number."""
    bouts: tuple[Bout, ...] = ()
    """The newest bouts that have ended, oldest first."""
    beat_ns: int = field(default_factory=time.monotonic_ns)
    """Monotonic time at which the loop last brought all this up to date."""

    @property
    def age_s(self) -> float:
        """Seconds since the loop last brought all this up to date."""
        return (time.monotonic_ns() - self.beat_ns) / NS_PER_S

    def status(self, folder: Path) -> dict[str, Any]:
        """Return the status as JSON values; `folder` is the one whose disk the log fills."""
        apart = ("latency", "engines", "source", "engine", "stages", "behaviours", "bouts", "beat_ns")
        values = {name: value for name, value in vars(self).items() if name not in apart}
        return values | {
            "engines": dict(self.engines),
            "source_restarts": self.source.restarts,
            "source_fault": self.source.fault,
            "source_given_up": self.source.given_up,
            "engine_failures": self.engine.failures,
            "engine_fault": self.engine.fault,
            "engine_fallen_back": self.engine.fallen_back,
            "stages": {name: {"count": count, "seconds": spent} for name, (count, spent) in self.stages.items()},
            "latency_p50_s": self.latency.percentile_s(50),
            "latency_p99_s": self.latency.percentile_s(99),
            "latency_sum_s": self.latency.sum_s,
            "latency_count": self.latency.count,
            "storage_free_bytes": free_bytes(folder),
            "process": os.getpid(),
            "updated_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def newest_bouts(self) -> list[dict[str, Any]]:
        """Return the newest bouts that have ended as JSON values, newest first."""
        return [
            {
                "behaviour": self.behaviours[bout.behaviour],
                "start_utc": _iso(bout.start_ns),
                "duration_s": bout.duration_s,
                "frames": bout.frames,
                "mean_probability": bout.mean_probability,
            }
            for bout in reversed(self.bouts)
        ]

    def write(self, folder: Path) -> None:
        """Write the status file."""
        path = folder / STATUS
        text = json.dumps(self.status(folder), indent=2) + "\n"
        try:
            with atomic_write(path) as beside:
                beside.write_text(text)
        except OSError:
            # A full disk has no room for a second file, and it is now that the status matters.
            with path.open("r+") as file:
                file.write(text.rstrip("\n").ljust(path.stat().st_size - 1) + "\n")


def ailments(status: Mapping[str, Any], age_s: float) -> list[str]:
    """Return why a cage is not watched as it should be, most telling first; empty where all is well.

    Parameters
    ----------
    status
        As `Health.status` gives it.
    age_s
        Seconds since it was brought up to date. What a daemon said too long ago is not believed.
    """
    state = status["state"]
    if state == "failed":
        return [f"failed: {status['error']}"]
    if state == "stopped":
        return ["stopped"]
    if state != "running":
        fault = status["source_fault"]
        return [f"{state}: waiting for the camera: {fault}" if fault else state]
    if age_s > STALE_S:
        return [f"stale: the daemon said nothing for {age_s:.0f} s; it hangs or is dead"]
    if status["source_given_up"]:
        return [f"camera given up after {status['source_restarts']} restarts: {status['source_fault']}"]
    if status["silent_s"] > SILENT_S:
        fault = f": {status['source_fault']}" if status["source_fault"] else ""
        return [f"no frame from the camera for {status['silent_s']:.0f} s{fault}"]
    reasons = [f"log: {fault}" for fault in status.get("log_faults", ())]
    if status["engine_fallen_back"]:
        reasons.append(f"degraded: other engines took over after {status['engine_fault']}")
    if status["overload_share"] > 1 - status["min_coverage"]:
        reasons.append(f"overloaded: {status['overload_share']:.0%} of the last minute was not observed")
    recording, mqtt = status.get("recording") or {}, status.get("mqtt") or {}
    if recording.get("fault"):
        reasons.append(f"recording paused: {recording['fault']}")
    if mqtt.get("fault") and mqtt["down_s"] > BROKER_S:
        reasons.append(f"mqtt, {mqtt['queued']} bouts wait: {mqtt['fault']}")
    return reasons


def free_bytes(folder: Path) -> int | None:
    """Return the free space of a folder's disk; None where it cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / NS_PER_S, timezone.utc).isoformat(timespec="milliseconds")
