"""What clips are drawn from: a cage's behaviour log, or a table of `toolkit label`, each with what was filmed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog, Quality, log_files, read_log
from toolkit.bouts import NO_LABEL
from toolkit.cage.recording import segments
from toolkit.errors import AnnotationError, InputError, MissingDependency
from toolkit.ethogram import Ethogram, ethogram_from_names
from toolkit.files import sha256_of_file
from toolkit.frames import NS_PER_S
from toolkit.labelling.provenance import LabelProvenance, read_provenance
from toolkit.sampling.footage import Pictures, VideoPictures
from toolkit.sampling.recorded import RecordedPictures


@dataclass(frozen=True, eq=False)
class Rows:
    """Successive labelled rows, in order. N rows."""

    frame: NDArray[np.int64]
    """(N,) number of the frame in its source."""
    time_ns: NDArray[np.int64]
    """(N,) UTC ns, or from the video's beginning where nobody knows when that was."""
    label: NDArray[np.int16]
    """(N,) position in the ethogram; `NO_LABEL` where no behaviour was probable enough."""
    confidence: NDArray[np.float32]
    """(N,) probability of the label, or of the most probable behaviour where there is none; 0 to 1."""

    def since(self, from_ns: int | None, to_ns: int | None) -> Rows:
        """Return the rows of a time, half-open; None: no bound."""
        kept = np.ones(len(self.time_ns), dtype=np.bool_)
        if from_ns is not None:
            kept &= self.time_ns >= from_ns
        if to_ns is not None:
            kept &= self.time_ns < to_ns
        return Rows(self.frame[kept], self.time_ns[kept], self.label[kept], self.confidence[kept])


@dataclass(frozen=True, eq=False)
class Source:
    """One cage's, or one video's, labels and pictures."""

    cage: str
    """The cage's name; of a labelled video the file's, without its suffix."""
    path: Path
    """What the user named."""
    ethogram: Ethogram
    pictures: Pictures
    footage: Path
    """Where the pictures are."""
    parts: Sequence[Callable[[], Rows]]
    """Each reads a day's rows: a month's are not in memory together."""
    dated: bool
    """Whether the rows' times are UTC."""
    files: tuple[Path, ...]
    """The log's files, or the table."""
    bundles: tuple[tuple[str, str], ...]
    """Name and SHA-256 of each bundle that labelled."""

    def provenance(self) -> dict[str, Any]:
        """Return what a sample says of it."""
        return {
            "cage": self.cage,
            "footage": str(self.footage),
            "files": {file.name: sha256_of_file(file) for file in self.files},
            "bundles": [{"name": name, "sha256": sha256} for name, sha256 in self.bundles],
        }


def open_source(path: Path, footage: Path | None = None) -> Source:
    """Open a cage's log or a table of `toolkit label`, and find what was filmed.

    Parameters
    ----------
    path
        A ``.sqlite`` file, a cage's folder of logs, or a table of `toolkit label` (``.csv`` or ``.parquet``) with its
        ``.labels.json`` beside it.
    footage
        Where the pictures are, if not where the log or the table says: a video, or a folder in which a video of that
        name, or the cage's recordings, lie.

    Raises
    ------
    InputError, LogError
        If it is none of them, or its pictures are not found.
    """
    return _logged(path, footage) if path.is_dir() or path.suffix == ".sqlite" else _labelled(path, footage)


def _logged(path: Path, footage: Path | None) -> Source:
    files = log_files(path)
    newest = read_log(files[-1])
    found, pictures = _logged_pictures(newest, footage)
    return Source(
        cage=newest.cage,
        path=path,
        ethogram=newest.ethogram,
        pictures=pictures,
        footage=found,
        parts=[partial(_logged_rows, file, newest.cage, newest.ethogram, pictures) for file in files],
        dated=True,
        files=tuple(files),
        bundles=tuple(sorted({(one.bundle_name, one.bundle_sha256) for one in newest.provenance})),
    )


def _logged_pictures(log: BehaviourLog, footage: Path | None) -> tuple[Path, Pictures]:
    config = log.provenance[-1].config
    camera = config.get("camera", {})
    if (folder := _recordings(log, footage)) is not None:
        return folder, RecordedPictures(folder)
    video = footage if footage is not None else Path(camera.get("video") or "")
    if not video.is_file():
        raise InputError(
            f"cage {log.cage}: its recordings or its video are not found"
            f"{f' at {footage}' if footage is not None else ''}. Name them: --footage."
        )
    if camera.get("roi") or camera.get("rotate"):
        raise InputError(
            f"cage {log.cage}: watches a part of {video}, or turns it (roi, rotate), so that the video is not what its "
            "log is of. Expected the daemon's recordings; name their folder: --footage."
        )
    return video, VideoPictures(video)


def _recordings(log: BehaviourLog, footage: Path | None) -> Path | None:
    """Return the cage's folder of recordings, the first that holds any."""
    if footage is None:
        folder = log.provenance[-1].config.get("recording", {}).get("folder")
        places = [Path(folder) / log.cage] if folder else []
    else:
        places = [footage / log.cage, footage]
    return next((place for place in places if segments(place)), None)


def _logged_rows(file: Path, cage: str, ethogram: Ethogram, pictures: Pictures) -> Rows:
    log = read_log(file)
    if (log.cage, log.ethogram.names) != (cage, ethogram.names):
        raise InputError(
            f"{file}: is of cage {log.cage} and {', '.join(log.ethogram.names)}; the newest file is of {cage} and "
            f"{', '.join(ethogram.names)}. Expected one cage and one ethogram; sample the files one by one."
        )
    label = log.decided
    probable = np.where(label >= 0, label, log.probabilities.argmax(axis=1))
    confidence = np.take_along_axis(log.probabilities, probable[:, None].astype(np.int64), axis=1)[:, 0]
    if isinstance(pictures, VideoPictures):
        _check_frames(log.source_index, pictures, str(file))
    # A summary has the label of most of its second, which need not be that of any one picture.
    kept = (log.quality & Quality.SUMMARY) == 0
    sure = (confidence / np.float32(255)).astype(np.float32)
    return Rows(log.source_index[kept], log.time_ns[kept], label[kept], sure[kept])


def _check_frames(frame: NDArray[np.int64], video: VideoPictures, source: str) -> None:
    if np.any(np.diff(frame) <= 0):
        raise InputError(
            f"{source}: has rows of frame {int(frame[1:][np.diff(frame) <= 0][0])} of {video.path} after later ones. "
            "Expected a video that was played once, by one run of the daemon."
        )
    if len(frame) and (frame[0] < 0 or frame[-1] >= video.frames):
        raise InputError(
            f"{source}: goes to frame {int(frame[-1])}, {video.path} has {video.frames} (0 to {video.frames - 1}). "
            "Expected the very video that was labelled."
        )


def _labelled(path: Path, footage: Path | None) -> Source:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected a cage's log or its folder, or a table of `toolkit label`.")
    stem = path.stem.removesuffix(".labels")
    made = read_provenance(path.with_name(f"{stem}.labels.json"))
    if made is None or path.name not in made.files:
        raise InputError(
            f"{path}: {stem}.labels.json, which says what it is, is not beside it. Expected a table of `toolkit label` "
            "where it was written, or a cage's log."
        )
    name = Path(made.video)
    video = footage / name.name if footage is not None and footage.is_dir() else footage or name
    if not video.is_file():
        raise InputError(f"{path}: is of {name}, which is not at {video}. Name the video or its folder: --footage.")
    if video.stat().st_size != made.video_bytes or sha256_of_file(video) != made.video_sha256:
        raise InputError(f"{path}: {video} is not the video that was labelled. Label it again, or name the other.")
    pictures = VideoPictures(video)
    return Source(
        cage=name.stem,
        path=path,
        ethogram=ethogram_from_names(made.behaviours),
        pictures=pictures,
        footage=video,
        parts=[partial(_table_rows, path, made, pictures)],
        dated=made.recorded_at is not None,
        files=(path,),
        bundles=((Path(made.bundle).name, made.bundle_sha256),),
    )


def _table_rows(path: Path, made: LabelProvenance, video: VideoPictures) -> Rows:
    """Read the rows that have a label; those without show no behaviour."""
    columns = (_parquet if path.suffix == ".parquet" else _csv)(path)
    names = made.behaviours
    texts = columns["smoothed" if "smoothed" in columns else "label"]
    if unknown := sorted({text for text in texts if text and text not in names}):
        raise AnnotationError(f"{path}: unknown behaviour {unknown[0]!r}. Expected {', '.join(names)}; label it again.")
    label = np.array([names.index(text) if text else NO_LABEL for text in texts], dtype=np.int16)
    kept = np.flatnonzero(label >= 0)
    probabilities = np.array([[float(columns[f"p_{name}"][row]) for name in names] for row in kept.tolist()])
    frame = np.array([int(number) for number in columns["frame"]], dtype=np.int64)
    _check_frames(frame, video, str(path))
    time_s = np.array([float(time) for time in columns["time_s"]])
    begin_ns = round(datetime.fromisoformat(made.recorded_at).timestamp() * NS_PER_S) if made.recorded_at else 0
    confidence = np.take_along_axis(probabilities.reshape(-1, len(names)), label[kept, None].astype(np.int64), axis=1)
    time_ns = begin_ns + np.round(time_s * NS_PER_S).astype(np.int64)
    return Rows(frame[kept], time_ns[kept], label[kept], confidence[:, 0].astype(np.float32))


def _csv(path: Path) -> dict[str, list[Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = csv.reader(file)
        return {name: list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)}
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise AnnotationError(f"{path}: not a table of toolkit label ({error}). Label the video again.") from error


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(
            f"{path}: Parquet needs pyarrow, which is not installed here. Install it: pip install 'toolkit[parquet]'"
        ) from error
    columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    return columns


def rows_of(source: Source, from_ns: int | None, to_ns: int | None) -> Iterator[Rows]:
    """Yield a source's rows, a day at a time.

    Raises
    ------
    InputError
        If a time is asked for and the source has none.
    """
    if not source.dated and (from_ns is not None or to_ns is not None):
        raise InputError(
            f"{source.path}: does not say when its video was recorded. Expected no --since and --until with it."
        )
    for part in source.parts:
        yield part().since(from_ns, to_ns)
