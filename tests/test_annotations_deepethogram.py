"""DeepEthogram's label tables, written by hand as its docs/file_structure.md describes them."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo
from toolkit.annotations import AnnotatedDataset, Interval, load_dataset
from toolkit.errors import AnnotationError, DatasetError

HEADER = ",background,rest,Grooming"
REST, GROOM, BACKGROUND, NOT_YET = "0,1,0", "0,0,1", "1,0,0", "-1,-1,-1"


def write_labels(folder: Path, record: str, rows: list[str], header: str = HEADER) -> Path:
    path = folder / f"{record}_labels.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(f"{index},{row}" for index, row in enumerate(rows))]) + "\n")
    return path


def faults_of(folder: Path, **arguments: object) -> str:
    with pytest.raises(AnnotationError) as caught:
        load_dataset(folder, **arguments)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.fixture
def project(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return a project as DeepEthogram lays it out, one record of 20 frames, the labels not yet written."""
    write_video("project/DATA/m1/m1.mp4", 20)
    return tmp_path / "project"


def test_a_project_is_read(project: Path, write_video: WriteVideo) -> None:
    write_labels(
        project / "DATA" / "m1", "m1", [REST] * 5 + [BACKGROUND] * 3 + [GROOM] * 4 + [NOT_YET] * 6 + [REST] * 2
    )
    write_video("project/DATA/m2/m2.avi", 20)
    write_video("project/DATA/m3/m3.mp4", 20)
    write_labels(project / "DATA" / "m3", "m3", [NOT_YET] * 20)
    dataset = load_dataset(project)
    (video,) = dataset.videos
    assert video.intervals == (Interval(0, 5, "rest"), Interval(8, 12, "groom"), Interval(18, 20, "rest"))
    assert (video.group, video.frames, video.fps) == ("m1", 20, 30.0)
    assert dataset.ethogram.names == ("groom", "rest")
    assert dataset.skipped == (
        "DATA/m3/m3_labels.csv: no frame has a behaviour",
        "DATA/m2/m2.avi: no m2_labels.csv beside it",
    )


def test_labels_beside_the_videos_of_one_folder_and_groups_by_pattern(write_video: WriteVideo, tmp_path: Path) -> None:
    for name in ("a1", "a2"):
        write_video(f"data/{name}.mp4", 10)
        write_labels(tmp_path / "data", name, [REST] * 10)
    assert load_dataset(tmp_path / "data").groups == ("a1", "a2")
    assert load_dataset(tmp_path / "data", group_pattern="(a)[0-9]").groups == ("a",)


def test_background_is_a_behaviour_where_the_user_says_so(project: Path) -> None:
    write_labels(project / "DATA" / "m1", "m1", [BACKGROUND] * 15 + [GROOM] * 5)
    dataset = load_dataset(project, behaviours=["background", "Grooming"])
    assert dataset.videos[0].intervals == (Interval(0, 15, "background"), Interval(15, 20, "Grooming"))


def test_an_ethogram_of_other_names_is_taken_as_it_is(project: Path) -> None:
    write_labels(project / "DATA" / "m1", "m1", ["0,1,0"] * 20, ",background,lift paw,grab")
    assert load_dataset(project).ethogram.names == ("grab", "lift-paw")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([REST] * 19, "19 rows for 20 frames of m1.mp4"),
        ([REST] * 21, "21 rows for 20 frames of m1.mp4"),
        (
            [REST] * 3 + ["0,1,1"] * 2 + [REST] * 4 + ["1,1,0"] + [REST] * 10,
            "exclude each other: keep one, in frames 3-4, 9",
        ),
        ([REST, "-1,1,0", *[REST] * 18], "a behaviour and -1 (unlabelled) in one row, in frames 1"),
        ([REST, "0,2,0", *[REST] * 18], "line 3: expected 3 of 1, 0, -1; found '1,0,2,0'"),
        ([REST, "0,1", *[REST] * 18], "line 3: expected 3 of 1, 0, -1"),
        ([REST, "0,inf,0", *[REST] * 18], "line 3: expected 3 of 1, 0, -1"),
    ],
)
def test_faulty_rows(project: Path, rows: list[str], words: str) -> None:
    write_labels(project / "DATA" / "m1", "m1", rows)
    message = faults_of(project)
    assert words in message
    assert "DATA/m1/m1_labels.csv" in message


def test_a_missing_row_is_found_by_its_number(project: Path) -> None:
    path = write_labels(project / "DATA" / "m1", "m1", [REST] * 20)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:8], *lines[9:], "20,0,1,0"]))
    assert "line 9: expected frame 7, found 8" in faults_of(project)


def test_faults_of_all_records_are_reported_at_once(project: Path, write_video: WriteVideo) -> None:
    write_labels(project / "DATA" / "m1", "m1", [REST] * 7)
    write_labels(project / "DATA" / "gone", "gone", [REST] * 7)
    write_video("project/DATA/two/two.mp4", 5)
    write_video("project/DATA/two/two.avi", 5)
    write_labels(project / "DATA" / "two", "two", [REST] * 5)
    write_video("project/DATA/odd/odd.mp4", 5)
    write_labels(project / "DATA" / "odd", "odd", ["1"] * 5, ",rest")
    write_video("project/DATA/typo/typo.mp4", 6)
    write_labels(project / "DATA" / "typo", "typo", ["0,0"] * 2 + ["0,1"] * 3 + ["0,0"], ",background,wakl")
    message = faults_of(project)
    for words in (
        "m1_labels.csv: 7 rows for 20 frames",
        "gone_labels.csv: expected one video gone beside it",
        "two_labels.csv: expected one video two beside it",
        "found two.avi, two.mp4",
        "odd_labels.csv: expected a frame column without a name, then background, found ',rest'",
        "typo_labels.csv: unknown behaviour 'wakl' (did you mean 'walk'?), in frames 2-4",
    ):
        assert words in message
    assert message.count("\n  - ") == 5


def test_a_table_with_a_named_first_column_is_none_of_deepethogram_s(project: Path) -> None:
    write_labels(project / "DATA" / "m1", "m1", [REST] * 20, "frame,background,rest,groom")
    with pytest.raises(DatasetError, match="not a data set"):
        load_dataset(project)


def test_labels_of_real_footage(real_footage: Path, tmp_path: Path) -> None:
    with (real_footage / "homecage" / "mit_side_view.csv").open() as file:
        truth = [row["label"] for row in csv.DictReader(file)]
    (tmp_path / "mit.mp4").symlink_to(real_footage / "homecage" / "mit_side_view.mp4")
    names = sorted(set(truth))
    columns = [",".join(["0", *(str(int(name == label)) for name in names)]) for label in truth]
    write_labels(tmp_path, "mit", columns, ",background," + ",".join(names))
    dataset: AnnotatedDataset = load_dataset(tmp_path)
    ours = {"head": "micro-movement"}
    runs = [(ours.get(label, label), len(list(run))) for label, run in groupby(truth)]
    (video,) = dataset.videos
    assert [(i.behaviour, i.stop_frame - i.start_frame) for i in video.intervals] == runs
    assert np.count_nonzero(video.labels(dataset.ethogram) >= 0) == 1188
