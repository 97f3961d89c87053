"""A cross-validation's folder, read back without torch: what it is of, its folds, and what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit.errors import ConfigError, InputError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.train.config import TrainConfig, train_config
from toolkit.train.predictions import FoldPredictions, fold_folders, load_folds
from toolkit.train.scores import Evaluation, evaluation_of

KEY = "crossval.json"
SPLIT = "split.json"


@dataclass(frozen=True, eq=False)
class StoredCrossValidation:
    """What the folder of `toolkit crossval` holds."""

    folder: Path
    config: TrainConfig
    dataset_sha256: str
    ethogram: Ethogram
    scheme: str
    folds: tuple[FoldPredictions, ...]
    missing_groups: tuple[str, ...]
    """Groups of the data set whose fold is not finished."""

    def evaluation(self) -> Evaluation:
        """Score the folds that are there."""
        return evaluation_of(
            self.folds,
            self.ethogram,
            self.config,
            scheme=self.scheme,
            dataset_sha256=self.dataset_sha256,
            missing_groups=self.missing_groups,
        )


def load_crossval(folder: Path, *, partial: bool = False) -> StoredCrossValidation:
    """Read a cross-validation's folder.

    Parameters
    ----------
    partial
        Take what is there of an unfinished one.

    Raises
    ------
    InputError
        If it is not such a folder, a file in it is damaged, or folds are missing and `partial` is false.
    """
    config, dataset_sha256 = read_key(folder / KEY)
    folds = load_folds(folder)
    splits = [split for fold in fold_folders(folder) for split in sorted(fold.glob(f"*/{SPLIT}"))]
    if not splits:
        raise InputError(f"{folder}: no fold says what it was trained on ({SPLIT}). Run toolkit crossval again.")
    read = [_read_split(split) for split in splits]
    ethogram, videos = read[0]
    if others := {each.names for each, _ in read} - {ethogram.names}:
        found = "; ".join(", ".join(names) for names in sorted(others))
        raise InputError(
            f"{folder}: its folds have different behaviours: {', '.join(ethogram.names)}; {found}. Delete the folds of "
            "one of them and run toolkit crossval again."
        )
    groups = sorted({group for group, _ in videos})
    missing = tuple(group for group in groups if group not in {fold.group for fold in folds})
    if missing and not partial:
        raise InputError(
            f"{folder}: {len(missing)} of {len(groups)} folds are missing ({', '.join(missing)}). Finish it with the "
            "toolkit crossval that began it, or pass --partial to report what is there."
        )
    return StoredCrossValidation(
        folder=folder,
        config=config,
        dataset_sha256=dataset_sha256,
        ethogram=ethogram,
        scheme=scheme_of(len(groups), len(videos)),
        folds=tuple(folds),
        missing_groups=missing,
    )


def scheme_of(groups: int, videos: int) -> str:
    """Return how a cross-validation holds out its test videos.

    Examples
    --------
    >>> scheme_of(3, 3), scheme_of(3, 7)
    ('leave-one-video-out over 3 videos', 'leave-one-group-out over 3 groups of 7 videos')
    """
    if groups == videos:
        return f"leave-one-video-out over {videos} videos"
    return f"leave-one-group-out over {groups} groups of {videos} videos"


def read_key(key: Path) -> tuple[TrainConfig, str]:
    """Return what ``crossval.json`` says its folds are of: their configuration and the hash of their data set.

    Raises
    ------
    InputError
        If it is missing, damaged, or of another toolkit.
    """
    try:
        content = json.loads(key.read_text())
        return train_config(content["config"], str(key)), str(content["dataset_sha256"])
    except OSError as error:
        raise InputError(f"{key}: cannot be read. Expected a folder written by: toolkit crossval") from error
    except ConfigError as error:
        raise InputError(f"{key}: its configuration is not of this toolkit. {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{key}: damaged. Run toolkit crossval into another folder.") from error


def _read_split(path: Path) -> tuple[Ethogram, set[tuple[str, str]]]:
    """Return the ethogram, and group and name of every video, whatever the fold did with it."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        ethogram = Ethogram.model_validate(content["ethogram"])
        parts = [part for part in content.values() if isinstance(part, list)]
        return ethogram, {(str(video["group"]), str(video["video"])) for part in parts for video in part}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise InputError(f"{path}: damaged. Delete its fold's folder and run toolkit crossval again.") from error


def check_comparable(one: StoredCrossValidation, other: StoredCrossValidation) -> None:
    """Raise InputError, naming what differs, unless two are of the same data, behaviours and folds.

    Folds that one of them has not finished yet are not compared, and do not count as a difference.
    """
    faults = []
    if one.dataset_sha256 != other.dataset_sha256:
        faults.append(f"data set: {other.dataset_sha256[:12]}, not {one.dataset_sha256[:12]}")
    if one.ethogram.names != other.ethogram.names:
        faults.append(f"behaviours: {', '.join(other.ethogram.names)}, not {', '.join(one.ethogram.names)}")
    ours, theirs = _inner(one), _inner(other)
    finished = set(ours) & set(theirs)
    unknown = (set(ours) ^ set(theirs)) - {*one.missing_groups, *other.missing_groups}
    faults += [f"fold {group}: only one of them has it" for group in sorted(unknown)]
    if not finished:
        faults.append("folds: none is finished in both")
    faults += [
        f"fold {group}: inner validation {theirs[group] or 'none'}, not {ours[group] or 'none'}"
        for group in sorted(finished)
        if ours[group] != theirs[group]
    ]
    raise_faults(
        InputError,
        f"{other.folder} cannot be compared with {one.folder}. Expected the same data set, behaviours and folds; "
        "report them one by one, or run toolkit crossval again. Found",
        faults,
    )


def _inner(stored: StoredCrossValidation) -> dict[str, str | None]:
    return {fold.group: fold.validation_group for fold in stored.folds}
