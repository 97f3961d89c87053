"""Which implementation runs, what is said about it, and that workers can be given one."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import pytest

from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, FlowParameters, OpenCvFlow, open_flow, select
from toolkit.flow.cpu import IMPLEMENTATION, CpuFlow

FAST = PARAMETER_SETS["fast"]
OPENCV = f"opencv-{cv2.__version__}"
NO_CUDA = "no NVIDIA driver."

needs_extension = pytest.mark.skipif(CpuFlow.available() is not None, reason="the extension was not built here")


class Fails:
    """An implementation that is found and cannot be opened."""

    available = staticmethod(lambda: None)

    def __init__(self, parameters: FlowParameters) -> None:
        raise FlowError("out of device memory.")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select.CudaFlow, "available", staticmethod(lambda: NO_CUDA))


@pytest.fixture
def no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(parameters: FlowParameters) -> Any:
        raise FlowError("fast CPU flow was not built. Install a C++ compiler.")

    monkeypatch.setattr(select, "CpuFlow", fail)


@needs_extension
@pytest.mark.usefixtures("no_cuda")
def test_auto_takes_ours_and_says_nothing() -> None:
    lines: list[str] = []
    assert open_flow("auto", FAST, trained_with=IMPLEMENTATION, warn=lines.append).implementation == IMPLEMENTATION
    assert lines == []


@pytest.mark.usefixtures("no_cuda", "no_extension")
def test_auto_falls_back_to_opencv_with_one_line() -> None:
    lines: list[str] = []
    assert open_flow("auto", FAST, warn=lines.append).implementation == OPENCV
    (line,) = lines
    assert "was not built" in line
    assert "Install a C++ compiler" in line
    assert select.why_not_fast("auto", FAST) == line
    assert select.why_not_fast("opencv", FAST) is None


@needs_extension
def test_auto_survives_a_gpu_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "CudaFlow", Fails)
    lines: list[str] = []
    assert open_flow("auto", FAST, warn=lines.append).implementation == IMPLEMENTATION
    (line,) = lines
    assert "out of device memory" in line


@needs_extension
@pytest.mark.usefixtures("no_cuda")
def test_parameters_that_only_opencv_has() -> None:
    lines: list[str] = []
    parameters = FlowParameters(name="lit", gamma=0.1, scales=1, warps=1)
    assert isinstance(open_flow("auto", parameters, warn=lines.append), OpenCvFlow)
    assert len(lines) == 1
    with pytest.raises(FlowError, match=r"--flow cpu cannot run here: gamma is 0\.1"):
        open_flow("cpu", parameters, warn=lines.append)


@pytest.mark.usefixtures("no_cuda")
def test_an_explicit_choice_that_cannot_run_is_an_error() -> None:
    with pytest.raises(FlowError, match=f"--flow cuda cannot run here: {NO_CUDA}"):
        open_flow("cuda", FAST, warn=pytest.fail)


@pytest.mark.usefixtures("no_cuda", "no_extension")
def test_nothing_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(FlowError, match=r"no TV-L1 can run here. Ours: .* OpenCV's: .*contrib"):
        open_flow("auto", FAST, warn=pytest.fail)
    with pytest.raises(FlowError, match="--flow opencv cannot run here"):
        open_flow("opencv", FAST, warn=pytest.fail)


def test_another_implementation_than_at_training_is_said_once() -> None:
    lines: list[str] = []
    open_flow("opencv", FAST, trained_with="opencv-3.0", warn=lines.append)
    (line,) = lines
    assert f"trained with opencv-3.0, {OPENCV} runs here" in line
    assert "toolkit doctor" in line
    assert "\n" not in line


@pytest.mark.parametrize("choice", ["auto", "cpu", "opencv"])
def test_a_factory_passes_to_another_process(choice: select.FlowChoice) -> None:
    if choice == "cpu" and CpuFlow.available():
        pytest.skip("the extension was not built here")
    factory = pickle.loads(pickle.dumps(select.estimator_factory(choice)))
    expected = {"auto": select.best_cpu_flow(FAST).implementation, "cpu": IMPLEMENTATION, "opencv": OPENCV}
    assert factory(FAST).implementation == expected[choice]


@needs_extension
def test_the_trained_implementation_is_found_by_name() -> None:
    assert isinstance(select.flow_as_trained(IMPLEMENTATION, FAST), CpuFlow)
    assert isinstance(select.flow_as_trained("opencv-4.10", FAST), OpenCvFlow)
