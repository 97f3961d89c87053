"""A whole day of log at 30 fps: its bytes at both levels, and how long it takes to look through and to read.

    python -m benches.log_size

Bouts last 1.3 s on average, probabilities are random; the clock is read every minute, commits are two minutes apart.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.behaviour_log.sessions import DAY_NS, NOON_NS, NS, session
from toolkit.behaviour_log import ClockReading, Level, LogWriter, Quality, read_log
from toolkit.behaviour_log.damage import check
from toolkit.ethogram import ethogram_from_names

FPS = 30
ROWS = 24 * 3600 * FPS
MIDNIGHT_NS = NOON_NS - DAY_NS // 2
BEHAVIOURS = ["drink", "eat", "groom", "hang", "micro-movement", "rear", "rest", "walk"]


def main() -> None:
    """Write both days and print what they cost."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(8), 4096).astype(np.float32)
    labels = np.repeat(random.integers(0, 8, ROWS // 39 + 1), 39)[:ROWS].tolist()
    print(f"{'level':<8} {'MB a cage-day':>14} {'wrote':>8} {'check':>8} {'cold':>8} {'read':>8}")
    for level in Level:
        with tempfile.TemporaryDirectory() as name:
            began = session(
                start_ns=MIDNIGHT_NS,
                offset_ns=MIDNIGHT_NS,
                row_interval_ns=NS // FPS,
                ethogram=ethogram_from_names(BEHAVIOURS),
                level=level,
            )
            begun_s = time.perf_counter()
            with LogWriter(Path(name), "a1", began) as log:
                for row, label in enumerate(labels):
                    time_ns = row * NS // FPS
                    log.row(row, time_ns, probabilities[row % 4096], label, Quality(0))
                    if row % (60 * FPS) == 0:
                        log.clock(ClockReading(time_ns, time_ns + MIDNIGHT_NS, True))
                    if row % (120 * FPS) == 0:
                        log.flush()
                log.close("stopped")
            wrote_s = time.perf_counter() - begun_s
            begun_s = time.perf_counter()
            check(log.path)
            check_s = time.perf_counter() - begun_s
            _forget(log.path)
            begun_s = time.perf_counter()
            check(log.path)
            cold_s = time.perf_counter() - begun_s
            begun_s = time.perf_counter()
            read = read_log(log.path)
            read_s = time.perf_counter() - begun_s
            mb = log.path.stat().st_size / 1e6
            print(
                f"{level.value:<8} {mb:>14.2f} {wrote_s:>6.1f} s {check_s:>6.2f} s {cold_s:>6.2f} s {read_s:>6.1f} s, "
                f"{len(read.time_ns)} rows, {len(read.bouts)} bouts, {read.observed_s:.3f} s observed"
            )

    print(f"dated an hour of pending rows in {_date_an_hour():.1f} s")


def _forget(path: Path) -> None:
    """Ask the kernel to drop a file's pages, so that it is read from the disk again."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _date_an_hour() -> float:
    probabilities = np.full(8, 0.125, dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        eight = ethogram_from_names(BEHAVIOURS)
        unset = ClockReading(0, 0, False)
        began = session(start_ns=0, offset_ns=0, row_interval_ns=NS // FPS, ethogram=eight)
        with LogWriter(Path(name), "a1", began, clock=unset) as log:
            for row in range(3600 * FPS):
                log.row(row, row * NS // FPS, probabilities, row // 39 % 8, Quality(0))
                if row % (60 * FPS) == 0:
                    log.flush()
            log.flush()
            begun_s = time.perf_counter()
            log.clock(ClockReading(3600 * NS, NOON_NS + 3600 * NS, True))
            took_s = time.perf_counter() - begun_s
            log.close("stopped")
        if len(read_log(Path(name)).time_ns) != 3600 * FPS:
            raise SystemExit("rows were lost")
    return took_s


if __name__ == "__main__":
    main()
