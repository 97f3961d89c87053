"""A tiny data set for training: squares whose colour and motion are the behaviour, drawn here and encoded by PyAV."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest

from toolkit.annotations import AnnotatedDataset, AnnotatedVideo, Interval, load_dataset
from toolkit.train.config import TrainConfig, train_config

BEHAVIOURS = ("red-still", "red-moving", "blue-still", "blue-moving")
BOUT = 36
"""Source frames per bout; every other one is kept."""


def write_squares(folder: Path, videos: int, behaviours: tuple[str, ...] = BEHAVIOURS) -> None:
    """Write videos of 64 x 48 px at 30 frames per second: one bout of each behaviour, in an order of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["video,start_frame,stop_frame,behaviour"]
    for number in range(1, videos + 1):
        rng = np.random.default_rng(number)
        texture = rng.integers(60, 256, (16, 16), dtype=np.uint8)
        name = f"video{number}.mp4"
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
            for place, behaviour in enumerate(rng.permutation(behaviours)):
                rows.append(f"{name},{place * BOUT},{(place + 1) * BOUT},{behaviour}")
                for step in range(BOUT):
                    image = np.full((48, 64, 3), 30, dtype=np.uint8)
                    x = 24 + (round(20 * np.sin(step / 5)) if behaviour.endswith("moving") else 0)
                    image[16:32, x : x + 16, 0 if behaviour.startswith("red") else 2] = texture
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n")


def relabelled(video: AnnotatedVideo) -> AnnotatedVideo:
    """Return the video with its behaviours in another order."""
    behaviours = [interval.behaviour for interval in video.intervals]
    intervals = tuple(
        Interval(interval.start_frame, interval.stop_frame, behaviour)
        for interval, behaviour in zip(video.intervals, behaviours[1:] + behaviours[:1], strict=True)
    )
    return dataclasses.replace(video, intervals=intervals)


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedDataset:
    """Three videos, 72 kept frames each; its cache of prepared videos is shared by the session's tests."""
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder, 3)
    return load_dataset(folder, behaviours=BEHAVIOURS)


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    """Seconds of training on one thread."""
    return train_config(
        {
            "architecture": "r2plus1d-small",
            "geometry": {"width": 64, "height": 48, "fps": 15},
            "flow": "fast",
            "resize": 20,
            "crop": 16,
            "optimiser": "adamw",
            "learning_rate": 5e-3,
            "schedule": "cosine",
            "sampling": "balanced",
            "clips_per_epoch": 320,
            "batch": 4,
            "epochs": 1,
            "dropout": 0.0,
            "threads": 1,
            "device": "cpu",
            "evaluation_stride": 2,
        }
    )
