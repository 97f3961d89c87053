"""Training's tensors: the same as a cage's, and what augmentation does to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import RecordingBackend, manifest
from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import FlowSpec
from toolkit.engine.host import HostNetworks
from toolkit.errors import DatasetError
from toolkit.flow import PARAMETER_SETS
from toolkit.flow.select import best_cpu_flow
from toolkit.frames import read_frames
from toolkit.pipeline import Pipeline
from toolkit.preprocess import Stream, StreamInput
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import (
    LabelledVideo,
    PreparedDataset,
    check_behaviours,
    evaluation_clips,
    fill_training_clip,
    held_in_memory,
    prepare_dataset,
    training_centres,
)

from .conftest import BOUT


@pytest.fixture(scope="module")
def data(squares: AnnotatedDataset, config: TrainConfig) -> PreparedDataset:
    return prepare_dataset(squares, config, workers=0)


def test_labels_follow_decimation(data: PreparedDataset, squares: AnnotatedDataset) -> None:
    for video, annotated in zip(data.videos, squares.videos, strict=True):
        assert video.prepared.source_index.tolist() == list(range(0, 4 * BOUT, 2))
        names = [squares.ethogram.names[label] for label in video.labels]
        assert names == [name for i in annotated.intervals for name in [i.behaviour] * (BOUT // 2)]
        assert video.intervals == tuple((k * BOUT // 2, (k + 1) * BOUT // 2) for k in range(4))


def evaluated(data: PreparedDataset, config: TrainConfig, stream: Stream, batch: int) -> NDArray[np.float32]:
    video, spec = data.videos[0], config.stream_input(stream)
    centres = np.arange(video.frames)
    return np.concatenate(list(evaluation_clips(video, centres, spec, config.clip, config.encoding, batch)))


def test_evaluation_sees_the_tensors_that_a_cage_sees(data: PreparedDataset, config: TrainConfig) -> None:
    estimator = best_cpu_flow(PARAMETER_SETS["fast"])
    spec = manifest(
        geometry=config.geometry,
        inputs=(config.stream_input("rgb"), config.stream_input("flow")),
        flow=FlowSpec(
            parameters=estimator.parameters, implementation=estimator.implementation, encoding=config.encoding
        ),
    )
    backends = {"rgb": RecordingBackend(), "flow": RecordingBackend()}
    pipeline = Pipeline(spec, HostNetworks(spec, estimator, backends), source_fps=30.0)
    for frame in read_frames(data.videos[0].prepared.path):
        pipeline.push(frame)
    pipeline.end_segment()
    for stream, backend in backends.items():
        np.testing.assert_array_equal(evaluated(data, config, stream, 7), np.concatenate(backend.clips))


def test_evaluation_makes_each_frame_once(
    data: PreparedDataset, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    network_frame = StreamInput.network_frame

    def counting(*arguments: object, **options: object) -> None:
        nonlocal made
        made += 1
        network_frame(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(StreamInput, "network_frame", counting)
    evaluated(data, config, "flow", 5)
    assert made == data.videos[0].frames


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_flip_mirrors_and_negates_exactly(data: PreparedDataset, config: TrainConfig, stream: Stream) -> None:
    # Uncropped: a flip of a random crop would be of another place.
    uncropped = config.model_copy(update={"crop": 20})
    spec = uncropped.stream_input(stream)
    moved = False
    for centre in (0, 20, 40, 60, 71):
        plain, mirrored = np.empty((2, spec.channels, 16, 20, 20), dtype=np.float32)
        for flip, out in ((0.0, plain), (1.0, mirrored)):
            chosen = uncropped.model_copy(update={"flip": flip})
            fill_training_clip(data.videos[0], centre, spec, chosen, np.random.default_rng(0), out)
        expected = plain[..., ::-1].copy()
        if stream == "flow":
            expected[0] *= -1
        np.testing.assert_array_equal(mirrored, expected)
        moved |= bool(np.abs(plain[0]).max() > 0)
    assert moved


def test_crops_cover_every_corner(data: PreparedDataset, config: TrainConfig) -> None:
    spec = config.stream_input("rgb")
    resized = spec.resized(data.videos[0].prepared.frames[40])
    still = config.model_copy(update={"flip": 0.0})
    generator = np.random.default_rng(0)
    corners = set()
    for _ in range(200):
        out = np.empty((3, 16, 16, 16), dtype=np.float32)
        fill_training_clip(data.videos[0], 40, spec, still, generator, out)
        pixels = np.rint((out[:, 8].transpose(1, 2, 0) + 1) * 127.5)
        corners |= {
            (y, x) for y in range(5) for x in range(5) if np.array_equal(pixels, resized[y : y + 16, x : x + 16])
        }
    assert {(0, 0), (4, 4), (0, 4), (4, 0)} <= corners


def test_clip_sampling_draws_each_interval_once(data: PreparedDataset, config: TrainConfig) -> None:
    clip = config.model_copy(update={"sampling": "clip"})
    drawn = training_centres(data.videos, clip, np.random.default_rng(0))
    assert sorted((video, centre // (BOUT // 2)) for video, centre in drawn.tolist()) == [
        (video, interval) for video in range(3) for interval in range(4)
    ]


def test_balanced_sampling_draws_behaviours_equally(data: PreparedDataset, config: TrainConfig) -> None:
    drawn = training_centres(data.videos, config, np.random.default_rng(0))
    labels = [int(data.videos[video].labels[centre]) for video, centre in drawn]
    assert np.bincount(labels).tolist() == [80, 80, 80, 80]


def test_a_behaviour_without_frames_is_named(data: PreparedDataset, squares: AnnotatedDataset) -> None:
    from toolkit.ethogram import ethogram_from_names

    larger = ethogram_from_names([*squares.ethogram.names, "rear"])
    with pytest.raises(DatasetError, match=r"fold video9 has no frame of rear"):
        check_behaviours(data.videos, larger, "fold video9")


def test_an_unknown_group_is_named(data: PreparedDataset) -> None:
    with pytest.raises(DatasetError, match=r"'video9': no such group among video1, video2, video3"):
        data.split(["video9"])


def test_no_group_is_in_two_parts(data: PreparedDataset) -> None:
    split = data.split(["video2"], ["video3"])
    parts = [[video.group for video in part] for part in (split.training, split.validation, split.held_out)]
    assert parts == [["video1"], ["video3"], ["video2"]]
    with pytest.raises(DatasetError, match="'video2' is both held out and for validation"):
        data.split(["video2"], ["video2"])
    with pytest.raises(DatasetError, match="no group is left to train on"):
        data.split(["video1", "video2"], ["video3"])


def test_the_hash_changes_with_a_label(squares: AnnotatedDataset, config: TrainConfig, data: PreparedDataset) -> None:
    import dataclasses

    first = squares.videos[0]
    cut = dataclasses.replace(first, intervals=first.intervals[1:])
    changed = dataclasses.replace(squares, videos=(cut, *squares.videos[1:]))
    assert prepare_dataset(changed, config, workers=0).sha256 != data.sha256
    assert prepare_dataset(squares, config, workers=0).sha256 == data.sha256


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_what_is_held_in_memory_is_what_is_stored(data: PreparedDataset, config: TrainConfig, stream: Stream) -> None:
    def clip(videos: Sequence[LabelledVideo]) -> np.ndarray:
        spec = config.stream_input(stream)
        out = np.empty((spec.channels, 16, 16, 16), np.float32)
        fill_training_clip(videos[1], 3, spec, config, np.random.default_rng(0), out)
        return out

    held = held_in_memory(data.videos, stream)
    read = "frames" if stream == "rgb" else "flow_steps"
    assert all(isinstance(getattr(video.prepared, read), np.ndarray) for video in held)
    assert np.array_equal(clip(held), clip(data.videos))
    bytes_held = sum(getattr(video.prepared, read).nbytes for video in held)
    assert held_in_memory(data.videos, stream, bytes_held - 1) == data.videos
