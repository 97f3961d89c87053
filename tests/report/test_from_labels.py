from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.report.test_clock import ns
from toolkit.errors import InputError
from toolkit.report.from_labels import UNLABELLED, record_from_labels

NAMES = ("drink", "rest", "walk")
FPS = 25
S = 1_000_000_000


def write_labels(
    path: Path,
    labels: list[str],
    *,
    frames: list[int] | None = None,
    fps: float = FPS,
    view: dict[int, str] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a label file as `toolkit label` does, with a `view` column where some frames are unfit."""
    frames = frames if frames is not None else list(range(len(labels)))
    lines = [",".join(["frame", "time_s", "label", "padded", *(f"p_{n}" for n in NAMES), *(["view"] if view else [])])]
    for row, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        sure = ["0.8" if name == label else "0.1" for name in NAMES]
        tail = [(view or {}).get(row, "")] if view else []
        lines.append(",".join([str(frame), f"{frame / fps:.6f}", label, "1" if row < 2 else "0", *sure, *tail]))
    path.write_text("\n".join(lines) + "\n")
    if provenance is not None:
        path.with_name(path.name + ".json").write_text(json.dumps(provenance))
    return path


def test_bouts_and_times_by_hand(tmp_path: Path) -> None:
    labels = ["rest"] * 50 + ["walk"] * 25 + ["rest"] * 25
    found = record_from_labels(
        write_labels(tmp_path / "cage3.labels.csv", labels, provenance={"fps": FPS, "frames": 100})
    )
    assert (found.cage, found.dated, found.ethogram.names) == ("cage3", False, NAMES)
    assert found.bouts.behaviour.tolist() == [1, 2, 1]
    assert found.bouts.start_ns.tolist() == [0, 2 * S, 3 * S]
    assert found.observed.tolist() == [[0, 4 * S]]
    assert found.unobserved == ()
    (day,) = found.confidence
    assert day.histogram[:, 204].tolist() == [0, 75, 25]
    assert day.padded_rows == 2


def test_a_recording_with_a_date_is_on_the_clock(tmp_path: Path) -> None:
    provenance = {"fps": FPS, "frames": 2, "recorded_at": "2026-03-01T08:00:00+01:00", "bundle": "demo"}
    found = record_from_labels(write_labels(tmp_path / "a.labels.csv", ["rest", "rest"], provenance=provenance))
    assert found.dated
    assert found.start_ns == ns("2026-03-01T07:00")
    assert ("bundle", "demo") in found.provenance[0]


def test_unlabelled_and_unfit_frames_are_unobserved(tmp_path: Path) -> None:
    # 25 a second: frames 0-24 rest, 25-49 absent, 50-74 of which 60-64 dark.
    frames = [*range(25), *range(50, 75)]
    labels = ["rest"] * 25 + ["walk"] * 25
    view = dict.fromkeys(range(35, 40), "dark")
    found = record_from_labels(write_labels(tmp_path / "a.labels.csv", labels, frames=frames, view=view))
    assert [(gap.start_ns / S, gap.stop_ns / S, gap.reason) for gap in found.unobserved] == [
        (1.0, 2.0, UNLABELLED),
        (2.4, 2.6, "dark"),
    ]
    assert (np.diff(found.observed).sum()) / S == pytest.approx(1 + 1 - 0.2)
    assert found.bouts.behaviour.tolist() == [1, 2, 2]
    assert found.bouts.stop_ns[1] == pytest.approx(2.4 * S)


def test_every_third_frame(tmp_path: Path) -> None:
    frames = list(range(0, 90, 3))
    path = write_labels(tmp_path / "a.labels.csv", ["rest"] * 30, frames=frames, provenance={"fps": FPS, "frames": 90})
    found = record_from_labels(path)
    assert found.observed.tolist() == [[0, round(90 / FPS * S)]]


def test_a_frame_without_a_label_was_seen(tmp_path: Path) -> None:
    found = record_from_labels(write_labels(tmp_path / "a.labels.csv", ["rest", "", "rest"]))
    assert found.bouts.behaviour.tolist() == [1, 1]
    assert found.observed.tolist() == [[0, round(3 / FPS * S)]]
    assert found.confidence[0].uncertain_rows == 1


def test_bouts_are_those_of_the_smoothed_label(tmp_path: Path) -> None:
    rows = ["frame,time_s,label,smoothed,view,padded,p_rest,p_walk", "0,0.00,rest,rest,,0,0.9,0.1"]
    rows += ["1,0.04,walk,rest,,0,0.4,0.6", "2,0.08,,,,0,,", "3,0.12,,,dark,0,,"]
    (tmp_path / "a.labels.csv").write_text("\n".join(rows) + "\n")
    found = record_from_labels(tmp_path / "a.labels.csv")
    assert list(zip(found.bouts.behaviour.tolist(), found.bouts.stop_ns.tolist(), strict=True)) == [
        (0, round(0.08 * S))
    ]
    # Confidence is of the label that the probability is of; the third row was seen, the fourth was not.
    assert found.confidence[0].histogram.sum(axis=1).tolist() == [1, 1]
    assert found.observed.tolist() == [[0, round(0.12 * S)]]
    assert [gap.reason for gap in found.unobserved] == ["dark"]


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    pyarrow_csv = pytest.importorskip("pyarrow.csv", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = write_labels(tmp_path / "a.labels.csv", ["rest"] * 10 + [""] * 5 + ["walk"] * 10, view={12: "dark"})
    table = pyarrow_csv.read_csv(path, convert_options=pyarrow_csv.ConvertOptions(strings_can_be_null=True))
    at = table.column_names.index("padded")
    parquet.write_table(table.set_column(at, "padded", table["padded"].cast("bool")), tmp_path / "a.labels.parquet")
    one, other = record_from_labels(path), record_from_labels(tmp_path / "a.labels.parquet")
    assert one.bouts.stop_ns.tolist() == other.bouts.stop_ns.tolist()
    assert one.observed.tolist() == other.observed.tolist()
    assert one.unobserved == other.unobserved
    assert one.confidence[0].padded_rows == other.confidence[0].padded_rows == 2
    (tmp_path / "b.labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        record_from_labels(tmp_path / "b.labels.parquet")


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([], {}, "holds no rows"),
        (["rest"] * 90, {"provenance": {"fps": FPS, "frames": 60}}, "goes to frame 89, and its .json has 60 frames"),
        (["rest"] * 90, {"provenance": {"fps": FPS, "frames": 900}}, "ends at frame 89, and its .json has 900 frames"),
        (
            ["rest"] * 90,
            {"provenance": {"fps": 30, "frames": 90}},
            "25.000 frames a second by its times, .* has 30.000",
        ),
        (["sleep"], {}, "with a label out of drink, rest, walk"),
        (["rest"] * 3, {"frames": [0, 2, 1]}, "frame does not increase at line 4"),
        (["rest"], {"provenance": {"recorded_at": "2026-03-01T08:00"}}, "a local time without a zone"),
        (["rest"], {"provenance": {"recorded_at": "Monday"}}, "recorded_at in its .json: expected"),
    ],
)
def test_refuses_what_does_not_match(tmp_path: Path, labels: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        record_from_labels(write_labels(tmp_path / "a.labels.csv", labels, **options))


@pytest.mark.parametrize("content", ["", "cage,animal\n1,2\n", "frame,time_s,label,padded\n0,0.0,rest,0\n", "\x00\x01"])
def test_refuses_what_is_no_label_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match="is not a label file"):
        record_from_labels(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be read"):
        record_from_labels(tmp_path / "absent.csv")


def test_asks_the_video_where_it_is_still_there(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (64, 48))
    for _ in range(40):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    path = tmp_path / "a.labels.csv"
    record_from_labels(write_labels(path, ["rest"] * 40, provenance={"video": str(video)}))
    with pytest.raises(InputError, match=r"goes to frame 49, and .*a\.mp4 has 40 frames"):
        record_from_labels(write_labels(path, ["rest"] * 50, provenance={"video": str(video), "frames": 50}))
    with pytest.raises(InputError, match=r"a\.mp4 has 25\.000"):
        record_from_labels(write_labels(path, ["rest"] * 40, fps=30, provenance={"video": str(video)}))
