"""Two cross-validations side by side, and four networks fused, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.stored import SHA256, noisy, noisy_folds, video, write_crossval
from toolkit.errors import InputError
from toolkit.train.comparison import Comparison, compare, fuse_networks, simplex_grid
from toolkit.train.config import TrainConfig
from toolkit.train.predictions import FoldPredictions
from toolkit.train.stored import load_crossval


def compared(
    folder: Path, one: Sequence[FoldPredictions], other: Sequence[FoldPredictions], **options: Any
) -> Comparison:
    a = load_crossval(write_crossval(folder / "a", one), partial=True)
    b = load_crossval(write_crossval(folder / "b", other, **options), partial=True)
    return compare(("A", a, a.evaluation()), ("B", b, b.evaluation()))


def constant(labels: list[int], margins: Sequence[float]) -> dict[str, Any]:
    """Return logits of two streams whose right behaviour is ahead by a margin, or behind by it where negative."""
    right = np.eye(3)[labels]
    return {stream: margin * right for stream, margin in zip(("rgb", "flow"), margins, strict=True)}


@given(st.integers(2, 4), st.integers(1, 6))
def test_the_grid_is_the_whole_simplex(networks: int, steps: int) -> None:
    grid = simplex_grid(networks, steps)
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    assert (grid >= 0).all()
    assert len(np.unique(grid, axis=0)) == len(grid)
    # Stars and bars: the ways to put `steps` steps into `networks` weights.
    ways = np.prod([steps + k for k in range(1, networks)]) / np.prod(range(1, networks))
    assert len(grid) == round(ways)


def test_four_networks_are_fused_by_hand() -> None:
    # One frame, two behaviours: 0.1 * 4 + 0.2 * 0 + 0.3 * 0 + 0.4 * 0 = 0.4 against 0.3 * 1 + 0.4 * 0.5 = 0.5.
    logits = np.array([[[4, 0]], [[0, 0]], [[0, 1]], [[0, 0.5]]], dtype=np.float32)
    assert fuse_networks(logits, np.array([0.1, 0.2, 0.3, 0.4])).tolist() == [1]
    assert fuse_networks(logits, np.array([0.3, 0.2, 0.3, 0.2])).tolist() == [0]


def test_weights_are_chosen_on_the_inner_validation(tmp_path: Path) -> None:
    # In the inner validation only B's flow is right, and the others are wrong by so much that it must stand alone.
    inner = [0, 1, 2, 0]

    def fold(margins: tuple[float, float], held_out: tuple[float, float]) -> FoldPredictions:
        return FoldPredictions(
            "a", "b", (video("b", inner, constant(inner, margins)),), (video("a", inner, constant(inner, held_out)),)
        )

    result = compared(tmp_path, [fold((-10, -10), (1, 1))], [fold((-10, 1), (1, -1))])
    assert result.weights == {"a": {"A rgb": 0.0, "A flow": 0.0, "B rgb": 0.0, "B flow": 1.0}}
    assert result.validation_frames == {"a": 4}
    assert result.accuracy["fused"] == 0.0, "on the held-out group it is wrong, and that is what is reported"
    assert result.accuracy["A"] == 1.0


def test_without_inner_validation_each_has_half_of_the_papers_weights(tmp_path: Path) -> None:
    groups = ["a", "b"]
    result = compared(tmp_path, noisy_folds(groups, 1, validated=False), noisy_folds(groups, 2, validated=False))
    for group in groups:
        assert result.weights[group] == pytest.approx({"A rgb": 0.2, "A flow": 0.3, "B rgb": 0.2, "B flow": 0.3})
    one, other = noisy("a", 1), noisy("a", 2)
    total = sum(
        w * v.logits[s] for w, v, s in ((2, one, "rgb"), (3, one, "flow"), (2, other, "rgb"), (3, other, "flow"))
    )
    assert result.groups["a"]["fused"] == pytest.approx(np.mean(np.argmax(total, axis=1) == one.labels))


def test_only_frames_of_both_are_compared(tmp_path: Path) -> None:
    def fold(frames: list[int], wrong: set[int]) -> FoldPredictions:
        labels = [frame % 3 for frame in frames]
        said = [(label + (frame in wrong)) % 3 for frame, label in zip(frames, labels, strict=True)]
        return FoldPredictions("a", None, (), (video("a", labels, constant(said, (1, 1)), frame_index=frames),))

    # Common frames: 0, 2, 4. A is wrong in 2 (and in 1, which B has not); B in none of them (but in 6).
    result = compared(tmp_path, [fold([0, 1, 2, 3, 4], {1, 2})], [fold([0, 2, 4, 6], {6})])
    assert result.frames == 3
    assert (result.accuracy["A"], result.accuracy["B"]) == (pytest.approx(2 / 3), 1.0)
    assert result.paired[0].groups == {"a": pytest.approx(-1 / 3)}
    assert (result.paired[0].one, result.paired[0].other, result.paired[0].interval) == ("A", "B", None)


def test_more_groups_have_intervals(tmp_path: Path) -> None:
    groups = ["a", "b", "c", "d"]
    result = compared(tmp_path, noisy_folds(groups, 1), noisy_folds(groups, 2))
    difference = result.paired[1]
    assert (difference.one, difference.other) == ("fused", "A")
    assert difference.mean == pytest.approx(np.mean([v["fused"] - v["A"] for v in result.groups.values()]))
    assert difference.interval is not None
    assert difference.interval.low <= difference.mean <= difference.interval.high
    assert result.intervals is not None


def test_streams_may_differ(tmp_path: Path) -> None:
    flow = TrainConfig(streams=("flow",))
    other = noisy_folds(["a", "b"], 2, streams=("flow",))
    result = compared(tmp_path, noisy_folds(["a", "b"], 1), other, config=flow)
    assert list(result.weights["a"]) == ["A rgb", "A flow", "B flow"]


def test_what_differs_is_named(tmp_path: Path) -> None:
    ours = noisy_folds(["a", "b", "c"])
    with pytest.raises(InputError, match=rf"cannot be compared(.|\n)*data set: 666666666666, not {SHA256[:12]}"):
        compared(tmp_path / "data", ours, ours, sha256="6" * 64)
    with pytest.raises(InputError, match=r"fold c: only one of them has it"):
        compared(tmp_path / "folds", ours, ours[:2])
    swapped = [dataclasses.replace(ours[0], validation_group="c", validation=ours[1].validation), *ours[1:]]
    with pytest.raises(InputError, match=r"fold a: inner validation c, not b"):
        compared(tmp_path / "inner", ours, swapped)


def test_folds_that_are_not_finished_yet_are_left_out(tmp_path: Path) -> None:
    ours = noisy_folds(["a", "b", "c"])
    result = compared(tmp_path, ours, ours[:2], groups=["a", "b", "c"])
    assert set(result.groups) == {"a", "b"}


def test_other_annotations_and_no_common_frame_are_refused(tmp_path: Path) -> None:
    def fold(labels: list[int], first: int) -> FoldPredictions:
        made = video("a", labels, constant(labels, (1, 1)), frame_index=np.arange(4) + first)
        return FoldPredictions("a", None, (), (made,))

    with pytest.raises(InputError, match=r"a\.mp4: .* different annotations"):
        compared(tmp_path / "labels", [fold([0, 1, 2, 0], 0)], [fold([0, 1, 2, 1], 0)])
    with pytest.raises(InputError, match="no frame in common"):
        compared(tmp_path / "frames", [fold([0, 1, 2, 0], 0)], [fold([0, 1, 2, 0], 100)])
