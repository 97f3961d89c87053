"""Labelling a recorded video: one row per frame, dated by the video, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import WriteVideo
from tests.labelling.parts import bundle_in, label, lively, networks_of
from toolkit.engine.host import HostNetworks
from toolkit.errors import InputError, VideoError
from toolkit.files import sole_process
from toolkit.frames import read_frames
from toolkit.labelling import LabelOptions, label_video, plan_outputs


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def blinking(count: int = 30, bright: range = range(10, 20)) -> NDArray[np.uint8]:
    frames = np.full((count, 48, 64, 3), 20, dtype=np.uint8)
    frames[bright.start : bright.stop] = 230
    return frames


def test_every_frame_has_its_row(write_video: WriteVideo, tmp_path: Path) -> None:
    summary, outputs = label(write_video("cage.mp4", blinking()), tmp_path / "out")
    rows = rows_of(outputs.labels)
    assert [row["label"] for row in rows] == ["rest"] * 10 + ["walk"] * 10 + ["rest"] * 10
    assert [int(row["frame"]) for row in rows] == list(range(30))
    assert [float(row["time_s"]) for row in rows] == pytest.approx([index / 30 for index in range(30)], abs=1e-4)
    assert [row["padded"] for row in rows] == ["1"] * 8 + ["0"] * 15 + ["1"] * 7
    # Fused logit 0.4 * 4 = 1.6 against seven zeros: e^1.6 / (e^1.6 + 7) = 0.414375.
    assert float(rows[0]["p_rest"]) == pytest.approx(0.414375, abs=1e-6)
    assert sum(float(rows[0][name]) for name in rows[0] if name.startswith("p_")) == pytest.approx(1, abs=1e-5)
    assert (summary.frames, summary.rows, summary.counts["walk"]) == (30, 30, 10)


def test_bouts_are_half_open_and_tile_the_video(write_video: WriteVideo, tmp_path: Path) -> None:
    _, outputs = label(write_video("cage.mp4", blinking()), tmp_path / "out")
    bouts = rows_of(outputs.bouts)
    assert [(b["behaviour"], b["start_frame"], b["stop_frame"], b["rows"]) for b in bouts] == [
        ("rest", "0", "10", "10"),
        ("walk", "10", "20", "10"),
        ("rest", "20", "30", "10"),
    ]
    assert [float(b["stop_s"]) for b in bouts] == pytest.approx([10 / 30, 20 / 30, 1.0], abs=1e-4)


def test_a_shortest_bout_leaves_shorter_ones_out_and_smoothing_removes_them(
    write_video: WriteVideo, tmp_path: Path
) -> None:
    video = write_video("cage.mp4", blinking(bright=range(12, 15)))
    _, outputs = label(video, tmp_path / "long", min_bout_s=0.2)
    assert [b["behaviour"] for b in rows_of(outputs.bouts)] == ["rest", "rest"]
    _, outputs = label(video, tmp_path / "smooth", smooth_s=0.5)
    rows = rows_of(outputs.labels)
    assert [row["label"] for row in rows[12:15]] == ["walk"] * 3
    assert {row["smoothed"] for row in rows} == {"rest"}
    assert [(b["start_frame"], b["stop_frame"]) for b in rows_of(outputs.bouts)] == [("0", "30")]


def test_the_files_name_what_made_them(write_video: WriteVideo, tmp_path: Path) -> None:
    _, outputs = label(write_video("cage.mp4", 20), tmp_path / "out")
    provenance = json.loads(outputs.provenance.read_text())
    assert outputs.provenance.name == "cage.labels.json"
    assert provenance["bundle_sha256"] == "f" * 64
    assert provenance["engines"]["optical flow"] == "difference/fast"
    assert len(provenance["video_sha256"]) == 64
    assert (provenance["frames"], provenance["fps"], provenance["recorded_at"]) == (20, 30.0, None)


def test_a_container_that_says_when_it_was_recorded_is_believed(write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("plain.mp4", 20)
    dated = tmp_path / "dated.mp4"
    with av.open(str(video)) as source, av.open(str(dated), "w") as target:
        target.metadata["creation_time"] = "2026-03-01T08:00:00+02:00"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    _, outputs = label(dated, tmp_path / "out")
    assert json.loads(outputs.provenance.read_text())["recorded_at"] == "2026-03-01T06:00:00+00:00"


def test_a_stride_classifies_fewer_frames(write_video: WriteVideo, tmp_path: Path) -> None:
    summary, outputs = label(write_video("cage.mp4", 22), tmp_path / "out", stride=5)
    assert (summary.frames, summary.rows) == (22, 5)
    assert [row["frame"] for row in rows_of(outputs.labels)] == ["0", "5", "10", "15", "20"]
    last = rows_of(outputs.bouts)[-1]
    assert (last["stop_frame"], float(last["stop_s"])) == ("22", pytest.approx(22 / 30, abs=1e-4))


def test_each_frame_costs_one_decode_one_flow_and_one_inference_a_stride(
    write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video("cage.mp4", 24)
    counts = {"decoded": 0, "flow": 0, "infer": 0}
    admit, flow, infer = HostNetworks.admit, HostNetworks.flow, HostNetworks.infer

    def counted(name: str, method):  # type: ignore[no-untyped-def]
        def call(*arguments: object, **options: object) -> object:
            counts[name] += 1
            return method(*arguments, **options)

        return call

    def decode(path: Path):  # type: ignore[no-untyped-def]
        for frame in read_frames(path):
            counts["decoded"] += 1
            yield frame

    monkeypatch.setattr("toolkit.labelling.video.read_frames", decode)
    for name, method in (("admit", admit), ("flow", flow), ("infer", infer)):
        counts.setdefault(name, 0)
        monkeypatch.setattr(HostNetworks, name, counted(name, method))
    label(video, tmp_path / "out", stride=4, smooth_s=0.5, overlay=True)
    assert counts == {"decoded": 24, "admit": 24, "flow": 24, "infer": 6}


def test_frames_that_show_no_behaviour_have_no_label_and_say_why(write_video: WriteVideo, tmp_path: Path) -> None:
    frames = lively(150)
    frames[60:90] = 5
    _, outputs = label(write_video("cage.mp4", frames), tmp_path / "out", view_check=True)
    rows = rows_of(outputs.labels)
    # Dark for a second, and not believed for half a second after it (ViewTable.recover_s).
    assert [row["view"] for row in rows] == [""] * 60 + ["dark"] * 45 + [""] * 45
    assert all((row["label"] == "") == (row["view"] != "") == (row["p_rest"] == "") for row in rows)
    assert json.loads(outputs.provenance.read_text())["unlabelled"] == {"dark": 45}
    spans = [(int(bout["start_frame"]), int(bout["stop_frame"])) for bout in rows_of(outputs.bouts)]
    assert all(stop <= 60 or start >= 105 for start, stop in spans)
    assert sum(stop - start for start, stop in spans) == 105


def test_frozen_frames_lose_labels_that_were_given_before_it_was_known(write_video: WriteVideo, tmp_path: Path) -> None:
    frames = lively(240)
    frames[60:180] = frames[59]
    _, outputs = label(write_video("cage.mp4", frames), tmp_path / "out", view_check=True, stride=2)
    rows = rows_of(outputs.labels)
    assert [int(row["frame"]) for row in rows][:30] == list(range(0, 60, 2))
    frozen = [int(row["frame"]) for row in rows if row["view"] == "frozen"]
    # A clip reaches 7 frames ahead of its centre: frame 53 is the first that would see a repeated one.
    assert (frozen[0], frozen[-1] >= 178) == (54, True)
    assert all(row["label"] == "rest" or row["label"] == "walk" for row in rows if row["view"] == "")
    assert np.diff([int(row["frame"]) for row in rows]).max() <= 2


def test_a_video_that_breaks_off_leaves_no_labels(write_video: WriteVideo, tmp_path: Path) -> None:
    times = [1000 * index - (700 if index == 16 else 0) for index in range(30)]
    with pytest.raises(VideoError):
        label(write_video("vfr.mp4", 30, times=times), tmp_path / "out", overlay=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_that_does_not_fit_the_bundle_is_refused(write_video: WriteVideo, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="slower camera"):
        label(write_video("slow.mp4", 20, fps=10), tmp_path / "out")


def test_two_processes_do_not_label_one_video(write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("cage.mp4", 20)
    with (
        sole_process(tmp_path / "out" / ".cage.labels.csv.part" / "lock", lambda *_: None),
        pytest.raises(InputError, match="is labelling this video"),
    ):
        label(video, tmp_path / "out")


def test_other_options_take_away_the_files_that_they_do_not_make(write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("cage.mp4", 20)
    label(video, tmp_path / "out", overlay=True)
    label(video, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cage.labels.csv",
        "cage.bouts.csv",
        "cage.labels.json",
    }


def test_parquet_holds_the_same_as_csv_in_row_groups(
    write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("toolkit.labelling.tables.ROW_GROUP", 50)
    frames = lively(150)
    frames[60:90] = 5
    video = write_video("cage.mp4", frames)
    _, outputs = label(video, tmp_path / "parquet", view_check=True, format="parquet")
    _, as_csv = label(video, tmp_path / "csv", view_check=True)
    file = parquet.ParquetFile(outputs.labels)
    assert file.num_row_groups == 3
    for ours, theirs in zip(file.read().to_pylist(), rows_of(as_csv.labels), strict=True):
        assert list(ours) == list(theirs)
        assert ours["frame"] == int(theirs["frame"])
        assert (ours["label"] or "", ours["view"] or "") == (theirs["label"], theirs["view"])
        assert ours["padded"] == bool(int(theirs["padded"]))
        if ours["view"] is None:
            assert ours["p_walk"] == pytest.approx(float(theirs["p_walk"]), abs=1e-6)


def test_an_overlay_has_the_frames_and_times_of_its_source(write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("cage.mp4", blinking(47), fps=25)
    _, outputs = label_slow(video, tmp_path / "out")
    assert outputs.overlay is not None
    with av.open(str(outputs.overlay)) as container:
        stream = container.streams.video[0]
        times = [float(picture.time) for picture in container.decode(stream)]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 25.0)
    assert times == pytest.approx([index / 25 for index in range(47)], abs=1e-4)


def label_slow(video: Path, out: Path):  # type: ignore[no-untyped-def]
    """Label a 25 frames per second video with networks of 15: between rows the overlay shows the row before."""
    bundle = bundle_in(video.parent)
    slower = bundle.manifest.geometry.model_copy(update={"fps": 15.0})
    bundle = bundle.__class__(bundle.path, bundle.manifest.model_copy(update={"geometry": slower}), bundle.sha256)
    options = LabelOptions(overlay=True, view_check=False, smooth_s=0.3)
    ((_, outputs),) = plan_outputs([video], out, options)
    return label_video(video, bundle, outputs, networks=networks_of(bundle), options=options), outputs
