"""The golden sample's raw frames and flow: chosen at training, while the data set is at hand, and kept in the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.clips import ClipGeometry
from toolkit.errors import DatasetError, InputError
from toolkit.files import atomic_write
from toolkit.frames import read_frames
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo, PreparedDataset

GOLDEN_FRAMES = "golden.npz"
PER_BEHAVIOUR = 2


@dataclass(frozen=True)
class GoldenFrame:
    """One clip of the golden sample, as training saw it."""

    behaviour: int
    """Index in the ethogram."""
    frames: NDArray[np.uint8]
    """(T + 1, H, W, 3) uint8 RGB source frames: the clip's and the one before it."""
    flow_steps: NDArray[np.int16] | None
    """(T, height, width, 2) int16 encoded flow of the clip at working size; None without a flow stream."""


def golden_clips(
    videos: Sequence[LabelledVideo],
    config: TrainConfig,
    behaviours: int,
    *,
    per_behaviour: int = PER_BEHAVIOUR,
) -> list[GoldenFrame]:
    """Choose a few clips of every behaviour and read their source frames.

    Parameters
    ----------
    videos
        Videos to choose from. Those at the networks' frame rate are taken frame by frame, others decimated.
    behaviours
        K, behaviours of the ethogram.
    per_behaviour
        Clips of each, fewer where there are not as many frames.

    Returns
    -------
    list of GoldenFrame
        Clips stay T frames away from the ends of a video where that leaves a choice. A behaviour that labels no
        frame far enough from an end for a whole clip is missing.

    Raises
    ------
    DatasetError
        If no behaviour has such a frame.
    """
    generator = np.random.default_rng(config.seed)
    chosen: list[tuple[int, int, int]] = []
    for behaviour in range(behaviours):
        for margin in (config.clip.frames, 0):
            pool = [
                (index, int(centre))
                for index, video in enumerate(videos)
                for centre in np.flatnonzero(video.labels == behaviour)
                if _fits(int(centre), video.frames, config.clip, margin)
            ]
            if pool:
                picks = generator.choice(len(pool), size=min(per_behaviour, len(pool)), replace=False)
                chosen += [(behaviour, *pool[pick]) for pick in sorted(picks.tolist())]
                break
    if not chosen:
        raise DatasetError(
            f"no labelled frame has {config.clip.before + 1} frames before it and {config.clip.after} after it in its "
            "video, which a golden sample needs. Use longer clips, or a lower frame rate (geometry.fps)."
        )
    frames: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for index in sorted({index for _, index, _ in chosen}):
        centres = [centre for _, video, centre in chosen if video == index]
        for centre, clip in zip(centres, _source_clips(videos[index], centres, config.clip), strict=True):
            frames[index, centre] = clip
    return [
        GoldenFrame(behaviour, frames[index, centre], _flow_steps(videos[index], centre, config.clip))
        for behaviour, index, centre in chosen
    ]


def write_golden_frames(run: Path, data: PreparedDataset, videos: Sequence[LabelledVideo], config: TrainConfig) -> None:
    """Write the golden sample's frames into a run folder."""
    clips = golden_clips(videos, config, len(data.ethogram))
    arrays: dict[str, NDArray[np.uint8] | NDArray[np.int16]] = {}
    for index, clip in enumerate(clips):
        arrays[f"frames_{index}"] = clip.frames
        if clip.flow_steps is not None:
            arrays[f"flow_{index}"] = clip.flow_steps
    with atomic_write(run / GOLDEN_FRAMES) as beside, beside.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            dataset_sha256=np.array(data.sha256),
            behaviours=np.array([clip.behaviour for clip in clips], dtype=np.int16),
            **arrays,  # type: ignore[arg-type, unused-ignore]
        )


def read_golden_frames(run: Path, dataset_sha256: str) -> list[GoldenFrame]:
    """Read the golden sample's frames of a run folder.

    Raises
    ------
    InputError
        If they are missing, damaged, or from another data set than the run's networks.
    """
    try:
        with np.load(run / GOLDEN_FRAMES, allow_pickle=False) as arrays:
            if str(arrays["dataset_sha256"]) != dataset_sha256:
                raise InputError(f"{run / GOLDEN_FRAMES}: from another data set than the networks. Train them again.")
            return [
                GoldenFrame(int(behaviour), arrays[f"frames_{i}"], arrays.get(f"flow_{i}"))
                for i, behaviour in enumerate(arrays["behaviours"])
            ]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run / GOLDEN_FRAMES}: missing or damaged ({error}). Train the run again.") from error


def _fits(centre: int, frames: int, clip: ClipGeometry, margin: int) -> bool:
    return centre - max(margin, clip.before + 1) >= 0 and centre + max(margin, clip.after) < frames


def _flow_steps(video: LabelledVideo, centre: int, clip: ClipGeometry) -> NDArray[np.int16] | None:
    steps = video.prepared.flow_steps
    return None if steps is None else np.array(steps[centre - clip.before : centre + clip.after + 1])


def _source_clips(video: LabelledVideo, centres: Sequence[int], clip: ClipGeometry) -> list[NDArray[np.uint8]]:
    source_index = video.prepared.source_index
    wanted = [source_index[centre - clip.before - 1 : centre + clip.after + 1].tolist() for centre in centres]
    needed = {index for indices in wanted for index in indices}
    last = max(needed)
    images: dict[int, NDArray[np.uint8]] = {}
    for frame in read_frames(video.prepared.path):
        if frame.index in needed:
            images[frame.index] = frame.image
        if frame.index == last:
            break
    return [np.stack([images[index] for index in indices]) for indices in wanted]
