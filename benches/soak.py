"""A month of log in accelerated time: the real daemon, frames as fast as they are taken, free networks and free flow.

What is looked for is what grows: resident memory, open files, threads. Capture times are made up, 30 frames a second
with the camera away once a minute, so that a run passes many midnights. The view's checks are on as by default; the
frames show a cage that stands still under a sensor's noise, so that they find nothing.

    python -m benches.soak --frames 2000000

The clock is read by the minute of real time: a real day's 1440 readings (some 0.05 MB) are not in the log's size.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow
from toolkit.behaviour_log import Reason
from toolkit.bundle import Bundle
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run
from toolkit.cage.summary import Summary
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks
from toolkit.frames import NS_PER_S, Frame

FPS = 30
FRAMES_PER_DAY = 24 * 3600 * FPS
SIZE = (64, 48)
STRETCH = 60 * FPS
"""Frames between two absences of the camera."""
FLUSH_S = 0.03
"""About 60 frames in accelerated time, as the default's two seconds hold of real time."""
SAMPLES = 200

MOST_GROWTH = 0.02
MOST_MB_PER_DAY = 80.0


class SoakCamera:
    """Frames that differ by noise, as fast as they are taken; every so often it tells a meter how the process does."""

    def __init__(self, frames: int, absence_s: float, meter: Meter) -> None:
        self.info = CameraInfo("soak", *SIZE, float(FPS), live=False, frames=frames, hole=Reason.CAMERA_LOST)
        self._frames = frames
        self._absence_ns = round(absence_s * NS_PER_S)
        self._meter = meter
        random = np.random.default_rng(0)
        scene = cv2.resize(random.uniform(60, 190, (6, 8, 3)), SIZE, interpolation=cv2.INTER_CUBIC)
        noise = random.normal(0, 4, (64, SIZE[1], SIZE[0], 3))
        self._images = np.clip(scene + noise, 0, 255).astype(np.uint8)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the frames; see `Camera.frames`."""
        begin_ns = time.monotonic_ns()
        every = _frames_between_samples(self._frames)
        for index in range(self._frames):
            if stop.is_set():
                return
            if index % every == 0:
                self._meter.sample()
            time_ns = begin_ns + index * NS_PER_S // FPS + index // STRETCH * self._absence_ns
            yield Frame(index, time_ns, self._images[index % len(self._images)])


class ChangingBackend(FreeBackend):
    """A free network whose behaviour changes every second and a half: a log of real bouts, not of one."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        random = np.random.default_rng(1)
        behaviours = np.repeat(random.integers(0, 8, 512), 45)
        self._all = random.normal(0, 0.5, (len(behaviours), 1, 8)).astype(np.float32)
        self._all[np.arange(len(behaviours)), 0, behaviours] += 4
        self._next = 0

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next logits; see `Backend.infer`."""
        self._meter.frame()
        self._next += 1
        logits: NDArray[np.float32] = self._all[self._next % len(self._all)]
        return logits


class Meter:
    """What a run costs, in memory that is all taken before it begins."""

    def __init__(self, frames: int) -> None:
        self._process = psutil.Process()
        self._samples = np.full((math.ceil(frames / _frames_between_samples(frames)), 3), -1, dtype=np.int64)
        self._sampled = 0
        self._begun_ns = np.full(frames, -1, dtype=np.int64)
        self._begun = 0

    def sample(self) -> None:
        """Note resident memory, open files and threads."""
        process = self._process
        self._samples[self._sampled] = process.memory_info().rss, process.num_fds(), process.num_threads()
        self._sampled += 1

    def frame(self) -> None:
        """Note that a network is asked about a frame."""
        self._begun_ns[self._begun] = time.perf_counter_ns()
        self._begun += 1

    def samples(self) -> NDArray[np.int64]:
        """Return (S, 3) int64: resident bytes, open files and threads, in time order."""
        return self._samples[: self._sampled]

    def per_frame_s(self) -> NDArray[np.float64]:
        """Return (N - 1,) float64 seconds from one frame's networks to the next one's: all that the daemon does."""
        return np.diff(self._begun_ns[: self._begun]) / NS_PER_S


@dataclass(frozen=True)
class Result:
    """How a soak went. The first tenth warms up; `before` and `after` are medians of the second and the last tenth."""

    frames: int
    rows: int
    days: int
    """Day files."""
    wall_s: float
    unaccounted_s: float
    """Time that is neither observed nor the camera's absence, or both."""
    before: tuple[float, float, float]
    """Resident bytes, open files, threads."""
    after: tuple[float, float, float]
    median_s: float
    p999_s: float
    bytes_per_row: float
    bytes_per_day: float
    """Of a whole day at 30 frames per second in one file."""

    @property
    def growth(self) -> float:
        """Growth of resident memory after warm-up, a share of it."""
        return self.after[0] / self.before[0] - 1

    def faults(self) -> list[str]:
        """Return what is outside its limits."""
        limits = {
            f"{self.frames} frames, but {self.rows} rows": self.rows != self.frames,
            f"{self.unaccounted_s:.3f} s of the log are not accounted for once": abs(self.unaccounted_s) > 1e-3,
            f"memory grew by {self.growth:.2%}; at most {MOST_GROWTH:.0%}": self.growth >= MOST_GROWTH,
            f"open files: {self.before[1]:g}, then {self.after[1]:g}": self.after[1] > self.before[1],
            f"threads: {self.before[2]:g}, then {self.after[2]:g}": self.after[2] > self.before[2],
            f"{self.bytes_per_day / 1e6:.1f} MB a day; at most {MOST_MB_PER_DAY:g}": self.bytes_per_day
            > MOST_MB_PER_DAY * 1e6,
        }
        return [text for text, is_outside in limits.items() if is_outside]

    def lines(self) -> list[str]:
        """Return the result as a table."""
        (rss, fds, threads), (rss_after, fds_after, threads_after) = self.before, self.after
        table = {
            "frames, rows, day files": f"{self.frames}, {self.rows}, {self.days}",
            "wall time": f"{self.wall_s:.1f} s, {self.frames / FPS / self.wall_s:.0f} times real time",
            "not accounted for once": f"{self.unaccounted_s:.6f} s",
            "resident memory": f"{rss / 1e6:.2f} MB, then {rss_after / 1e6:.2f} MB ({self.growth:+.2%})",
            "open files": f"{fds:g}, then {fds_after:g}",
            "threads": f"{threads:g}, then {threads_after:g}",
            "overhead per frame": f"{1e3 * self.median_s:.3f} ms median, {1e3 * self.p999_s:.3f} ms p99.9",
            "log": f"{self.bytes_per_row:.2f} bytes a row, {self.bytes_per_day / 1e6:.1f} MB a cage-day at {FPS} fps",
        }
        return [f"{name:<24} {value}" for name, value in table.items()]


def soak(frames: int, days: float, folder: Path) -> Result:
    """Run a daemon over `frames` frames that span about `days` days, its log in `folder`.

    Raises
    ------
    ToolkitError
        If the daemon fails.
    """
    absences = (frames - 1) // STRETCH
    absence_s = max(1.0, (days * 86_400 - frames / FPS) / max(absences, 1))
    meter = Meter(frames)
    summary = _watch(SoakCamera(frames, absence_s, meter), meter, folder / "full")
    empty = _watch(SoakCamera(0, 1.0, meter), meter, folder / "empty")
    blank = sum(path.stat().st_size for path in empty.log.parent.glob("*.sqlite"))
    sizes = [path.stat().st_size for path in summary.log.parent.glob("*.sqlite")]
    bytes_per_row = (sum(sizes) - len(sizes) * blank) / frames
    samples, per_frame_s = meter.samples(), meter.per_frame_s()
    tenth = len(samples) // 10
    missed_s = sum(summary.unobserved_s.values())
    return Result(
        frames=frames,
        rows=summary.rows,
        days=len(sizes),
        wall_s=summary.wall_s,
        unaccounted_s=abs(summary.observed_s - frames / FPS) + abs(missed_s - absences * absence_s),
        before=tuple(np.median(samples[tenth : 2 * tenth], axis=0).tolist()),
        after=tuple(np.median(samples[-tenth:], axis=0).tolist()),
        median_s=float(np.median(per_frame_s)),
        p999_s=float(np.percentile(per_frame_s, 99.9)),
        bytes_per_row=bytes_per_row,
        bytes_per_day=bytes_per_row * FRAMES_PER_DAY + blank,
    )


def _frames_between_samples(frames: int) -> int:
    return max(1, frames // SAMPLES)


def _watch(camera: SoakCamera, meter: Meter, folder: Path) -> Summary:
    config = CageConfig.model_validate(
        {
            "cage": {"name": "soak", "bundle": "none"},
            "camera": {"video": "none"},
            "log": {"folder": folder, "flush_s": FLUSH_S},
        }
    )
    spec = manifest()
    networks = HostNetworks(spec, FreeFlow(), {"rgb": ChangingBackend(meter), "flow": FreeBackend([0.0] * 8)})
    return run(config, stop=threading.Event(), parts=Parts(Bundle(folder, spec, "b" * 64), camera, networks))


def main() -> int:
    """Run a soak, print its table, and return 1 if something is outside its limits."""
    parser = argparse.ArgumentParser(prog="python -m benches.soak", description="Run a daemon on accelerated time.")
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--days", type=float, default=30.0, help="days that the frames are spread over")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(arguments.frames, arguments.days, Path(folder))
    print("\n".join(result.lines()))
    faults = result.faults()
    print("\n".join(f"outside its limits: {fault}" for fault in faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
