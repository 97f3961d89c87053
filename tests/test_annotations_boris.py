"""BORIS's exports, written by hand with the columns of the versions that wrote them.

Before 8 the headers are those of files in BORIS's own tests (github.com/olivierfriard/BORIS, tests/files,
test_export_aggregated_events_test_full_1.tsv and test_export_events_tabular.tsv), with a path as in an export that a
user published; of 8 they are the columns that BORIS names. The numbers are ours.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import WriteVideo
from toolkit.annotations import Interval, load_dataset
from toolkit.errors import AnnotationError, DatasetError

OLD_AGGREGATED = (
    "Observation id,Observation date,Description,Media file,Total length,FPS,weight,Subject,Behavior,"
    "Behavioral category,Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,Comment stop"
)
NEW_AGGREGATED = (
    "Observation id,Observation date,Description,Observation type,Source,Time offset (s),Coding duration,"
    "Media duration (s),FPS (frame/s),Subject,Observation duration by subject by observation,Behavior,"
    "Behavioral category,Modifier #1,Behavior type,Start (s),Stop (s),Duration (s),Media file name,"
    "Image index start,Image index stop,Image file path start,Image file path stop,Comment start,Comment stop"
)
NEW_TABULAR = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset (s),"
    "Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,Media file name,"
    "Image index,Image file path,Comment"
)


def old_row(behaviour: str, start: str, stop: str, kind: str = "STATE", **other: str) -> str:
    cells = {"id": "obs 1", "media": "T:/Our Videos/Cage 3/m1.mp4", "length": "4.000", "fps": "25.0", "who": "mouse"}
    c = cells | other
    times = f"{kind},{start},{stop},NA"
    return f"{c['id']},2021-12-06 13:26:24,,{c['media']},{c['length']},{c['fps']},23,{c['who']},{behaviour},,,{times},,"


WALK, WALK_2S = old_row("walk", "0", "1"), old_row("walk", "0", "2")


def new_row(behaviour: str, start: str, stop: str, kind: str = "STATE", **other: str) -> str:
    cells = {"id": "obs 1", "media": "C:\\videos\\m1.mp4", "length": "4.000", "fps": "25.000", "offset": "0.0"}
    c = cells | {"type": "Media file(s)"} | other
    head = f"{c['id']},2024-01-02 10:00:00,,{c['type']},player #1:m1.mp4,{c['offset']},4.0,{c['length']},{c['fps']}"
    return f"{head},No focal subject,4.0,{behaviour},,,{kind},{start},{stop},NA,{c['media']},3,NA,NA,NA,,"


def change(behaviour: str, kind: str, time: str, modifier: str = "") -> str:
    head = "obs 1,2024-01-02 10:00:00,,4.0,Media file(s),player #1:m1.mp4,0.0,4.000,25.000,No focal subject"
    return f"{head},{behaviour},,{modifier},{kind},{time},m1.mp4,NA,NA,"


def write(folder: Path, name: str, *lines: str) -> None:
    text = "\n".join(lines) + "\n"
    (folder / name).write_text(text.replace(",", "\t") if name.endswith(".tsv") else text)


def faults_of(folder: Path) -> str:
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder)
    return str(caught.value)


@pytest.fixture
def folder(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return a folder with one video of 100 frames at 25 frames per second, below it, and no export yet."""
    write_video("data/videos/m1.mp4", 100, fps=25)
    return tmp_path / "data"


EXPECTED = (Interval(0, 25, "rest"), Interval(25, 40, "walk"), Interval(50, 100, "groom"))


@pytest.mark.parametrize("name", ["events.csv", "events.tsv"])
@pytest.mark.parametrize(
    "lines",
    [
        (
            OLD_AGGREGATED,
            old_row("resting", "0.000", "1.000"),
            old_row("scratch", "1.100", "1.100", "POINT"),
            old_row("walk", "1.000", "1.600"),
            old_row("Grooming", "2.000", "4.000"),
        ),
        # Version 8 closes a bout 1 ms before the next begins.
        (
            NEW_AGGREGATED,
            new_row("resting", "0.000", "0.999"),
            new_row("scratch", "1.100", "1.100", "POINT"),
            new_row("walk", "1.000", "1.600"),
            new_row("Grooming", "2.000", "4.000"),
        ),
        (
            NEW_TABULAR,
            change("resting", "START", "0.000"),
            change("resting", "STOP", "0.999"),
            change("scratch", "POINT", "1.100"),
            change("walk", "START", "1.000"),
            change("walk", "STOP", "1.600"),
            change("Grooming", "START", "2.000", "face"),
            change("Grooming", "STOP", "4.000", "face"),
        ),
    ],
    ids=["aggregated before 8", "aggregated 8", "tabular 8"],
)
def test_one_observation_whatever_wrote_it(folder: Path, lines: tuple[str, ...], name: str) -> None:
    write(folder, name, *lines)
    dataset = load_dataset(folder)
    (video,) = dataset.videos
    assert video.intervals == EXPECTED
    assert (video.path, video.group, video.fps) == (folder / "videos" / "m1.mp4", "m1", 25.0)
    assert dataset.ethogram.names == ("groom", "rest", "walk")
    (skipped,) = dataset.skipped
    assert skipped.startswith(f"{name} line ")
    assert skipped.endswith("scratch is a point event, which has no length")


def test_a_tabular_export_of_the_old_versions(folder: Path) -> None:
    lines = """\
Observation id|obs 7
|
Media file(s)|
|
Player #1|m1.mp4
|
Observation date|2016-11-27 01:57:26
Time offset (s)|0.0
|
independent variables|
variable|value
weight|23
|
Time|Media file path|Total length|FPS|Subject|Behavior|Behavioral category|Comment|Status
0.000|m1.mp4|4.000|25.0|mouse|rest|||START
1.000|m1.mp4|4.000|25.0|mouse|rest|||STOP
1.000|m1.mp4|4.000|25.0|mouse|walk||a "quick" one|START
1.600|m1.mp4|4.000|25.0|mouse|walk|||STOP
2.000|m1.mp4|4.000|25.0|mouse|groom|||START
4.000|m1.mp4|4.000|25.0|mouse|groom|||STOP
"""
    (folder / "obs 7.tsv").write_text(lines.replace("|", "\t"))
    assert load_dataset(folder).videos[0].intervals == EXPECTED
    (folder / "obs 7.tsv").write_text(lines.replace("|", "\t").replace("Time offset (s)\t0.0", "Time offset (s)\t2.5"))
    assert "observation 'obs 7' has a time offset of 2.5 s" in faults_of(folder)


def test_several_observations_in_one_file_and_a_video_in_none(folder: Path, write_video: WriteVideo) -> None:
    write_video("data/m2.mp4", 50, fps=25)
    write_video("data/m3.mp4", 50, fps=25)
    second = {"id": "obs 2", "media": "m2.mp4", "length": "2.000"}
    live = {"id": "obs 3", "media": "NA", "length": "NA", "fps": "NA", "type": "Live observation"}
    rows = [new_row("walk", "0", "1"), new_row("eat", "0", "2", **second), new_row("rear", "0", "9", **live)]
    write(folder, "all.csv", NEW_AGGREGATED, *rows)
    dataset = load_dataset(folder)
    assert [(v.group, v.intervals) for v in dataset.videos] == [
        ("m1", (Interval(0, 25, "walk"),)),
        ("m2", (Interval(0, 50, "eat"),)),
    ]
    assert dataset.ethogram.names == ("eat", "walk")
    assert dataset.skipped == (
        "all.csv line 4: observation 'obs 3' is not of a video (live)",
        "m3.mp4: in no export",
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([old_row("walk", "0", "NA")], "line 2: walk starts at 0 s and does not stop"),
        ([WALK_2S, old_row("rest", "1", "3")], "2 and events.csv line 3: walk and rest overlap in frames 25 to 50"),
        ([old_row("walk", "0", "2", fps="30.0")], "line 2: 30 frames per second were annotated, m1.mp4 has 25"),
        ([old_row("walk", "0", "2", length="5.0")], "line 2: 5 s were annotated, m1.mp4 lasts 4 s (100 frames)"),
        ([old_row("walk", "0", "4.1")], "ends at frame 102, the video has 100"),
        ([old_row("walk", "-1", "2")], "starts before the video"),
        ([old_row("walk", "2", "2")], "the stop must come after the start"),
        ([old_row("walk", "x", "2")], "line 2: walk: expected a time in seconds, found 'x'"),
        ([old_row("walk", "0", "inf")], "line 2: walk starts at 0 s and does not stop"),
        ([WALK, old_row("wlk", "2", "3")], "line 3: unknown behaviour 'wlk' (did you mean 'walk'?)"),
        ([old_row("walk", "0", "1", media="/mnt/gone.mp4")], "observation 'obs 1': video 'gone.mp4' is not in"),
        ([old_row("walk", "0", "1", media="NA")], "observation 'obs 1' names no video"),
        ([WALK, old_row("rest", "5", "6", media="m2.mp4")], "'obs 1' runs on over 2 videos"),
        ([old_row("walk", "0", "1", fps="25.000;25.000")], "'obs 1' runs on over 2 videos"),
        ([WALK, old_row("rest", "1", "2", who="other")], "of 2 subjects (mouse, other)"),
        ([WALK, old_row("rest", "1", "2", id="obs 2")], "'obs 1' and 'obs 2' are of one video, m1.mp4"),
        ([old_row("walk", "0", "1", kind="START")], "expected STATE or POINT, found 'START'"),
        ([old_row("walk", "0", "1", fps="fast")], "line 2: expected a frame rate, found 'fast'"),
    ],
)
def test_a_fault_is_named_with_file_and_line(folder: Path, rows: list[str], words: str) -> None:
    write(folder, "events.csv", OLD_AGGREGATED, *rows)
    message = faults_of(folder)
    assert words in message
    assert "events.csv line" in message
    assert message.count("\n  - ") == 1


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("START", "1")], "line 2: walk starts at 1 s and does not stop"),
        ([("STOP", "1")], "line 2: walk stops at 1 s and did not start"),
        ([("START", "1"), ("START", "2"), ("STOP", "3")], "line 2: walk starts at 1 s and again at 2 s"),
        ([("BEGIN", "1")], "line 2: walk: expected START, STOP or POINT, found 'BEGIN'"),
    ],
)
def test_changes_that_do_not_pair(folder: Path, rows: list[tuple[str, str]], words: str) -> None:
    write(folder, "events.csv", NEW_TABULAR, *(change("walk", kind, time) for kind, time in rows))
    assert words in faults_of(folder)


def test_faults_of_all_files_are_reported_at_once(folder: Path) -> None:
    write(folder, "a.csv", OLD_AGGREGATED, old_row("walk", "0", "9"), old_row("rest", "3", "NA"))
    write(folder, "b.tsv", NEW_AGGREGATED, new_row("eat", "0", "1", media="gone.mp4"))
    write(folder, "c.csv", OLD_AGGREGATED.replace("Behavior type", "Type"), old_row("walk", "0", "1"))
    (folder / "d.csv").write_bytes(OLD_AGGREGATED.encode() + b"\nB\xe9b\xe9,")
    message = faults_of(folder)
    assert message.count("\n  - ") == 5
    assert "c.csv: expected a column 'Behavior type'; found Observation id" in message
    assert "d.csv: not in UTF-8" in message


def test_rounding_of_a_rate_is_no_difference_but_ntsc_is(folder: Path, write_video: WriteVideo) -> None:
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1", fps="25.01"))
    assert load_dataset(folder).videos[0].intervals == (Interval(0, 25, "walk"),)
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1", fps="25.03"))
    assert "25.03 frames per second were annotated, m1.mp4 has 25" in faults_of(folder)
    write_video("data/videos/m1.mp4", 120, fps=30)
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1", fps=str(30000 / 1001)))
    assert "29.97 frames per second were annotated, m1.mp4 has 30" in faults_of(folder)


def test_of_videos_with_one_name_the_path_decides(folder: Path, write_video: WriteVideo) -> None:
    write_video("data/more/m1.mp4", 100, fps=25)
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1", media="more/m1.mp4"))
    assert load_dataset(folder).videos[0].path == folder / "more" / "m1.mp4"
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1"))
    assert "video 'm1.mp4' is there 2 times: more/m1.mp4, videos/m1.mp4" in faults_of(folder)


def test_only_point_events_make_no_data_set(folder: Path) -> None:
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "1", "1", "POINT"), old_row("walk", "2", "2", "POINT"))
    with pytest.raises(DatasetError, match=r"line 2 \(and 1 more\): walk is a point event") as caught:
        load_dataset(folder)
    assert "videos/m1.mp4: no state event" in str(caught.value)


def test_an_own_ethogram_orders_and_its_names_are_taken_as_written(folder: Path) -> None:
    write(folder, "e.csv", OLD_AGGREGATED, old_row("Rear up", "0", "1"), old_row("resting", "1", "2"))
    dataset = load_dataset(folder, behaviours=["resting", "Rear-up"])
    assert dataset.videos[0].intervals == (Interval(0, 25, "Rear-up"), Interval(25, 50, "resting"))


def test_our_own_table_comes_first_and_two_tools_are_one_too_many(folder: Path) -> None:
    write(folder, "e.csv", OLD_AGGREGATED, old_row("walk", "0", "1"))
    (folder / "videos" / "m1_labels.csv").write_text(",background,rest\n" + "".join(f"{i},0,1\n" for i in range(100)))
    with pytest.raises(DatasetError, match=r"DeepEthogram \(m1_labels\.csv\) and of BORIS \(e\.csv\)"):
        load_dataset(folder)
    (folder / "annotations.csv").write_text("video,start_frame,stop_frame,behaviour\nvideos/m1.mp4,0,9,eat\n")
    assert load_dataset(folder).videos[0].intervals == (Interval(0, 9, "eat"),)


def test_an_export_named_annotations_is_still_an_export(folder: Path) -> None:
    write(folder, "annotations.csv", OLD_AGGREGATED, old_row("walk", "0", "1"))
    assert load_dataset(folder).videos[0].intervals == (Interval(0, 25, "walk"),)
