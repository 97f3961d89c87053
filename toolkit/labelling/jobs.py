"""Many videos: those that are done are skipped, the others labelled here or in processes, and a broken one stops none.

Workers are spawned, import nothing of training, and end with the process that started them, however that ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import cv2

from toolkit.bundle import Bundle, load_bundle
from toolkit.engine.networks import open_networks
from toolkit.engine.select import EngineChoice
from toolkit.errors import InputError, ToolkitError
from toolkit.flow import FlowChoice
from toolkit.frames import count_frames, probe
from toolkit.labelling.options import LabelOptions
from toolkit.labelling.outputs import Outputs
from toolkit.labelling.provenance import is_done
from toolkit.labelling.video import LabelSummary, label_video

REPORT_EVERY_S = 0.2
GRACE_S = 3.0
"""Time that a stopped job has to take its files away."""


@dataclass(frozen=True, slots=True)
class VideoResult:
    """How one video ended."""

    video: Path
    outputs: Outputs
    summary: LabelSummary | None = None
    """None where it was done before, or failed."""
    fault: str | None = None
    """Why it could not be labelled."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all videos together are."""

    frames: int
    total: int
    realtime_factor: float
    """Seconds of video labelled per second since the start."""
    ended: int
    """Videos that ended in this run, those that were skipped left out."""
    videos: int
    """Videos to label in this run."""


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    video: Path
    outputs: Outputs
    bundle: Path
    options: LabelOptions
    threads: int
    """Of an inference on the CPU; 0: one per physical core."""
    frames: int
    fps: float


@dataclass
class _Watch:
    """Adds up what the jobs have decoded."""

    jobs: Sequence[_Job]
    on_progress: Callable[[Progress], None] | None
    started: float = field(default_factory=time.perf_counter)
    ended: int = 0

    def tell(self, decoded: Sequence[int]) -> None:
        if self.on_progress is None:
            return
        seconds = sum(frames / job.fps for frames, job in zip(decoded, self.jobs, strict=True))
        factor = seconds / max(time.perf_counter() - self.started, 1e-9)
        total = sum(job.frames for job in self.jobs)
        self.on_progress(Progress(sum(decoded), total, factor, self.ended, len(self.jobs)))


def label_videos(
    planned: Sequence[tuple[Path, Outputs]],
    bundle: Bundle,
    options: LabelOptions,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[VideoResult]:
    """Label videos and yield how each ended, as it ends; first those that are done already or cannot be read.

    Parameters
    ----------
    planned
        Of `plan_outputs`.
    jobs
        Processes; with one, all is done in this process. The cores are divided among them.
    overwrite
        Label again what is done, and replace other videos' labels.
    on_progress
        Told a few times a second.

    Raises
    ------
    EngineError, FlowError, MissingDependency
        If the bundle cannot be run here: no video could be labelled. What was labelled before stays.
    """
    todo: list[_Job] = []
    threads = 0 if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    for video, outputs in planned:
        try:
            if not overwrite and is_done(video, bundle, outputs, options):
                yield VideoResult(video, outputs)
                continue
            fps, frames = float(probe(video).fps), count_frames(video)
        except InputError as error:
            yield VideoResult(video, outputs, fault=str(error))
            continue
        todo.append(_Job(len(todo), video, outputs, bundle.path, options, threads, frames, fps))
    watch = _Watch(todo, on_progress)
    yield from _here(watch, bundle) if jobs == 1 else _in_processes(watch, min(jobs, len(todo)))


def _here(watch: _Watch, bundle: Bundle) -> Iterator[VideoResult]:
    decoded = [0] * len(watch.jobs)
    told_s = 0.0

    def count(number: int, frames: int) -> None:
        nonlocal told_s
        decoded[number] = frames
        if time.perf_counter() - told_s >= REPORT_EVERY_S:
            told_s = time.perf_counter()
            watch.tell(decoded)

    for job in watch.jobs:
        result = _result(job, bundle, count)
        watch.ended += 1
        watch.tell(decoded)
        yield result


def _in_processes(watch: _Watch, processes: int) -> Iterator[VideoResult]:
    if not watch.jobs:
        return
    # Spawned, not forked: a fork of a process with OpenCV's or an engine's threads can hang.
    context = get_context("spawn")
    # Without locks: one that a killed process held would never be free again.
    decoded, stop = context.Array("q", len(watch.jobs), lock=False), context.Value("b", 0, lock=False)
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(decoded, stop, os.getpid())
    )
    try:
        with _interrupts_not_inherited():
            futures: dict[Future[VideoResult], _Job] = {pool.submit(_work, job): job for job in watch.jobs}
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, timeout=REPORT_EVERY_S, return_when=FIRST_COMPLETED)
            watch.ended += len(finished)
            watch.tell(decoded[:])
            for future in finished:
                yield _outcome(future, futures[future])
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_not_inherited() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, which reaches the whole process group; the parent turns it into `stop`.

    It is blocked, not ignored, so that the parent hears one that comes meanwhile.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future[VideoResult], job: _Job) -> VideoResult:
    try:
        return future.result()
    except BrokenProcessPool:
        # The pool does not say whose process it was.
        fault = (
            f"{job.video}: a process that labels videos was killed, perhaps for want of memory. Run the same command "
            "again, with fewer --jobs."
        )
        return VideoResult(job.video, job.outputs, fault=fault)


def _result(job: _Job, bundle: Bundle, count: Callable[[int, int], None]) -> VideoResult:
    """Label a job's video; a fault of the video is returned, one of the engines raised."""
    warnings: list[str] = []
    try:
        networks = open_networks(
            bundle,
            engine=cast(EngineChoice, job.options.engine),
            flow=cast(FlowChoice, job.options.flow),
            threads=job.threads,
            warn=warnings.append,
        )
        summary = label_video(
            job.video,
            bundle,
            job.outputs,
            networks=networks,
            options=job.options,
            on_progress=lambda frames: count(job.number, frames),
        )
    except InputError as error:
        return VideoResult(job.video, job.outputs, fault=str(error), warnings=tuple(warnings))
    return VideoResult(job.video, job.outputs, summary, warnings=tuple(warnings))


class _Stopped(ToolkitError):
    """The labelling was stopped from outside."""


_worker: dict[str, Any] = {}


def _start_worker(decoded: Any, stop: Any, parent: int) -> None:
    cv2.setNumThreads(1)
    _worker.update(decoded=decoded, stop=stop, bundles={})
    threading.Thread(target=_exit_if_told, args=(stop, parent), daemon=True).start()


def _exit_if_told(stop: Any, parent: int) -> None:
    """End this process when its parent has died, or when an engine or a decoder keeps it from heeding `stop`."""
    while os.getppid() == parent:
        time.sleep(0.5)
        if stop.value:
            time.sleep(GRACE_S)
            break
    os._exit(1)


def _work(job: _Job) -> VideoResult:
    decoded, stop, bundles = _worker["decoded"], _worker["stop"], _worker["bundles"]

    def count(number: int, frames: int) -> None:
        if stop.value:
            raise _Stopped(f"{job.video}: labelling was stopped")
        decoded[number] = frames

    count(job.number, 0)
    if job.bundle not in bundles:
        bundles[job.bundle] = load_bundle(job.bundle)
    return _result(job, bundles[job.bundle], count)
