"""Pieces of recordings that `toolkit label` labelled: a table of frames, and what its provenance says of the video."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from toolkit.agreement.sources import read_table
from toolkit.bouts import NO_LABEL, BoutRules, bouts_from_labels
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.export.piece import Gap, Piece, Recording
from toolkit.frames import NS_PER_S
from toolkit.labelling.provenance import read_provenance

_ENDING = ".labels"
_UNLABELLED = "unlabelled"


def is_label_file(path: Path) -> bool:
    """Say whether a path is a table of frames by its name."""
    return path.suffix in (".csv", ".parquet") and path.stem.endswith(_ENDING)


def label_files(folder: Path) -> list[Path]:
    """Return the tables of frames in a folder."""
    return sorted(path for path in folder.iterdir() if is_label_file(path)) if folder.is_dir() else []


def piece_of_labels(path: Path) -> Piece:
    """Return a labelled recording as a piece; its smoothed labels, where there are any.

    Raises
    ------
    InputError, AnnotationError
        If the table cannot be read, or its provenance is not beside it.
    """
    name = path.stem.removesuffix(_ENDING)
    made = read_provenance(path.with_name(f"{name}{_ENDING}.json"))
    if made is None:
        raise InputError(
            f"{path}: its {name}{_ENDING}.json is not beside it or not of this version, so that the video's rate and "
            "length are not known. Label the video again."
        )
    labels = read_table(path).labels
    start_ns = _start_ns(path, made.recorded_at)
    # By the frame's number and not by adding intervals, so that no error grows.
    edges = np.rint(np.arange(len(labels) + 1) * (NS_PER_S / made.fps)).astype(np.int64) + (start_ns or 0)
    interval_ns = round(NS_PER_S / made.fps)
    bouts = bouts_from_labels(edges[:-1], labels, np.full(len(labels), np.nan), BoutRules(), interval_ns)
    unlabelled = np.flatnonzero(np.diff(np.r_[0, (labels == NO_LABEL).astype(np.int8), 0])).reshape(-1, 2)
    return Piece(
        cage=name,
        name=name,
        ethogram=ethogram_from_names(made.behaviours),
        start_ns=int(edges[0]),
        stop_ns=int(edges[-1]),
        dated=start_ns is not None,
        bouts=tuple(bouts),
        unobserved=tuple(Gap(int(edges[a]), int(edges[b]), _UNLABELLED) for a, b in unlabelled.tolist()),
        frame_labels=labels,
        frame_interval_ns=interval_ns,
        made_by={"labels": path.name, **made.model_dump(mode="json", exclude={"files"})},
        file=path,
        recording=Recording(Path(made.video).name, made.fps, made.frames),
    )


def _start_ns(path: Path, recorded_at: str | None) -> int | None:
    if recorded_at is None:
        return None
    try:
        start = datetime.fromisoformat(recorded_at.replace("Z", "+00:00"))
    except ValueError:
        start = None
    if start is None or start.tzinfo is None:
        raise InputError(
            f"{path}: recorded_at in its .json: expected YYYY-MM-DDTHH:MM:SS+HH:MM, found {recorded_at!r}."
        )
    return round(start.timestamp() * 1_000_000) * 1000
