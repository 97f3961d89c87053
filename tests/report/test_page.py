from __future__ import annotations

import csv
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
from tests.report.test_from_labels import write_labels
from toolkit.annotations import AnnotatedVideo, intervals_from_labels
from toolkit.behaviour_log import Reason
from toolkit.bouts import BoutRules
from toolkit.bundle import Bundle, Scores
from toolkit.errors import BundleError, DatasetError, InputError, MissingDependency
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.report import ReportFiles, ReportOptions, time_budget, write_report
from toolkit.report.agreement import agreement_with, annotated_source
from toolkit.report.clock import lab_clock
from toolkit.report.from_logs import record_from_log

LIGHTS = lab_clock("UTC", "06:00", "18:00")


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


@pytest.fixture(scope="module")
def cages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cages for two days each, a row in ten minutes, from 2025-11-23 12:13:20 UTC."""
    folder = tmp_path_factory.mktemp("cages")
    for cage in range(3):
        labels = plausible_labels(288 * 200, cage)[::200].tolist()
        gaps = [(100, 130, Reason.DARK)] if cage == 1 else []
        write_log(folder, labels, cage=f"cage-{cage}", gaps=gaps, interval_ns=600 * 10**9)
    (folder / "animals.csv").write_text(
        "cage,animal,treatment\n" + "".join(f"cage-{cage},mouse {cage},{'ab'[cage % 2]}\n" for cage in range(3))
    )
    return folder


@pytest.fixture(scope="module")
def of_cages(cages: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    options = ReportOptions(animals=cages / "animals.csv", clock=LIGHTS)
    return write_report([cages], tmp_path_factory.mktemp("report"), options)


def data(files: ReportFiles, name: str) -> list[dict[str, str]]:
    with (files.data / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_writes_a_page_that_needs_nothing_else(log_folder: Path, tmp_path: Path) -> None:
    files = write_report([log_folder], tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "figures", "data"}
    page = Page(files.page)
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references)
    assert "script" not in page.tags
    for reference in page.references:
        head, content = reference.split(",", 1)
        start = b64decode(content)[:100]
        assert start.startswith(b"\x89PNG" if "png" in head else b"<?xml")
    text = files.page.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|http-equiv=.refresh|https?://", text)
    assert files.sources == tuple(path.name for path in log_folder.glob("*.sqlite"))


def test_says_that_groups_of_one_animal_are_not_compared(cages: Path, tmp_path: Path) -> None:
    table = tmp_path / "animals.csv"
    table.write_text("cage,animal,dose\n" + "".join(f"cage-{cage},mouse {cage},{cage} mg\n" for cage in range(3)))
    files = write_report([cages], tmp_path / "report", ReportOptions(animals=table))
    assert "Groups by dose are not compared" in files.page.read_text(encoding="utf-8")


def test_every_picture_has_its_files_and_its_data(of_cages: ReportFiles) -> None:
    files = of_cages
    pictures = sorted(path.relative_to(files.figures).with_suffix("") for path in files.figures.rglob("*.png"))
    assert pictures == sorted(p.relative_to(files.figures).with_suffix("") for p in files.figures.rglob("*.svg"))
    own = {"ethogram", "time_bins", "bout_lengths", "transitions", "actogram", "circadian_profile", "confidence"}
    assert {path.name for path in pictures if path.parent.name == "mouse_1"} == own
    assert {str(p) for p in pictures if p.parent == Path()} == {
        *("ethogram_by_cage", "animals"),
        *("by_treatment", "by_treatment_profile", "by_treatment_effects_1"),
    }
    for picture in pictures:
        assert cv2.imread(str(files.figures / f"{picture}.png")) is not None
        assert (files.figures / f"{picture}.svg").read_bytes().startswith(b"<?xml")
        assert len((files.data / f"{picture}.csv").read_text().splitlines()) > 1, picture
    assert len(Page(files.page).references) == len(pictures)


def test_numbers_in_the_files_are_those_on_the_page(of_cages: ReportFiles) -> None:
    files = of_cages
    text = " ".join(Page(files.page).text.split())
    rest = next(r for r in data(files, "time_budget") if (r["animal"], r["name"]) == ("mouse 1", "rest"))
    assert f"{float(rest['percent_of_observed_time']):.1f}" in text
    dark = [row for row in data(files, "time_budget") if row["name"] == "dark"]
    assert [(row["animal"], float(row["total_s"])) for row in dark] == [("mouse 1", 30 * 600)]
    comparison = data(files, "comparison")
    assert {row["n_a"] + row["n_b"] for row in comparison if row["measure"] == "% of observed time"} == {"21"}
    assert {row["phase"] for row in comparison} == {"all", "light", "dark"}
    assert "a (n = 2 animals), b (n = 1 animal)" in text
    # Phases are parts of the whole.
    for mouse in range(3):
        whole = next(r for r in data(files, "time_budget") if (r["animal"], r["name"]) == (f"mouse {mouse}", "walk"))
        parts = [
            row for row in data(files, "phases") if (row["animal"], row["behaviour"]) == (f"mouse {mouse}", "walk")
        ]
        assert sum(float(row["total_s"]) for row in parts) == pytest.approx(float(whole["total_s"]), abs=0.1)
        bins = [row for row in data(files, f"mouse_{mouse}/time_bins") if row["behaviour"] == "walk"]
        assert sum(float(row["total_s"]) for row in bins) == pytest.approx(float(whole["total_s"]), abs=0.1)


def test_the_page_says_what_the_budget_and_the_log_say(log_folder: Path, tmp_path: Path) -> None:
    files = write_report([log_folder], tmp_path)
    text = Page(files.page).text
    for line in files.budgets[0].behaviours:
        assert line.name in text
        if line.bouts:
            assert f"{line.percent_observed:.1f}" in text
    for expected in ("9f" * 32, "c4" * 32, "onnxruntime-1.23 cpu fp32", "camera-lost", "2025-11-23 12:13:20 UTC"):
        assert expected in text
    for absent in ("observer", "Cross-validated", "Partial", "Zeitgeber"):
        assert absent not in text
    assert str(log_folder.parent) not in files.page.read_text(encoding="utf-8")


def test_a_partial_report_is_marked_as_one(log_folder: Path, tmp_path: Path) -> None:
    absent = tmp_path / "cage-9"
    with pytest.raises(InputError, match=r"no such behaviour log.*--partial"):
        write_report([log_folder, absent], tmp_path / "report")
    assert not (tmp_path / "report").exists()
    files = write_report([log_folder, absent], tmp_path / "report", ReportOptions(partial=True))
    assert len(files.missing) == 1
    page = Page(files.page)
    assert "Partial report." in page.text
    assert "cage-9: no such behaviour log" in page.text
    assert "<title>Partial: " in files.page.read_text(encoding="utf-8")


def test_names_of_a_log_are_text_not_markup(tmp_path: Path) -> None:
    write_log(tmp_path / "logs", [0] * 60, cage="<b>&cage")
    files = write_report([tmp_path / "logs"], tmp_path / "report")
    assert "b" not in Page(files.page).tags
    assert "<b>&cage" in Page(files.page).text
    assert {path.name for path in files.figures.iterdir()} == {"_b__cage"}


def test_rules_reach_the_page(log_folder: Path, tmp_path: Path) -> None:
    rules = BoutRules(min_bout_s={"rest": 2.0}, stitch_gap_s=0.5)
    files = write_report([log_folder], tmp_path, ReportOptions(rules=rules))
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
        text = Page(write_report([log], place / "report").page).text
        assert said in text
        assert ("raw runs" in text) != ("decided by" in text)


def test_undated_recordings_have_no_clock(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "a.labels.csv", ["rest"] * 50 + ["walk"] * 50)
    files = write_report([labels], tmp_path / "report")
    text = Page(files.page).text
    assert "0:00:00 to 0:00:04 (from the recording's first frame; its date is unknown)" in text
    assert "Actogram" not in text
    with pytest.raises(InputError, match=r"a\.labels\.csv does not say when it was recorded"):
        write_report([labels], tmp_path / "report", ReportOptions(clock=LIGHTS))


def test_cages_of_different_ethograms_are_refused(log_folder: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "a.labels.csv", ["rest"] * 50)
    with pytest.raises(InputError, match="cage a: has the behaviours drink, rest, walk, cage cage-07 has drink, eat"):
        write_report([log_folder, labels], tmp_path / "report")


def test_many_animals_have_an_overview_and_files(cages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.report import page as module

    monkeypatch.setattr(module, "MOST_SECTIONS", 1)
    files = write_report([cages / "cage-0", cages / "cage-2"], tmp_path)
    assert "With 2 animals, each one's pictures are in figures/" in Page(files.page).text
    assert len(Page(files.page).references) == 2
    assert (files.figures / "cage-2" / "ethogram.png").exists()


def test_another_folder_is_not_emptied(log_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("precious")
    with pytest.raises(InputError, match="that no report wrote"):
        write_report([log_folder], tmp_path)
    assert (tmp_path / "data" / "mine.csv").read_text() == "precious"
    write_report([log_folder], tmp_path / "report")
    (tmp_path / "report" / "figures" / "old.png").touch()
    write_report([log_folder], tmp_path / "report")
    assert not (tmp_path / "report" / "figures" / "old.png").exists()


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
    report = write_report([tmp_path / "b"], tmp_path / "report", truth=tmp_path / "data")
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
    text = Page(write_report([log_folder], tmp_path, truth=Path("anywhere")).page).text
    assert "observer of mouse1.mp4" in text
    assert "Accuracy 100.0 %" in " ".join(text.split())


def test_nothing_is_written_when_something_is_missing(log_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    with pytest.raises(InputError, match="no such behaviour log"):
        write_report([tmp_path / "absent"], out)
    with pytest.raises(DatasetError, match="no such folder"):
        write_report([log_folder], out, truth=tmp_path / "absent")
    with pytest.raises(BundleError, match="not a bundle"):
        write_report([log_folder], out, bundle=tmp_path / "absent")
    empty = write_log(tmp_path / "dark", [0] * 30, gaps=[(0, 30, Reason.DARK)])
    with pytest.raises(InputError, match="no frame was classified"):
        write_report([empty], out)
    assert not out.exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_says_what_to_install(package: str, log_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=r"pip install 'toolkit\[report\]'"):
        write_report([log_folder], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_budget_needs_no_picture(log_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.behaviour_log import read_log

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert time_budget(record_from_log(read_log(log_folder))).observed_s == pytest.approx(50, abs=0.1)


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
    text = " ".join(Page(write_report([log_folder], tmp_path / "report", bundle=tmp_path).page).text.split())
    assert "Not of this log: scores of the cross-validation's fold models" in text
    assert "accuracy, fused91.3 %" in text
    monkeypatch.setattr(module, "load_bundle", lambda path: replace(bundle, sha256="00" * 32))
    with pytest.raises(InputError, match="is not the bundle that wrote the labels"):
        write_report([log_folder], tmp_path / "report", bundle=tmp_path)
