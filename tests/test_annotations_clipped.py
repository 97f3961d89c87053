"""The clipped database by its published names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import WriteVideo
from toolkit.annotations import Interval, load_dataset
from toolkit.errors import AnnotationError


def test_names_give_video_and_behaviour(write_video: WriteVideo, tmp_path: Path) -> None:
    names = ["video0_drink_002", "video0_dr_3", "VIDEO11_mmove_1", "video3_micro_movement_12", "video3_head_4"]
    for name in names:
        write_video(f"clips/{name}.mp4", 20)
    write_video("clips/calibration.mp4", 20)
    dataset = load_dataset(tmp_path / "clips")
    found = {video.path.stem: (video.group, video.intervals) for video in dataset.videos}
    assert found == {
        "video0_drink_002": ("video0", (Interval(0, 20, "drink"),)),
        "video0_dr_3": ("video0", (Interval(0, 20, "drink"),)),
        "VIDEO11_mmove_1": ("video11", (Interval(0, 20, "micro-movement"),)),
        "video3_micro_movement_12": ("video3", (Interval(0, 20, "micro-movement"),)),
        "video3_head_4": ("video3", (Interval(0, 20, "micro-movement"),)),
    }
    assert dataset.ethogram.names == ("drink", "micro-movement")
    assert dataset.skipped == ("calibration.mp4: not named like video5_groom_163.mp4",)


def test_an_unknown_behaviour_is_named(write_video: WriteVideo, tmp_path: Path) -> None:
    write_video("clips/video1_eat_1.mp4", 20)
    write_video("clips/video1_eet_2.mp4", 20)
    with pytest.raises(AnnotationError, match=r"video1_eet_2\.mp4: unknown behaviour 'eet' \(did you mean 'eat'\?\)"):
        load_dataset(tmp_path / "clips")


def test_published_clips(real_footage: Path, tmp_path: Path) -> None:
    for path in sorted((real_footage / "homecage").glob("video*_*")):
        shutil.copy(path, tmp_path)
    dataset = load_dataset(tmp_path)
    clips = {video.group: (video.frames, video.intervals[0].behaviour) for video in dataset.videos}
    assert clips == {"video0": (60, "drink"), "video5": (94, "groom")}
