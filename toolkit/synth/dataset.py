"""Synthetic videos and data sets of them on disk, in the layout that training reads."""

from __future__ import annotations

import csv
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import pi
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError, raise_faults
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.files import atomic_directory
from toolkit.synth.activity import smooth_noise
from toolkit.synth.behaviour import SHORTEST_S, Motion, plan_motion
from toolkit.synth.fault import ViewFault, check_faults, with_faults
from toolkit.synth.render import Renderer
from toolkit.synth.scene import COATS, Appearance, SceneState
from toolkit.synth.true_flow import FlowTruth, TrueFlow

_HEADER = ("video", "start_frame", "stop_frame", "behaviour")
_REPORT_EVERY = 15


class SyntheticVideo:
    """One rendered video of the synthetic home cage, with its truth.

    Parameters
    ----------
    seed
        Of everything: the same seed gives the same frames and labels.
    duration_s
        At least 20 s, so that every behaviour fits.
    fps
        Frames per second.
    size
        Width and height in pixels.
    strain
        The mouse's coat, a key of `COATS`; None draws one.
    faults
        What the camera suffers; the truth stays that of the cage behind it.

    Raises
    ------
    InputError
        If the duration, the frame rate, the size, the strain or a fault is out of range.
    """

    def __init__(
        self,
        seed: int,
        duration_s: float,
        fps: float = 30.0,
        size: tuple[int, int] = (320, 240),
        strain: str | None = None,
        faults: Sequence[ViewFault] = (),
    ) -> None:
        check_faults(faults)
        if strain is not None and strain not in COATS:
            raise InputError(f"expected a strain of {', '.join(COATS)}, found {strain!r}.")
        if min(size) < 64 or max(size) > 1280:
            raise InputError(f"a synthetic video needs sides of 64 to 1280 px, found {size[0]} x {size[1]}.")
        self.seed = seed
        self.fps = fps
        self.size = size
        self.faults = tuple(faults)
        self.appearance = Appearance.draw(np.random.default_rng((seed, 1)), strain)
        self.motion: Motion = plan_motion(self.appearance, duration_s, fps, np.random.default_rng((seed, 2)))

    def __len__(self) -> int:
        return len(self.motion.labels)

    @property
    def labels(self) -> NDArray[np.int8]:
        """(N,) int8 indices into `MOUSE_HOME_CAGE`, one per frame."""
        return self.motion.labels

    def state(self, index: int) -> SceneState:
        """Return what the cage holds at frame `index`: all that changes, before any rendering."""
        return SceneState(index, self.motion.pose(index), float(self._light[index]))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Render the frames in order, each (H, W, 3) uint8 RGB."""
        renderer = Renderer(self.appearance, self.size, self.seed)
        rendered = (renderer.render(self.state(index)) for index in range(len(self)))
        return with_faults(rendered, self.faults, self.fps, self.seed)

    def true_flow(self, index: int) -> TrueFlow:
        """Return the true flow from frame `index` - 1 to frame `index`, which is at least 1."""
        return self._flow_truth.between(self.motion.pose(index - 1), self.motion.pose(index))

    @cached_property
    def _flow_truth(self) -> FlowTruth:
        return FlowTruth(self.appearance, self.size)

    @cached_property
    def _light(self) -> NDArray[np.float64]:
        look, frames = self.appearance, len(self)
        rng = np.random.default_rng((self.seed, 4))
        beat = np.sin(2 * pi * (look.flicker_hz * np.arange(frames) / self.fps + rng.uniform()))
        drift = smooth_noise(frames, 0.3, self.fps, rng)
        light: NDArray[np.float64] = 1 + look.flicker * (beat + 0.6 * drift + 0.3 * rng.standard_normal(frames))
        return light


@dataclass(frozen=True)
class _Job:
    seed: int
    duration_s: float
    strain: str | None
    path: Path
    named: str
    """The video's name in its annotations."""
    table: Path


def write_dataset(
    folder: Path,
    *,
    videos: int,
    duration_s: float,
    seed: int,
    held_out: int = 0,
    strain: str | None = None,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Render a data set: ``videos/video01.mp4`` and on, and ``annotations.csv`` with their exact bouts.

    Parameters
    ----------
    folder
        Created; appears whole or not at all.
    videos
        How many.
    duration_s
        Of each.
    seed
        Video *i* depends on `seed` and *i* alone, whatever `workers` is.
    held_out
        More videos, in ``held_out/`` with annotations of their own, that belong to no fold.
    strain
        Coat of every video's mouse, as in a facility that keeps one strain; None draws one for each video.
    workers
        Processes that render.
    on_progress
        Told, in this process, how many more frames were rendered.

    Raises
    ------
    InputError
        If `folder` exists, or a number is out of range.
    """
    faults = []
    if videos < 1:
        faults.append(f"expected at least one video, found {videos}")
    if held_out < 0:
        faults.append(f"expected no or more held-out videos, found {held_out}")
    if workers < 1:
        faults.append(f"expected at least one worker, found {workers}")
    if strain is not None and strain not in COATS:
        faults.append(f"expected a strain of {', '.join(COATS)}, found {strain!r}")
    if seed < 0:
        faults.append(f"expected a seed of 0 or more, found {seed}")
    if not SHORTEST_S <= duration_s <= 86400:
        faults.append(f"expected videos of {SHORTEST_S:g} s to a day to hold all behaviours, found {duration_s:g} s")
    raise_faults(InputError, "the synthetic data set cannot be made", faults)
    with atomic_directory(folder) as beside:
        jobs = _jobs(beside, videos, held_out, duration_s, seed, strain)
        for job in jobs:
            job.path.parent.mkdir(parents=True, exist_ok=True)
        report = on_progress or _ignore
        labels = _render_in_processes(jobs, workers, report) if workers > 1 else [_render(job, report) for job in jobs]
        for table in sorted({job.table for job in jobs}):
            _write_annotations(
                table, [(job.named, rows) for job, rows in zip(jobs, labels, strict=True) if job.table == table]
            )


def _jobs(folder: Path, videos: int, held_out: int, duration_s: float, seed: int, strain: str | None) -> list[_Job]:
    seeds = np.random.SeedSequence(seed).generate_state(2, np.uint32)
    jobs = []
    for number in range(1, videos + 1):
        named = f"videos/video{number:02d}.mp4"
        jobs.append(
            _Job(_seed(seeds[0], number), duration_s, strain, folder / named, named, folder / "annotations.csv")
        )
    apart = folder / "held_out"
    for number in range(1, held_out + 1):
        named = f"held_out{number:02d}.mp4"
        jobs.append(_Job(_seed(seeds[1], number), duration_s, strain, apart / named, named, apart / "annotations.csv"))
    return jobs


def _seed(root: np.uint32, number: int) -> int:
    return int(np.random.SeedSequence((int(root), number)).generate_state(1)[0])


def _render(job: _Job, report: Callable[[int], None]) -> NDArray[np.int8]:
    video = SyntheticVideo(job.seed, job.duration_s, strain=job.strain)
    pending = 0
    with av.open(str(job.path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(video.fps).limit_denominator(1001))
        stream.width, stream.height = video.size
        stream.pix_fmt = "yuv420p"
        # With macroblock trees some builds of x264 encode equal frames differently from run to run, even on one
        # thread; without them a seed gives the same file every time.
        stream.options = {"crf": "16", "preset": "veryfast", "x264-params": "mbtree=0"}
        stream.thread_count = 1
        for image in video.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            pending += 1
            if pending == _REPORT_EVERY:
                report(pending)
                pending = 0
        container.mux(stream.encode())
    report(pending)
    return video.labels


def _render_in_processes(jobs: list[_Job], workers: int, report: Callable[[int], None]) -> list[NDArray[np.int8]]:
    context = multiprocessing.get_context("spawn")
    progress = context.Queue()
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_start_worker, initargs=(progress,)
    ) as pool:
        futures = [pool.submit(_render_reporting, job) for job in jobs]
        running = set(futures)
        try:
            while running:
                running = wait(running, timeout=0.2).not_done
                _drain(progress, report)
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
            _drain(progress, report)
            progress.close()


_progress: Any = None


def _start_worker(progress: Any) -> None:
    global _progress
    _progress = progress
    cv2.setNumThreads(1)


def _render_reporting(job: _Job) -> NDArray[np.int8]:
    return _render(job, _progress.put)


def _drain(progress: Any, report: Callable[[int], None]) -> None:
    while True:
        try:
            report(progress.get_nowait())
        except queue.Empty:
            return


def _write_annotations(table: Path, videos: list[tuple[str, NDArray[np.int8]]]) -> None:
    with table.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_HEADER)
        for name, labels in videos:
            edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
            for start, stop in pairwise(edges):
                rows.writerow((name, start, stop, MOUSE_HOME_CAGE.names[labels[start]]))


def _ignore(frames: int) -> None:
    del frames
