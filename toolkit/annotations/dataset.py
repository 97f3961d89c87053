"""A data set folder, whatever its form: recognised by its content, read, and checked against its videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.annotations.boris import BORIS
from toolkit.annotations.clip_folders import CLIP_FOLDERS
from toolkit.annotations.clipped import CLIPPED
from toolkit.annotations.contract import ANNOTATIONS, VIDEO_SUFFIXES, AnnotatedDataset, Form, Request
from toolkit.annotations.deepethogram import DEEPETHOGRAM
from toolkit.annotations.interval_table import INTERVAL_TABLE
from toolkit.errors import AnnotationError, DatasetError, raise_faults


def load_dataset(
    folder: Path, *, behaviours: Sequence[str] | None = None, group_pattern: str | None = None
) -> AnnotatedDataset:
    """Read a data set folder and check its annotations against its videos.

    Parameters
    ----------
    folder
        Holds ``annotations.csv``; or DeepEthogram's ``<video>_labels.csv`` beside each video; or exports of BORIS;
        or clips named as in the clipped database (``video5_groom_163.mpg``); or one folder of clips per behaviour.
        ``annotations.csv`` comes before all others, so that a folder can be converted in place.
    behaviours
        The ethogram's names in order. By default the eight of the home cage for ``annotations.csv``, and those that
        were found otherwise.
    group_pattern
        Regular expression with one group, searched in each video's path relative to `folder`; what the group
        matches is held out together, e.g. ``(animal[0-9]+)``. By default the video's file name without its suffix,
        and of clips what precedes the first underscore.

    Raises
    ------
    DatasetError
        If the folder holds none of these, or annotations of DeepEthogram and of BORIS, or nothing that can be used,
        or the pattern does not match a video's name.
    AnnotationError
        With every fault found: unknown behaviours, missing or unreadable videos, other frame counts or rates than
        the videos', negative, empty, overlapping or too long intervals.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Expected a data set: videos and {ANNOTATIONS}.")
    form, files = _recognised(folder)
    reading = form.read(Request(folder, behaviours, group_pattern), files)
    raise_faults(AnnotationError, f"{folder} ({form.name}) does not fit its videos", reading.faults)
    if not reading.videos:
        left_out = f" Left out: {'; '.join(reading.skipped[:5])}." if reading.skipped else ""
        raise DatasetError(f"{folder}: no annotated video. Expected at least one row or one clip.{left_out}")
    return AnnotatedDataset(folder, reading.ethogram, tuple(reading.videos), tuple(reading.skipped))


def _recognised(folder: Path) -> tuple[Form, list[Path]]:
    frame_tables, exports = DEEPETHOGRAM.find(folder), BORIS.find(folder)
    if (table := INTERVAL_TABLE.find(folder)) and table[0] not in exports:
        return INTERVAL_TABLE, table
    if frame_tables and exports:
        raise DatasetError(
            f"{folder}: holds labels of DeepEthogram ({frame_tables[0].name}) and of BORIS ({exports[0].name}). "
            "Expected one of them; move the other elsewhere."
        )
    for form, files in ((DEEPETHOGRAM, frame_tables), (BORIS, exports)):
        if files:
            return form, files
    for form in (CLIPPED, CLIP_FOLDERS):
        if files := form.find(folder):
            return form, files
    raise DatasetError(
        f"{folder}: not a data set. Expected {ANNOTATIONS}, DeepEthogram's <video>_labels.csv, an export of BORIS "
        f"(.csv, .tsv), clips named like video5_groom_163.mpg, or folders <behaviour>/<video>_<...>.<ext> "
        f"({', '.join(VIDEO_SUFFIXES)})."
    )
