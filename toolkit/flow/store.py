"""The flow store: each video decoded, brought to working size and its flow computed once, for all of training.

One folder per video in a cache: ``frames.npy``, ``flow.npy``, ``source_index.npy`` and ``key.json``, which says what
they were made from. An entry whose key is not the wanted one is made anew, never used. Entries appear whole or not at
all, so a killed preparation resumes with the videos that it had finished.

Workers import neither torch nor anything of training, so that starting one is cheap.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.errors import ToolkitError, VideoError, raise_faults
from toolkit.files import atomic_directory, sha256_of_file
from toolkit.flow.contract import FlowEstimator, FlowParameters
from toolkit.flow.encoding import FlowEncoding
from toolkit.flow.select import best_cpu_flow
from toolkit.frames import FrameRateGate, VideoInfo, count_frames, probe, read_frames
from toolkit.preprocess import WorkingGeometry, grey_frame

FORMAT = 1
KEY = "key.json"
REPORT_EVERY_S = 0.2

OnFrames = Callable[[int, int], None]
"""Called with the source frames done and the source frames in all."""


class FlowRecipe(BaseModel):
    """What decides a working frame and its flow, but for the video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: WorkingGeometry
    """What frames are brought to before flow."""
    parameters: FlowParameters | None
    """TV-L1's parameters; None prepares frames only."""
    encoding: FlowEncoding = FlowEncoding()
    """How flow is quantised."""


class _Key(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    video_sha256: str
    recipe: FlowRecipe
    implementation: str | None
    frames: int


@dataclass(frozen=True)
class PreparedVideo:
    """A video at working size, with its flow; arrays are read-only maps of files."""

    path: Path
    """The video."""
    video_sha256: str
    frames: NDArray[np.uint8]
    """(N, H, W, 3) uint8 RGB working frames."""
    flow_steps: NDArray[np.int16] | None
    """(N, H, W, 2) int16, flow to each frame from its predecessor in steps of the encoding; flow[0] = flow[1]."""
    source_index: NDArray[np.int64]
    """(N,) int64: which frame of the video each one is, after decimation to the geometry's frame rate."""
    implementation: str | None
    """`FlowEstimator.implementation` that made the flow."""


@dataclass(frozen=True)
class Preparation:
    """The prepared videos, and what preparing them took."""

    videos: tuple[PreparedVideo, ...]
    """In the order asked for."""
    computed: int
    """Videos that were not already there."""
    pairs: int
    """Frame pairs whose flow was computed now."""
    footage_s: float
    """Length of the footage prepared now, s."""
    elapsed_s: float
    """Wall time, s."""

    @property
    def pairs_per_s(self) -> float:
        """Flow pairs per second of wall time."""
        return self.pairs / self.elapsed_s

    @property
    def real_time_factor(self) -> float:
        """Seconds of footage prepared per second of wall time; above one is faster than the camera."""
        return self.footage_s / self.elapsed_s


def prepare(
    videos: Sequence[Path],
    recipe: FlowRecipe,
    cache: Path,
    *,
    workers: int = 1,
    on_progress: OnFrames | None = None,
    estimator: Callable[[FlowParameters], FlowEstimator] = best_cpu_flow,
) -> Preparation:
    """Prepare the videos that the cache does not hold yet, and open all of them.

    Parameters
    ----------
    videos
        Video files, each once.
    cache
        Folder of the entries, made if it is missing.
    workers
        Processes, one video each at a time; 0 works in this process.
    estimator
        Makes the flow estimator in each worker; a class or a function of a module.

    Raises
    ------
    VideoError
        With every fault found: a source that does not fit the geometry (before anything is computed), or one that is
        truncated, damaged or of varying frame rate. Nothing of such a video is kept; the others are.
    """
    implementation = estimator(recipe.parameters).implementation if recipe.parameters else None
    infos = _checked_sources(videos, recipe.geometry)
    started_s = time.monotonic()
    cache.mkdir(parents=True, exist_ok=True)
    with _sole_writer(cache):
        hashes = {path: sha256_of_file(path) for path in videos}
        missing = [p for p in videos if _open(p, hashes[p], recipe, implementation, cache) is None]
        jobs = [_Job(p, hashes[p], recipe, implementation, estimator, _entry(p, cache)) for p in missing]
        lengths = {path: count_frames(path) for path in missing}
        jobs.sort(key=lambda job: lengths[job.video], reverse=True)
        run = _run_here if workers == 0 else _run_in_processes
        pairs = run(jobs, workers, sum(lengths.values()), on_progress)
        opened = [_open(path, hashes[path], recipe, implementation, cache) for path in videos]
    prepared = tuple(video for video in opened if video is not None)
    if len(prepared) != len(videos):
        raise VideoError(f"{cache}: an entry vanished or a video changed while it was prepared. Run it again.")
    footage_s = sum(lengths[path] / float(infos[path].fps) for path in missing)
    return Preparation(prepared, len(missing), pairs, footage_s, time.monotonic() - started_s)


def _checked_sources(videos: Sequence[Path], geometry: WorkingGeometry) -> dict[Path, VideoInfo]:
    faults, infos = [], {}
    for path in videos:
        try:
            infos[path] = info = probe(path)
            geometry.check_source(info.width, info.height, float(info.fps), str(path))
        except VideoError as error:
            faults.append(str(error))
    raise_faults(VideoError, f"{len(faults)} of {len(videos)} videos cannot be used", faults)
    return infos


@contextmanager
def _sole_writer(cache: Path) -> Iterator[None]:
    """Wait for any other preparation of this cache, then clear away what a killed one left."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache.glob(".*.*/"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _entry(video: Path, cache: Path) -> Path:
    # Relative, so that a data set can be moved with its cache; hashed, since clips of one name lie in many folders.
    place = os.path.relpath(video.resolve(), cache.resolve())
    return cache / f"{video.stem}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _open(
    video: Path, video_sha256: str, recipe: FlowRecipe, implementation: str | None, cache: Path
) -> PreparedVideo | None:
    """Open a video's entry, or return None if there is none, or one made of something else."""
    entry = _entry(video, cache)
    try:
        found = _Key.model_validate_json((entry / KEY).read_text())
        wanted = _Key(video_sha256=video_sha256, recipe=recipe, implementation=implementation, frames=found.frames)
        if found != wanted:
            return None
        frames = np.load(entry / "frames.npy", mmap_mode="r", allow_pickle=False)
        flow = np.load(entry / "flow.npy", mmap_mode="r", allow_pickle=False) if recipe.parameters else None
        source_index = np.load(entry / "source_index.npy", allow_pickle=False)
    except (OSError, ValueError, ValidationError, json.JSONDecodeError):
        return None
    if len(frames) != found.frames or len(source_index) != found.frames:
        return None
    return PreparedVideo(video, video_sha256, frames, flow, source_index, implementation)


@dataclass(frozen=True)
class _Job:
    video: Path
    video_sha256: str
    recipe: FlowRecipe
    implementation: str | None
    estimator: Callable[[FlowParameters], FlowEstimator]
    entry: Path


class _Stopped(ToolkitError):
    """The preparation was stopped from outside."""


def _write_entry(job: _Job, after_frame: Callable[[], None]) -> int:
    """Prepare one video and return how many flow pairs that took."""
    geometry, parameters = job.recipe.geometry, job.recipe.parameters
    estimator = job.estimator(parameters) if parameters else None
    gate = FrameRateGate(geometry.fps, float(probe(job.video).fps))
    source_index: list[int] = []
    previous: NDArray[np.uint8] | None = None
    shape = (geometry.height, geometry.width)
    with (
        atomic_directory(job.entry, overwrite=True) as folder,
        _GrowingArray(folder / "frames.npy", (*shape, 3), np.dtype(np.uint8)) as frames,
        _GrowingArray(folder / "flow.npy", (*shape, 2), np.dtype(np.int16)) as flow,
    ):
        for frame in read_frames(job.video):
            after_frame()
            if not gate.accept(frame.capture_time_ns):
                continue
            source_index.append(frame.index)
            working = geometry.working_frame(frame.image)
            frames.append(working)
            if estimator is None:
                continue
            grey = grey_frame(working)
            if previous is not None:
                steps = job.recipe.encoding.encode(estimator.flow(previous, grey))
                # The first frame has no predecessor: flow[0] = flow[1].
                for _ in range(2 if len(flow) == 0 else 1):
                    flow.append(steps)
            previous = grey
        if len(source_index) == 1 and estimator is not None:
            flow.append(np.zeros((*shape, 2), dtype=np.int16))
        np.save(folder / "source_index.npy", np.array(source_index, dtype=np.int64))
        key = _Key(
            video_sha256=job.video_sha256,
            recipe=job.recipe,
            implementation=job.implementation,
            frames=len(source_index),
        )
        (folder / KEY).write_text(key.model_dump_json(indent=2) + "\n")
    return max(0, len(source_index) - 1) if estimator is not None else 0


class _GrowingArray:
    """A .npy file written item by item, whose length is known at its end; removed if it stays empty."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._path, self._shape, self._dtype = path, shape, dtype
        self._length = 0

    def __enter__(self) -> _GrowingArray:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def __exit__(self, *_: object) -> None:
        # NumPy pads the header so that the first axis can be rewritten in place.
        self._file.seek(0)
        self._write_header()
        self._file.close()
        if self._length == 0:
            self._path.unlink()

    def __len__(self) -> int:
        return self._length

    def append(self, item: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(item, dtype=self._dtype).data)
        self._length += 1

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _run_here(jobs: Sequence[_Job], workers: int, total: int, on_progress: OnFrames | None) -> int:
    del workers
    done = pairs = 0
    faults = []

    def after_frame() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    for job in jobs:
        try:
            pairs += _write_entry(job, after_frame)
        except VideoError as error:
            faults.append(str(error))
    raise_faults(VideoError, f"{len(faults)} of {len(jobs)} videos could not be prepared", faults)
    return pairs


def _run_in_processes(jobs: Sequence[_Job], workers: int, total: int, on_progress: OnFrames | None) -> int:
    if not jobs:
        return 0
    # Spawned, not forked: a fork of a process with OpenCV's or torch's threads can hang.
    context = get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_start_worker, initargs=(counter, stop, os.getpid())
    )
    try:
        futures = [pool.submit(_work, job) for job in jobs]
        waiting: set[Future[int]] = set(futures)
        while waiting:
            waiting = wait(waiting, timeout=REPORT_EVERY_S).not_done
            if on_progress:
                on_progress(counter.value, total)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    faults = [str(error) for future in futures if isinstance(error := future.exception(), VideoError)]
    raise_faults(VideoError, f"{len(faults)} of {len(jobs)} videos could not be prepared", faults)
    return sum(future.result() for future in futures)


_worker: dict[str, Any] = {}


def _start_worker(counter: Any, stop: Any, parent: int) -> None:
    import signal

    # Ctrl-C reaches the whole process group; the parent turns it into `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _worker.update(counter=counter, stop=stop)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(job: _Job) -> int:
    counter, stop = _worker["counter"], _worker["stop"]

    def after_frame() -> None:
        if stop.is_set():
            raise _Stopped(f"{job.video}: preparation was stopped")
        with counter.get_lock():
            counter.value += 1

    return _write_entry(job, after_frame)
