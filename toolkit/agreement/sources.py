"""Where labels come from: observers' files, tables of `toolkit label`, behaviour logs of a cage that played a video."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.agreement.labelled import Labelled, held
from toolkit.agreement.names import Names
from toolkit.annotations import load_annotation
from toolkit.behaviour_log import read_log
from toolkit.errors import AnnotationError, InputError, MissingDependency
from toolkit.frames import count_frames, probe

_TABLE = ("frame", "time_s", "label")
_MAX_RATE_DIFFERENCE = 0.0005
"""Rates that differ by a larger share are of different videos: enough for rounding, not for 29.97 and 30."""


@dataclass(frozen=True)
class _Video:
    path: Path
    frames: int
    fps: float


def read_pair(a: Path, b: Path, *, video: Path | None = None, names: Names | None = None) -> tuple[Labelled, Labelled]:
    """Read two labellings of one video.

    Parameters
    ----------
    a, b
        Anything that `load_annotation` reads; a table of `toolkit label`, ``.csv`` or ``.parquet`` (of its smoothed
        labels, where it has them); a behaviour log of a cage that played a video file.
    video
        The video; needed where no file says how many frames it has at what rate, or where it lies.
    names
        What the user says of names.

    Raises
    ------
    AnnotationError, InputError, LogError
        If a file cannot be read, or does not fit the video.
    MissingDependency
        If a file is Parquet and pyarrow is not installed.
    """
    said = names or Names()
    seen = _opened(video or next((path for path in (_named_video(a), _named_video(b)) if path is not None), None))
    machine = {path: _machine(path, seen) for path in (a, b) if not _is_annotation(path)}
    known = next((side.names for side in machine.values()), None)
    first, second = (machine.get(path) or _observer(path, seen, said.readable(known)) for path in (a, b))
    return first, second


def _opened(video: Path | None) -> _Video | None:
    return _Video(video, count_frames(video), float(probe(video).fps)) if video is not None else None


def _is_annotation(path: Path) -> bool:
    return not (_is_log(path) or path.suffix == ".parquet" or _is_table(path))


def _is_log(path: Path) -> bool:
    return path.suffix == ".sqlite" or (path.is_dir() and any(path.rglob("*.sqlite")))


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return tuple(file.readline().strip().split(",")[:3]) == _TABLE


def _named_video(path: Path) -> Path | None:
    """Return the video that a labelling was made from, if it is still there."""
    if _is_annotation(path):
        return None
    if _is_log(path):
        cameras = [session.config.get("camera") for session in read_log(path).provenance]
        found = next((camera.get("video") for camera in cameras if isinstance(camera, dict)), None)
    else:
        found = (_beside(path) or {}).get("video")
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def _observer(path: Path, video: _Video | None, behaviours: Sequence[str] | None) -> Labelled:
    dataset = load_annotation(path, video=video.path if video else None, behaviours=behaviours)
    (annotated,), ethogram = dataset.videos, dataset.ethogram
    labels = annotated.labels(ethogram).astype(np.int16)
    # A folder's other videos are nobody's concern here.
    notes = () if path.is_dir() else tuple(f"{path}: {line}" for line in dataset.skipped)
    return Labelled(str(path), labels, ethogram.names, annotated.fps, notes=notes)


def _machine(path: Path, video: _Video | None) -> Labelled:
    return _logged(path, video) if _is_log(path) else _table(path, video)


def _logged(path: Path, video: _Video | None) -> Labelled:
    log = read_log(path)
    if video is None:
        raise InputError(
            f"{path}: does not say which video it is of, or that video is not there. Name it: --video VIDEO."
        )
    labels = held(log.source_index, log.label, video.frames, str(path))
    return Labelled(str(path), labels, log.ethogram.names, video.fps, complete=True)


def _table(path: Path, video: _Video | None) -> Labelled:
    """Read a table of `toolkit label`, with what its provenance says, or, without one, a video."""
    columns = _parquet_columns(path) if path.suffix == ".parquet" else _csv_columns(path)
    made = _beside(path)
    if made is None and video is None:
        raise InputError(
            f"{path}: its {path.stem.removesuffix('.labels')}.labels.json is not beside it, so that the video's frame "
            "count and rate are not known. Name the video: --video VIDEO."
        )
    frames, fps = (made["frames"], made["fps"]) if made else (video.frames, video.fps) if video else (0, 0.0)
    if video is not None and made is not None and (frames != video.frames or not same_rate(fps, video.fps)):
        raise InputError(
            f"{path}: labels {frames} frames at {fps:g} frames per second, {video.path} has {video.frames} at "
            f"{video.fps:g}. Expected labels of this very video; label it again."
        )
    names = tuple(made["behaviours"]) if made else _behaviours_of(columns.header)
    labels = [names.index(text) if text in names else -1 for text in columns.labels]
    if unknown := sorted({text for text in columns.labels if text and text not in names}):
        raise AnnotationError(f"{path}: unknown behaviour {unknown[0]!r}; its columns are of {', '.join(names)}.")
    notes = [f"{path}: its smoothed labels"] if columns.smoothed else []
    if video is not None and made is not None and Path(made["video"]).name != video.path.name:
        notes.append(f"{path}: labels of {Path(made['video']).name} are taken for those of {video.path.name}")
    kept = held(columns.frames, np.array(labels, dtype=np.int16), frames, str(path))
    return Labelled(str(path), kept, names, fps, complete=True, notes=tuple(notes))


def read_table(path: Path) -> Labelled:
    """Read a table of `toolkit label` that lies beside its provenance.

    Raises
    ------
    AnnotationError, InputError
        If it cannot be read, or does not fit what its provenance says.
    MissingDependency
        If it is Parquet and pyarrow is not installed.
    """
    return _table(path, None)


def same_rate(a: float, b: float) -> bool:
    """Say whether two frame rates are the same but for rounding."""
    return abs(a - b) <= _MAX_RATE_DIFFERENCE * max(a, b)


@dataclass(frozen=True)
class _TableColumns:
    header: list[str]
    frames: NDArray[np.int64]
    labels: list[str]
    smoothed: bool


def _csv_columns(path: Path) -> _TableColumns:
    frames, labels = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            header = list(rows.fieldnames or ())
            column = "smoothed" if "smoothed" in header else "label"
            for row in rows:
                if row[column] is None:
                    raise ValueError("a cell is missing")
                labels.append(row[column])
                frames.append(int(row["frame"]))
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise AnnotationError(
            f"{path} line {len(frames) + 2}: expected a row of toolkit label, {','.join(_TABLE)}, ... ({error}). Label "
            "the video again."
        ) from error
    return _TableColumns(header, np.array(frames, dtype=np.int64), labels, column == "smoothed")


def _parquet_columns(path: Path) -> _TableColumns:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(
            f"{path}: Parquet needs pyarrow, which is not installed here. Install it: pip install 'toolkit[parquet]'"
        ) from error
    try:
        header = pyarrow.parquet.read_schema(path).names
        column = "smoothed" if "smoothed" in header else "label"
        table = pyarrow.parquet.read_table(path, columns=["frame", column])
        frames, labels = table.column("frame").to_numpy(), table.column(column).to_pylist()
    except (OSError, KeyError, pyarrow.ArrowInvalid) as error:
        raise AnnotationError(f"{path}: not a table of toolkit label ({error}). Label the video again.") from error
    return _TableColumns(header, frames.astype(np.int64), [text or "" for text in labels], column == "smoothed")


def _behaviours_of(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removeprefix("p_") for name in header if name.startswith("p_"))


def _beside(path: Path) -> dict[str, Any] | None:
    """Return the provenance of a table of `toolkit label`, if it lies beside it."""
    file = path.with_name(f"{path.stem.removesuffix('.labels')}.labels.json")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(said, dict) and {"video", "frames", "fps", "behaviours", "files"} <= set(said)
    return said if complete and path.name in said["files"] else None
