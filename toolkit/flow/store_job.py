"""Preparing videos for the flow store: one video, and many of them in processes.

Workers import neither torch nor anything of training, so that starting one is cheap.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolkit.errors import InputError, ToolkitError, VideoError, raise_faults
from toolkit.files import atomic_write
from toolkit.flow.contract import FlowEstimator, FlowParameters
from toolkit.flow.encoding import FlowEncoding
from toolkit.flow.store_file import StoreWriter
from toolkit.frames import FrameRateGate, probe, read_frames
from toolkit.preprocess import WorkingGeometry, grey_frame

FORMAT = 2
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


class StoreKey(BaseModel):
    """What a store was made of; one of another key is stale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    video_sha256: str
    recipe: FlowRecipe
    implementation: str | None
    """`FlowEstimator.implementation`; None without flow."""

    def serves(self, wanted: StoreKey) -> bool:
        """Whether a store of this key holds what is wanted: the same, or only the frames of the same."""
        if wanted.recipe.parameters is not None:
            return self == wanted
        frames = (self.format, self.video_sha256, self.recipe.geometry)
        return frames == (wanted.format, wanted.video_sha256, wanted.recipe.geometry)


@dataclass(frozen=True)
class StoreJob:
    """One video to prepare; it can be pickled."""

    video: Path
    key: StoreKey
    estimator: Callable[[FlowParameters], FlowEstimator]
    store: Path
    """File to write."""
    threads: int = 1
    """Threads that compute flow; the result does not depend on their number."""


def write_store(job: StoreJob, after_frame: Callable[[], None]) -> int:
    """Prepare one video and return how many flow pairs that took; `after_frame` is called for every source frame.

    Raises
    ------
    VideoError
        If the video is truncated, damaged or of varying frame rate.
    InputError
        If the store cannot be written, e.g. because the disk is full.
    """
    try:
        with atomic_write(job.store) as beside, beside.open("wb") as file:
            return _write(job, file, after_frame)
    except OSError as error:
        raise InputError(
            f"{job.store}: the flow store of {job.video.name} cannot be written ({error.strerror}). Make room, an hour "
            "of 320 x 240 video takes up to 10 GB, or see to the folder's permissions, and run the same command again."
        ) from error


def _write(job: StoreJob, file: BinaryIO, after_frame: Callable[[], None]) -> int:
    geometry, parameters = job.key.recipe.geometry, job.key.recipe.parameters
    writer = StoreWriter(file, geometry.height, geometry.width)
    frames = _written_frames(job, writer, after_frame)
    if parameters is None:
        deque(frames, maxlen=0)
    else:
        for steps in _flow_steps(frames, job, parameters):
            # The first frame has no predecessor: flow[0] = flow[1].
            for _ in range(2 if writer.flow_fields == 0 else 1):
                writer.add_flow(steps)
        if writer.frames == 1:
            writer.add_flow(np.zeros((geometry.height, geometry.width, 2), dtype=np.int16))
    writer.finish(job.key.model_dump_json())
    return max(0, writer.flow_fields - 1)


def _written_frames(job: StoreJob, writer: StoreWriter, after_frame: Callable[[], None]) -> Iterator[NDArray[np.uint8]]:
    """Yield the grey image of every working frame, once it is written."""
    geometry = job.key.recipe.geometry
    gate = FrameRateGate(geometry.fps, float(probe(job.video).fps))
    for frame in read_frames(job.video):
        after_frame()
        if gate.accept(frame.capture_time_ns):
            working = geometry.working_frame(frame.image)
            writer.add_frame(working, frame.index)
            yield grey_frame(working)


def _flow_steps(
    greys: Iterator[NDArray[np.uint8]], job: StoreJob, parameters: FlowParameters
) -> Iterator[NDArray[np.int16]]:
    """Yield the encoded flow of successive frames, in order, computed by the job's threads."""
    # An estimator has memory of its own, so that each thread needs one.
    own = threading.local()

    def steps(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> NDArray[np.int16]:
        if not hasattr(own, "estimator"):
            own.estimator = job.estimator(parameters)
        return job.key.recipe.encoding.encode(own.estimator.flow(*pair))

    if job.threads == 1:
        yield from map(steps, pairwise(greys))
        return
    with ThreadPoolExecutor(job.threads) as pool:
        waiting: deque[Future[NDArray[np.int16]]] = deque()
        for pair in pairwise(greys):
            waiting.append(pool.submit(steps, pair))
            if len(waiting) > 2 * job.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def run_here(jobs: Sequence[StoreJob], total: int, on_progress: OnFrames | None) -> int:
    """Run jobs in this process and return the flow pairs they took; `total` source frames are to come.

    Raises
    ------
    VideoError
        After the last job, with the fault of each that failed.
    """
    done = pairs = 0
    faults = []

    def after_frame() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    for job in jobs:
        try:
            pairs += write_store(job, after_frame)
        except VideoError as error:
            faults.append(str(error))
    raise_faults(VideoError, f"{len(faults)} of {len(jobs)} videos could not be prepared", faults)
    return pairs


def run_in_processes(jobs: Sequence[StoreJob], workers: int, total: int, on_progress: OnFrames | None) -> int:
    """Run jobs in processes, in this order, and return the flow pairs they took; see `run_here`."""
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


class _Stopped(ToolkitError):
    """The preparation was stopped from outside."""


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


def _work(job: StoreJob) -> int:
    counter, stop = _worker["counter"], _worker["stop"]

    def after_frame() -> None:
        if stop.is_set():
            raise _Stopped(f"{job.video}: preparation was stopped")
        with counter.get_lock():
            counter.value += 1

    return write_store(job, after_frame)
