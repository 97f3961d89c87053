"""What the system's clocks say: UTC beside monotonic time, and whether the kernel holds UTC to be synchronised."""

from __future__ import annotations

import ctypes
import time
import uuid
from pathlib import Path

from toolkit.behaviour_log import ClockReading

_TIME_ERROR = 5
"""`adjtimex` returns it while the clock is not synchronised (adjtimex(2))."""

_TIMEX_BYTES = 512
"""More than any Linux's struct timex; all zero asks for nothing to be changed."""


def read_clock() -> ClockReading:
    """Return both clocks at one moment."""
    monotonic_ns = time.monotonic_ns()
    utc_ns = time.time_ns()
    # The two are read one after the other; a preemption between them would look like a step.
    middle_ns = (monotonic_ns + time.monotonic_ns()) // 2
    return ClockReading(middle_ns, utc_ns, _synchronised())


def boot_id() -> str:
    """Return the kernel's identity of this boot; where it has none, one that no other process takes for its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown-{uuid.uuid4()}"


def _synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)
