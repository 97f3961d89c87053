"""Records from the label files of recorded video that `toolkit label` writes: a CSV or Parquet table,
and a JSON that says from what.

A label file is checked against what its JSON says of the video, and against the video itself where that is still there.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import NO_LABEL, BoutRules, bouts_from_labels
from toolkit.errors import InputError, MissingDependency, ToolkitError
from toolkit.ethogram import ethogram_from_names
from toolkit.frames import MAX_STEP, NS_PER_S, count_frames, probe
from toolkit.report.clock import moment_of, utc_ns
from toolkit.report.record import Bouts, CageRecord, DayConfidence, Gap, merged_spans

UNLABELLED = "unlabelled"
"""Reason of time between two rows that are further apart than the rest."""
_FIXED = ("frame", "time_s", "label")
_CHUNK_ROWS = 1 << 16
_NS_PER_DAY = 86_400 * 10**9


def record_from_labels(path: Path, cage: str | None = None) -> CageRecord:
    """Return the record of one label file.

    Parameters
    ----------
    cage
        Its name; None: the file's, without ``.labels.csv``.

    Raises
    ------
    InputError
        If the file is empty, not a label file, contradicts itself, or does not match its video's frame count or rate.
    """
    columns = _read(path)
    provenance = _provenance(path)
    _check_against_video(path, columns, provenance)
    start_ns = _recorded_at(path, provenance)
    interval_ns = (
        round(float(np.median(np.diff(columns.time_ns)))) if len(columns.time_ns) > 1 else _one_row_ns(provenance)
    )
    time_ns = columns.time_ns + (start_ns or 0)
    seen = np.array([not reason for reason in columns.view], bool)
    label, decided = (np.where(seen, each, NO_LABEL) for each in (columns.label, columns.decided))
    bouts = bouts_from_labels(time_ns, decided, columns.probability, BoutRules(), interval_ns)
    following = np.append(time_ns[1:], time_ns[-1] + interval_ns)
    stops = np.where(following - time_ns <= MAX_STEP * interval_ns, following, time_ns + interval_ns)
    ethogram = ethogram_from_names(columns.names)
    return CageRecord(
        cage=cage or re.sub(r"\.labels$", "", path.stem),
        ethogram=ethogram,
        observed=merged_spans(np.column_stack([time_ns, stops])[seen]),
        unobserved=_gaps(time_ns, stops, columns.view),
        bouts=Bouts(
            np.array([bout.behaviour for bout in bouts], np.int16),
            np.array([bout.start_ns for bout in bouts], np.int64),
            np.array([bout.stop_ns for bout in bouts], np.int64),
        ),
        row_interval_ns=interval_ns,
        dated=start_ns is not None,
        confidence=_confidence(time_ns, label, columns, start_ns is not None),
        provenance=(tuple((str(name), str(value)) for name, value in provenance.items()),) if provenance else (),
        files=(str(path),),
    )


class _Columns:
    """What is read of a label file: N rows, K behaviours."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.frame = np.empty(0, np.int64)
        self.time_ns = np.empty(0, np.int64)
        self.label = np.empty(0, np.int16)
        self.decided = np.empty(0, np.int16)
        """The smoothed label where there is one: what bouts are made of, as in a log."""
        self.probability = np.empty(0)
        self.padded = np.empty(0, bool)
        self.view: list[str] = []

    def add(self, path: Path, first_line: int, rows: list[list[str]], header: list[str]) -> None:
        if not rows:
            return
        at = {name: position for position, name in enumerate(header)}
        positions = {name: index for index, name in enumerate(self.names)}
        try:
            frame = np.array([row[at["frame"]] for row in rows]).astype(np.int64)
            time_s = np.array([row[at["time_s"]] for row in rows]).astype(np.float64)
            label, decided = (
                np.array([positions[row[at[name]]] if row[at[name]] else NO_LABEL for row in rows], np.int16)
                for name in ("label", "smoothed" if "smoothed" in at else "label")
            )
            table = np.array([[row[at[f"p_{name}"]] or "0" for name in self.names] for row in rows]).astype(np.float64)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"{path}: lines {first_line} to {first_line + len(rows) - 1} cannot be read ({error}). Expected in "
                f"every row {', '.join(header)}, with a label out of {', '.join(self.names)}. Label the video again."
            ) from error
        self.frame = np.concatenate([self.frame, frame])
        self.time_ns = np.concatenate([self.time_ns, np.rint(time_s * NS_PER_S).astype(np.int64)])
        self.label = np.concatenate([self.label, label])
        self.decided = np.concatenate([self.decided, decided])
        self.probability = np.concatenate([self.probability, table[np.arange(len(rows)), label.clip(0)].clip(0, 1)])
        padded = [row[at["padded"]] == "1" for row in rows] if "padded" in at else [False] * len(rows)
        self.padded = np.concatenate([self.padded, np.array(padded, bool)])
        self.view += [row[at["view"]] for row in rows] if "view" in at else [""] * len(rows)


def _read(path: Path) -> _Columns:
    columns: _Columns | None = None
    line = 2
    for header, rows in _parquet_chunks(path) if path.suffix == ".parquet" else _csv_chunks(path):
        columns = columns or _Columns(_behaviours(path, header))
        columns.add(path, line, rows, header)
        line += len(rows)
    if columns is None:
        raise InputError(f"{path}: is not a label file: it is empty. Label the video again.")
    if not len(columns.frame):
        raise InputError(f"{path}: holds no rows. Expected a row per labelled frame. Label the video again.")
    for name, values in (("frame", columns.frame), ("time_s", columns.time_ns)):
        if len(back := np.flatnonzero(np.diff(values) <= 0)):
            raise InputError(
                f"{path}: {name} does not increase at line {int(back[0]) + 3}. Expected the rows in the video's order, "
                "each frame once. Label the video again."
            )
    return columns


def _behaviours(path: Path, header: list[str]) -> tuple[str, ...]:
    names = tuple(name[2:] for name in header if name.startswith("p_"))
    if not names or any(name not in header for name in _FIXED):
        raise InputError(
            f"{path}: is not a label file: expected the columns frame, time_s, label and p_<behaviour>, found "
            f"{', '.join(header) or 'none'}. Name a table that `toolkit label` wrote, or a behaviour log."
        )
    return names


def _csv_chunks(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the header with some rows, at least once where there is a header."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            for header in islice(reader, 1):
                yield header, list(islice(reader, _CHUNK_ROWS))
                while rows := list(islice(reader, _CHUNK_ROWS)):
                    yield header, rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}). Expected a label file of `toolkit label`.") from error


def _parquet_chunks(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{path}: Parquet needs pyarrow, which is not installed here. Install it: pip install 'toolkit[parquet]'"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            yield header, []
            for batch in file.iter_batches(_CHUNK_ROWS):
                columns = [[_text(value) for value in column.to_pylist()] for column in batch.columns]
                yield header, [list(row) for row in zip(*columns, strict=True)]
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({error}). Expected a label file of `toolkit label`.") from error


def _text(value: object) -> str:
    """Return a cell as the CSV has it."""
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


def _provenance(path: Path) -> dict[str, Any]:
    for beside in (path.with_name(path.name + ".json"), path.with_suffix(".json")):
        if beside.is_file():
            try:
                found = json.loads(beside.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{beside}: is not JSON ({error}). Label the video again.") from error
            return found if isinstance(found, dict) else {}
    return {}


def _check_against_video(path: Path, columns: _Columns, provenance: dict[str, Any]) -> None:
    fps, frames, source = provenance.get("fps"), provenance.get("frames"), "its .json"
    video = Path(str(provenance.get("video", "")))
    if video.is_file():
        try:
            fps, frames, source = float(probe(video).fps), count_frames(video), str(video)
        except ToolkitError as error:
            raise InputError(f"{path}: the video that it names cannot be read. {error}") from error
    if frames and columns.frame[-1] >= int(frames):
        raise InputError(
            f"{path}: goes to frame {columns.frame[-1]}, and {source} has {frames} frames. It was made from another "
            "video, or another cut of it. Label the video again."
        )
    step = int(np.median(np.diff(columns.frame))) if len(columns.frame) > 1 else 1
    if frames and columns.frame[-1] < int(frames) - 2 * step - 1:
        raise InputError(
            f"{path}: ends at frame {columns.frame[-1]}, and {source} has {frames} frames. The labels are not of the "
            "whole video. Label it again."
        )
    if fps and len(columns.frame) > 1:
        lasted_s = (columns.time_ns[-1] - columns.time_ns[0]) / NS_PER_S
        found = float(columns.frame[-1] - columns.frame[0]) / lasted_s
        if abs(found / float(fps) - 1) > 0.01:
            raise InputError(
                f"{path}: {found:.3f} frames a second by its times, and {source} has {float(fps):.3f}. Times would be "
                "wrong by as much. Label the video again."
            )


def _recorded_at(path: Path, provenance: dict[str, Any]) -> int | None:
    text = provenance.get("recorded_at")
    if not text:
        return None
    found = moment_of(str(text))
    if found is None:
        raise InputError(f"{path}: recorded_at in its .json: expected YYYY-MM-DDTHH:MM:SS+HH:MM, found {text!r}.")
    if found.tzinfo is None:
        raise InputError(
            f"{path}: recorded_at in its .json is {text}, a local time without a zone. Expected "
            "YYYY-MM-DDTHH:MM:SS+HH:MM (or Z for UTC). Add the offset."
        )
    return utc_ns(found)


def _one_row_ns(provenance: dict[str, Any]) -> int:
    return round(NS_PER_S / float(provenance.get("fps") or 30))


def _gaps(time_ns: NDArray[np.int64], stops: NDArray[np.int64], view: list[str]) -> tuple[Gap, ...]:
    """Return time between rows, and rows on which the image could not show a mouse's behaviour."""
    pieces = [Gap(int(time_ns[row]), int(stops[row]), view[row]) for row in range(len(view)) if view[row]]
    holes = np.flatnonzero(stops[:-1] < time_ns[1:])
    pieces += [Gap(int(stops[row]), int(time_ns[row + 1]), UNLABELLED) for row in holes]
    merged: list[Gap] = []
    for gap in sorted(pieces, key=lambda gap: gap.start_ns):
        if merged and merged[-1].stop_ns == gap.start_ns and merged[-1].reason == gap.reason:
            merged[-1] = Gap(merged[-1].start_ns, gap.stop_ns, gap.reason)
        else:
            merged.append(gap)
    return tuple(merged)


def _confidence(
    time_ns: NDArray[np.int64], label: NDArray[np.int16], columns: _Columns, dated: bool
) -> tuple[DayConfidence, ...]:
    days = time_ns // _NS_PER_DAY if dated else np.zeros(len(time_ns), np.int64)
    found = []
    for day in np.unique(days).tolist():
        rows = np.flatnonzero((days == day) & (label >= 0))
        histogram = np.zeros((len(columns.names), 256), np.int64)
        np.add.at(histogram, (label[rows], np.rint(255 * columns.probability[rows]).astype(np.int64)), 1)
        today = days == day
        uncertain = int(np.count_nonzero(today & (label < 0)))
        found.append(DayConfidence(day * _NS_PER_DAY, histogram, int(columns.padded[today].sum()), uncertain))
    return tuple(found)
