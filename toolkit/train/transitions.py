"""How behaviours follow each other in the training videos: counted at training, kept in the run for its bundle.

Only continuously annotated video tells: where an interval begins as its predecessor ends, the observer saw the change.
Clips that were cut to one behaviour have no changes, and give none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.annotations import UNLABELLED
from toolkit.bouts import Transitions
from toolkit.errors import InputError
from toolkit.files import atomic_write
from toolkit.frames import NS_PER_S
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo, PreparedDataset

TRANSITIONS = "transitions.json"

MOST_APART = 0.1
"""A video counts as continuous if at most this fraction of its intervals begin apart from their predecessor: the frames
between hide changes, and behaviours would seem to last longer than they do."""


class LearnedTransitions(BaseModel):
    """What ``transitions.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_sha256: str
    transitions: Transitions | None
    reason: str
    """Why there are none; empty where there are."""


def learn_transitions(
    labels: Sequence[NDArray[np.integer]], behaviours: int, frame_interval_ns: int, prior: NDArray[np.float64]
) -> Transitions | None:
    """Count how often each behaviour is followed by each, one frame later.

    Every behaviour is given one imaginary bout more, of the mean length of all, after which any other follows alike. So
    no change is impossible because it was never seen, and a behaviour that was hardly seen lasts as others do.

    Parameters
    ----------
    labels
        Each video's (N,) labels, negative where there is none.
    behaviours
        K.
    frame_interval_ns
        Time from one frame to the next.
    prior
        (K,) what `Transitions.prior` says, in any scale; a behaviour's must be positive.

    Returns
    -------
    Transitions or None
        None without a continuous video, or without a change of behaviour in one.
    """
    counts = np.zeros((behaviours, behaviours))
    frames = 0
    for video in labels:
        if _is_continuous(video):
            before, after = video[:-1], video[1:]
            seen = (before >= 0) & (after >= 0)
            np.add.at(counts, (before[seen], after[seen]), 1)
            frames += int((video >= 0).sum())
    changes = int(counts.sum() - np.trace(counts))
    if not changes:
        return None
    others = 1 - np.eye(behaviours)
    stays = np.trace(counts) / changes
    counts += others / (behaviours - 1) + stays * np.eye(behaviours)
    matrix = counts / counts.sum(axis=1, keepdims=True)
    return Transitions(
        interval_ns=frame_interval_ns,
        matrix=tuple(tuple(row) for row in matrix.tolist()),
        prior=tuple((prior / prior.sum()).tolist()),
        changes=changes,
        seconds=frames * frame_interval_ns / NS_PER_S,
    )


def training_shares(videos: Sequence[LabelledVideo], config: TrainConfig, behaviours: int) -> NDArray[np.float64]:
    """Return the (K,) shares of the behaviours among the samples that training draws, which networks take for given."""
    shares = np.ones(behaviours)
    if config.sampling == "clip":
        centres = [video.labels[start] for video in videos for start, _ in video.intervals]
        # One imaginary clip of each: a behaviour that was not shown is not impossible.
        shares += np.bincount(centres, minlength=behaviours)
    shares /= shares.sum()
    return shares


def write_transitions(run: Path, data: PreparedDataset, videos: Sequence[LabelledVideo], config: TrainConfig) -> None:
    """Learn the training videos' transitions, and write them, or why there are none, into a run folder."""
    behaviours = len(data.ethogram)
    learned = learn_transitions(
        [video.labels for video in videos],
        behaviours,
        round(NS_PER_S / config.geometry.fps),
        training_shares(videos, config, behaviours),
    )
    content = LearnedTransitions(
        dataset_sha256=data.sha256,
        transitions=learned,
        reason="" if learned else "no training video is annotated continuously, and clips have no transitions",
    )
    with atomic_write(run / TRANSITIONS) as beside:
        beside.write_text(content.model_dump_json(indent=2) + "\n")


def read_transitions(run: Path, dataset_sha256: str) -> LearnedTransitions:
    """Read what a training left; a run of an earlier toolkit has none, and that is what it says.

    Raises
    ------
    InputError
        If the file is damaged, or from another data set than the run's networks.
    """
    path = run / TRANSITIONS
    if not path.exists():
        return LearnedTransitions(
            dataset_sha256=dataset_sha256,
            transitions=None,
            reason="the run was trained before trainings counted transitions",
        )
    try:
        learned = LearnedTransitions.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: damaged. Train the run again, or delete the file to export without.") from error
    if learned.dataset_sha256 != dataset_sha256:
        raise InputError(f"{path}: from another data set than the networks. Train them again.")
    return learned


def _is_continuous(labels: NDArray[np.integer]) -> bool:
    """Say whether nearly all intervals of a video begin where the one before ends."""
    labelled = np.flatnonzero(labels >= 0)
    if labelled.size < 2:
        return False
    inside = labels[labelled[0] : labelled[-1] + 1]
    touching = int(((np.diff(inside) != 0) & (inside[:-1] != UNLABELLED) & (inside[1:] != UNLABELLED)).sum())
    apart = int(((inside[:-1] == UNLABELLED) & (inside[1:] != UNLABELLED)).sum())
    return touching > 0 and apart <= MOST_APART * (touching + apart)
