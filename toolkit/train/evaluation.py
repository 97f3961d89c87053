"""What networks say about videos they were not trained on, frame by frame, and what simpler methods say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.annotations import UNLABELLED
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo
from toolkit.train.finetune import choose_device, frame_logits, labelled_frames, move, reproducible
from toolkit.train.predictions import VideoPredictions
from toolkit.train.progress import OnProgress, Progress


def predict_videos(
    networks: Mapping[Stream, nn.Module],
    training: Sequence[LabelledVideo],
    videos: Sequence[LabelledVideo],
    config: TrainConfig,
    on_progress: OnProgress,
) -> list[VideoPredictions]:
    """Return the networks' logits, and two baselines learned from `training`, of the labelled frames of `videos`.

    A video without a labelled frame is left out.
    """
    frames = [labelled_frames(video, config.evaluation_stride) for video in videos]
    labelled = [(video, centres) for video, centres in zip(videos, frames, strict=True) if len(centres)]
    logits = {
        stream: _stream_logits(network, stream, labelled, config, on_progress) for stream, network in networks.items()
    }
    majority, colours = fit_baselines(training)
    return [
        VideoPredictions(
            video=video.name,
            group=video.group,
            fps=video.fps,
            frame_index=video.prepared.source_index[centres],
            labels=video.labels[centres],
            logits={stream: logits[stream][index] for stream in networks},
            majority=np.full(len(centres), majority, dtype=np.int8),
            mean_colour=nearest_mean_colour(video.prepared.mean_colours[centres], colours),
        )
        for index, (video, centres) in enumerate(labelled)
    ]


def fit_baselines(training: Sequence[LabelledVideo]) -> tuple[int, NDArray[np.float64]]:
    """Return the most frequent behaviour, and (K, 3) mean RGB of each behaviour's frames (NaN where it has none)."""
    labels = np.concatenate([video.labels for video in training])
    colours = np.concatenate([video.prepared.mean_colours for video in training])
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


def _stream_logits(
    network: nn.Module,
    stream: Stream,
    labelled: Sequence[tuple[LabelledVideo, NDArray[np.int64]]],
    config: TrainConfig,
    on_progress: OnProgress,
) -> list[NDArray[np.float32]]:
    device = choose_device(config)
    total, done = sum(len(centres) for _, centres in labelled), 0
    logits = []

    def on_clips(clips: int) -> None:
        nonlocal done
        done += clips
        on_progress(Progress(f"evaluate {stream}", done, total, "clips"))

    with reproducible(config, [config.seed]):
        move(network, device, config)
        for video, centres in labelled:
            logits.append(frame_logits(network, video, centres, stream, config, device, on_clips))
        move(network, torch.device("cpu"), config, torch.contiguous_format)
    return logits
