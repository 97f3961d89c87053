"""Labels from observers' files, from `toolkit label` and from a cage's log meet on the frames of one video."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo
from tests.labelling.parts import label
from tests.report.logs import write_log
from tests.test_annotations_boris import NEW_AGGREGATED, new_row
from toolkit.agreement import Names, compare, read_pair
from toolkit.agreement.labelled import held
from toolkit.errors import AnnotationError, InputError, ToolkitError

HEADER = "video,start_frame,stop_frame,behaviour\n"


@pytest.fixture
def video(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return 100 frames at 25 frames per second; from frame 40 to 60 they are bright, which our network calls walk."""
    frames = np.full((100, 48, 64, 3), 20, dtype=np.uint8)
    frames[40:60] = 230
    return write_video("m1.mp4", frames, fps=25)


def table(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture
def anna(video: Path) -> Path:
    return table(video.with_name("anna.csv"), "m1.mp4,0,40,rest", "m1.mp4,40,60,walk", "m1.mp4,60,100,rest")


def machine(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Path:
    """Label the video by networks of its own rate."""
    from tests.bundles import manifest
    from toolkit.bundle import Bundle
    from toolkit.preprocess import WorkingGeometry

    at_25 = manifest(geometry=WorkingGeometry(width=64, height=48, fps=25.0))
    monkeypatch.setattr("tests.labelling.parts.bundle_in", lambda folder: Bundle(folder, at_25, "f" * 64))
    return label(video, out, **options)[1].labels


def changes(labels: np.ndarray) -> list[int]:
    return (np.flatnonzero(np.diff(labels)) + 1).tolist()


def test_two_observers_with_files_of_different_kinds(video: Path, anna: Path, tmp_path: Path) -> None:
    bob = tmp_path / "bob.csv"
    bob.write_text("\n".join([NEW_AGGREGATED, new_row("Resting", "0", "1.6"), new_row("walk", "1.6", "2.0")]) + "\n")
    deg = tmp_path / "m1_labels.csv"
    rows = [f"{i},0,{int(not 40 <= i < 61)},{int(40 <= i < 61)}" for i in range(100)]
    deg.write_text("\n".join([",background,rest,walk", *rows]) + "\n")
    a, b = read_pair(anna, bob)
    found = compare(a, b)
    assert (found.whole.frames, found.only_a, found.whole.accuracy) == (50, 50, 1.0)
    a, b = read_pair(deg, anna)
    found = compare(a, b)
    assert [(d.start_frame, d.stop_frame) for d in found.disagreements] == [(60, 61)]


def test_files_that_lie_elsewhere_are_read_with_the_video_that_is_named(video: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    boris, deg = tmp_path / "notes" / "boris.tsv", tmp_path / "notes" / "carol.csv"
    rows = [new_row("walk", "1.6", "2.4"), new_row("rest", "0", "4", id="obs 2", media="D:\\m2.mp4")]
    boris.write_text("\n".join([NEW_AGGREGATED, *rows]).replace(",", "\t") + "\n")
    deg.write_text("\n".join([",background,walk", *(f"{i},0,{int(40 <= i < 60)}" for i in range(100))]) + "\n")
    with pytest.raises(AnnotationError, match=r"boris\.tsv"):
        read_pair(boris, boris)
    found = compare(*read_pair(boris, deg, video=video))
    assert (found.whole.frames, found.whole.accuracy, found.neither, found.notes) == (20, 1.0, 80, ())


def test_an_observer_and_a_network(video: Path, anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = machine(video, tmp_path / "out", monkeypatch)
    # The table of intervals lies elsewhere: the provenance knows the video.
    moved = tmp_path / "elsewhere" / "anna.csv"
    moved.parent.mkdir()
    anna.rename(moved)
    found = compare(*read_pair(moved, labels))
    assert (found.whole.frames, found.whole.accuracy, found.fps) == (100, 1.0, 25.0)
    assert found.onsets["walk"].errors_ms == (0.0,)


def test_a_strided_or_smoothed_table_stands_for_all_frames(
    video: Path, anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    strided = machine(video, tmp_path / "out", monkeypatch, stride=7, format="parquet")
    _, b = read_pair(anna, strided)
    # Rows at 35, 42, 49, 56, 63: the first bright one is 42, the first dark one after it 63.
    assert (changes(b.labels), (b.labels >= 0).all()) == ([42, 63], True)
    smoothed = machine(video, tmp_path / "smooth", monkeypatch, smooth_s=3.0)
    _, b = read_pair(anna, smoothed)
    assert (changes(b.labels), b.used) == ([], ("rest",))
    assert "smoothed" in b.notes[0]


def test_a_log_of_a_cage_that_played_the_video(video: Path, anna: Path, tmp_path: Path) -> None:
    labels = [6] * 42 + [7] * 18 + [6] * 39
    config = json.dumps({"camera": {"video": str(video)}})
    log = write_log(tmp_path / "logs", labels, config=config)
    found = compare(*read_pair(anna, log))
    assert (found.frames, found.whole.frames, found.only_a) == (100, 99, 1)
    assert [(d.start_frame, d.stop_frame, d.a, d.b) for d in found.disagreements] == [(40, 42, "walk", "rest")]
    nameless = write_log(tmp_path / "other", labels)
    with pytest.raises(InputError, match="--video VIDEO"):
        read_pair(anna, nameless)
    assert read_pair(anna, nameless, video=video)[1].fps == 25.0
    too_long = write_log(tmp_path / "long", [6] * 101, config=config)
    with pytest.raises(InputError, match=r"goes to frame 100, the video has 100 \(0 to 99\)"):
        read_pair(anna, too_long)


def test_rows_of_a_decimated_video_stand_for_the_frames_between_but_not_for_gaps() -> None:
    # 40 frames per second by networks of 30: three of four are kept; 20 to 30 have no row.
    index = np.array([frame for frame in range(40) if frame % 4 != 3 and not 20 <= frame < 30])
    labels = held(index, np.where(index < 30, 1, 2), 40, "table")
    assert labels.tolist() == [1] * 20 + [-1] * 10 + [2] * 10


def test_a_frame_with_two_rows_is_refused() -> None:
    with pytest.raises(InputError, match=r"log: frame 0 has more than one row.*loop"):
        held(np.array([0, 1, 2, 0, 1]), np.zeros(5, dtype=np.int16), 3, "log")


def test_a_table_without_its_provenance_needs_the_video(
    video: Path, anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = machine(video, tmp_path / "out", monkeypatch)
    labels.with_name("m1.labels.json").unlink()
    with pytest.raises(InputError, match=r"m1.labels.json is not beside it.*--video VIDEO"):
        read_pair(anna, labels)
    assert compare(*read_pair(anna, labels, video=video)).whole.accuracy == 1.0


def test_labels_of_another_length_than_the_video_are_refused(
    video: Path, anna: Path, write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = machine(video, tmp_path / "out", monkeypatch)
    cut = write_video("cut/m1.mp4", 90, fps=25)
    with pytest.raises(InputError, match=r"labels 100 frames at 25 frames per second, .* has 90 at 25"):
        read_pair(anna, labels, video=cut)
    with pytest.raises(AnnotationError, match="ends at frame 100, the video has 90"):
        read_pair(anna, anna, video=cut)


def test_a_video_of_another_name_is_said_to_be_taken(video: Path, anna: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(video, tmp_path / "renamed.mp4"))
    a, _ = read_pair(anna, anna, video=renamed)
    assert a.notes == (f"{anna}: annotations of m1.mp4 are taken for those of renamed.mp4",)


def test_a_table_of_several_videos_needs_to_be_told_which(video: Path, anna: Path, tmp_path: Path) -> None:
    shutil.copy(video, tmp_path / "m2.mp4")
    both = table(tmp_path / "both.csv", "m1.mp4,0,40,rest", "m2.mp4,0,40,walk")
    with pytest.raises(AnnotationError, match=r"found m1.mp4, m2.mp4. Name the video"):
        read_pair(both, anna)
    a, _ = read_pair(both, anna, video=video)
    assert a.used == ("rest",)


def test_names_that_a_file_alone_has_can_be_mapped(video: Path, anna: Path, tmp_path: Path) -> None:
    other = table(tmp_path / "other.csv", "m1.mp4,0,40,asleep", "m1.mp4,40,60,walk")
    with pytest.raises(AnnotationError, match="unknown behaviour 'asleep'"):
        read_pair(anna, other)
    names = Names(renames={"asleep": "rest"})
    assert compare(*read_pair(anna, other, names=names), names=names).whole.accuracy == 1.0


@pytest.mark.parametrize("content", ["frame,time_s,label\nx,0,rest\n", "frame,time_s,label\n0\n", "rubbish\n", ""])
def test_a_file_that_is_none_is_one_message(video: Path, anna: Path, tmp_path: Path, content: str) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(content)
    with pytest.raises(ToolkitError, match=r"broken\.csv"):
        read_pair(anna, broken, video=video)
