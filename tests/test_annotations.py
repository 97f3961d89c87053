"""Data set folders of our own forms, and every fault that a person can put into a table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo
from toolkit.annotations import UNLABELLED, Interval, intervals_from_labels, load_dataset
from toolkit.annotations.names import SYNONYMS
from toolkit.errors import AnnotationError, DatasetError
from toolkit.ethogram import MOUSE_HOME_CAGE, ethogram_from_names


@pytest.fixture
def folder(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return a folder with two videos of 40 frames at 20 frames per second and no table yet."""
    write_video("data/a.mp4", 40, fps=20)
    write_video("data/sub/b.mp4", 40, fps=20)
    return tmp_path / "data"


def write_table(folder: Path, *rows: str, unit: str = "frame") -> None:
    header = f"video,start_{unit},stop_{unit},behaviour"
    (folder / "annotations.csv").write_text("\n".join([header, *rows]) + "\n")


def test_frames_are_half_open_and_the_rest_is_unlabelled(folder: Path) -> None:
    write_table(folder, "a.mp4,5,10,walk", "a.mp4,0,5,rest", "sub/b.mp4,30,40,eat")
    dataset = load_dataset(folder)
    first, second = dataset.videos
    assert first.intervals == (Interval(0, 5, "rest"), Interval(5, 10, "walk"))
    assert (first.group, second.group, first.fps, first.frames) == ("a", "b", 20.0, 40)
    labels = first.labels(MOUSE_HOME_CAGE)
    assert labels.tolist() == [6] * 5 + [7] * 5 + [UNLABELLED] * 30


def test_seconds_become_frames_by_the_video_s_rate(folder: Path) -> None:
    write_table(folder, "a.mp4,0.25,1.5,groom", unit="s")
    assert load_dataset(folder).videos[0].intervals == (Interval(5, 30, "groom"),)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.mp4,0,5,drnk", "unknown behaviour 'drnk' (did you mean 'drink'?)"),
        ("c.mp4,0,5,walk", "video 'c.mp4' is not in"),
        ("a.mp4,-3,5,walk", "starts before the video"),
        ("a.mp4,7,7,walk", "the stop must come after the start"),
        ("a.mp4,30,41,walk", "ends at frame 41, the video has 40"),
        ("a.mp4,18,25,walk", "rest and walk overlap in frames 18 to 20"),
        ("a.mp4,1.5,5,walk", "whole frames"),
        ("a.mp4,5,25,walk", "walk and rest overlap in frames 10 to 20"),
        ("a.mp4,1,walk", "expected video, start, stop"),
    ],
)
def test_a_fault_is_named_with_its_line(folder: Path, row: str, words: str) -> None:
    write_table(folder, "a.mp4,10,20,rest", row)
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    assert words in str(caught.value)
    assert "3" in str(caught.value)


def test_a_name_that_is_unknown_is_said_once(folder: Path) -> None:
    write_table(folder, "a.mp4,0,5,drnk", "a.mp4,5,9,wlk", "a.mp4,9,12,drnk", "a.mp4,12,14,drnk")
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    said = [line.strip(" -") for line in str(caught.value).splitlines() if "unknown behaviour" in line]
    assert [line.split("unknown")[0].split("line ")[1] for line in said] == ["2 and 2 more: ", "3: "]


@pytest.mark.parametrize("time", ["nan", "inf"])
def test_a_time_that_is_none_is_a_fault(folder: Path, time: str) -> None:
    write_table(folder, f"a.mp4,0,{time},walk", unit="s")
    with pytest.raises(AnnotationError, match="line 2: expected video, start, stop in seconds"):
        load_dataset(folder)


def test_an_interval_that_holds_two_others_overlaps_both(folder: Path) -> None:
    write_table(folder, "a.mp4,0,30,rest", "a.mp4,5,10,walk", "a.mp4,20,25,eat")
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    assert "line 2 and line 3: rest and walk overlap in frames 5 to 10" in str(caught.value)
    assert "line 2 and line 4: rest and eat overlap in frames 20 to 25" in str(caught.value)


def test_synonyms_become_the_home_cage_s_names_unless_an_ethogram_is_given(folder: Path) -> None:
    write_table(folder, "a.mp4,0,5,Rearing", "a.mp4,5,9,micro movement")
    dataset = load_dataset(folder)
    assert dataset.videos[0].intervals == (Interval(0, 5, "rear"), Interval(5, 9, "micro-movement"))
    dataset = load_dataset(folder, behaviours=["Rearing", "micro-movement"])
    assert dataset.videos[0].intervals == (Interval(0, 5, "Rearing"), Interval(5, 9, "micro-movement"))


def test_an_unreadable_video_is_one_fault_among_others(folder: Path) -> None:
    (folder / "c.mp4").write_bytes(b"no video")
    write_table(folder, "c.mp4,0,5,walk", "a.mp4,0,50,walk")
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    assert str(caught.value).count("\n  - ") == 2
    assert "c.mp4: not a readable video" in str(caught.value)


def test_every_fault_is_reported_at_once(folder: Path) -> None:
    write_table(folder, "a.mp4,-1,5,walk", "c.mp4,0,5,walk", "sub/b.mp4,0,99,rest", "a.mp4,8,9,fly")
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    assert str(caught.value).count("\n  - ") == 4


def test_a_header_without_a_unit_is_refused(folder: Path) -> None:
    (folder / "annotations.csv").write_text("video,start,stop,behaviour\na.mp4,0,5,walk\n")
    with pytest.raises(AnnotationError, match="expected the header"):
        load_dataset(folder)


def test_an_own_ethogram_replaces_the_home_cage_s(folder: Path) -> None:
    write_table(folder, "a.mp4,0,5,digging")
    dataset = load_dataset(folder, behaviours=["digging", "rest"])
    assert dataset.ethogram.names == ("digging", "rest")


def test_groups_come_from_a_pattern(folder: Path) -> None:
    write_table(folder, "a.mp4,0,5,walk", "sub/b.mp4,0,5,walk")
    assert load_dataset(folder, group_pattern=r"([ab])\.mp4").groups == ("a", "b")
    with pytest.raises(DatasetError, match="does not match"):
        load_dataset(folder, group_pattern="(mouse[0-9])")
    with pytest.raises(DatasetError, match="regular expression"):
        load_dataset(folder, group_pattern="[")


def test_a_folder_per_behaviour(write_video: WriteVideo, tmp_path: Path) -> None:
    for name in ("walk/video1_001.mp4", "walk/video2_007.mp4", "eat/video1_002.mp4"):
        write_video(f"clips/{name}", 20)
    dataset = load_dataset(tmp_path / "clips")
    assert dataset.ethogram.names == ("eat", "walk")
    assert dataset.groups == ("video1", "video2")
    assert [video.intervals for video in dataset.videos] == [(Interval(0, 20, n),) for n in ("eat", "walk", "walk")]


def test_real_clips_in_folders(real_footage: Path) -> None:
    dataset = load_dataset(real_footage / "bsoid")
    assert dataset.groups == ("panel1", "panel2", "panel3")
    assert len(dataset.ethogram) == 10


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_that_is_no_data_set(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "data")
    with pytest.raises(DatasetError, match="Expected"):
        load_dataset(tmp_path / "data")


def test_labels_and_intervals_are_each_other_s_inverse() -> None:
    ethogram = ethogram_from_names(["a", "b"])
    labels = np.array([-1, 0, 0, 1, 0, -1, -1, 1], dtype=np.int8)
    assert intervals_from_labels(labels, ethogram) == (
        Interval(1, 3, "a"),
        Interval(3, 4, "b"),
        Interval(4, 5, "a"),
        Interval(7, 8, "b"),
    )
    assert intervals_from_labels(np.array([], dtype=np.int8), ethogram) == ()


def documented(first_line: str) -> str:
    """Return the example in docs/annotations.md that begins with this line."""
    text = (Path(__file__).parents[1] / "docs" / "annotations.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
    return next(block for block in blocks if block.startswith(first_line))


def test_the_documented_examples_are_read(write_video: WriteVideo, tmp_path: Path) -> None:
    write_video("frames/m1.mp4", 4, fps=25)
    (tmp_path / "frames" / "m1_labels.csv").write_text(documented(",background"))
    assert load_dataset(tmp_path / "frames").videos[0].intervals == (Interval(0, 1, "rest"), Interval(1, 2, "groom"))
    for kind, column in (("bouts", "FPS (frame/s)"), ("changes", "FPS")):
        write_video(f"{kind}/m1.mp4", 100, fps=25)
        (tmp_path / kind / "events.csv").write_text(documented(f"Observation id,Media file name,{column},"))
        assert load_dataset(tmp_path / kind).videos[0].intervals == (Interval(0, 25, "rest"),)


@pytest.mark.parametrize("name", sorted(SYNONYMS))
def test_the_documented_synonyms_are_those_that_are_known(name: str) -> None:
    text = (Path(__file__).parents[1] / "docs" / "annotations.md").read_text()
    (others,) = re.findall(rf"^\| {SYNONYMS[name]} \| (.*) \|$", text, flags=re.M)
    assert name in others.replace("self-", "self").split(", ")
