"""What a report of whole days at 30 frames a second costs: CPU time, and peak memory over the number of days.

``python -m benches.report_days --days 3`` writes a log, then reports on its first day and on all, a process each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.report.logs import INTERVAL_NS, plausible_labels, session_of
from toolkit.behaviour_log import LogWriter, Quality
from toolkit.report import write_report

_START_NS = 1_774_483_200 * 10**9
"""A UTC midnight."""
_FRAMES_PER_FLUSH = 100_000


def write_days(folder: Path, days: int) -> Path:
    """Write a log of whole days; return its folder."""
    frames = days * 86_400 * 10**9 // INTERVAL_NS
    sure = np.full((8, 8), 0.02, np.float32) + 0.84 * np.eye(8, dtype=np.float32)
    with LogWriter(folder, "cage-1", session_of(_START_NS)) as writer:
        for first in range(0, frames, _FRAMES_PER_FLUSH):
            for offset, label in enumerate(plausible_labels(min(_FRAMES_PER_FLUSH, frames - first), first).tolist()):
                frame = first + offset
                writer.row(frame, frame * INTERVAL_NS, sure[label], label, Quality(0))
            writer.flush()
        writer.close("stopped")
    return folder / "cage-1"


def main() -> None:
    """Measure, or (with ``--report``) be what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.report:
            started = time.process_time()
            budget = write_report([arguments.report], Path(folder) / "report").budgets[0]
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            bouts = sum(line.bouts for line in budget.behaviours)
            print(
                f"{budget.observed_s / 3600:.1f} h, {bouts} bouts: {time.process_time() - started:.1f} s of CPU, "
                f"peak {peak_mib:.0f} MiB"
            )
            return
        log = write_days(Path(folder), arguments.days)
        for path in (min(log.glob("*.sqlite")), log):
            subprocess.run([sys.executable, "-m", "benches.report_days", "--report", str(path)], check=True)


if __name__ == "__main__":
    main()
