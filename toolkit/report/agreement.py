"""A log beside an observer's annotations of the video that stood in for its camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from toolkit.annotations import AnnotatedVideo, load_dataset
from toolkit.behaviour_log import BehaviourLog
from toolkit.bouts import Bout, BoutRules
from toolkit.errors import InputError
from toolkit.report.logged_bouts import bouts_of_rows
from toolkit.report.record import Bouts
from toolkit.scoring import BoutScores, FrameScores, bout_scores, confusion_matrix, frame_scores


@dataclass(frozen=True, eq=False)
class Agreement:
    """How a log agrees with an observer."""

    video: Path
    confusion: NDArray[np.int64]
    """(K, K) rows of the log that both label, rows = observer."""
    frames: FrameScores
    bouts: BoutScores
    truth: list[Bout]
    """The observer's bouts at the log's times, in observed time only."""
    annotated_rows: int
    """Rows of the log whose frame the observer labelled."""


def annotated_source(log: BehaviourLog, folder: Path) -> AnnotatedVideo:
    """Return the annotated video of a data set folder that the log's camera was.

    It is the folder's only video, or the one with the file name that the log's configuration gives.

    Raises
    ------
    InputError
        If the folder cannot be read, or has several videos of which none is the log's.
    """
    dataset = load_dataset(folder, behaviours=log.ethogram.names)
    names = {PurePath(video).name for session in log.provenance if (video := _configured_video(session.config))}
    found = [video for video in dataset.videos if video.path.name in names]
    if len(found) == 1:
        return found[0]
    if len(dataset.videos) == 1 and not found:
        return dataset.videos[0]
    raise InputError(
        f"{folder}: {len(found)} of its {len(dataset.videos)} annotated videos are what the log of cage {log.cage} "
        f"was made from ({', '.join(sorted(names)) or 'its configuration names a camera, not a video'}). Expected "
        "exactly one. Name the folder that holds this video's annotations."
    )


def agreement_with(log: BehaviourLog, bouts: list[Bout], video: AnnotatedVideo) -> Agreement:
    """Compare a log to the annotations of the video that stood in for its camera.

    Rows and annotations meet by the frame's number in the video, which no clock can move.

    Parameters
    ----------
    bouts
        The log's, under the rules of the report.

    Raises
    ------
    InputError
        If the log has frames that the video has not, or no row's frame is annotated.
    AnnotationError
        If the annotations name a behaviour that the log's ethogram lacks.
    """
    labels = video.labels(log.ethogram)
    index = log.source_index
    if any(_loops(session.config) for session in log.provenance):
        index = index % len(labels)
    if (last := int(index.max(initial=-1))) >= len(labels):
        raise InputError(
            f"{video.path}: has {len(labels)} frames, the log of cage {log.cage} goes to frame {last}. It was made "
            "from another video. Name the folder that holds the annotations of the log's own video."
        )
    truth = labels[index].astype(np.int16)
    annotated_rows = int(np.count_nonzero(truth >= 0))
    if annotated_rows == 0:
        raise InputError(
            f"{video.path}: none of the frames in the log of cage {log.cage} is annotated. Expected annotations of "
            "the time that the log covers."
        )
    confusion = confusion_matrix(truth, log.label, len(log.ethogram))
    truth_bouts = bouts_of_rows(log, truth, np.ones(len(truth)), BoutRules())
    return Agreement(
        video=video.path,
        confusion=confusion,
        frames=frame_scores(confusion),
        bouts=bout_scores(truth_bouts, bouts, len(log.ethogram)),
        truth=truth_bouts,
        annotated_rows=annotated_rows,
    )


def truth_table(agreement: Agreement) -> Bouts:
    """Return the observer's bouts as columns."""
    return Bouts(
        np.array([bout.behaviour for bout in agreement.truth], np.int16),
        np.array([bout.start_ns for bout in agreement.truth], np.int64),
        np.array([bout.stop_ns for bout in agreement.truth], np.int64),
    )


def _camera(config: object) -> dict[str, object]:
    camera = config.get("camera") if isinstance(config, dict) else None
    return camera if isinstance(camera, dict) else {}


def _configured_video(config: object) -> str | None:
    video = _camera(config).get("video")
    return video if isinstance(video, str) else None


def _loops(config: object) -> bool:
    return _camera(config).get("loop") is True
