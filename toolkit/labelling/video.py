"""Labelling one video: one decode, one flow a frame, one inference a stride, and every file whole or not there.

Files are written in a hidden folder beside their place and renamed at the end, the provenance last. What a killed run
left there is removed by the next, which labels the video from its start.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from toolkit.bouts import NO_LABEL
from toolkit.bundle import Bundle
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.errors import InputError
from toolkit.files import move_into_place, sha256_of_file, sole_process
from toolkit.flow import FlowEstimator
from toolkit.frames import NS_PER_S, VideoInfo, probe, read_frames
from toolkit.labelling.options import LabelOptions
from toolkit.labelling.outputs import Outputs
from toolkit.labelling.overlay import OverlayVideo, WatchedFlow
from toolkit.labelling.provenance import LabelProvenance, now_utc, read_provenance, recorded_at, write_provenance
from toolkit.labelling.rows import FrameLabeller, LabelledRow, kept_fps
from toolkit.labelling.smoothing import Smoothing
from toolkit.labelling.tables import BoutTable, frame_table
from toolkit.view import ViewMonitor, ViewTable


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """What labelling one video came to."""

    frames: int
    """Frames decoded."""
    rows: int
    """Rows written: fewer than `frames` where the video is faster than the networks, or with a stride."""
    counts: dict[str, int]
    """Rows of each behaviour, after smoothing."""
    unlabelled: dict[str, int]
    """Rows without a label, by reason."""
    elapsed_s: float
    realtime_factor: float
    """Seconds of video labelled per second."""


def label_video(
    video: Path,
    bundle: Bundle,
    outputs: Outputs,
    *,
    networks: ClipNetworks,
    options: LabelOptions,
    on_progress: Callable[[int], None] | None = None,
    view: ViewTable | None = None,
) -> LabelSummary:
    """Label a video frame by frame; see `frame_table` and `BoutTable` for what is written.

    Parameters
    ----------
    networks
        The bundle's; entered and left here.
    on_progress
        Told how many frames have been decoded. What it raises ends the labelling, and nothing is left of it.
    view
        Thresholds of the view's check; None: the defaults.

    Raises
    ------
    VideoError
        If the video cannot be decoded to its end, or does not fit the bundle's geometry.
    InputError
        If another process is labelling this video, or a file cannot be written.
    MissingDependency
        If Parquet is asked for and pyarrow is not installed.
    """
    info = probe(video)
    bundle.manifest.geometry.check_source(info.width, info.height, float(info.fps), str(video))
    try:
        with _folder_of_one(outputs) as folder:
            return _label(info, bundle, outputs, folder, networks, options, on_progress, view or ViewTable())
    except OSError as error:
        raise InputError(
            f"{outputs.labels}: the labels of {video.name} cannot be written ({error.strerror or error}). Make room, "
            "or see to the folder's permissions, and run the same command again."
        ) from error


def _label(
    info: VideoInfo,
    bundle: Bundle,
    outputs: Outputs,
    folder: Path,
    networks: ClipNetworks,
    options: LabelOptions,
    on_progress: Callable[[int], None] | None,
    view: ViewTable,
) -> LabelSummary:
    started = perf_counter()
    names = bundle.manifest.ethogram.names
    watched = None
    if options.overlay and isinstance(networks, HostNetworks):
        networks, watched = _watching(networks)
    with ExitStack() as stack:
        stack.enter_context(networks)
        labeller = FrameLabeller(
            bundle.manifest,
            networks,
            source_fps=float(info.fps),
            stride=options.stride,
            view=ViewMonitor(view, bundle.manifest.geometry.roi) if options.view_check else None,
        )
        smoothing = Smoothing(options.smooth_s, labeller.row_interval_ns)
        table = frame_table(folder / outputs.labels.name, options.format, names, smoothed=options.smooth_s > 0)
        stack.enter_context(table)
        bouts = BoutTable(folder / outputs.bouts.name, names, options.min_bout_s, labeller.row_interval_ns)
        stack.enter_context(bouts)
        overlay = None
        if outputs.overlay is not None:
            fps = kept_fps(bundle.manifest, float(info.fps))
            overlay = OverlayVideo(folder / outputs.overlay.name, info.fps, bundle.manifest.ethogram, watched, fps)
            stack.enter_context(overlay)
        count = _Count(names)
        decoded = end_ns = 0

        def write(rows: Sequence[LabelledRow]) -> None:
            count.add(rows)
            table.write(rows)
            bouts.write(rows)
            if overlay is not None:
                overlay.label(rows)

        for frame in read_frames(info.path):
            rows = labeller.push(frame)
            if overlay is not None:
                overlay.admit(frame)
            write(list(smoothing.push(rows)))
            decoded, end_ns = frame.index + 1, frame.capture_time_ns + round(NS_PER_S / info.fps)
            if on_progress is not None:
                on_progress(decoded)
        write([*smoothing.push(labeller.end()), *smoothing.end()])
        bouts.end(decoded, end_ns)
        if overlay is not None:
            overlay.end()
    _commit(folder, outputs, _provenance(info, bundle, outputs, folder, networks, options, decoded, count))
    elapsed_s = perf_counter() - started
    factor = decoded / float(info.fps) / elapsed_s
    return LabelSummary(decoded, count.rows, count.labelled, count.unlabelled, elapsed_s, factor)


class _Count:
    """Rows by what they say."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.labelled = dict.fromkeys(names, 0)
        self.unlabelled: dict[str, int] = {}

    @property
    def rows(self) -> int:
        return sum(self.labelled.values()) + sum(self.unlabelled.values())

    def add(self, rows: Sequence[LabelledRow]) -> None:
        for row in rows:
            if row.view is not None:
                self.unlabelled[row.view.value] = self.unlabelled.get(row.view.value, 0) + 1
            elif row.smoothed != NO_LABEL:
                self.labelled[self._names[row.smoothed]] += 1


def _watching(networks: HostNetworks) -> tuple[HostNetworks, WatchedFlow | None]:
    """Return the networks around a flow estimator that can be watched; None where they have no flow."""
    watched: list[WatchedFlow] = []

    def watch(estimator: FlowEstimator) -> WatchedFlow:
        watched.append(WatchedFlow(estimator))
        return watched[0]

    wrapped = networks.wrapped(watch, lambda _stream, backend: backend)
    return wrapped, watched[0] if watched else None


@contextmanager
def _folder_of_one(outputs: Outputs) -> Iterator[Path]:
    """Yield a folder to write in, beside the outputs, which no other process has; what is in it is overwritten."""
    folder = outputs.labels.parent / f".{outputs.labels.name}.part"

    def refuse(holder: str, _waited_s: float) -> None:
        raise InputError(f"{outputs.labels}: {holder} is labelling this video. Wait for it, or stop it.")

    with sole_process(folder / "lock", refuse):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _provenance(
    info: VideoInfo,
    bundle: Bundle,
    outputs: Outputs,
    folder: Path,
    networks: ClipNetworks,
    options: LabelOptions,
    frames: int,
    count: _Count,
) -> LabelProvenance:
    status = info.path.stat()
    return LabelProvenance(
        video=str(info.path.resolve()),
        video_sha256=sha256_of_file(info.path),
        video_bytes=status.st_size,
        video_mtime_ns=status.st_mtime_ns,
        frames=frames,
        fps=float(info.fps),
        recorded_at=recorded_at(info.path),
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        behaviours=bundle.manifest.ethogram.names,
        engines=dict(networks.engines),
        options=options,
        rows=count.rows,
        unlabelled=count.unlabelled,
        labelled_at=now_utc(),
        files={path.name: (folder / path.name).stat().st_size for path in outputs.data},
    )


def _commit(folder: Path, outputs: Outputs, provenance: LabelProvenance) -> None:
    """Put the files in their place. From the first to the last of them there is no provenance: nothing is claimed."""
    before = read_provenance(outputs.provenance)
    outputs.provenance.unlink(missing_ok=True)
    for path in outputs.data:
        move_into_place(folder / path.name, path)
    # An overlay or a table that is not asked for any more would be read as these labels'.
    for name in set(before.files if before else ()) - set(provenance.files):
        (outputs.labels.parent / Path(name).name).unlink(missing_ok=True)
    write_provenance(outputs, provenance)
