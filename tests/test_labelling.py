"""Labelling a recorded video: one row per frame, dated by the video, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import DifferenceFlow, RecordingBackend, manifest
from tests.conftest import WriteVideo
from toolkit.bundle import Bundle
from toolkit.engine.host import HostNetworks
from toolkit.errors import VideoError
from toolkit.labelling import label_video


class BrightnessNetwork(RecordingBackend):
    """Says behaviour 7 (walk) for a bright centre frame and 6 (rest) for a dark one."""

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.zeros((1, 8), dtype=np.float32)
        logits[0, 7 if clips[0, 0, 8].mean() > 0 else 6] = 4.0
        return logits


def label(video: Path, out: Path, **options: int):  # type: ignore[no-untyped-def]
    bundle = Bundle(video.parent, manifest(), "f" * 64)
    backends = {"rgb": BrightnessNetwork(), "flow": RecordingBackend()}
    networks = HostNetworks(bundle.manifest, DifferenceFlow(), backends)
    return label_video(video, bundle, out, networks=networks, **options)


def test_every_frame_has_its_row(write_video: WriteVideo, tmp_path: Path) -> None:
    frames = np.full((30, 48, 64, 3), 20, dtype=np.uint8)
    frames[10:20] = 230
    summary = label(write_video("cage.mp4", frames), tmp_path / "labels.csv")
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["rest"] * 10 + ["walk"] * 10 + ["rest"] * 10
    assert [int(row["frame"]) for row in rows] == list(range(30))
    assert [float(row["time_s"]) for row in rows] == pytest.approx([index / 30 for index in range(30)], abs=1e-4)
    assert [row["padded"] for row in rows] == ["1"] * 8 + ["0"] * 15 + ["1"] * 7
    # Fused logit 0.4 * 4 = 1.6 against seven zeros: e^1.6 / (e^1.6 + 7) = 0.414375.
    assert float(rows[0]["p_rest"]) == pytest.approx(0.414375, abs=1e-6)
    assert sum(float(rows[0][name]) for name in rows[0] if name.startswith("p_")) == pytest.approx(1, abs=1e-5)
    assert (summary.frames, summary.rows, summary.counts["walk"]) == (30, 30, 10)


def test_the_csv_names_what_made_it(write_video: WriteVideo, tmp_path: Path) -> None:
    label(write_video("cage.mp4", 20), tmp_path / "labels.csv")
    provenance = json.loads((tmp_path / "labels.csv.json").read_text())
    assert provenance["bundle_sha256"] == "f" * 64
    assert provenance["engines"]["optical flow"] == "difference/fast"
    assert len(provenance["video_sha256"]) == 64


def test_a_stride_classifies_fewer_frames(write_video: WriteVideo, tmp_path: Path) -> None:
    summary = label(write_video("cage.mp4", 20), tmp_path / "labels.csv", stride=5)
    assert (summary.frames, summary.rows) == (20, 4)


def test_a_video_that_breaks_off_leaves_no_labels(write_video: WriteVideo, tmp_path: Path) -> None:
    times = [1000 * index - (700 if index == 16 else 0) for index in range(30)]
    with pytest.raises(VideoError):
        label(write_video("vfr.mp4", 30, times=times), tmp_path / "out" / "labels.csv")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_that_does_not_fit_the_bundle_is_refused(write_video: WriteVideo, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="slower camera"):
        label(write_video("slow.mp4", 20, fps=10), tmp_path / "labels.csv")
