"""What networks said of videos they were not trained on, frame by frame, as it is stored.

Predictions are stored as logits, so that everything that fusion, choosing or scoring may want can be computed again
without a network: one .npz a video, without pickles. Nothing here needs torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.bouts import smooth_probabilities
from toolkit.errors import InputError, raise_faults
from toolkit.frames import MAX_STEP, NS_PER_S
from toolkit.fusion import Fusion
from toolkit.preprocess import STREAMS, Stream

FOLDS = "folds"
FOLD = "fold.json"
PREDICTIONS = "predictions"
VALIDATION = "validation"

_PER_FRAME = ("frame_index", "labels", "majority", "mean_colour")


@dataclass(frozen=True, eq=False)
class VideoPredictions:
    """Every evaluated frame of a held-out video."""

    video: str
    group: str
    fps: float
    """Frames per second of the annotated video, whose frames `frame_index` counts."""
    frame_index: NDArray[np.int64]
    """(M,) position in the video file, increasing; a stride, decimation or an unlabelled stretch leaves some out."""
    labels: NDArray[np.int8]
    """(M,) annotated behaviour."""
    logits: Mapping[Stream, NDArray[np.float32]]
    """Per stream (M, K)."""
    majority: NDArray[np.int8]
    """(M,) the training videos' most frequent behaviour."""
    mean_colour: NDArray[np.int8]
    """(M,) the behaviour whose training frames have the nearest mean colour."""

    def predicted(self, stream: Stream) -> NDArray[np.int64]:
        """Return the (M,) behaviour of one stream's largest logit."""
        return np.asarray(self.logits[stream].argmax(axis=1))

    def probabilities(self, fusion: Fusion) -> NDArray[np.float32]:
        """Return the (M, K) probabilities of the fused streams."""
        return fusion.probabilities(np.stack([self.logits[stream] for stream in fusion.weights]))

    def fused(self, fusion: Fusion) -> NDArray[np.int64]:
        """Return the (M,) most probable behaviour after fusion."""
        return np.asarray(self.probabilities(fusion).argmax(axis=1))

    def smooth(self, probabilities: NDArray[np.floating], smoothing_s: float) -> NDArray[np.float32]:
        """Return (M, K) probabilities averaged over time within runs of evaluated frames; see `toolkit.bouts`."""
        times, interval_ns = self.evaluated_times()
        return smooth_probabilities(probabilities, times, smoothing_s, interval_ns)

    def behaviour_changes(self) -> bool:
        """Return whether the annotated behaviour changes within any run of evaluated frames."""
        times, interval_ns = self.evaluated_times()
        return bool(((np.diff(times) <= MAX_STEP * interval_ns) & (np.diff(self.labels) != 0)).any())

    def evaluated_times(self) -> tuple[NDArray[np.int64], int]:
        """Return a time in ns for each evaluated frame, and the interval from one to the next.

        Frames of a run are evenly spaced, as decimation leaves them but for rounding to the source's frames, so the
        interval is the mean of the steps within one frame of the shortest. A step over 1.5 intervals (and over what
        that rounding makes) is a gap, and remains one: two intervals.
        """
        steps = np.diff(self.frame_index)
        step = float(steps[steps <= steps.min() + 1].mean()) if steps.size else 1.0
        # Steps of 1, 1, 2 decimate 4 to 3 frames per second; a 2 among many hundred 1s is a frame left out.
        gaps = steps > max(MAX_STEP * step, np.ceil(step - 0.05))
        interval_ns = round(step / self.fps * NS_PER_S)
        return np.r_[0, np.cumsum(1 + gaps)] * interval_ns, interval_ns


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What the networks of one fold said."""

    group: str
    """Held out: they saw nothing of it, and nothing was chosen on it."""
    validation_group: str | None
    """The inner validation, one of the fold's training groups; None where there was none."""
    validation: tuple[VideoPredictions, ...]
    """The inner validation's videos."""
    held_out: tuple[VideoPredictions, ...]


class _FoldFile(BaseModel):
    # What a fold says beside this, of its training, is no matter of its predictions.
    model_config = ConfigDict(frozen=True, extra="ignore")

    group: str
    validation_group: str | None


def save_predictions(folder: Path, predictions: Sequence[VideoPredictions]) -> None:
    """Write one .npz per video into an existing folder."""
    for index, video in enumerate(predictions):
        arrays: dict[str, NDArray[Any]] = {f"{stream}_logits": logits for stream, logits in video.logits.items()}
        np.savez_compressed(
            folder / f"{index:04d}-{Path(video.video).stem}.npz",
            allow_pickle=False,
            video=np.array(video.video),
            group=np.array(video.group),
            fps=np.array(video.fps),
            **{name: getattr(video, name) for name in _PER_FRAME},
            **arrays,
        )


def load_predictions(folder: Path) -> list[VideoPredictions]:
    """Read what `save_predictions` wrote.

    Raises
    ------
    InputError
        If a file is damaged, or its arrays do not fit together.
    """
    return [_load_video(path) for path in sorted(folder.glob("*.npz"))]


def load_folds(folder: Path) -> list[FoldPredictions]:
    """Read the predictions of a cross-validation's finished folds, in the order of their folders.

    Raises
    ------
    InputError
        If `folder` holds no finished fold, or a file in one is missing or damaged.
    """
    folds = [_load_fold(fold) for fold in fold_folders(folder)]
    if not folds:
        raise InputError(f"{folder}: no finished fold in {FOLDS}/. Expected a folder written by: toolkit crossval")
    return folds


def fold_folders(folder: Path) -> list[Path]:
    """Return the folders of a cross-validation's finished folds: those whose `FOLD`, written last, is there."""
    candidates = (folder / FOLDS).glob("*") if (folder / FOLDS).is_dir() else ()
    return sorted(path for path in candidates if (path / FOLD).is_file())


def _load_fold(fold: Path) -> FoldPredictions:
    remedy = "Delete this fold's folder and run toolkit crossval again."
    try:
        described = _FoldFile.model_validate_json((fold / FOLD).read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{fold / FOLD}: missing or damaged; expected the held-out group. {remedy}") from error
    parts = {PREDICTIONS: described.group, VALIDATION: described.validation_group}
    loaded: dict[str, tuple[VideoPredictions, ...]] = {}
    faults = []
    for part, group in parts.items():
        if group is not None and not (fold / part).is_dir():
            faults.append(f"no {part}/ with the predictions of {group}")
        loaded[part] = tuple(load_predictions(fold / part))
        faults += [f"{part}/ holds {v.video} of group {v.group}" for v in loaded[part] if v.group != group]
    raise_faults(InputError, f"{fold} does not fit its {FOLD}. {remedy} Found", faults)
    return FoldPredictions(described.group, described.validation_group, loaded[VALIDATION], loaded[PREDICTIONS])


def _load_video(path: Path) -> VideoPredictions:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            video = VideoPredictions(
                video=str(arrays["video"]),
                group=str(arrays["group"]),
                fps=float(arrays["fps"]),
                logits={stream: arrays[f"{stream}_logits"] for stream in STREAMS if f"{stream}_logits" in arrays},
                **{name: arrays[name] for name in _PER_FRAME},
            )
            fault = _fault(video)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        fault = str(error)
    if fault:
        raise InputError(f"{path}: damaged ({fault}). Delete its fold's folder and run again.")
    return video


def _fault(video: VideoPredictions) -> str | None:
    """Return what in a video's arrays cannot be, or None."""
    frames = video.labels.shape
    shapes = {logits.shape for logits in video.logits.values()}
    if not video.logits or len(shapes) != 1 or any(getattr(video, name).shape != frames for name in _PER_FRAME):
        return "expected logits of at least one stream, and a value of every array for each frame"
    (shape,) = shapes
    if len(shape) != 2 or shape[:1] != frames or not shape[0]:
        return f"expected logits of {video.labels.size} frames by behaviours, found shape {shape}"
    if not all(np.isfinite(logits).all() for logits in video.logits.values()):
        return "logits that are not finite"
    if video.labels.min() < 0 or video.labels.max() >= shape[1]:
        return f"expected labels from 0 to {shape[1] - 1}, found {video.labels.min()} to {video.labels.max()}"
    if not video.fps > 0 or (np.diff(video.frame_index) <= 0).any():
        return "expected a positive frame rate and increasing frames"
    return None
