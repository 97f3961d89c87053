"""A data set on disk: what is decoded and read back is what was rendered."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.synth import SyntheticVideo, write_dataset


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("synth") / "data"
    told: list[int] = []
    write_dataset(folder, videos=2, duration_s=20.0, seed=5, held_out=1, workers=2, on_progress=told.append)
    return folder, sum(told)


def _decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 30
        frames = list(container.decode(video=0))
        times = [frame.time for frame in frames]
        np.testing.assert_allclose(times, np.arange(len(frames)) / 30, atol=1e-6)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def _labels(folder: Path, video: str, frames: int) -> NDArray[np.int8]:
    with (folder / "annotations.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["video", "start_frame", "stop_frame", "behaviour"]
    labels = np.full(frames, -1, np.int8)
    for name, start, stop, behaviour in rows[1:]:
        if name == video:
            assert (labels[int(start) : int(stop)] == -1).all()
            labels[int(start) : int(stop)] = MOUSE_HOME_CAGE.index(behaviour)
    return labels


def test_layout(written: tuple[Path, int]) -> None:
    folder, _ = written
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "annotations.csv",
        "held_out/annotations.csv",
        "held_out/held_out01.mp4",
        "videos/video01.mp4",
        "videos/video02.mp4",
    ]


def test_progress_counts_every_frame(written: tuple[Path, int]) -> None:
    assert written[1] == 3 * 600


@pytest.mark.parametrize(
    ("part", "video"),
    [("", "videos/video01.mp4"), ("", "videos/video02.mp4"), ("held_out", "held_out01.mp4")],
)
def test_every_decoded_frame_has_a_label(written: tuple[Path, int], part: str, video: str) -> None:
    folder = written[0] / part
    frames = _decoded(folder / video)
    assert len(frames) == 600
    labels = _labels(folder, video, len(frames))
    assert set(labels.tolist()) == set(range(8))


def test_workers_do_not_change_the_videos(written: tuple[Path, int], tmp_path: Path) -> None:
    write_dataset(tmp_path / "one", videos=1, duration_s=20.0, seed=5)
    one, two = tmp_path / "one" / "videos" / "video01.mp4", written[0] / "videos" / "video01.mp4"
    for alone, beside in zip(_decoded(one), _decoded(two), strict=True):
        np.testing.assert_array_equal(alone, beside)


def test_the_file_holds_the_rendered_frames_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SyntheticVideo] = []

    def remembered(seed: int, duration_s: float, strain: str | None) -> SyntheticVideo:
        made.append(SyntheticVideo(seed, duration_s, strain=strain))
        return made[-1]

    monkeypatch.setattr("toolkit.synth.dataset.SyntheticVideo", remembered)
    write_dataset(tmp_path / "data", videos=1, duration_s=20.0, seed=3)
    decoded = _decoded(tmp_path / "data" / "videos" / "video01.mp4")
    np.testing.assert_array_equal(_labels(tmp_path / "data", "videos/video01.mp4", len(decoded)), made[0].labels)
    rendered = list(made[0].frames())
    walking = np.flatnonzero(made[0].labels == MOUSE_HOME_CAGE.index("walk"))
    nearer = 0
    for index in walking[1:-1]:
        here, before, after = (
            np.abs(decoded[index].astype(int) - rendered[other]).mean() for other in (index, index - 1, index + 1)
        )
        # The codec halves the colour's resolution and smooths noise, no more.
        assert here < 4.0
        nearer += here < min(before, after)
    assert nearer > 0.98 * len(walking[1:-1])


def test_encoding_repeats_exactly(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_dataset(tmp_path / name, videos=1, duration_s=20.0, seed=6)
    first, second = (tmp_path / name / "videos" / "video01.mp4" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"videos": 0}, "at least one video"),
        ({"held_out": -1}, "held-out"),
        ({"workers": 0}, "worker"),
        ({"duration_s": 3.0}, "20 s"),
        ({"seed": -1}, "seed"),
        ({"videos": 0, "workers": 0}, "worker"),
    ],
)
def test_refuses_and_leaves_nothing(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"videos": 1, "duration_s": 20.0, "seed": 0, **arguments}
    with pytest.raises(InputError, match=message):
        write_dataset(tmp_path / "data", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_never_writes_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("kept")
    with pytest.raises(InputError, match="already exists"):
        write_dataset(tmp_path / "data", videos=1, duration_s=20.0, seed=0)
    assert (tmp_path / "data" / "mine").read_text() == "kept"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_midway_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def stop(frames: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "data", videos=2, duration_s=20.0, seed=0, workers=workers, on_progress=stop)
    assert list(tmp_path.iterdir()) == []
