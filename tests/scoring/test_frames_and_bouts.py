from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from toolkit.bouts import Bout
from toolkit.errors import InputError
from toolkit.scoring import (
    bout_scores,
    cohen_kappa,
    confusion_matrix,
    frame_scores,
    mean_accuracy,
    pooled_accuracy,
)

NAN = pytest.approx(float("nan"), nan_ok=True)


def random_labels(seed: int, behaviours: int) -> tuple[np.ndarray, np.ndarray]:
    """Every behaviour occurs; two thirds of the predictions are right."""
    random = np.random.default_rng(seed)
    truth = np.r_[np.arange(behaviours), random.integers(0, behaviours, 400)]
    wrong = random.integers(0, behaviours, truth.size)
    return truth, np.where(random.random(truth.size) < 2 / 3, truth, wrong)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    truth, predicted = random_labels(seed, 8)
    confusion = confusion_matrix(truth, predicted, 8)
    scores = frame_scores(confusion)
    assert confusion.tolist() == metrics.confusion_matrix(truth, predicted).tolist()
    assert scores.frames == truth.size
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert scores.kappa == pytest.approx(metrics.cohen_kappa_score(truth, predicted))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted)
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))


def test_macro_mean_is_over_the_behaviours_of_the_truth() -> None:
    # Behaviour 2 is predicted but never true, 3 is neither, 1 is true but never predicted.
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 0, 2])
    scores = frame_scores(confusion_matrix(truth, predicted, 4))
    np.testing.assert_array_equal(scores.precision, [0.5, np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.recall, [0.5, 0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.f1, [0.5, 0, np.nan, np.nan])
    assert scores.macro_f1 == metrics.f1_score(truth, predicted, labels=[0, 1], average="macro") == 0.25


def test_kappa_by_hand() -> None:
    # Cohen's two observers: they agree on 70 of 100, chance alone gives 0.6 * 0.5 + 0.4 * 0.5 = 0.5.
    assert cohen_kappa(np.array([[40, 20], [10, 30]])) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert cohen_kappa(np.array([[5, 0], [0, 0]])) == NAN


def test_nothing_scored_is_not_zero() -> None:
    scores = frame_scores(np.zeros((3, 3), dtype=np.int64))
    assert scores.frames == 0
    assert [scores.accuracy, scores.macro_f1, scores.kappa] == pytest.approx([np.nan] * 3, nan_ok=True)
    assert pooled_accuracy([]) == NAN
    assert mean_accuracy([np.zeros((2, 2), dtype=np.int64)]) == NAN


def test_pooled_and_mean_accuracy_differ_by_the_videos_lengths() -> None:
    long_video, short_video = np.array([[90, 10], [0, 0]]), np.array([[5, 5], [0, 0]])
    assert pooled_accuracy([long_video, short_video]) == pytest.approx(95 / 110)
    assert mean_accuracy([long_video, short_video]) == pytest.approx((0.9 + 0.5) / 2)
    assert mean_accuracy([long_video, short_video, np.zeros((2, 2), dtype=np.int64)]) == pytest.approx(0.7)


def test_frames_without_a_label_are_left_out() -> None:
    assert confusion_matrix(np.array([0, -1, 1]), np.array([0, 0, -1]), 2).tolist() == [[1, 0], [0, 0]]


def test_refuses_labels_it_cannot_count() -> None:
    with pytest.raises(InputError, match="label 2 is not of this ethogram"):
        confusion_matrix(np.array([0, 2]), np.array([0, 0]), 2)
    with pytest.raises(InputError, match="found 2 and 1"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(InputError, match="threshold"):
        bout_scores([], [], 2, [0.0])


def bouts(*spans: tuple[int, int, int]) -> list[Bout]:
    return [Bout(behaviour, start, stop, stop - start, 1.0) for behaviour, start, stop in spans]


def test_bouts_match_by_overlap() -> None:
    truth = bouts((0, 0, 10), (1, 10, 20), (0, 20, 30))
    # IoU 8/10 and 5/15 for behaviour 0; behaviour 1 is seen elsewhere.
    predicted = bouts((0, 0, 8), (0, 25, 35), (1, 40, 50))
    scores = bout_scores(truth, predicted, 3, thresholds=(0.3, 0.5, 0.9))
    assert scores.matched.tolist() == [[2, 0, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(scores.f1, [[1, 0, np.nan], [0.5, 0, np.nan], [0, 0, np.nan]])
    np.testing.assert_allclose(scores.pooled_f1, [4 / 6, 2 / 6, 0])


def test_a_bout_is_matched_once_and_to_its_best() -> None:
    # The long true bout overlaps both predictions; the first takes it (10/20), the second has none left.
    scores = bout_scores(bouts((0, 0, 20)), bouts((0, 0, 10), (0, 12, 20)), 1, thresholds=(0.1,))
    assert scores.matched.tolist() == [[1]]
    assert scores.pooled_f1.tolist() == [pytest.approx(2 / 3)]
    # A split prediction: greedy takes (10..18 on 8..18) first, and what is left still overlaps the other true bout.
    truth, predicted = bouts((0, 0, 8), (0, 8, 18)), bouts((0, 4, 9), (0, 10, 18))
    assert bout_scores(truth, predicted, 1, thresholds=(0.4, 0.5)).matched.tolist() == [[2], [1]]


def test_no_bouts_is_no_score() -> None:
    assert np.isnan(bout_scores([], [], 2).pooled_f1).all()


MASK = hnp.arrays(np.bool_, 60)


def runs(mask: np.ndarray) -> list[Bout]:
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(int), 0]))
    return bouts(*((0, int(start), int(stop)) for start, stop in edges.reshape(-1, 2)))


@given(MASK, MASK)
def test_walks_over_every_overlapping_pair(true_mask: np.ndarray, predicted_mask: np.ndarray) -> None:
    """Brute force: greedy matching of all pairs, each pair's overlap counted frame by frame."""
    truth, predicted = runs(true_mask), runs(predicted_mask)
    pairs = []
    for i, a in enumerate(truth):
        for j, b in enumerate(predicted):
            inside_a, inside_b = set(range(a.start_ns, a.stop_ns)), set(range(b.start_ns, b.stop_ns))
            pairs.append((len(inside_a & inside_b) / len(inside_a | inside_b), i, j))
    expected = []
    while pairs:
        best = max(pairs, key=lambda pair: (pair[0], -pair[1], -pair[2]))
        expected.append(best[0])
        pairs = [pair for pair in pairs if pair[1] != best[1] and pair[2] != best[2]]
    thresholds = (0.1, 0.3, 0.5, 1.0)
    scores = bout_scores(truth, predicted, 1, thresholds)
    assert scores.matched[:, 0].tolist() == [sum(iou >= threshold for iou in expected) for threshold in thresholds]


@given(st.integers(0, 100))
def test_perfect_bouts_score_one(seed: int) -> None:
    truth = runs(np.random.default_rng(seed).random(60) < 0.5)
    if truth:
        assert bout_scores(truth, truth, 1, (1.0,)).pooled_f1.tolist() == [1.0]
