"""Labels for a recorded video: every frame through the cage's own pipeline, written as one CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from toolkit import __version__
from toolkit.bundle import Bundle
from toolkit.engine.contract import ClipNetworks
from toolkit.files import atomic_write, sha256_of_file
from toolkit.frames import NS_PER_S, probe, read_frames
from toolkit.pipeline import CentreLogits, Pipeline


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """What labelling one video came to."""

    frames: int
    """Frames decoded."""
    rows: int
    """Frames classified: fewer than `frames` where the video is faster than the networks, or with a stride."""
    counts: Mapping[str, int]
    """Rows of each behaviour."""
    elapsed_s: float
    realtime_factor: float
    """Seconds of video labelled per second."""


def label_video(
    video: Path,
    bundle: Bundle,
    out: Path,
    *,
    networks: ClipNetworks,
    stride: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> LabelSummary:
    """Label a video frame by frame.

    Writes `out`, a CSV with the columns ``frame``, ``time_s`` (from the first frame), ``label``, ``padded`` (1 where
    the clip repeats frames at an end of the video) and ``p_<behaviour>`` for each behaviour, and beside it
    ``<out>.json`` with the hashes that produced it. Both appear whole or not at all.

    Parameters
    ----------
    networks
        The bundle's; entered and left here.
    stride
        Classify every `stride`-th frame at the networks' frame rate.
    on_progress
        Told how many frames have been decoded.

    Raises
    ------
    VideoError
        If the video cannot be decoded to its end, or does not fit the bundle's geometry.
    """
    info = probe(video)
    fps = float(info.fps)
    bundle.manifest.geometry.check_source(info.width, info.height, fps, str(video))
    started = perf_counter()
    counts = dict.fromkeys(bundle.manifest.ethogram.names, 0)
    decoded = rows = 0
    with ExitStack() as stack:
        table = csv.writer(stack.enter_context(stack.enter_context(atomic_write(out)).open("w", newline="")))
        stack.enter_context(networks)
        pipeline = Pipeline(bundle.manifest, networks, source_fps=fps, stride=stride)
        table.writerow(["frame", "time_s", "label", "padded", *(f"p_{name}" for name in counts)])
        for decoded, results in _decoded(video, pipeline):
            for result in results:
                probabilities = bundle.manifest.fusion.probabilities(result.logits)
                label = bundle.manifest.ethogram.names[int(probabilities.argmax())]
                counts[label] += 1
                rows += 1
                table.writerow(_row(result, label, probabilities))
            if on_progress is not None:
                on_progress(decoded)
        _write_provenance(video, bundle, out, networks, stride)
    elapsed_s = perf_counter() - started
    return LabelSummary(decoded, rows, counts, elapsed_s, decoded / fps / elapsed_s)


def _decoded(video: Path, pipeline: Pipeline) -> Iterator[tuple[int, list[CentreLogits]]]:
    count = 0
    for frame in read_frames(video):
        count = frame.index + 1
        yield count, pipeline.push(frame)
    yield count, pipeline.end_segment()


def _row(result: CentreLogits, label: str, probabilities: NDArray[np.float32]) -> list[str]:
    time_s = f"{result.capture_time_ns / NS_PER_S:.6f}"
    return [str(result.index), time_s, label, str(int(result.padded)), *(f"{p:.6f}" for p in probabilities)]


def _write_provenance(video: Path, bundle: Bundle, out: Path, networks: ClipNetworks, stride: int) -> None:
    provenance = {
        "video": str(video),
        "video_sha256": sha256_of_file(video),
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.sha256,
        "engines": dict(networks.engines),
        "stride": stride,
        "toolkit": __version__,
    }
    with atomic_write(out.with_name(out.name + ".json")) as beside:
        beside.write_text(json.dumps(provenance, indent=2) + "\n")
