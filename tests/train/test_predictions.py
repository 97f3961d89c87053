"""Stored predictions: what goes in comes out, what is damaged is refused, and frames become times."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.train.stored import noisy, noisy_folds, video, write_crossval
from toolkit.errors import InputError
from toolkit.train.predictions import VideoPredictions, load_folds, load_predictions, save_predictions


def equal(one: VideoPredictions, other: VideoPredictions) -> bool:
    fields = [field.name for field in dataclasses.fields(VideoPredictions) if field.name != "logits"]
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)
    return same and {s: v.tolist() for s, v in one.logits.items()} == {s: v.tolist() for s, v in other.logits.items()}


def times_of(frame_index: list[int] | np.ndarray, fps: float) -> tuple[list[float], float]:
    """In seconds."""
    frames = len(frame_index)
    made = video("a", np.zeros(frames), {"rgb": np.zeros((frames, 3))}, frame_index=frame_index, fps=fps)
    times, interval_ns = made.evaluated_times()
    return (times / 1e9).round(6).tolist(), interval_ns / 1e9


def test_predictions_survive_storing(tmp_path: Path) -> None:
    videos = [noisy("a", 1), noisy("b", 2, streams=("flow",))]
    save_predictions(tmp_path, videos)
    for before, after in zip(videos, load_predictions(tmp_path), strict=True):
        assert equal(before, after)
        assert after.logits["flow"].dtype == np.float32


def test_every_frame_has_its_time() -> None:
    assert times_of([5, 6, 7], 10.0) == ([0.0, 0.1, 0.2], 0.1)
    assert times_of([5], 10.0) == ([0.0], 0.1)
    assert times_of([0, 4, 8], 10.0) == ([0.0, 0.4, 0.8], 0.4)


def test_a_gap_stays_a_gap() -> None:
    # 6 is missing, then 90 frames: either is two intervals, over the 1.5 that no bout crosses.
    frames = [*range(100), *range(101, 200), *range(290, 300)]
    times, interval_s = times_of(frames, 10.0)
    steps = np.diff(times)
    assert interval_s == pytest.approx(0.1, rel=0.01)
    assert np.flatnonzero(steps > 1.5 * interval_s).tolist() == [99, 198]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("source_fps", "kept_fps"), [(25, 20), (30, 12.5), (30, 15), (30, 20)])
def test_decimation_makes_no_gaps(source_fps: float, kept_fps: float, stride: int) -> None:
    frames = np.round(np.arange(400) * source_fps / kept_fps).astype(int)[::stride]
    times, interval_s = times_of(frames, source_fps)
    assert interval_s == pytest.approx(stride / kept_fps, rel=0.01)
    np.testing.assert_allclose(np.diff(times), interval_s, rtol=1e-3)


def test_folds_are_read_back(tmp_path: Path) -> None:
    folds = noisy_folds(["a", "b", "c"])
    read = load_folds(write_crossval(tmp_path / "cv", folds))
    assert [(fold.group, fold.validation_group) for fold in read] == [("a", "b"), ("b", "c"), ("c", "a")]
    for before, after in zip(folds, read, strict=True):
        assert all(map(equal, before.held_out, after.held_out))
        assert all(map(equal, before.validation, after.validation))
    (none,) = load_folds(write_crossval(tmp_path / "none", noisy_folds(["a"], validated=False)))
    assert (none.validation_group, none.validation) == (None, ())


def test_a_fold_in_the_making_is_not_a_fold(tmp_path: Path) -> None:
    folder = write_crossval(tmp_path / "cv", noisy_folds(["a", "b"]))
    # Written last: without it the fold is still being trained or predicted.
    (folder / "folds" / "02-b" / "fold.json").unlink()
    assert [fold.group for fold in load_folds(folder)] == ["a"]
    with pytest.raises(InputError, match=r"no finished fold(.|\n)*toolkit crossval"):
        load_folds(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 3], np.int8)}, "labels from 0 to 2, found 0 to 3"),
        ({"labels": np.array([0, 1, 2], np.int8)}, "value of every array for each frame"),
        ({"frame_index": np.array([4, 4])}, "increasing frames"),
        ({"fps": 0.0}, "positive frame rate"),
        ({"logits": {"rgb": np.full((2, 3), np.nan, np.float32)}}, "not finite"),
        ({"logits": {"rgb": np.zeros((2, 3), np.float32), "flow": np.zeros((2, 4), np.float32)}}, "logits of at least"),
        ({"logits": {}}, "at least one stream"),
    ],
)
def test_predictions_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    sound = video("a", [0, 1], {"rgb": np.zeros((2, 3))})
    save_predictions(tmp_path, [dataclasses.replace(sound, **change)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"0000-a\.npz: damaged .*{message}.*run again"):
        load_predictions(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    save_predictions(tmp_path, [noisy("a", 1)])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"0000-a\.npz: damaged"):
        load_predictions(tmp_path)


def test_a_fold_that_does_not_fit_its_description_is_refused(tmp_path: Path) -> None:
    folder = write_crossval(tmp_path / "cv", noisy_folds(["a", "b"]))
    fold = folder / "folds" / "01-a"
    (fold / "fold.json").write_text(json.dumps({"group": "c", "validation_group": "b"}))
    with pytest.raises(InputError, match=r"predictions/ holds a\.mp4 of group a"):
        load_folds(folder)
    (fold / "fold.json").write_text(json.dumps({"group": "a", "validation_group": None}))
    with pytest.raises(InputError, match=r"validation/ holds b\.mp4 of group b"):
        load_folds(folder)
    for text in ("{", "{}", '{"group": 1}'):
        (fold / "fold.json").write_text(text)
        with pytest.raises(InputError, match=r"fold\.json: missing or damaged"):
            load_folds(folder)


def test_a_missing_inner_validation_is_a_fault(tmp_path: Path) -> None:
    folder = write_crossval(tmp_path / "cv", noisy_folds(["a", "b"]))
    fold = folder / "folds" / "01-a"
    (fold / "validation").rename(fold / "gone")
    with pytest.raises(InputError, match="no validation/ with the predictions of b"):
        load_folds(folder)
