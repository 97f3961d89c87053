"""The daemon as it is installed, `toolkit cage run`, over a video that is shown again and again at a camera's pace.

`benches.soak` looks for what grows with the frames; this looks for what only time and real networks bring: whether the
daemon keeps up, how late its rows are, and what a process that decodes, computes flow and infers holds on to.

    python -m benches.soak_realtime VIDEO BUNDLE --minutes 30
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benches.soak import MOST_GROWTH
from toolkit.behaviour_log import read_log
from toolkit.cage.health import STATUS
from toolkit.frames import NS_PER_S

CAGE = "soak"
EVERY_S = 5.0
WARM_UP = 0.1
"""Share of the run after which memory, files and threads are believed."""
MOST_UNACCOUNTED_S = 1e-3


@dataclass(frozen=True)
class Result:
    """How a soak went; (S, 4) samples of resident bytes, open files, threads and processor seconds."""

    wall_s: float
    status: dict[str, float]
    rows: int
    observed_s: float
    unobserved_s: dict[str, float]
    unaccounted_s: float
    """Time between the log's first and last moment that is neither observed nor unobserved, or both."""
    samples: NDArray[np.float64]

    @property
    def growth(self) -> float:
        """Growth of resident memory from the second tenth of the run to the last, a share of it."""
        before, after = self._tenths()
        return float(after[0] / before[0] - 1)

    def faults(self) -> list[str]:
        """Return what is outside its limits."""
        before, after = self._tenths()
        limits = {
            f"memory grew by {self.growth:.2%}; at most {MOST_GROWTH:.0%}": self.growth >= MOST_GROWTH,
            f"open files: {before[1]:g}, then {after[1]:g}": after[1] > before[1],
            f"threads: {before[2]:g}, then {after[2]:g}": after[2] > before[2],
            f"{self.unaccounted_s:.3f} s are not accounted for once": abs(self.unaccounted_s) > MOST_UNACCOUNTED_S,
            "no rows": self.rows == 0,
        }
        return [text for text, is_outside in limits.items() if is_outside]

    def lines(self) -> list[str]:
        """Return the result as a table."""
        before, after = self._tenths()
        lost = ", ".join(f"{reason} {seconds:.1f} s" for reason, seconds in self.unobserved_s.items()) or "nothing"
        status = self.status
        table = {
            "wall time": f"{self.wall_s:.0f} s",
            "frames": f"{status['frames_captured']} captured, {status['frames_dropped']} dropped, {self.rows} rows",
            "observed": f"{self.observed_s:.1f} s; unobserved: {lost}",
            "not accounted for once": f"{self.unaccounted_s:.6f} s",
            "capture to row": f"{status['latency_p50_s']:.2f} s median, {status['latency_p99_s']:.2f} s p99",
            "processor": f"{self.samples[-1, 3] / self.wall_s:.2f} cores",
            "resident memory": f"{before[0] / 1e6:.1f} MB, then {after[0] / 1e6:.1f} MB ({self.growth:+.2%})",
            "open files, threads": f"{before[1]:g} and {before[2]:g}, then {after[1]:g} and {after[2]:g}",
        }
        return [f"{name:<24} {value}" for name, value in table.items()]

    def _tenths(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        tenth = max(1, round(WARM_UP * len(self.samples)))
        return np.median(self.samples[tenth : 2 * tenth], axis=0), np.median(self.samples[-tenth:], axis=0)


def soak(video: Path, bundle: Path, minutes: float, folder: Path) -> Result:
    """Run the installed daemon for so long, its log in `folder`, and stop it by SIGTERM.

    Raises
    ------
    RuntimeError
        If it ends before its time, or with an error.
    """
    log, config = folder / "log", folder / "cage.toml"
    config.write_text(
        f'[cage]\nname = "{CAGE}"\nbundle = "{bundle.resolve()}"\n'
        f'[camera]\nvideo = "{video.resolve()}"\npace = "real-time"\nloop = true\n'
        f'[log]\nfolder = "{log}"\nunsynchronised = "accept"\n'
    )
    said = folder / "said.txt"
    with said.open("w") as output:
        command = [sys.executable, "-m", "toolkit.cli", "cage", "run", str(config)]
        daemon = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        began = time.monotonic()
        samples = []
        try:
            process = psutil.Process(daemon.pid)
            while (left_s := began + 60 * minutes - time.monotonic()) > 0 and daemon.poll() is None:
                time.sleep(min(EVERY_S, left_s))
                samples.append(_sample(process))
        finally:
            ended_early = daemon.poll() is not None
            daemon.terminate()
            daemon.wait(60)
        wall_s = time.monotonic() - began
    if ended_early or daemon.returncode != 0:
        raise RuntimeError(f"the daemon ended with {daemon.returncode}: {said.read_text()[-2000:]}")
    cage = log / CAGE
    status = json.loads((cage / STATUS).read_text())
    written = read_log(cage)
    intervals = [(start, start + long) for start, long in zip(written.time_ns, written.duration_ns, strict=True)]
    intervals += [(gap.start_ns, gap.stop_ns) for gap in written.unobserved]
    accounted = np.array(sorted(intervals), dtype=np.int64)
    unobserved = {reason.value: seconds for reason, seconds in written.unobserved_s().items()}
    return Result(
        wall_s=wall_s,
        status=status,
        rows=len(written.time_ns),
        observed_s=written.observed_s,
        unobserved_s=unobserved,
        unaccounted_s=float(np.abs(accounted[1:, 0] - accounted[:-1, 1]).sum()) / NS_PER_S,
        samples=np.array(samples),
    )


def _sample(process: psutil.Process) -> tuple[float, float, float, float]:
    with process.oneshot():
        spent = process.cpu_times()
        return process.memory_info().rss, process.num_fds(), process.num_threads(), spent.user + spent.system


def main() -> int:
    """Run a soak, print its table, and return 1 if something is outside its limits."""
    parser = argparse.ArgumentParser(prog="python -m benches.soak_realtime", description="Run a daemon in real time.")
    parser.add_argument("video", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(arguments.video, arguments.bundle, arguments.minutes, Path(folder))
    print("\n".join(result.lines()))
    faults = result.faults()
    print("\n".join(f"outside its limits: {fault}" for fault in faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
