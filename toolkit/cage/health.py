"""How a daemon does: counters, latency in bounded memory, and the status file beside the log."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.files import atomic_write

STATUS = "status.json"


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

    def add(self, latency_s: float) -> None:
        """Count one latency."""
        place = int(math.log(max(latency_s, self._LEAST_S) / self._LEAST_S) / self._STEP)
        self._counts[min(place, self._BINS - 1)] += 1
        self._total += 1

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
    """What `cage status` and a health page will show; written to `STATUS` beside the log."""

    cage: str
    bundle_sha256: str
    engines: Mapping[str, str]
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
    behaviour: str | None = None
    """Label of the newest row."""
    clock_synchronised: bool | None = None
    clock_step_ns: int = 0
    """By how much the system clock has moved since the session began."""
    error: str | None = None
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    """Seconds from a frame's capture to its row, live cameras only."""

    def status(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        values = {name: value for name, value in vars(self).items() if name not in ("latency", "engines")}
        return values | {
            "engines": dict(self.engines),
            "latency_p50_s": self.latency.percentile_s(50),
            "latency_p99_s": self.latency.percentile_s(99),
            "process": os.getpid(),
            "updated_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def write(self, folder: Path) -> None:
        """Write the status file."""
        with atomic_write(folder / STATUS) as beside:
            beside.write_text(json.dumps(self.status(), indent=2) + "\n")
