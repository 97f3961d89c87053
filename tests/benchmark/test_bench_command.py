"""`toolkit bench` from the command line, on a bundle with engines of this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.test_cli import toolkit

QUICK = ("--stride", "1,2", "--duration", "0.2")


@pytest.fixture(scope="module")
def built(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = shutil.copytree(exported, tmp_path_factory.mktemp("built") / "tiny")
    assert toolkit("build-engine", str(bundle), "--engine", "onnxruntime").returncode == 0
    return bundle


def bench(bundle: Path, *arguments: str, cwd: Path):  # type: ignore[no-untyped-def]
    return toolkit("bench", str(bundle), "--engine", "onnxruntime", "--flow", "opencv", *arguments, cwd=cwd)


def test_it_writes_what_it_prints_and_compares(built: Path, tmp_path: Path) -> None:
    result = bench(built, *QUICK, "--json", "a.json", "--markdown", "a.md", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert [run["stride"] for run in report["runs"]] == [1, 2]
    assert report["setup"]["source"] == "golden sample"
    assert (tmp_path / "a.md").read_text() == result.stdout
    assert "| engine rgb |" in result.stdout
    # A run a thousand times as fast is planted, then one a thousand times as slow.
    for name, factor in (("fast", 0.001), ("slow", 1000.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(scaled(report, factor)))
    slower = bench(built, *QUICK, "--compare", "fast.json", cwd=tmp_path)
    assert slower.returncode == 1
    assert "regression: stride 1, flow, median: " in slower.stderr
    faster = bench(built, *QUICK, "--compare", "slow.json", cwd=tmp_path)
    assert faster.returncode == 0, faster.stderr
    assert "no regression beyond noise against slow.json" in faster.stdout


def scaled(report: dict[str, object], factor: float) -> dict[str, object]:
    """Return a report whose durations are `factor` times as long, and whose memory was plentiful."""
    copy = json.loads(json.dumps(report))
    copy["peak_host_mib"] = 1e6
    for run in copy["runs"]:
        for part in (run, *run["windows"]):
            part["realtime_factor"] /= factor
            for figures in part["stages"].values():
                figures.update({key: value * factor for key, value in figures.items() if key.endswith("_ms")})
    return copy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stride", "1,x"), "--stride: expected whole numbers such as 1,2,4; found '1,x'"),
        (("--stride", "0"), "--stride: expected different whole numbers"),
        (("--duration", "-1"), "--duration: expected seconds above 0"),
        (("--video", "absent.mp4"), "absent.mp4: no such video file"),
        (("--compare", "absent.json"), "absent.json: cannot be read"),
        (("--engine", "magic"), "--engine: expected auto, tensorrt, openvino, onnxruntime"),
    ],
)
def test_a_mistake_is_one_message(built: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = bench(built, *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_message(built: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = bench(built, "--stride", "1", "--duration", "0.1", "--json", "file/bench.json", cwd=tmp_path)
    assert result.returncode == 1
    assert "file/bench.json: cannot be written" in result.stderr
    assert "| engine rgb |" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_bundle_without_engines_says_what_to_do(built: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(built, tmp_path / "alone")
    result = toolkit("bench", str(alone), "--engine", "onnxruntime", cwd=tmp_path)
    assert result.returncode == 1
    assert "Run: toolkit build-engine" in result.stderr
