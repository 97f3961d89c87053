"""Which videos are meant, and that no two of them share a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.labelling import LabelOptions, plan_outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/x.mp4", "b/x.mp4", "b/y.avi", "b/y.mp4", "b/notes.txt", "b/.hidden.mp4", "b/x.overlay.mp4", "z.ts"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def planned(*sources: Path, out: Path | None = None, **options: object) -> dict[str, str]:
    """Return the table of each video, by its folder and name."""
    plan = plan_outputs(sources, out, LabelOptions(**options))
    assert len({path for _, outputs in plan for path in (*outputs.data, outputs.provenance)}) == len(plan) * (
        4 if options.get("overlay") else 3
    )
    return {
        f"{video.parent.name}/{video.name}": str(outputs.labels.relative_to(out or video.parent))
        for video, outputs in plan
    }


def test_a_folder_is_searched_to_the_bottom_and_mirrored(folder: Path) -> None:
    assert planned(folder, out=folder / "out") == {
        "a/x.mp4": "a/x.labels.csv",
        "b/x.mp4": "b/x.labels.csv",
        "b/y.avi": "b/y.avi.labels.csv",
        "b/y.mp4": "b/y.mp4.labels.csv",
    }


def test_without_a_folder_labels_lie_beside_their_videos(folder: Path) -> None:
    found = planned(folder / "a" / "x.mp4", folder / "b" / "x.mp4", overlay=True)
    assert found == {"a/x.mp4": "x.labels.csv", "b/x.mp4": "x.labels.csv"}


def test_one_stem_in_two_folders_does_not_collide(folder: Path) -> None:
    found = planned(folder / "a" / "x.mp4", folder / "b" / "x.mp4", out=folder / "out")
    assert found == {"a/x.mp4": "a/x.labels.csv", "b/x.mp4": "b/x.labels.csv"}


def test_a_pattern_finds_videos_and_what_it_names(folder: Path) -> None:
    assert set(planned(folder / "**" / "x*")) == {"a/x.mp4", "b/x.mp4"}
    assert set(planned(folder / "*.ts")) == {f"{folder.name}/z.ts"}
    assert planned(folder / "[ab]" / "x.mp4", out=folder / "out") == {
        "a/x.mp4": "a/x.labels.csv",
        "b/x.mp4": "b/x.labels.csv",
    }


def test_a_video_named_twice_is_labelled_once(folder: Path) -> None:
    assert len(planned(folder / "a", folder / "a" / "x.mp4")) == 1


def test_a_single_video_may_name_its_table(folder: Path) -> None:
    plan = plan_outputs([folder / "a" / "x.mp4"], folder / "mine.csv", LabelOptions())
    assert [path.name for path in plan[0][1].data] == ["mine.csv", "mine.bouts.csv"]


@pytest.mark.parametrize(
    ("sources", "out", "words"),
    [
        (["nothing.mp4"], None, "nothing.mp4: no such video or folder"),
        (["*.mkv"], None, "matches no video"),
        (["b"], "one.csv", "is one table, for 3 videos"),
        (["a/x.mp4"], "one.parquet", "is written as csv"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, sources: list[str], out: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("*", r"\*")):
        plan_outputs([folder / source for source in sources], folder / out if out else None, LabelOptions())
