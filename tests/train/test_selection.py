"""Choosing on the inner validation, against choices that can be made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.stored import noisy, video
from toolkit.fusion import Fusion
from toolkit.train.selection import Choice, bouts_of, choose, paper_choice, score_bouts

BOTH = ("rgb", "flow")


def two_streams(labels: list[int], rgb: list[list[float]], flow: list[list[float]], **options: object):  # type: ignore[no-untyped-def]
    return video("inner", labels, {"rgb": rgb, "flow": flow}, **options)


def test_the_weight_with_most_right_frames_wins() -> None:
    # Frame 1 is right under 1.2 (1 - w) > w: w <= 0.5. Frame 2 under 1 - w < 1.6 w: w >= 0.4. Left: 0.4 and 0.5.
    inner = two_streams([0, 1], [[1.2, 0], [1, 0]], [[0, 1], [0, 1.6]])
    assert choose([inner], BOTH).fusion.weights == {"rgb": 0.5, "flow": 0.5}, "the nearer to 0.6 of both"


def test_equal_weights_fall_to_the_papers() -> None:
    inner = two_streams([0, 1], [[1, 0], [0, 1]], [[1, 0], [0, 1]])
    assert choose([inner], BOTH).fusion.weights == {"rgb": 0.4, "flow": 0.6}


def test_a_stream_that_is_always_wrong_gets_no_weight() -> None:
    # RGB is wrong by 9 where flow is right by 1: only without RGB (w > 0.9) is a frame right.
    inner = two_streams([0, 1], [[0, 9.5], [9.5, 0]], [[1, 0], [0, 1]])
    assert choose([inner], BOTH).fusion.weights == {"rgb": 0.0, "flow": 1.0}


def test_the_temperature_is_of_the_fused_logits() -> None:
    # Both streams 5 apart, so is their mean; three of four right: T = 5 / ln 3.
    logits = [[5.0, 0.0]] * 4
    choice = choose([two_streams([0, 0, 0, 1], logits, logits)], BOTH)
    assert choice.fusion.temperature == pytest.approx(5 / np.log(3), rel=1e-5)


def flickering() -> tuple[list[int], list[list[float]]]:
    """Two bouts of 20 frames at 10 per second; every fifth frame is wrong, weakly."""
    labels = [0] * 20 + [1] * 20
    logits = [[2.0 * (label == k) for k in (0, 1)] for label in labels]
    for frame in range(2, 40, 5):
        logits[frame] = [1.0 * (labels[frame] != k) for k in (0, 1)]
    return labels, logits


def test_flicker_is_smoothed_away() -> None:
    labels, logits = flickering()
    inner = two_streams(labels, logits, logits)
    choice = choose([inner], BOTH)
    # Up to 0.2 s nothing is averaged or three frames are, and three are enough: the first width that is all right wins.
    assert choice.smoothing_s == 0.2
    assert choice.smoothed(inner).argmax(axis=1).tolist() == labels


def test_a_video_that_is_right_is_left_alone() -> None:
    labels, _ = flickering()
    logits = [[2.0 * (label == k) for k in (0, 1)] for label in labels]
    choice = choose([two_streams(labels, logits, logits)], BOTH)
    assert (choice.smoothing_s, choice.min_bout_s, choice.uncertain_below) == (0.0, 0.0, 0.0)


def test_short_false_bouts_are_dropped() -> None:
    # Ten bouts of 2 s that are right, and three of 0.5 s that are wrong, each apart, so that no smoothing mends them.
    labels = np.repeat([0, 1] * 5 + [0, 1, 0], [20] * 10 + [5] * 3)
    said = np.where(np.arange(labels.size) < 200, labels, 2)
    apart = np.arange(labels.size) + np.repeat(100 * np.arange(4), [200, 5, 5, 5])
    logits = 8 * np.eye(3)[said]
    inner = video("inner", labels, {"rgb": logits, "flow": logits}, frame_index=apart)
    choice = choose([inner], BOTH)
    assert (choice.smoothing_s, choice.min_bout_s) == (0.0, 0.75)
    # 13 true bouts, 10 of them found among 13; dropping what is under 0.75 s leaves 10, all right.
    assert score_bouts([inner], [said], 3).pooled_f1.tolist() == pytest.approx([20 / 26] * 4)
    assert score_bouts([inner], [said], 3, 0.75).pooled_f1.tolist() == pytest.approx([20 / 23] * 4)


def test_clips_cut_to_one_behaviour_choose_no_smoothing() -> None:
    # Each stretch is one behaviour and one frame of it wrong: the widest smoothing would be all right, by the cutting.
    labels = np.repeat([0, 1], 10)
    logits = 2.0 * np.eye(2)[np.where(np.arange(20) % 10 == 4, 1 - labels, labels)]
    together = video("inner", labels, {"rgb": logits, "flow": logits})
    apart = video("inner", labels, {"rgb": logits, "flow": logits}, frame_index=[*range(10), *range(50, 60)])
    assert (together.behaviour_changes(), apart.behaviour_changes()) == (True, False)
    assert choose([together], BOTH).smoothing_s > 0
    assert (choose([apart], BOTH).smoothing_s, choose([apart], BOTH).min_bout_s) == (0.0, 0.0)


def test_the_threshold_is_the_smallest_that_reaches_its_target() -> None:
    # One behaviour is named at many strengths; with the temperature at T the probability of a margin m is
    # sigmoid(m / T). The 40 frames with margin 1 are right half the time, the 40 with margin 6 always.
    labels = [0, 1] * 20 + [0] * 40
    logits = [[1.0, 0.0]] * 40 + [[6.0, 0.0]] * 40
    choice = choose([two_streams(labels, logits, logits)], BOTH)
    temperature = choice.fusion.temperature
    weak, strong = (1 / (1 + np.exp(-margin / temperature)) for margin in (1, 6))
    assert choice.uncertain_below is not None
    assert weak < choice.uncertain_below <= strong
    assert choice.uncertain_below - 0.01 <= weak, "no smaller one would leave out the weak frames"


def test_no_threshold_where_the_target_is_out_of_reach() -> None:
    logits = [[1.0, 0.0]] * 10
    assert choose([two_streams([0, 1] * 5, logits, logits)], BOTH).uncertain_below is None


def test_nothing_to_choose_on_leaves_the_papers() -> None:
    paper = Choice(fusion=Fusion(weights={"rgb": 0.4, "flow": 0.6}))
    assert choose([], BOTH) == paper_choice(BOTH) == paper
    assert (paper.fusion.temperature, paper.smoothing_s, paper.min_bout_s, paper.frames) == (1.0, 0.0, 0.0, 0)
    assert paper.uncertain_below is None


def test_one_stream_has_one_weight() -> None:
    choice = choose([noisy("inner", 3, streams=("flow",))], ("flow",))
    assert choice.fusion.weights == {"flow": 1.0}
    assert choice.fusion.temperature != 1
    assert choice.frames == 240


def test_a_choice_is_frozen_and_complete() -> None:
    choice = choose([noisy("inner", 3)], BOTH)
    assert Choice.model_validate_json(choice.model_dump_json()) == choice
    with pytest.raises(ValueError, match="frozen"):
        choice.smoothing_s = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Choice.model_validate({"fusion": choice.fusion, "smoothing": 1})


def test_bouts_do_not_cross_a_gap() -> None:
    made = video("a", [1] * 6, {"rgb": np.zeros((6, 3))}, frame_index=[0, 1, 2, 10, 11, 12])
    assert [bout.frames for bout in bouts_of(made, made.labels)] == [3, 3]
