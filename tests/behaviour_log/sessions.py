"""Sessions and rows for tests of the behaviour log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.behaviour_log import LogWriter, Quality, Session
from toolkit.ethogram import ethogram_from_names

NS = 1_000_000_000
DAY_NS = 86_400 * NS
NOON_NS = 1_800_000_000 * NS // DAY_NS * DAY_NS + DAY_NS // 2
"""Noon, UTC, of 2027-01-15 (1,800,000,000 s after 1970 is on that day)."""
NOON_DAY = "2027-01-15"
INTERVAL_NS = 10_000_000
"""100 rows a second, so that times in tests are round."""

SESSION = Session(
    uuid="00000000-0000-4000-8000-000000000001",
    boot_id="boot-1",
    host="lab",
    toolkit_version="0.1.0",
    bundle_name="test",
    bundle_sha256="b" * 64,
    engines={"rgb": "free/cpu/fp32"},
    config_sha256="c" * 64,
    config='{"cage": {"name": "a1"}}',
    ethogram=ethogram_from_names(["rest", "walk", "rear"]),
    utc_offset_ns=NOON_NS,
    row_interval_ns=INTERVAL_NS,
    start_ns=NOON_NS,
)
"""Its monotonic clock was 0 at `NOON_NS`."""


def session(number: int = 1, *, start_ns: int = NOON_NS, offset_ns: int = NOON_NS, **changes: Any) -> Session:
    """Return a session that begins at UTC `start_ns`."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    return replace(SESSION, uuid=uuid, start_ns=start_ns, utc_offset_ns=offset_ns, **changes)


def add_rows(log: LogWriter, times_ns: Iterable[int], label: int | None = 0, first: int = 0) -> None:
    """Add rows at monotonic times, 0.8 of the probability on their label."""
    probabilities = np.full(3, 0.1, dtype=np.float32)
    probabilities[label or 0] = 0.8
    for index, time_ns in enumerate(times_ns, start=first):
        log.row(index, time_ns, probabilities, label, Quality(0) if label is not None else Quality.UNCERTAIN)


def steps(start: int, stop: int) -> list[int]:
    """Return monotonic times of rows number `start` to `stop`, one interval apart."""
    return [number * INTERVAL_NS for number in range(start, stop)]
