"""DeepEthogram's labels: beside each video a table ``<video>_labels.csv`` with a row per frame.

The format, from its documentation (github.com/jbohnslav/deepethogram, docs/file_structure.md and docs/using_gui.md)
and what its reader expects: a folder ``DATA/<record>/`` holds ``<record>.mp4`` (or another suffix) and
``<record>_labels.csv``. The first column, without a name, is the frame's index from 0; then comes a column per
behaviour, ``background`` first. 1 is present, 0 absent, -1 not yet labelled (the whole row). DeepEthogram
lets behaviours coincide, except with background. An ethogram's behaviours here exclude each other, so a row of more
than one is a fault. ``background`` is unlabelled, unless the user names it among the behaviours: it says that none of
a lab's behaviours was seen, not which other one was.

The table says no frame rate; its rows must be as many as the video's frames.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.annotations.checks import files_below, group_of, opened, videos_in
from toolkit.annotations.contract import UNLABELLED, VIDEO_SUFFIXES, Form, Reading, Request, intervals_from_labels
from toolkit.annotations.names import ethogram_of, our_name, unknown
from toolkit.ethogram import Ethogram

_ENDING = "_labels.csv"
_BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class _FrameTable:
    name: str
    """Path relative to the data set folder."""
    behaviours: tuple[str, ...]
    """Our names of the columns, background first."""
    values: NDArray[np.int8]
    """(frames, behaviours): 1, 0 or -1."""


def _find(folder: Path) -> list[Path]:
    return [path for path in files_below(folder, (".csv",)) if path.name.endswith(_ENDING) and has_index(path)]


def has_index(path: Path) -> bool:
    """Say whether a table's first column has no name (which spreadsheets and pandas may have given one since)."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().split(",")[0].strip().strip('"') in ("", "Unnamed: 0")


def _read(request: Request, files: list[Path]) -> Reading:
    faults: list[str] = []
    tables = {path: _frame_table(path, request, faults) for path in files}
    columns = [name for table in tables.values() if table for name in table.behaviours]
    found = [name for name in columns if name != _BACKGROUND]
    reading = Reading(ethogram_of(request.behaviours, found or columns or [_BACKGROUND]), faults=faults)
    for path, table in tables.items():
        if table:
            _read_video(path, table, request, reading)
    labelled = {_stem(path) for path in files}
    reading.skipped += [
        f"{video.relative_to(request.folder)}: no {video.stem}{_ENDING} beside it"
        for video in files_below(request.folder, VIDEO_SUFFIXES)
        if request.video is None and video.with_suffix("") not in labelled
    ]
    return reading


def _read_video(path: Path, table: _FrameTable, request: Request, reading: Reading) -> None:
    stem = _stem(path)
    beside = [file for file in videos_in(path.parent) if file.with_suffix("") == stem]
    candidates = [request.video] if request.video else beside
    if len(candidates) != 1:
        found = ", ".join(file.name for file in candidates) or "none"
        reading.faults.append(
            f"{table.name}: expected one video {stem.name} beside it ({', '.join(VIDEO_SUFFIXES)}), found {found}"
        )
        return
    video = opened(candidates[0], group_of(candidates[0], request, stem.name), reading.faults)
    labels = _labels(table, reading.ethogram, reading.faults)
    if video is None or labels is None:
        return
    if len(labels) != video.frames:
        reading.faults.append(
            f"{table.name}: {len(labels)} rows for {video.frames} frames of {video.path.name}; expected a row per "
            "frame. Label the very file that lies here, not a cut or re-encoded one"
        )
    elif not (intervals := intervals_from_labels(labels, reading.ethogram)):
        reading.skipped.append(f"{table.name}: no frame has a behaviour")
    else:
        reading.videos.append(replace(video, intervals=intervals))


def _stem(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_ENDING))


def _frame_table(path: Path, request: Request, faults: list[str]) -> _FrameTable | None:
    """Return the table, or None and every fault of its cells."""
    name, before = str(path.relative_to(request.folder)), len(faults)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{name}: not a CSV file in UTF-8 ({error})")
        return None
    if len(header) < 2 or header[1].strip() != _BACKGROUND:
        faults.append(f"{name}: expected a frame column without a name, then {_BACKGROUND}, found {','.join(header)!r}")
        return None
    values = np.zeros((len(rows), len(header) - 1), dtype=np.int8)
    for index, cells in enumerate(rows):
        try:
            frame, *present = (int(float(cell)) for cell in cells)
        except (ValueError, OverflowError):
            frame, present = index, []
        if len(present) != len(header) - 1 or not set(present) <= {-1, 0, 1}:
            faults.append(f"{name} line {index + 2}: expected {len(header) - 1} of 1, 0, -1; found {','.join(cells)!r}")
        elif frame != index:
            faults.append(f"{name} line {index + 2}: expected frame {index}, found {frame}; rows are missing or moved")
        else:
            values[index] = present
    columns = tuple(our_name(column, request.behaviours) for column in header[1:])
    return None if len(faults) > before else _FrameTable(name, columns, values)


def _labels(table: _FrameTable, ethogram: Ethogram, faults: list[str]) -> NDArray[np.int8] | None:
    """Return (frames,) int8 labels in `ethogram`, or None and the rows that say no label or more than one."""
    before = len(faults)
    present = table.values == 1
    crowded = np.flatnonzero(present.sum(axis=1) > 1)
    half = np.flatnonzero((table.values == -1).any(axis=1) & present.any(axis=1))
    for frames, what in (
        (crowded, "more than one behaviour at once; here they exclude each other: keep one"),
        (half, "a behaviour and -1 (unlabelled) in one row"),
    ):
        if len(frames):
            faults.append(f"{table.name}: {what}, in frames {_ranges(frames)}")
    labels = np.full(len(table.values), UNLABELLED, dtype=np.int8)
    for column, name in enumerate(table.behaviours):
        if name in ethogram.names:
            labels[present[:, column]] = ethogram.index(name)
        elif name != _BACKGROUND and present[:, column].any():
            frames = np.flatnonzero(present[:, column])
            faults.append(f"{table.name}: {unknown(name, ethogram)}, in frames {_ranges(frames)}")
    return labels if len(faults) == before else None


def _ranges(frames: NDArray[np.intp], most: int = 5) -> str:
    """Return sorted frame numbers as ``3-7, 9``; beyond `most` runs, how many frames there are in all."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    said = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:most])
    return said if len(runs) <= most else f"{said}, ... ({len(frames)} frames)"


DEEPETHOGRAM = Form("labels of DeepEthogram", _find, _read)
