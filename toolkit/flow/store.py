"""The flow store: each video decoded, brought to working size and its flow computed once, for all of training.

One compressed file per video in a cache (`store_file`), with a key that says what it was made of. A store whose key is
not the wanted one is made anew, never used. Stores appear whole or not at all, so a killed preparation resumes with the
videos that it had finished.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from toolkit.errors import VideoError, raise_faults
from toolkit.files import sha256_of_file, sole_process
from toolkit.flow.contract import FlowEstimator, FlowParameters
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.select import best_cpu_flow
from toolkit.flow.store_file import StoredArray, open_store
from toolkit.flow.store_job import FlowRecipe, OnFrames, StoreJob, StoreKey, run_here, run_in_processes
from toolkit.frames import VideoInfo, count_frames, probe
from toolkit.preprocess import WorkingGeometry

__all__ = ["FlowRecipe", "OnFrames", "Preparation", "PreparedVideo", "StoredArray", "prepare"]

SUFFIX = ".store"


@dataclass(frozen=True)
class PreparedVideo:
    """A video at working size, with its flow; frames and flow are read from the store when they are indexed."""

    path: Path
    """The video."""
    video_sha256: str
    store: Path
    """The file that holds it."""
    frames: StoredArray[np.uint8] | NDArray[np.uint8]
    """(N, H, W, 3) uint8 RGB working frames."""
    flow_steps: StoredArray[np.int16] | NDArray[np.int16] | None
    """(N, H, W, 2) int16, flow to each frame from its predecessor in steps of the encoding; flow[0] = flow[1]."""
    source_index: NDArray[np.int64]
    """(N,) int64: which frame of the video each one is, after decimation to the geometry's frame rate."""
    mean_colours: NDArray[np.float64]
    """(N, 3) float64: mean RGB of each working frame, 0 to 255."""
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
    stored_footage_s: float
    """Length of all the videos, s."""

    @property
    def pairs_per_s(self) -> float:
        """Flow pairs per second of wall time."""
        return self.pairs / self.elapsed_s

    @property
    def real_time_factor(self) -> float:
        """Seconds of footage prepared per second of wall time; above one is faster than the camera."""
        return self.footage_s / self.elapsed_s

    @property
    def stored_bytes(self) -> int:
        """Size of all the videos' stores."""
        return sum(video.store.stat().st_size for video in self.videos)

    @property
    def bytes_per_hour(self) -> float:
        """Size of the stores per hour of video."""
        return self.stored_bytes * 3600 / self.stored_footage_s


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
        Folder of the stores, made if it is missing.
    workers
        Processes, one video each at a time; those in excess of the videos become threads of the others. 0 works in
        this process.
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
        keys = {
            path: StoreKey(video_sha256=sha256_of_file(path), recipe=recipe, implementation=implementation)
            for path in videos
        }
        missing = [path for path in videos if _open(path, keys[path], cache) is None]
        lengths = {path: count_frames(path) for path in missing}
        threads = _threads(workers, len(missing), estimator)
        jobs = [StoreJob(path, keys[path], estimator, _store(path, cache), threads) for path in missing]
        # The longest first, so that no worker begins one while the others have run out of work.
        jobs.sort(key=lambda job: lengths[job.video], reverse=True)
        total = sum(lengths.values())
        pairs = run_in_processes(jobs, workers, total, on_progress) if workers else run_here(jobs, total, on_progress)
        opened = [_open(path, keys[path], cache) for path in videos]
    prepared = tuple(video for video in opened if video is not None)
    if len(prepared) != len(videos):
        raise VideoError(f"{cache}: a store vanished or a video changed while it was prepared. Run it again.")
    return Preparation(
        videos=prepared,
        computed=len(missing),
        pairs=pairs,
        footage_s=sum(lengths[path] / float(infos[path].fps) for path in missing),
        elapsed_s=time.monotonic() - started_s,
        stored_footage_s=sum(len(video.frames) for video in prepared) / recipe.geometry.fps,
    )


def _threads(workers: int, videos: int, estimator: Callable[[FlowParameters], FlowEstimator]) -> int:
    # One thread keeps a GPU busy; more would each want a context of their own.
    return 1 if videos == 0 or estimator is CudaFlow else max(1, workers // videos)


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
    with sole_process(cache / ".lock", lambda _holder, _waited_s: None):
        for leftover in cache.glob(f".*{SUFFIX}"):
            leftover.unlink()
        yield


def _store(video: Path, cache: Path) -> Path:
    # Relative, so that a data set can be moved with its cache; hashed, since clips of one name lie in many folders.
    place = os.path.relpath(video.resolve(), cache.resolve())
    return cache / f"{video.stem}-{hashlib.sha256(place.encode()).hexdigest()[:8]}{SUFFIX}"


def _open(video: Path, key: StoreKey, cache: Path) -> PreparedVideo | None:
    """Open a video's store, or return None if there is none, or one made of something else."""
    store = _store(video, cache)
    try:
        content = open_store(store)
        if not StoreKey.model_validate_json(content.key).serves(key):
            return None
    except (VideoError, ValidationError):
        return None
    return PreparedVideo(
        path=video,
        video_sha256=key.video_sha256,
        store=store,
        frames=content.frames,
        flow_steps=content.flow_steps if key.recipe.parameters else None,
        source_index=content.source_index,
        mean_colours=content.mean_colours,
        implementation=key.implementation,
    )
