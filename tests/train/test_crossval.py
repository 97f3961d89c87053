"""`toolkit crossval`: learning, resuming, refusing, and its report against scikit-learn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from tests.train.conftest import relabelled
from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import Scores
from toolkit.errors import ConfigError, DatasetError, InputError
from toolkit.train import CrossValidation, cross_validate
from toolkit.train.config import TrainConfig
from toolkit.train.crossval import load_evaluation
from toolkit.train.predictions import VideoPredictions, load_folds
from toolkit.train.progress import Progress
from toolkit.train.selection import choose


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, config: TrainConfig) -> CrossValidation:
    return cross_validate(squares, config, tmp_path_factory.mktemp("crossval") / "cv", workers=0)


def test_it_learns(result: CrossValidation) -> None:
    assert result.evaluation.baselines["chance"] == 0.25
    assert result.evaluation.accuracy["fused"] > 0.5
    assert result.evaluation.frames == 3 * 36


@pytest.fixture(scope="module")
def held_out(result: CrossValidation) -> list[VideoPredictions]:
    return [video for fold in load_folds(result.folder) for video in fold.held_out]


def test_each_fold_chooses_on_the_next_group(result: CrossValidation) -> None:
    folds = load_folds(result.folder)
    assert [(fold.group, fold.validation_group) for fold in folds] == [
        ("video1", "video2"),
        ("video2", "video3"),
        ("video3", "video1"),
    ]
    for fold in folds:
        assert [video.group for video in fold.validation] == [fold.validation_group]
        assert [video.group for video in fold.held_out] == [fold.group]
    for folder in sorted((result.folder / "folds").iterdir()):
        split = json.loads((folder / "rgb" / "split.json").read_text())
        groups = [video["group"] for part in ("training", "validation", "held_out") for video in split[part]]
        assert sorted(groups) == ["video1", "video2", "video3"]


def test_its_scores_are_scikit_learns(result: CrossValidation, held_out: list[VideoPredictions]) -> None:
    truth = np.concatenate([video.labels for video in held_out])
    logits = {s: np.concatenate([video.logits[s] for video in held_out]) for s in ("rgb", "flow")}
    evaluation = result.evaluation
    fused = np.concatenate(
        [
            sum(
                weight * video.logits[s]
                for s, weight in choose(fold.validation, ("rgb", "flow")).fusion.weights.items()
            )
            for fold in load_folds(result.folder)
            for video in fold.held_out
        ]
    ).argmax(axis=1)
    assert evaluation.accuracy["rgb"] == pytest.approx(np.mean(logits["rgb"].argmax(axis=1) == truth))
    assert evaluation.accuracy["fused"] == pytest.approx(np.mean(fused == truth))
    assert evaluation.kappa == pytest.approx(cohen_kappa_score(truth, fused))
    assert list(evaluation.f1.values()) == pytest.approx(f1_score(truth, fused, average=None))
    np.testing.assert_array_equal(evaluation.confusion, confusion_matrix(truth, fused))
    assert evaluation.sweep is not None
    assert evaluation.sweep.accuracy[0] == evaluation.accuracy["rgb"]
    assert evaluation.sweep.accuracy[-1] == evaluation.accuracy["flow"]
    scores = result.scores()
    assert isinstance(scores, Scores)
    assert (scores.scheme, scores.frames) == ("leave-one-video-out over 3 videos", 108)


def test_the_colour_baseline_is_the_nearest_mean(held_out: list[VideoPredictions]) -> None:
    # Red and blue squares have clearly different mean colours; whether they move cannot be seen in one.
    for video in held_out:
        assert np.array_equal(video.mean_colour < 2, video.labels < 2), "red behaviours come first"


def test_held_out_labels_change_nothing_that_is_learned_or_chosen(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    """Permute the labels of one video: the fold that holds it out must not notice, in any byte of any choice."""
    short = config.model_copy(update={"clips_per_epoch": 16, "epochs": 2, "keep": "best", "evaluation_stride": 4})
    videos = tuple(relabelled(video) if video.group == "video1" else video for video in squares.videos)
    permuted = dataclasses.replace(squares, videos=videos)
    folds = []
    for name, dataset in (("as-annotated", squares), ("permuted", permuted)):
        cross_validate(dataset, short, tmp_path / name, workers=0)
        folds.append(tmp_path / name / "folds" / "01-video1")
    for stream in ("rgb", "flow"):
        for checkpoint in ("last.pt", "best.pt"):
            one, other = (torch.load(fold / stream / checkpoint, weights_only=True) for fold in folds)
            assert one["epoch"] == other["epoch"]
            assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
    loaded = [load_folds(fold.parents[1])[0] for fold in folds]
    assert not np.array_equal(loaded[0].held_out[0].labels, loaded[1].held_out[0].labels)
    choices = [choose(fold.validation, short.streams) for fold in loaded]
    assert choices[0] == choices[1]
    for stream in short.streams:
        one, other = (fold.held_out[0].logits[stream] for fold in loaded)
        np.testing.assert_array_equal(one, other)


def test_without_inner_validation_the_papers_weights_are_taken(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    short = config.model_copy(update={"clips_per_epoch": 8, "evaluation_stride": 12, "inner_validation": False})
    two = dataclasses.replace(squares, videos=squares.videos[:2])
    evaluation = cross_validate(two, short, tmp_path / "cv", workers=0).evaluation
    folds = load_folds(tmp_path / "cv")
    assert [fold.validation_group for fold in folds] == [None, None]
    predictions = [video for fold in folds for video in fold.held_out]
    fused = np.concatenate([0.4 * v.logits["rgb"] + 0.6 * v.logits["flow"] for v in predictions]).argmax(axis=1)
    truth = np.concatenate([video.labels for video in predictions])
    assert evaluation.accuracy["fused"] == pytest.approx(np.mean(fused == truth))
    with pytest.raises(DatasetError, match="--no-inner-validation"):
        cross_validate(two, short.model_copy(update={"inner_validation": True}), tmp_path / "other", workers=0)


def test_it_writes_a_report(result: CrossValidation) -> None:
    names = {child.name for child in result.folder.iterdir()}
    assert {"crossval.json", "folds", "report.md", "report.json", "confusion.png", "fusion_sweep.png"} <= names
    text = (result.folder / "report.md").read_text()
    for part in ("baseline: chance | 25.0 %", "nearest mean colour", "Optimistic", "video3", "red-moving"):
        assert part in text
    assert load_evaluation(result.folder) == result.evaluation


def test_finished_folds_are_kept(
    result: CrossValidation, squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "cv"
    shutil.copytree(result.folder, copy)
    shutil.rmtree(copy / "folds" / "02-video2")
    tasks: set[str] = set()
    again = cross_validate(squares, config, copy, workers=0, on_progress=lambda p: tasks.add(p.task))
    assert again.resumed_folds == 2
    assert {task.split(":")[0] for task in tasks if "train" in task} == {"fold 2/3"}
    assert again.evaluation == result.evaluation, "the fold's training is reproducible"


def test_an_interrupted_fold_goes_on_after_its_last_epoch(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    short = config.model_copy(update={"clips_per_epoch": 8, "epochs": 3, "evaluation_stride": 12})

    def interrupt(progress: Progress) -> None:
        if progress.task == "fold 2/3: train flow" and progress.done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(squares, short, tmp_path / "cv", workers=0, on_progress=interrupt)
    assert sorted(child.name for child in (tmp_path / "cv").iterdir()) == ["crossval.json", "folds"]
    fold = tmp_path / "cv" / "folds" / "02-video2"
    whole = sorted(child.name for child in fold.iterdir() if not child.name.startswith("."))
    assert whole == ["flow.unfinished", "rgb"]
    seen: list[Progress] = []
    again = cross_validate(squares, short, tmp_path / "cv", workers=0, on_progress=seen.append)
    assert again.resumed_folds == 1
    of_fold = [p for p in seen if p.task.startswith("fold 2/3: train")]
    assert {p.task for p in of_fold} == {"fold 2/3: train flow"}
    assert min(p.done for p in of_fold) > 16, "two epochs of eight clips were done"
    whole = cross_validate(squares, short, tmp_path / "whole", workers=0)
    assert again.evaluation == whole.evaluation


def test_folds_of_another_configuration_or_data_set_are_refused(
    result: CrossValidation, squares: AnnotatedDataset, config: TrainConfig
) -> None:
    other = config.model_copy(update={"batch": 8, "seed": 1})
    with pytest.raises(ConfigError, match=r"another cross-validation(.|\n)*batch: 8, not 4(.|\n)*seed: 1, not 0"):
        cross_validate(squares, other, result.folder, workers=0)
    changed = dataclasses.replace(squares, videos=(relabelled(squares.videos[0]), *squares.videos[1:]))
    with pytest.raises(ConfigError, match="data set: its videos or annotations changed"):
        cross_validate(changed, config, result.folder, workers=0)


def test_one_group_cannot_be_cross_validated(squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path) -> None:
    one = dataclasses.replace(squares, videos=squares.videos[:1])
    with pytest.raises(DatasetError, match=r"one group \(video1\)"):
        cross_validate(one, config, tmp_path / "cv", workers=0)
    assert not (tmp_path / "cv").exists()


def test_a_behaviour_absent_from_a_folds_training_part_is_named(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    videos = tuple(
        v
        if v.group == "video2"
        else dataclasses.replace(v, intervals=tuple(i for i in v.intervals if "red" in i.behaviour))
        for v in squares.videos
    )
    with pytest.raises(DatasetError, match=r"fold video2(.|\n)*no frame of blue-still, blue-moving"):
        others = dataclasses.replace(squares, videos=videos)
        cross_validate(others, config.model_copy(update={"inner_validation": False}), tmp_path / "cv", workers=0)
    assert not (tmp_path / "cv").exists()


def test_a_folder_without_a_report_has_no_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="toolkit crossval"):
        load_evaluation(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"accuracy": 1}))
    with pytest.raises(InputError, match="not a report"):
        load_evaluation(tmp_path)
