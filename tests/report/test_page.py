from __future__ import annotations

import re
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.bundles import manifest
from tests.report.logs import logged, plausible_labels, write_log
from toolkit.annotations import AnnotatedVideo, intervals_from_labels
from toolkit.behaviour_log import Reason
from toolkit.bouts import BoutRules
from toolkit.bundle import Bundle, Scores
from toolkit.errors import BundleError, DatasetError, InputError, LogError, MissingDependency
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.report import time_budget, write_report
from toolkit.report.agreement import agreement_with, annotated_source
from toolkit.report.confidence import confidence


def video(labels: np.ndarray) -> AnnotatedVideo:
    intervals = intervals_from_labels(labels.astype(np.int8), MOUSE_HOME_CAGE)
    return AnnotatedVideo(Path("mouse1.mp4"), "mouse1", 30.0, len(labels), intervals)


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gaps = [(300, 600, Reason.CAMERA_LOST)]
    return write_log(tmp_path_factory.mktemp("logs"), plausible_labels(1800, 1).tolist(), gaps=gaps)


def test_writes_a_page_that_needs_nothing_else(log_folder: Path, tmp_path: Path) -> None:
    files = write_report(log_folder, tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.html",
        "ethogram.png",
        "time_budget.csv",
    }
    page = Page(files.page)
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references)
    assert "script" not in page.tags
    for reference in page.references:
        head, content = reference.split(",", 1)
        start = b64decode(content)[:100]
        assert start.startswith(b"\x89PNG" if "png" in head else b"<?xml")
    assert not re.search(r"url\(|@import|http-equiv=.refresh", files.page.read_text(encoding="utf-8"))
    assert files.ethogram.read_bytes().startswith(b"\x89PNG")
    assert files.logs == tuple(log_folder.glob("*.sqlite"))


def test_the_page_says_what_the_budget_and_the_log_say(log_folder: Path, tmp_path: Path) -> None:
    files = write_report(log_folder, tmp_path)
    text = Page(files.page).text
    for line in files.budget.behaviours:
        assert line.name in text
        if line.bouts:
            assert f"{line.percent_observed:.1f}" in text
    for expected in ("9f" * 32, "c4" * 32, "onnxruntime-1.23 cpu fp32", "camera-lost", "2025-11-23 12:13:20 UTC"):
        assert expected in text
    assert "observer" not in text
    assert "Cross-validated" not in text


def test_names_of_a_log_are_text_not_markup(tmp_path: Path, log_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.report import page as module

    read = module.read_log
    monkeypatch.setattr(module, "read_log", lambda path: replace(read(path), cage="<b>&cage"))
    page = Page(write_report(log_folder, tmp_path).page)
    assert "b" not in page.tags
    assert "<b>&cage" in page.text


def test_rules_reach_the_page(log_folder: Path, tmp_path: Path) -> None:
    files = write_report(log_folder, tmp_path, rules=BoutRules(min_bout_s={"rest": 2.0}, stitch_gap_s=0.5))
    assert "0.5 s stitched" in Page(files.page).text
    assert "2.0 s (rest)" in Page(files.page).text


def test_the_page_says_whether_a_filter_decided(tmp_path: Path) -> None:
    for config, said in (
        ("{}", "Bouts are raw runs of equal labels"),
        ('{"decision": {"filter": "off"}}', "Bouts are raw runs of equal labels"),
        ('{"decision": {"filter": "viterbi"}}', "Labels were decided by: viterbi."),
    ):
        place = tmp_path / str(len(config))
        log = write_log(place, [0] * 20, config=config)
        text = Page(write_report(log, place / "report").page).text
        assert said in text
        assert ("raw runs" in text) != ("decided by" in text)


def test_agreement_meets_by_frame_number(tmp_path: Path) -> None:
    truth = np.repeat([0, 1, 2], 20)
    labels = truth.copy()
    labels[:5] = 1
    labels[50] = -1
    log = logged(tmp_path, labels.tolist(), gaps=[(20, 30, Reason.OVERLOAD)])
    agreement = agreement_with(log, list(log.bouts), video(truth))
    assert agreement.annotated_rows == 50
    assert agreement.frames.frames == 49
    assert agreement.confusion[:3, :3].tolist() == [[15, 5, 0], [0, 10, 0], [0, 0, 19]]
    assert [bout.behaviour for bout in agreement.truth] == [0, 1, 2]


def write_dataset(folder: Path, names: list[str], frames: int) -> None:
    folder.mkdir()
    for name in names:
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 48))
        for _ in range(frames):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
    rows = [f"{name},0,{frames},rest" for name in names]
    (folder / "annotations.csv").write_text("\n".join(["video,start_frame,stop_frame,behaviour", *rows]) + "\n")


def test_finds_the_video_that_stood_in_for_the_camera(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", ["a.mp4", "b.mp4"], 30)
    log = logged(tmp_path / "b", [6] * 30, config='{"camera": {"video": "../elsewhere/b.mp4", "loop": false}}')
    assert annotated_source(log, tmp_path / "data").path.name == "b.mp4"
    report = write_report(tmp_path / "b", tmp_path / "report", truth=tmp_path / "data")
    assert "observer of b.mp4" in Page(report.page).text
    with pytest.raises(InputError, match="0 of its 2 annotated videos"):
        annotated_source(logged(tmp_path / "camera", [6] * 30), tmp_path / "data")


def test_a_looping_video_is_annotated_in_every_turn(tmp_path: Path) -> None:
    log = logged(tmp_path, [0, 1] * 4, config='{"camera": {"video": "a.mp4", "loop": true}}')
    assert agreement_with(log, list(log.bouts), video(np.array([0, 1]))).frames.accuracy == 1


def test_refuses_annotations_of_another_video(tmp_path: Path) -> None:
    log = logged(tmp_path, [0] * 60)
    with pytest.raises(InputError, match="has 59 frames, the log of cage cage-07 goes to frame 59"):
        agreement_with(log, [], video(np.zeros(59)))
    with pytest.raises(InputError, match="none of the frames"):
        agreement_with(log, [], video(np.full(60, -1)))


def test_the_page_shows_agreement(log_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.report import page as module

    annotated = video(plausible_labels(1800, 1))
    monkeypatch.setattr(module, "annotated_source", lambda log, folder: annotated)
    text = Page(write_report(log_folder, tmp_path, truth=Path("anywhere")).page).text
    assert "observer of mouse1.mp4" in text
    assert "Accuracy 100.0 %" in " ".join(text.split())


def test_confidence_by_hand(tmp_path: Path) -> None:
    log = logged(tmp_path, [0, 0, 0, 1, -1], probability=[0.2, 0.6, 1.0, 0.8, 0.3])
    summary = confidence(log)
    drink, eat, groom = summary.behaviours[:3]
    # A byte holds a probability to within 1/510.
    assert drink.median == pytest.approx(0.6, abs=1 / 510)
    assert drink.percent_unsure == pytest.approx(100 / 3)
    assert (eat.rows, eat.percent_unsure) == (1, 0)
    assert np.isnan(groom.median)
    assert (summary.rows, summary.uncertain_rows) == (5, 1)


def test_nothing_is_written_when_something_is_missing(log_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    with pytest.raises(LogError, match="no such behaviour log"):
        write_report(tmp_path / "absent", out)
    with pytest.raises(DatasetError, match="no such folder"):
        write_report(log_folder, out, truth=tmp_path / "absent")
    with pytest.raises(BundleError, match="not a bundle"):
        write_report(log_folder, out, bundle=tmp_path / "absent")
    empty = write_log(tmp_path / "dark", [0] * 30, gaps=[(0, 30, Reason.DARK)])
    with pytest.raises(LogError, match="no frame was classified"):
        write_report(empty, out)
    assert not out.exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_says_what_to_install(package: str, log_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=r"pip install 'toolkit\[report\]'"):
        write_report(log_folder, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_budget_needs_no_picture(log_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.behaviour_log import read_log

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert time_budget(read_log(log_folder)).observed_s == pytest.approx(50, abs=0.1)


def test_quotes_the_scores_of_the_bundle_that_wrote_the_log(
    log_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.report import page as module

    scores = Scores(
        scheme="leave-one-video-out over 6 videos",
        accuracy={"rgb": 0.81, "flow": 0.86, "fused": 0.913},
        f1={"rest": 0.97},
        kappa=0.89,
        frames=5400,
    )
    bundle = Bundle(tmp_path, manifest(scores=scores), "9f" * 32)
    monkeypatch.setattr(module, "load_bundle", lambda path: bundle)
    text = " ".join(Page(write_report(log_folder, tmp_path / "report", bundle=tmp_path).page).text.split())
    assert "Not of this log: scores of the cross-validation's fold models" in text
    assert "accuracy, fused91.3 %" in text
    monkeypatch.setattr(module, "load_bundle", lambda path: replace(bundle, sha256="00" * 32))
    with pytest.raises(InputError, match="is not the bundle that wrote the log"):
        write_report(log_folder, tmp_path / "report", bundle=tmp_path)
