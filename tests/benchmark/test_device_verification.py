"""`toolkit verify-device` on a machine without a GPU: what it measures, what it says it cannot, and what fails."""

from __future__ import annotations

import getpass
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.engine.test_build import swapped_graph
from toolkit.benchmark import device_checks, device_verification, flow_checks
from toolkit.benchmark.device_checks import Check, Device
from toolkit.benchmark.device_report import DeviceReport, Figure, NotHere, without_names
from toolkit.benchmark.device_verification import run_check, verify_device
from toolkit.bundle import Bundle, load_bundle
from toolkit.cli import app
from toolkit.doctor import Finding
from toolkit.engine.build import build_engines
from toolkit.engine.networks import open_networks
from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, FlowParameters, OpenCvFlow
from toolkit.flow.cpu import CpuFlow

needs_cpu_flow = pytest.mark.skipif(CpuFlow.available() is not None, reason="our CPU flow was not built")


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Bundle:
    return load_bundle(Path(shutil.copytree(exported, tmp_path / "secret folder" / "tiny")))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_checks, "PAIRS", 2)
    monkeypatch.setattr(flow_checks, "SIZE", (96, 64))


@pytest.fixture
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's examination out: it starts an interpreter for every library."""
    found = [Finding("cameras", "ok", "/dev/v4l/by-id/usb-SERIAL0815-index0"), Finding("GPU", "absent", "none")]
    monkeypatch.setattr(device_verification, "examine", lambda: iter(found))


def device(bundle: Bundle) -> Device:
    return Device(bundle, "onnxruntime", "opencv", short_s=0.1, sustained_s=0.1)


def by_name(figures: list[Figure] | tuple[Figure, ...], check: str) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures if figure.check == check}


@needs_cpu_flow
def test_a_whole_run_without_a_gpu(bundle: Bundle) -> None:
    told: list[DeviceReport] = []
    report = verify_device(device(bundle), on_report=told.append)
    assert report.failed == []
    engines = by_name(report.figures, "engines")
    assert engines["TensorRT build of rgb"].status == "not measured"
    assert "onnxruntime" in engines["parity of flow with the float32 graph"].value
    assert "0 of 3 golden labels changed" in engines["parity of flow with the float32 graph"].value
    gpu = by_name(report.figures, "flow on the GPU")
    assert {figure.status for figure in gpu.values()} <= {"measured", "not measured"}
    assert all(figure.value for figure in report.figures)
    assert " ms (median of 5; onnxruntime-" in by_name(report.figures, "a clip on the CPU")["onnxruntime, rgb"].value
    latency = by_name(report.figures, "latency")
    assert re.match(r"[\d.]+ times real time, \d+ cages, frame to row ", latency["stride 8"].value)
    assert set(report.benchmarks) == {"short", "sustained"}
    assert by_name(report.figures, "latency")["device memory"].value == "no GPU"
    # From the start there was a report, and each one says what was not reached.
    assert [part.finished for part in told] == [*[False] * (len(told) - 1), True]
    assert {figure.value for figure in told[0].figures} == {"the run ended before"}
    assert {len(part.figures) for part in told} == {len(report.figures)}
    text = report.markdown()
    for figure in report.figures:
        assert f"| {figure.name} | " in text
    names_nobody(text + report.model_dump_json(), bundle)


def names_nobody(text: str, bundle: Bundle) -> None:
    assert str(bundle.path.parent) not in text
    assert "secret" not in text
    assert str(Path.home()) + "/" not in text
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert f"/{getpass.getuser()}/" not in text


@needs_cpu_flow
def test_it_goes_on_after_an_engine_that_fails(bundle: Bundle, no_doctor: None) -> None:
    report = verify_device(device(swapped_graph(bundle)), on_report=lambda _report: None)
    engines = by_name(report.figures, "engines")
    assert engines["parity of rgb with the float32 graph"].status == "failed"
    assert "golden sample" in engines["parity of rgb with the float32 graph"].value
    assert engines["fused labels"].value == "what comes before it failed"
    assert by_name(report.figures, "latency")["loading the engines"].status == "failed"
    assert by_name(report.figures, "flow on the CPU")["a pair, paper"].status == "measured"
    assert report.finished
    assert report.facts == {"cameras": "present", "GPU": "none"}
    assert "**failed**: EngineError" in report.markdown()
    names_nobody(report.markdown() + report.model_dump_json(), bundle)


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)])
@needs_cpu_flow
def test_the_command_writes_one_report_and_fails_only_on_what_is_wrong(
    bundle: Bundle, no_doctor: None, fails: bool, code: int
) -> None:
    if fails:
        swapped_graph(bundle)
    folder = bundle.path.parent / "report"
    options = ("--engine", "onnxruntime", "--flow", "opencv", "--duration", "0.1", "--sustained", "0")
    result = CliRunner().invoke(app, ["verify-device", str(bundle.path), "--out", str(folder), *options])
    assert result.exit_code == code, result.output
    assert ("failed: engines, parity of rgb" in result.stderr) == fails
    assert sorted(path.name for path in folder.iterdir()) == ["device-report.json", "device-report.md"]
    report = DeviceReport.model_validate_json((folder / "device-report.json").read_bytes())
    assert report.markdown() == (folder / "device-report.md").read_text()
    assert by_name(report.figures, "sustained")["speed"].value == "left out by --sustained 0"


def test_what_a_check_raises_becomes_the_figure_that_was_due() -> None:
    def crashes(_device: Device) -> Iterator[tuple[str, str | NotHere]]:
        yield "one", "1 ms"
        yield "two", NotHere("no sensor")
        raise ZeroDivisionError("a bug")

    figures = run_check(Check("a check", ("one", "two", "three", "four"), crashes), None)  # type: ignore[arg-type]
    assert [(figure.name, figure.status, figure.value) for figure in figures] == [
        ("one", "measured", "1 ms"),
        ("two", "not measured", "no sensor"),
        ("three", "failed", "ZeroDivisionError: a bug"),
        ("four", "not measured", "what comes before it failed"),
    ]


class GpuFlow:
    """The CPU's flow in the place of CUDA's, off by `error_px`."""

    error_px = 0.0

    def __init__(self, parameters: FlowParameters, *, batch: int = 32) -> None:
        self._flow = CpuFlow(parameters)

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._flow.flow(previous, current) + np.float32(self.error_px)

    def flow_batch(self, frames: NDArray[np.uint8]) -> None:
        return None

    def __enter__(self) -> GpuFlow:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(("error_px", "status"), [(0.0, "measured"), (0.001, "failed")])
@needs_cpu_flow
def test_flow_on_a_gpu_is_held_to_the_cpu_s_bits(monkeypatch: pytest.MonkeyPatch, error_px: float, status: str) -> None:
    monkeypatch.setattr(GpuFlow, "error_px", error_px)
    monkeypatch.setattr(flow_checks, "CudaFlow", GpuFlow)
    monkeypatch.setattr(flow_checks, "why_absent", lambda _choice: None)
    check = Check("flow on the GPU", flow_checks.CUDA_FLOW_FIGURES, lambda _device: flow_checks.cuda_flow())
    figures = by_name(run_check(check, None), "flow on the GPU")  # type: ignore[arg-type]
    assert figures["bits of the CPU"].status == status
    assert figures["a pair, fast"].status == ("measured" if status == "measured" else "not measured")


class Resident:
    """Networks on the host that do not say so, whose logits are off by `error`."""

    def __init__(self, inner: Any, error: float) -> None:
        self._inner, self._error = inner, error

    def infer(self) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._inner.infer() + np.float32(self._error)
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Resident:
        self._inner.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.__exit__(None, None, None)


@pytest.mark.parametrize(("error", "status"), [(0.0, "measured"), (0.5, "failed")])
def test_networks_on_a_device_are_held_to_the_host_s_logits(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: float, status: str
) -> None:
    build_engines(bundle, engine="onnxruntime")
    networks = open_networks(bundle, engine="onnxruntime", flow="cpu", warn=lambda _line: None)
    monkeypatch.setattr(Device, "open_networks", lambda _self: Resident(networks, error))
    check = next(check for check in device_checks.checks_of(bundle) if check.name == "device-resident runtime")
    (figure,) = run_check(check, device(bundle))
    assert figure.status == status, figure.value


@needs_cpu_flow
def test_the_pair_for_every_machine_moves_two_pixels_and_gives_the_recorded_bits() -> None:
    pair = flow_checks.integer_pair()
    inner = OpenCvFlow(PARAMETER_SETS["paper"]).flow(*pair)[20:-20, 20:-20]
    assert inner.mean((0, 1)) == pytest.approx((2.0, 0.0), abs=0.02)
    figures = dict(flow_checks.cpu_flow())
    assert str(figures["bits of x86-64"]).startswith("equal")


def test_another_machine_s_bits_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    if CpuFlow.available() is not None:
        pytest.skip("our CPU flow was not built")
    monkeypatch.setitem(flow_checks.X86_64_FLOW, flow_checks.IMPLEMENTATION, "0" * 64)
    with pytest.raises(FlowError, match="other bits here"):
        next(flow_checks.cpu_flow())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/bundle.engines: cannot be written", "bundle.engines: cannot be written"),
        ("found in '/usr/lib/python3/dist-packages': create it", "found in 'dist-packages': create it"),
        ("onnxruntime-1.32.0/cpu/fp32, 1/32 px, 30 frames/s", "onnxruntime-1.32.0/cpu/fp32, 1/32 px, 30 frames/s"),
        (f"{Path.home()}/cages/a", "a"),
        (f"on {socket.gethostname()}: no", "on HOST: no"),
    ],
)
def test_texts_lose_folders_and_the_host(text: str, expected: str) -> None:
    assert without_names(text) == expected
