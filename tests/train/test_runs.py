"""`toolkit train`: the run folder, what it refuses, and what an interruption leaves."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.conftest import relabelled
from toolkit.annotations import AnnotatedDataset
from toolkit.errors import ConfigError, DatasetError, InputError
from toolkit.frames import read_frames
from toolkit.train import train
from toolkit.train.config import TrainConfig
from toolkit.train.golden import read_golden_frames
from toolkit.train.progress import Progress
from toolkit.train.run_folder import load_run


@pytest.fixture(scope="module")
def short(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"clips_per_epoch": 16, "epochs": 2, "evaluation_stride": 8})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, short: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    summary = train(squares, short, folder, held_out_groups=("video2",), workers=0)
    assert summary.held_out is not None
    assert [fold.group for fold in summary.held_out.folds] == ["video2"]
    assert any("clips/s" in line for line in summary.lines())
    return folder


def test_a_run_folder_says_how_it_came_about(run: Path, short: TrainConfig) -> None:
    for stream in ("rgb", "flow"):
        folder = run / stream
        assert TrainConfig.model_validate_json((folder / "config.json").read_text()) == short
        split = json.loads((folder / "split.json").read_text())
        assert [part["group"] for part in split["training"]] == ["video1", "video3"]
        assert [part["group"] for part in split["held_out"]] == ["video2"]
        with (folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert float(rows[1]["learning_rate"]) == pytest.approx(short.final_learning_rate)
        checkpoint = torch.load(folder / "last.pt", weights_only=True)
        assert checkpoint["stream"] == stream
    assert (run / "held_out" / "report.md").is_file()


def test_a_run_is_read_again_with_its_weights(run: Path) -> None:
    loaded = load_run(run)
    assert list(loaded.networks) == ["rgb", "flow"]
    weights = torch.load(run / "flow" / "last.pt", weights_only=True)["state_dict"]
    for name, tensor in loaded.networks["flow"].state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert not loaded.networks["rgb"].training
    assert loaded.streams["flow"].provenance.flow_implementation is not None
    assert "torch" in loaded.streams["rgb"].provenance.versions


def test_golden_frames_are_the_sources(run: Path, squares: AnnotatedDataset, short: TrainConfig) -> None:
    golden = read_golden_frames(run, load_run(run).streams["rgb"].provenance.dataset_sha256)
    assert sorted(clip.behaviour for clip in golden) == [0, 0, 1, 1, 2, 2, 3, 3]
    sources = {
        video.group: ([frame.image for frame in read_frames(video.path)], video.labels(squares.ethogram))
        for video in squares.videos
    }
    for clip in golden:
        behaviour, frames = clip.behaviour, clip.frames
        assert clip.flow_steps is not None
        assert clip.flow_steps.shape[0] == 16
        assert frames.shape == (17, 48, 64, 3)
        # Every other source frame is kept, so the clip is 33 source frames long, its centre the 19th.
        places = [
            (group, start)
            for group, (images, _) in sources.items()
            for start in range(0, len(images) - 32, 2)
            if np.array_equal(images[start], frames[0])
            and all(np.array_equal(images[start + 2 * i], frames[i]) for i in range(17))
        ]
        assert any(sources[group][1][start + 18] == behaviour for group, start in places)
        assert all(group != "video2" for group, _ in places), "the held-out video takes no part"


def test_a_run_is_not_replaced_unless_asked(run: Path, squares: AnnotatedDataset, short: TrainConfig) -> None:
    with pytest.raises(InputError, match=r"--overwrite(.|\n)*rgb exists(.|\n)*flow exists"):
        train(squares, short, run, workers=0)


def test_streams_can_be_trained_one_by_one(tmp_path: Path, squares: AnnotatedDataset, short: TrainConfig) -> None:
    rgb, flow = (short.model_copy(update={"streams": (stream,)}) for stream in ("rgb", "flow"))
    train(squares, rgb, tmp_path / "run", workers=0)
    train(squares, flow.model_copy(update={"learning_rate": 1e-3}), tmp_path / "run", workers=0)
    assert load_run(tmp_path / "run").config.streams == ("rgb", "flow")
    train(squares, flow.model_copy(update={"crop": 18}), tmp_path / "run", workers=0, overwrite=True)
    with pytest.raises(ConfigError, match=r"do not fit together(.|\n)*crop: 16, not 18"):
        load_run(tmp_path / "run")


def test_an_interrupted_training_leaves_whole_streams_only(
    tmp_path: Path, squares: AnnotatedDataset, short: TrainConfig
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.task == "train flow" and progress.done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(squares, short, tmp_path / "run", workers=0, on_progress=interrupt)
    whole = sorted(child.name for child in (tmp_path / "run").iterdir() if not child.name.startswith("."))
    assert whole == ["flow.unfinished", "golden.npz", "rgb", "transitions.json"]
    assert list(load_run(tmp_path / "run").networks) == ["rgb"]


@pytest.mark.parametrize("name", ["config.json", "last.pt", "split.json", "provenance.json"])
def test_a_damaged_run_is_refused(tmp_path: Path, run: Path, name: str) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = (copy / "rgb" / name).read_bytes()
    (copy / "rgb" / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"rgb: the run is damaged"):
        load_run(copy)


def test_a_folder_without_streams_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="toolkit train"):
        load_run(tmp_path)


def test_held_out_labels_change_nothing_that_is_learned(
    tmp_path: Path, squares: AnnotatedDataset, short: TrainConfig
) -> None:
    videos = tuple(relabelled(video) if video.group == "video1" else video for video in squares.videos)
    others = dataclasses.replace(squares, videos=videos)
    for name, dataset in (("as-annotated", squares), ("permuted", others)):
        train(dataset, short, tmp_path / name, held_out_groups=("video1",), workers=0)
    for stream in ("rgb", "flow"):
        one, other = (
            torch.load(tmp_path / name / stream / "last.pt", weights_only=True)["state_dict"]
            for name in ("as-annotated", "permuted")
        )
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_absent_behaviour_stops_training_before_it_starts(
    tmp_path: Path, squares: AnnotatedDataset, short: TrainConfig
) -> None:
    videos = tuple(
        dataclasses.replace(v, intervals=tuple(i for i in v.intervals if i.behaviour != "red-still"))
        for v in squares.videos
    )
    with pytest.raises(DatasetError, match="no frame of red-still"):
        train(dataclasses.replace(squares, videos=videos), short, tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
