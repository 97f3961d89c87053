"""Predictions and cross-validation folders made up here: no network says anything in these tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.ethogram import ethogram_from_names
from toolkit.train.config import TrainConfig
from toolkit.train.predictions import FoldPredictions, VideoPredictions, save_predictions

ETHOGRAM = ethogram_from_names(["rest", "walk", "rear"])
SHA256 = "5" * 64


def video(
    group: str,
    labels: Sequence[int] | np.ndarray,
    logits: Mapping[str, Any],
    *,
    frame_index: Sequence[int] | np.ndarray | None = None,
    fps: float = 10.0,
    name: str | None = None,
) -> VideoPredictions:
    truth = np.asarray(labels, dtype=np.int8)
    return VideoPredictions(
        video=name or f"{group}.mp4",
        group=group,
        fps=fps,
        frame_index=np.asarray(np.arange(truth.size) if frame_index is None else frame_index, dtype=np.int64),
        labels=truth,
        logits={stream: np.asarray(values, dtype=np.float32) for stream, values in logits.items()},  # type: ignore[misc]
        majority=np.zeros(truth.size, dtype=np.int8),
        mean_colour=np.full(truth.size, 1, dtype=np.int8),
    )


def noisy(
    group: str, seed: int, frames: int = 240, *, skill: float = 1.5, streams: Sequence[str] = ("rgb", "flow")
) -> VideoPredictions:
    """Bouts of 5 to 40 frames, and logits that are right more often than not."""
    random = np.random.default_rng([sum(group.encode()), 7])
    labels = np.repeat(random.integers(0, 3, frames), random.integers(5, 40, frames))[:frames]
    random = np.random.default_rng([seed, sum(group.encode())])
    logits = {s: 2 * (skill * np.eye(3)[labels] + random.normal(size=(frames, 3))) for s in streams}
    return video(group, labels, logits, fps=30.0)


def noisy_folds(
    groups: Sequence[str], seed: int = 0, *, validated: bool = True, **options: Any
) -> list[FoldPredictions]:
    """Return a fold per group, validated on the next one."""
    return [
        FoldPredictions(
            group=group,
            validation_group=inner if validated else None,
            validation=(noisy(inner, seed + 100 * number, **options),) if validated else (),
            held_out=(noisy(group, seed + 100 * number, **options),),
        )
        for number, (group, inner) in enumerate(zip(groups, [*groups[1:], groups[0]], strict=True))
    ]


def write_crossval(
    folder: Path,
    folds: Sequence[FoldPredictions],
    *,
    groups: Sequence[str] = (),
    config: TrainConfig | None = None,
    sha256: str = SHA256,
) -> Path:
    """Write what `toolkit crossval` leaves of these folds, but for the networks; `groups` are all there should be."""
    folder.mkdir(parents=True)
    settings = config or TrainConfig()
    key = {"config": settings.model_dump(mode="json"), "dataset_sha256": sha256}
    (folder / "crossval.json").write_text(json.dumps(key))
    everyone = [{"video": f"{group}.mp4", "group": group} for group in groups or [fold.group for fold in folds]]
    for number, fold in enumerate(folds, start=1):
        place = folder / "folds" / f"{number:02d}-{fold.group}"
        (place / "predictions").mkdir(parents=True)
        save_predictions(place / "predictions", fold.held_out)
        if fold.validation:
            (place / "validation").mkdir()
            save_predictions(place / "validation", fold.validation)
        (place / "fold.json").write_text(json.dumps({"group": fold.group, "validation_group": fold.validation_group}))
        (place / settings.streams[0]).mkdir()
        split = {
            "ethogram": ETHOGRAM.model_dump(mode="json"),
            "training": [v for v in everyone if v["group"] != fold.group],
            "held_out": [v for v in everyone if v["group"] == fold.group],
        }
        (place / settings.streams[0] / "split.json").write_text(json.dumps(split))
    return folder
