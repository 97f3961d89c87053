"""Which implementation of TV-L1 runs: CUDA where there is a GPU, else our CPU code, else OpenCV.

A network sees the flow that it was trained on only up to the difference between implementations, so whoever opens one
says what the network was trained with and is told, once, when another one runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import cv2

from toolkit.errors import FlowError, MissingDependency, ToolkitError
from toolkit.flow.contract import FlowEstimator, FlowParameters
from toolkit.flow.cpu import IMPLEMENTATION, CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.opencv import OpenCvFlow

FlowChoice = Literal["auto", "cuda", "cpu", "opencv"]
FLOW_CHOICES: tuple[FlowChoice, ...] = get_args(FlowChoice)

Warn = Callable[[str], None]
"""Told one line, without a line end."""


def open_flow(
    choice: FlowChoice, parameters: FlowParameters, *, trained_with: str | None = None, warn: Warn
) -> FlowEstimator:
    """Open a flow estimator.

    Parameters
    ----------
    choice
        ``auto`` takes CUDA where it is usable, else our CPU code, else OpenCV.
    trained_with
        `FlowEstimator.implementation` at training, e.g. ``opencv-5.0.0``; None where no network will see the flow.
    warn
        Told, in one line each, what ``auto`` could not have, and that another implementation than at training runs.

    Raises
    ------
    FlowError
        If `choice` names an implementation that cannot run here, or nothing can.
    """
    estimator = _automatic(parameters, warn) if choice == "auto" else _explicit(choice, parameters)
    if trained_with is not None and trained_with != estimator.implementation:
        warn(
            f"flow: the bundle was trained with {trained_with}, {estimator.implementation} runs here; "
            "`toolkit doctor` measures their difference."
        )
    return estimator


def best_cpu_flow(parameters: FlowParameters) -> FlowEstimator:
    """Open our CPU code, or OpenCV where that cannot run: what worker processes compute flow with.

    Raises
    ------
    FlowError
        If neither can run.
    """
    return _cpu_or_opencv(parameters, lambda _line: None)


def estimator_factory(choice: FlowChoice) -> Callable[[FlowParameters], FlowEstimator]:
    """Return what makes an estimator in a worker process; it can be pickled.

    ``auto`` is `best_cpu_flow`: several workers would queue for one GPU, each with a context of its own.
    """
    return _FACTORIES[choice]


def why_not_fast(choice: FlowChoice, parameters: FlowParameters) -> str | None:
    """Return why workers with this choice compute flow by OpenCV unasked, in one line, or None if they do not."""
    if choice != "auto":
        return None
    reasons: list[str] = []
    _cpu_or_opencv(parameters, reasons.append)
    return reasons[0] if reasons else None


def why_absent(choice: Literal["cuda", "cpu", "opencv"]) -> str | None:
    """Return why an implementation cannot run here, or None if it can."""
    if choice == "cuda":
        return CudaFlow.available()
    if choice == "cpu":
        return CpuFlow.available()
    return None if hasattr(cv2, "optflow") else "this OpenCV has no contrib modules."


def flow_as_trained(implementation: str, parameters: FlowParameters) -> FlowEstimator:
    """Open the implementation that comes nearest to the one named, e.g. to compare with what training stored.

    Raises
    ------
    FlowError
        If it cannot run here.
    """
    return _explicit("cpu" if implementation == IMPLEMENTATION else "opencv", parameters)


_FACTORIES: dict[FlowChoice, Callable[[FlowParameters], FlowEstimator]] = {
    "auto": best_cpu_flow,
    "cuda": CudaFlow,
    "cpu": CpuFlow,
    "opencv": OpenCvFlow,
}


def _explicit(choice: FlowChoice, parameters: FlowParameters) -> FlowEstimator:
    reason = CudaFlow.available() if choice == "cuda" else None
    if reason is not None:
        raise FlowError(f"--flow cuda cannot run here: {reason} Take --flow auto.")
    try:
        return _FACTORIES[choice](parameters)
    except ToolkitError as error:
        raise FlowError(f"--flow {choice} cannot run here: {error} Or take --flow auto.") from error


def _automatic(parameters: FlowParameters, warn: Warn) -> FlowEstimator:
    # A machine without a usable GPU is the common case and no fault; one that fails when it is opened is.
    if CudaFlow.available() is None:
        try:
            return CudaFlow(parameters)
        except FlowError as error:
            warn(f"flow: CUDA failed ({error}); it runs on the CPU instead.")
    return _cpu_or_opencv(parameters, warn)


def _cpu_or_opencv(parameters: FlowParameters, warn: Warn) -> FlowEstimator:
    try:
        return CpuFlow(parameters)
    except FlowError as error:
        reason = str(error)
    try:
        estimator = OpenCvFlow(parameters)
    except MissingDependency as error:
        raise FlowError(f"no TV-L1 can run here. Ours: {reason} OpenCV's: {error}") from error
    warn(f"flow: OpenCV's TV-L1 runs, about ten times slower than ours: {reason}")
    return estimator
