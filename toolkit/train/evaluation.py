"""What networks say about videos they were not trained on, frame by frame, and what simpler methods say.

Predictions are stored as logits, so that everything that fusion or scoring may want can be computed again without a
network: one .npz a video, without pickles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.annotations import UNLABELLED
from toolkit.errors import InputError
from toolkit.fusion import Fusion
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo, evaluation_clips
from toolkit.train.finetune import choose_device, evaluate, move, reproducible
from toolkit.train.progress import OnProgress, Progress
from toolkit.train.run_folder import STREAMS


@dataclass(frozen=True, eq=False)
class VideoPredictions:
    """Every evaluated frame of a held-out video."""

    video: str
    group: str
    frame_index: NDArray[np.int64]
    """(M,) position in the video file."""
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

    def fused(self, fusion: Fusion) -> NDArray[np.int64]:
        """Return the (M,) most probable behaviour after fusion."""
        stacked = np.stack([self.logits[stream] for stream in fusion.weights])
        return np.asarray(fusion.probabilities(stacked).argmax(axis=1))


def predict_videos(
    networks: Mapping[Stream, nn.Module],
    training: Sequence[LabelledVideo],
    held_out: Sequence[LabelledVideo],
    config: TrainConfig,
    on_progress: OnProgress,
) -> list[VideoPredictions]:
    """Return the networks' logits, and two baselines learned from `training`, of the labelled held-out frames."""
    chosen = [np.flatnonzero(video.labels != UNLABELLED)[:: config.evaluation_stride] for video in held_out]
    logits = {
        stream: _stream_logits(network, stream, held_out, chosen, config, on_progress)
        for stream, network in networks.items()
    }
    majority, colours = fit_baselines(training)
    return [
        VideoPredictions(
            video=video.name,
            group=video.group,
            frame_index=video.prepared.source_index[centres],
            labels=video.labels[centres],
            logits={stream: logits[stream][index] for stream in networks},
            majority=np.full(len(centres), majority, dtype=np.int8),
            mean_colour=nearest_mean_colour(mean_colours(video)[centres], colours),
        )
        for index, (video, centres) in enumerate(zip(held_out, chosen, strict=True))
        if len(centres)
    ]


def fit_baselines(training: Sequence[LabelledVideo]) -> tuple[int, NDArray[np.float64]]:
    """Return the most frequent behaviour, and (K, 3) mean RGB of each behaviour's frames (NaN where it has none)."""
    labels = np.concatenate([video.labels for video in training])
    colours = np.concatenate([mean_colours(video) for video in training])
    behaviours = int(labels.max()) + 1
    counts = np.bincount(labels[labels != UNLABELLED], minlength=behaviours)
    means = np.full((behaviours, 3), np.nan)
    for behaviour in np.flatnonzero(counts):
        means[behaviour] = colours[labels == behaviour].mean(axis=0)
    return int(counts.argmax()), means


def nearest_mean_colour(colours: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the (M,) behaviour whose (K, 3) mean is nearest to each of the (M, 3) colours."""
    distances = np.linalg.norm(colours[:, np.newaxis] - means, axis=2)
    nearest: NDArray[np.int8] = np.nanargmin(distances, axis=1).astype(np.int8)
    return nearest


def mean_colours(video: LabelledVideo) -> NDArray[np.float64]:
    """Return the (N, 3) mean RGB, 0 to 255, of every working frame."""
    return video.prepared.mean_colours


def save_predictions(folder: Path, predictions: Sequence[VideoPredictions]) -> None:
    """Write one .npz per video into an existing folder."""
    for index, video in enumerate(predictions):
        arrays: dict[str, NDArray[Any]] = {f"{stream}_logits": logits for stream, logits in video.logits.items()}
        np.savez_compressed(
            folder / f"{index:04d}-{Path(video.video).stem}.npz",
            allow_pickle=False,
            video=np.array(video.video),
            group=np.array(video.group),
            frame_index=video.frame_index,
            labels=video.labels,
            majority=video.majority,
            mean_colour=video.mean_colour,
            **arrays,
        )


def load_predictions(folder: Path) -> list[VideoPredictions]:
    """Read what `save_predictions` wrote.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    predictions = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = ("frame_index", "labels", "majority", "mean_colour")
                streams = [stream for stream in STREAMS if f"{stream}_logits" in arrays]
                predictions.append(
                    VideoPredictions(
                        video=str(arrays["video"]),
                        group=str(arrays["group"]),
                        logits={stream: arrays[f"{stream}_logits"] for stream in streams},
                        **{name: arrays[name] for name in names},
                    )
                )
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{path}: damaged ({error}). Delete its fold's folder and run again.") from error
    return predictions


def _stream_logits(
    network: nn.Module,
    stream: Stream,
    videos: Sequence[LabelledVideo],
    chosen: Sequence[NDArray[np.int64]],
    config: TrainConfig,
    on_progress: OnProgress,
) -> list[NDArray[np.float32]]:
    spec, device = config.stream_input(stream), choose_device(config)
    total, done = sum(map(len, chosen)), 0
    logits = []
    with reproducible(config, [config.seed]):
        move(network, device)
        for video, centres in zip(videos, chosen, strict=True):
            parts: list[NDArray[np.float32]] = []
            for clips in evaluation_clips(video, centres, spec, config.clip, config.encoding, config.evaluation_batch):
                parts.append(evaluate(network, [clips], device))
                done += len(clips)
                on_progress(Progress(f"evaluate {stream}", done, total, "clips"))
            logits.append(np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32))
        move(network, torch.device("cpu"), torch.contiguous_format)
    return logits
