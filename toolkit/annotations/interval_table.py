"""Our own form: ``annotations.csv`` beside the videos, one interval a row.

``video,start_frame,stop_frame,behaviour`` or, in seconds, ``video,start_s,stop_s,behaviour``: the header says the
unit. Videos are named relative to the table's folder. Intervals are half-open and do not overlap; frames in none of
them are unlabelled.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

from toolkit.annotations.checks import Stretch, checked_intervals, group_of, opened
from toolkit.annotations.contract import ANNOTATIONS, AnnotatedVideo, Form, Reading, Request
from toolkit.annotations.names import ethogram_of, our_name
from toolkit.errors import AnnotationError, raise_faults
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.files import atomic_write, check_free

_IN_FRAMES = ("video", "start_frame", "stop_frame", "behaviour")
_IN_SECONDS = ("video", "start_s", "stop_s", "behaviour")


def write_interval_table(path: Path, videos: Iterable[AnnotatedVideo], *, overwrite: bool = False) -> int:
    """Write videos' intervals in frames, the videos named relative to the table's folder; return how many rows.

    Raises
    ------
    InputError
        If `path` exists and `overwrite` is false.
    """
    check_free(path, overwrite=overwrite)
    rows = [
        (Path(os.path.relpath(video.path, path.parent)).as_posix(), i.start_frame, i.stop_frame, i.behaviour)
        for video in videos
        for i in video.intervals
    ]
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_IN_FRAMES)
        writer.writerows(rows)
    return len(rows)


def _find(folder: Path) -> list[Path]:
    return [folder / ANNOTATIONS] if (folder / ANNOTATIONS).is_file() else []


def _read(request: Request, files: list[Path]) -> Reading:
    folder, (table,) = request.folder, files
    reading = Reading(ethogram_of(request.behaviours, MOUSE_HOME_CAGE.names))
    rows = _rows(table, request.behaviours)
    for name in request.meant(rows):
        stretches = rows[name]
        path = request.video or folder / name
        if not path.is_file():
            more = f" (and {len(stretches) - 1} more rows)" if len(stretches) > 1 else ""
            reading.faults.append(f"{stretches[0].where}: video {name!r} is not in {folder}{more}")
            continue
        group = group_of(path, request, path.stem)
        if video := opened(path, group, reading.faults):
            intervals = checked_intervals(stretches, video, reading.ethogram, reading.faults)
            reading.videos.append(replace(video, intervals=intervals))
            reading.skipped += request.renamed(name)
    return reading


def _rows(table: Path, behaviours: Sequence[str] | None) -> dict[str, list[Stretch]]:
    """Return each video's rows, in the order of the table."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{table}: not a CSV file in UTF-8 ({error}). Save it as CSV, UTF-8.") from error
    header = tuple(cell.strip() for cell in lines[0]) if lines else ()
    if header not in (_IN_FRAMES, _IN_SECONDS):
        expected = f"{','.join(_IN_FRAMES)} or {','.join(_IN_SECONDS)}"
        raise AnnotationError(f"{table}: expected the header {expected}, found {','.join(header)!r}.")
    seconds = header == _IN_SECONDS
    faults: list[str] = []
    rows: dict[str, list[Stretch]] = {}
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        try:
            video, start, stop, behaviour = (cell.strip() for cell in cells)
            convert = float if seconds else int
            times = convert(start), convert(stop)
            if not all(map(isfinite, times)):
                raise ValueError
        except ValueError:
            unit = "seconds" if seconds else "whole frames"
            faults.append(f"line {line}: expected video, start, stop in {unit}, behaviour; found {','.join(cells)!r}")
            continue
        rows.setdefault(video, []).append(Stretch(f"line {line}", *times, our_name(behaviour, behaviours), seconds))
    raise_faults(AnnotationError, f"{table} cannot be read", faults)
    return rows


INTERVAL_TABLE = Form(ANNOTATIONS, _find, _read)
