"""One video's annotations by one file: two observers' files of the same video are two of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from toolkit.annotations.boris import BORIS
from toolkit.annotations.boris_table import is_export
from toolkit.annotations.contract import AnnotatedDataset, AnnotatedVideo, Form, Reading, Request
from toolkit.annotations.dataset import load_dataset
from toolkit.annotations.deepethogram import DEEPETHOGRAM, has_index
from toolkit.annotations.interval_table import INTERVAL_TABLE
from toolkit.errors import AnnotationError, raise_faults


def load_annotation(
    path: Path, *, video: Path | None = None, behaviours: Sequence[str] | None = None
) -> AnnotatedDataset:
    """Read one video's annotations and check them against it; return them as a data set of that video.

    Parameters
    ----------
    path
        A table of intervals under any name, a table of DeepEthogram's, an export of BORIS's, or a data set folder.
    video
        The video; None: the one that the file names, in or below the file's folder (of DeepEthogram's tables: beside
        it).
    behaviours
        The ethogram's names in order, as for `load_dataset`.

    Raises
    ------
    AnnotationError
        With every fault found, as for `load_dataset`; if the file is of several videos, or of none.
    DatasetError
        If a folder is not a data set.
    """
    if path.is_dir():
        dataset = load_dataset(path, behaviours=behaviours)
        return replace(dataset, videos=(_the_one(path, dataset.videos, video),))
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file. Expected annotations of a video, or its labels.")
    reading = _read(path, Request(path.parent, behaviours, video=video))
    raise_faults(AnnotationError, f"{path} does not fit its video", reading.faults)
    found = _the_one(path, reading.videos, video)
    return AnnotatedDataset(path.parent, reading.ethogram, (found,), tuple(reading.skipped))


def _read(path: Path, request: Request) -> Reading:
    form = _form(path)
    return form.read(request, [path])


def _form(path: Path) -> Form:
    if has_index(path):
        return DEEPETHOGRAM
    return BORIS if is_export(path) else INTERVAL_TABLE


def _the_one(path: Path, videos: Sequence[AnnotatedVideo], wanted: Path | None) -> AnnotatedVideo:
    named = [video for video in videos if wanted is None or video.path.name == wanted.name]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(video.path.name for video in videos[:5]) or "none"
    raise AnnotationError(
        f"{path}: expected annotations of one video{f', {wanted.name}' if wanted else ''}, found {listed}"
        f"{', ...' if len(videos) > 5 else ''}. Name the video: --video VIDEO."
    )
