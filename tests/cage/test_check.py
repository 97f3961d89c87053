"""Every fault of a cage is said, not only the first."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cage.parts import FreeBackend, FreeFlow, ScriptedCamera, config
from tests.conftest import WriteVideo
from toolkit.bundle import Bundle, load_bundle
from toolkit.cage import capacity
from toolkit.cage.check import Finding, check
from toolkit.cage.config import CageConfig
from toolkit.engine.host import HostNetworks

Usage = namedtuple("Usage", "total used free")


def faults(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.text for finding in findings if not finding.ok}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny bundle and its ONNX Runtime engines."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    from tests.engine.tiny import write_tiny_bundle
    from toolkit.engine.build import build_engines

    folder = tmp_path_factory.mktemp("built")
    build_engines(write_tiny_bundle(folder / "tiny"), engine="onnxruntime")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MEASURE_S", 0.1)


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(built, tmp_path / "bundles")
    return load_bundle(tmp_path / "bundles" / "tiny")


def cage(tmp_path: Path, bundle: Path, video: Path, stale: str = "refuse") -> CageConfig:
    engine = {"kind": "onnxruntime", "stale": stale}
    return config(tmp_path, cage={"bundle": bundle}, camera={"video": video}, engine=engine)


def test_a_cage_that_can_run(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    findings = check(cage(tmp_path, bundle.path, write_video("mouse.mp4", 5)))
    assert faults(findings) == {}
    subjects = ["configuration", "bundle", "engine", "flow", "camera", "speed", "log", "disk"]
    assert [f.subject for f in findings] == subjects
    assert re.fullmatch(
        r"[0-9.]+ ms a frame and [0-9.]+ ms a window: [0-9]+% load, .*classified.*; rows within [0-9.]+ s",
        next(f.text for f in findings if f.subject == "speed"),
    )
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("flow_s", "found"),
    [
        (0.001, None),
        (0.060, r"bursts of 64 frames or more, and [1-5][0-9]% of the time observed.*Expected at least 90%.*cheaper"),
    ],
)
def test_a_machine_that_is_too_slow(
    tmp_path: Path,
    bundle: Bundle,
    write_video: WriteVideo,
    monkeypatch: pytest.MonkeyPatch,
    flow_s: float,
    found: str | None,
) -> None:
    """60 ms or more a frame in 33 ms: at most 33 / 60 of the time. Less is asked for, and it is no fault."""
    monkeypatch.setattr("toolkit.engine.networks.open_flow", lambda *_, **__: FreeFlow(flow_s))
    video = write_video("mouse.mp4", 40)
    told = faults(check(cage(tmp_path, bundle.path, video)))
    assert (set(told), bool(found)) == (({"speed"}, True) if found else (set(), False))
    if found:
        assert re.search(found, told["speed"])
        table = config(
            tmp_path,
            cage={"bundle": bundle.path, "min_coverage": 0.05},
            camera={"video": video},
            engine={"kind": "onnxruntime"},
        )
        assert faults(check(table)) == {}


def test_a_camera_that_gives_no_frames_is_measured_on_noise(tmp_path: Path, bundle: Bundle) -> None:
    table = config(tmp_path, cage={"bundle": bundle.path})
    networks = HostNetworks(bundle.manifest, FreeFlow(), {s: FreeBackend() for s in bundle.manifest.streams})
    text = capacity.capacity(table, bundle, networks, ScriptedCamera([]))
    assert text.endswith("(on noise: the camera gave no frames)")


def test_a_queue_that_is_too_short_for_a_burst(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    """The tiny clip has four frames; at 150 frames per second and 30 of the networks', 17 frames are not five."""
    video = write_video("mouse.mp4", 60, fps=150)
    camera = {"video": video, "queue_frames": 17}
    table = config(tmp_path, cage={"bundle": bundle.path}, camera=camera, engine={"kind": "onnxruntime"})
    assert "camera.queue_frames: expected at least 25, a clip's 4 frames" in faults(check(table))["speed"]


def test_every_fault_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    found = faults(check(cage(tmp_path, tmp_path / "absent", tmp_path / "absent.mp4")))
    assert set(found) == {"bundle", "camera", "log"}
    assert "not a bundle" in found["bundle"]
    assert "no such video file" in found["camera"]
    assert "is a file. Expected a folder" in found["log"]


def test_a_health_page_that_cannot_be(tmp_path: Path) -> None:
    health = {"listen": "0.0.0.0:9464", "token_file": tmp_path / "token"}
    assert "cannot be read" in faults(check(config(tmp_path, health=health)))["health"]
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    (finding,) = (f for f in check(config(tmp_path, health=health)) if f.subject == "health")
    assert (finding.ok, finding.text) == (True, f"http://0.0.0.0:9464/healthz, token in {tmp_path / 'token'}")


def test_bouts_that_cannot_be_decided(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    engine = {"kind": "onnxruntime", "stale": "refuse"}
    tables = {"cage": {"bundle": bundle.path}, "camera": {"video": write_video("mouse.mp4", 5)}, "engine": engine}
    found = faults(check(config(tmp_path, decision={"filter": "viterbi"}, **tables)))
    assert set(found) == {"decision"}
    assert "needs transitions" in found["decision"]
    findings = check(config(tmp_path, decision={"filter": "hysteresis"}, **tables))
    assert faults(findings) == {}
    assert "hysteresis" in next(finding.text for finding in findings if finding.subject == "decision")


def test_an_engine_that_was_not_built(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    for folder in bundle.path.parent.iterdir():
        if folder != bundle.path:
            shutil.rmtree(folder)
    video = write_video("mouse.mp4", 5)
    found = faults(check(cage(tmp_path, bundle.path, video)))
    assert set(found) == {"engine"}
    assert "toolkit build-engine" in found["engine"]
    findings = check(cage(tmp_path, bundle.path, video, stale="rebuild"))
    assert faults(findings) == {}
    text = next(finding.text for finding in findings if finding.subject == "engine")
    assert text.startswith("built at the next start")
    assert "rgb: none was built for onnxruntime fp32 on this machine" in text
    assert sorted(path.name for path in bundle.path.parent.iterdir()) == ["tiny"]


def test_a_camera_of_another_shape(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    found = faults(check(cage(tmp_path, bundle.path, write_video("wide.mp4", 5, size=(128, 48)))))
    assert set(found) == {"camera"}
    assert "128 x 48" in found["camera"]


def test_settings_that_a_camera_refused(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a fault of its own; what it merely warns of is said beside what it is."""
    source = ScriptedCamera([(1, 0.0)])
    source.info = replace(source.info, refused=("gain: no.", "fps: no."), warnings=("it chooses its exposure.",))
    monkeypatch.setattr("toolkit.cage.check.open_camera", lambda _table: source)
    findings = [f for f in check(cage(tmp_path, bundle.path, tmp_path / "none.mp4")) if f.subject == "camera"]
    assert [(f.ok, f.text) for f in findings] == [
        (True, "scripted: 64 x 48 px, 30.00 frames per second, dated by their arrival. it chooses its exposure."),
        (False, "scripted: gain: no."),
        (False, "scripted: fps: no."),
    ]


def test_a_disk_that_is_nearly_full(
    tmp_path: Path, bundle: Bundle, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 10**9, 200_000_000))
    found = faults(check(cage(tmp_path, bundle.path, write_video("mouse.mp4", 5))))
    assert set(found) == {"disk"}
    assert "200 MB free, 2.5 days of log. Expected at least 7 days" in found["disk"]


def test_a_log_that_is_damaged(tmp_path: Path, bundle: Bundle, write_video: WriteVideo) -> None:
    folder = tmp_path / "log" / "a1"
    folder.mkdir(parents=True)
    (folder / "a1_2027-01-15.sqlite").write_text("not a database\n" * 1000)
    found = faults(check(cage(tmp_path, bundle.path, write_video("mouse.mp4", 5))))
    assert set(found) == {"log"}
    assert "sets it aside" in found["log"]
