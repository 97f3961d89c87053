"""`toolkit crossval`: learning, resuming, refusing, and its report against scikit-learn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import Scores
from toolkit.errors import ConfigError, DatasetError, InputError
from toolkit.train import CrossValidation, cross_validate
from toolkit.train.config import TrainConfig
from toolkit.train.crossval import load_evaluation
from toolkit.train.progress import Progress


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, config: TrainConfig) -> CrossValidation:
    return cross_validate(squares, config, tmp_path_factory.mktemp("crossval") / "cv", workers=0)


def test_it_learns(result: CrossValidation) -> None:
    assert result.evaluation.baselines["chance"] == 0.25
    assert result.evaluation.accuracy["fused"] > 0.5
    assert result.evaluation.frames == 3 * 36


def test_its_scores_are_scikit_learns(result: CrossValidation) -> None:
    truth = np.concatenate([video.labels for video in result.predictions])
    logits = {s: np.concatenate([video.logits[s] for video in result.predictions]) for s in ("rgb", "flow")}
    fused = (0.4 * logits["rgb"] + 0.6 * logits["flow"]).argmax(axis=1)
    evaluation = result.evaluation
    assert evaluation.accuracy["rgb"] == pytest.approx(np.mean(logits["rgb"].argmax(axis=1) == truth))
    assert evaluation.accuracy["fused"] == pytest.approx(np.mean(fused == truth))
    assert evaluation.kappa == pytest.approx(cohen_kappa_score(truth, fused))
    assert list(evaluation.f1.values()) == pytest.approx(f1_score(truth, fused, average=None))
    np.testing.assert_array_equal(evaluation.confusion, confusion_matrix(truth, fused))
    assert evaluation.sweep is not None
    assert evaluation.sweep.accuracy[0] == evaluation.accuracy["rgb"]
    assert evaluation.sweep.accuracy[-1] == evaluation.accuracy["flow"]
    assert evaluation.sweep.accuracy[6] == evaluation.accuracy["fused"]
    scores = result.scores()
    assert isinstance(scores, Scores)
    assert (scores.scheme, scores.frames) == ("leave-one-video-out over 3 videos", 108)


def test_the_colour_baseline_is_the_nearest_mean(result: CrossValidation, squares: AnnotatedDataset) -> None:
    # Red and blue squares have clearly different mean colours; whether they move cannot be seen in one.
    for video in result.predictions:
        assert np.array_equal(video.mean_colour < 2, video.labels < 2), "red behaviours come first"


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


def test_an_interrupted_fold_leaves_nothing(squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path) -> None:
    short = config.model_copy(update={"clips_per_epoch": 8, "evaluation_stride": 12})

    def interrupt(progress: Progress) -> None:
        if progress.task == "fold 2/3: evaluate flow":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(squares, short, tmp_path / "cv", workers=0, on_progress=interrupt)
    assert sorted(child.name for child in (tmp_path / "cv").iterdir()) == ["crossval.json", "folds"]
    assert [child.name for child in (tmp_path / "cv" / "folds").iterdir()] == ["01-video1"]
    assert cross_validate(squares, short, tmp_path / "cv", workers=0).resumed_folds == 1


def test_folds_of_another_configuration_or_data_set_are_refused(
    result: CrossValidation, squares: AnnotatedDataset, config: TrainConfig
) -> None:
    other = config.model_copy(update={"batch": 8, "seed": 1})
    with pytest.raises(ConfigError, match=r"another cross-validation(.|\n)*batch: 8, not 4(.|\n)*seed: 1, not 0"):
        cross_validate(squares, other, result.folder, workers=0)
    fewer = dataclasses.replace(squares, videos=squares.videos[:2])
    with pytest.raises(ConfigError, match="data set: its videos or annotations changed"):
        cross_validate(fewer, config, result.folder, workers=0)


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
        cross_validate(dataclasses.replace(squares, videos=videos), config, tmp_path / "cv", workers=0)
    assert not (tmp_path / "cv").exists()


def test_a_folder_without_a_report_has_no_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="toolkit crossval"):
        load_evaluation(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"accuracy": 1}))
    with pytest.raises(InputError, match="not a report"):
        load_evaluation(tmp_path)
