"""What stored predictions come to, against scikit-learn, SciPy and cases worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn import metrics

from tests.train.stored import ETHOGRAM, SHA256, noisy_folds, video
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.fusion import Fusion
from toolkit.train.config import TrainConfig
from toolkit.train.predictions import FoldPredictions
from toolkit.train.scores import Evaluation, evaluation_of, write_report
from toolkit.train.selection import Choice, choose

GROUPS = ["a", "b", "c", "d", "e"]


def evaluate(folds: list[FoldPredictions], config: TrainConfig | None = None) -> Evaluation:
    return evaluation_of(folds, ETHOGRAM, config or TrainConfig(), scheme="made up", dataset_sha256=SHA256)


@pytest.fixture(scope="module")
def folds() -> list[FoldPredictions]:
    return noisy_folds(GROUPS)


@pytest.fixture(scope="module")
def evaluation(folds: list[FoldPredictions]) -> Evaluation:
    return evaluate(folds)


def relabelled(
    folds: list[FoldPredictions], part: str, change: Callable[[np.ndarray], np.ndarray]
) -> list[FoldPredictions]:
    return [
        dataclasses.replace(
            fold,
            **{part: tuple(dataclasses.replace(v, labels=change(v.labels)) for v in getattr(fold, part))},  # type: ignore[arg-type]
        )
        for fold in folds
    ]


def test_choices_do_not_see_the_held_out_labels(folds: list[FoldPredictions], evaluation: Evaluation) -> None:
    permuted = evaluate(relabelled(folds, "held_out", np.random.default_rng(0).permutation))
    assert [fold.choice for fold in permuted.folds] == [fold.choice for fold in evaluation.folds]
    assert permuted.accuracy != evaluation.accuracy
    other = evaluate(relabelled(folds, "validation", np.random.default_rng(0).permutation))
    assert [fold.choice for fold in other.folds] != [fold.choice for fold in evaluation.folds]


def test_each_fold_is_scored_with_its_own_choice(folds: list[FoldPredictions], evaluation: Evaluation) -> None:
    right = 0
    for fold, scored in zip(folds, evaluation.folds, strict=True):
        choice = choose(fold.validation, ("rgb", "flow"))
        assert (scored.group, scored.validation_group, scored.choice) == (fold.group, fold.validation_group, choice)
        (held_out,) = fold.held_out
        weights = choice.fusion.weights
        fused = (weights["rgb"] * held_out.logits["rgb"] + weights["flow"] * held_out.logits["flow"]).argmax(axis=1)
        assert scored.accuracy["fused"] == pytest.approx(metrics.accuracy_score(held_out.labels, fused))
        right += int((fused == held_out.labels).sum())
    assert len({json.dumps(fold.choice.fusion.weights) for fold in evaluation.folds}) > 1, "the folds differ"
    assert evaluation.accuracy["fused"] == pytest.approx(right / evaluation.frames)


def test_scores_are_scikit_learns(folds: list[FoldPredictions], evaluation: Evaluation) -> None:
    truth = np.concatenate([v.labels for fold in folds for v in fold.held_out])
    fused = np.concatenate(
        [v.fused(s.choice.fusion) for fold, s in zip(folds, evaluation.folds, strict=True) for v in fold.held_out]
    )
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, fused)
    assert list(evaluation.precision.values()) == pytest.approx(precision)
    assert list(evaluation.recall.values()) == pytest.approx(recall)
    assert list(evaluation.f1.values()) == pytest.approx(f1)
    assert evaluation.kappa == pytest.approx(metrics.cohen_kappa_score(truth, fused))
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(truth, fused, average="macro"))
    np.testing.assert_array_equal(evaluation.confusion, metrics.confusion_matrix(truth, fused))
    rgb = np.concatenate([v.logits["rgb"].argmax(axis=1) for fold in folds for v in fold.held_out])
    np.testing.assert_array_equal(evaluation.stream_confusions["rgb"], metrics.confusion_matrix(truth, rgb))
    assert evaluation.mean_accuracy["fused"] == pytest.approx(
        np.mean([fold.accuracy["fused"] for fold in evaluation.folds])
    )


def test_the_sweep_is_of_the_test_videos(folds: list[FoldPredictions], evaluation: Evaluation) -> None:
    truth = np.concatenate([v.labels for fold in folds for v in fold.held_out])
    logits = {s: np.concatenate([v.logits[s] for fold in folds for v in fold.held_out]) for s in ("rgb", "flow")}
    sweep = evaluation.sweep
    assert sweep is not None
    for weight, accuracy in zip(sweep.flow_weights, sweep.accuracy, strict=True):
        labels = ((1 - weight) * logits["rgb"] + weight * logits["flow"]).argmax(axis=1)
        assert accuracy == pytest.approx(metrics.accuracy_score(truth, labels))
        recall = metrics.recall_score(truth, labels, average=None)
        place = sweep.flow_weights.index(weight)
        assert [values[place] for values in sweep.recall.values()] == pytest.approx(recall)
    assert max(sweep.accuracy) >= evaluation.accuracy["fused"] - 0.02


def test_intervals_resample_groups(evaluation: Evaluation) -> None:
    values = np.array([fold.accuracy["fused"] for fold in evaluation.folds])
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    assert evaluation.intervals is not None
    ours = evaluation.intervals.mean_accuracy["fused"]
    assert ours is not None
    np.testing.assert_allclose([ours.low, ours.high], theirs.confidence_interval, atol=0.01)
    # All groups have as many frames, so that pooling them is their mean.
    pooled = evaluation.intervals.accuracy["fused"]
    assert pooled is not None
    assert (pooled.low, pooled.high) == pytest.approx((ours.low, ours.high))
    for interval, value in (
        (evaluation.intervals.kappa, evaluation.kappa),
        (evaluation.intervals.f1["walk"], evaluation.f1["walk"]),
    ):
        assert interval is not None
        assert value is not None
        assert interval.low < value < interval.high


def test_three_groups_have_values_and_no_interval() -> None:
    evaluation = evaluate(noisy_folds(["a", "b", "c"]))
    assert evaluation.intervals is None
    assert [paired.interval for paired in evaluation.paired] == [None, None]
    assert set(evaluation.paired[0].groups) == {"a", "b", "c"}


def test_differences_are_paired_by_group() -> None:
    # Fused is flow (RGB's logits are nothing): it is right in 4 and 2 of 4 frames where RGB (always 0) is in 1 and 1.
    def fold(group: str, flow: list[int]) -> FoldPredictions:
        made = video(group, [0, 1, 2, 1], {"rgb": np.zeros((4, 3)), "flow": np.eye(3)[flow]})
        return FoldPredictions(group, None, (), (made,))

    evaluation = evaluate([fold("a", [0, 1, 2, 1]), fold("b", [0, 1, 1, 2])])
    against_rgb, against_flow = evaluation.paired
    assert (against_rgb.one, against_rgb.other) == ("fused", "rgb")
    assert against_rgb.groups == pytest.approx({"a": 0.75, "b": 0.25})
    assert against_rgb.mean == pytest.approx(0.5)
    assert against_flow.groups == pytest.approx({"a": 0, "b": 0})


def test_without_inner_validation_the_papers_fusion_stands(tmp_path: Path) -> None:
    evaluation = evaluate(noisy_folds(["a", "b"], validated=False))
    for fold in evaluation.folds:
        assert fold.choice == Choice(fusion=Fusion(weights={"rgb": 0.4, "flow": 0.6}))
        assert fold.validation_group is None
    assert evaluation.calibration["before"] == evaluation.calibration["after"]
    assert evaluation.certainty.coverage is None
    assert "smoothed" not in evaluation.accuracy
    write_report(tmp_path, evaluation, ETHOGRAM)
    assert "No fold has an inner validation: the paper's weights" in (tmp_path / "report.md").read_text()


def test_the_bundles_choice_is_of_all_held_out_predictions(
    folds: list[FoldPredictions], evaluation: Evaluation
) -> None:
    assert evaluation.chosen == choose([v for fold in folds for v in fold.held_out], ("rgb", "flow"))
    assert evaluation.chosen.frames == evaluation.frames


def test_bouts_never_cross_a_gap() -> None:
    # One behaviour throughout, with a gap in the middle: two bouts; the prediction misses the last frame.
    logits = np.eye(3)[[1] * 9 + [0]]
    made = video("a", [1] * 10, {"rgb": logits, "flow": logits}, frame_index=[*range(5), *range(50, 55)])
    table = evaluate([FoldPredictions("a", None, (), (made,))]).bouts["fused"]
    assert table.true == {"rest": 0, "walk": 2, "rear": 0}
    assert table.predicted == {"rest": 1, "walk": 2, "rear": 0}
    # Walk: overlaps 1 and 4 / 5. Over all: 2 matches of 2 true and 3 predicted bouts.
    assert table.behaviours["walk"] == (1.0, 1.0, 1.0, 1.0)
    assert table.behaviours["rest"] == (None, None, None, None)
    assert table.f1 == pytest.approx([4 / 5] * 4)


def test_clips_cut_to_one_behaviour_are_said_to_be(tmp_path: Path, evaluation: Evaluation) -> None:
    logits = np.eye(3)[[1] * 5]
    clips = [video("a", [k] * 5, {"rgb": logits, "flow": logits}, name=f"a_{k}.mpg") for k in range(3)]
    cut = evaluate([FoldPredictions("a", None, (), tuple(clips))])
    assert (cut.behaviour_changes, evaluation.behaviour_changes) == (False, True)
    write_report(tmp_path, cut, ETHOGRAM)
    assert "clips cut to one behaviour each" in (tmp_path / "report.md").read_text()


def test_calibration_by_hand() -> None:
    # The inner validation sets T = 5 / ln 3 (three of four right, 5 apart), so 5 means 3/4, and 5 / 2 means less.
    def made(labels: list[int]) -> dict[str, object]:
        logits = [[5.0, 0.0, -1000.0]] * 4
        return {"labels": labels, "logits": {"rgb": logits, "flow": logits}}

    fold = FoldPredictions("a", "b", (video("b", **made([0, 0, 0, 1])),), (video("a", **made([0, 0, 1, 1])),))  # type: ignore[arg-type]
    evaluation = evaluate([fold])
    before, after = evaluation.calibration["before"], evaluation.calibration["after"]
    assert evaluation.folds[0].choice.fusion.temperature == pytest.approx(5 / np.log(3))
    assert before.expected_calibration_error == pytest.approx(1 / (1 + np.exp(-5)) - 0.5, abs=1e-6)
    assert after.expected_calibration_error == pytest.approx(0.75 - 0.5, abs=1e-6)
    assert after.negative_log_likelihood == pytest.approx(-np.log([0.75, 0.75, 0.25, 0.25]).mean(), abs=1e-6)
    assert evaluation.certainty.folds == 0, "three of four right never reach the target"


def test_uncertain_labels_are_left_out_by_the_folds_threshold() -> None:
    weak, strong = [[1.0, 0.0, -1000.0]] * 40, [[6.0, 0.0, -1000.0]] * 40
    inner = video("b", [0, 1] * 20 + [0] * 40, dict.fromkeys(("rgb", "flow"), weak + strong))
    held_out = video("a", [0] * 50, dict.fromkeys(("rgb", "flow"), weak[:40] + strong[:10]))
    certainty = evaluate([FoldPredictions("a", "b", (inner,), (held_out,))]).certainty
    assert (certainty.coverage, certainty.accuracy, certainty.folds) == (pytest.approx(0.2), 1.0, 1)


def test_one_stream_is_scored_alone(tmp_path: Path) -> None:
    config = TrainConfig(streams=("flow",))
    evaluation = evaluate(noisy_folds(GROUPS, streams=("flow",)), config)
    assert evaluation.accuracy["flow"] == evaluation.accuracy["fused"]
    assert (evaluation.sweep, evaluation.paired) == (None, ())
    write_report(tmp_path, evaluation, ETHOGRAM)
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion.png", "reliability.png", "bouts.png"}
    text = (tmp_path / "report.md").read_text()
    assert not [
        line
        for line in text.splitlines()
        if line.startswith("![") and not (tmp_path / line[:-1].split("(")[1]).exists()
    ]


def test_an_absent_behaviour_has_no_score() -> None:
    logits = np.eye(3)[[0, 1, 1, 0]]
    folds = [FoldPredictions("a", None, (), (video("a", [0, 1, 0, 0], {"rgb": logits, "flow": logits}),))]
    evaluation = evaluate(folds)
    assert (evaluation.recall["rear"], evaluation.precision["rear"], evaluation.f1["rear"]) == (None, None, None)
    assert evaluation.sweep is not None
    assert set(evaluation.sweep.recall["rear"]) == {None}
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score([0, 1, 0, 0], [0, 1, 1, 0], average="macro"))
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_reports_say_everything_and_pictures_exist(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path, evaluation, ETHOGRAM)
    text = (tmp_path / "report.md").read_text()
    for part in (
        "93 %",
        "95.9 %",
        "96.9 %",
        "96.3 %",
        "cannot be compared",
        "Optimistic",
        "IoU 0.75",
        "for the bundle",
    ):
        assert part in text
    shown = {line[:-1].split("(")[1] for line in text.splitlines() if line.startswith("![")}
    assert shown == {path.name for path in tmp_path.glob("*.png")}
    assert Evaluation.model_validate_json((tmp_path / "report.json").read_text()) == evaluation
    json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_predictions_of_other_networks_are_refused() -> None:
    folds = noisy_folds(["a"], streams=("rgb",), validated=False)
    with pytest.raises(InputError, match=r"rgb, flow for 3 behaviours(.|\n)*a\.mp4: no logits of flow"):
        evaluate(folds)
    wider = ethogram_from_names(["rest", "walk", "rear", "groom"])
    with pytest.raises(InputError, match="logits of 3 behaviours"):
        evaluation_of(noisy_folds(["a"]), wider, TrainConfig(), scheme="s", dataset_sha256=SHA256)
    with pytest.raises(InputError, match="no prediction to score"):
        evaluate([])
    with pytest.raises(InputError, match="several for a"):
        evaluate([*noisy_folds(["a"]), *noisy_folds(["a"])])


def test_groups_are_ordered_as_people_count() -> None:
    folds = noisy_folds(["video10", "video2", "video1"], validated=False)
    assert [fold.group for fold in evaluate(folds).folds] == ["video1", "video2", "video10"]
