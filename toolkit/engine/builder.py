"""Builds a TensorRT plan from a bundle's graph, says how far it is, and leaves no half-built plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.engine.tensorrt_api import TensorRt, create_logger, create_network, set_target
from toolkit.engine.tensors import GraphShape
from toolkit.errors import EngineError, raise_faults
from toolkit.files import atomic_write

DEFAULT_WORKSPACE_BYTES = 1 << 30

Progress = Callable[[str, int, int, float], None]
"""Called with a phase's name, steps done, steps in all, and the time since the build began, s."""


@dataclass(frozen=True)
class ParsedGraph:
    """A network definition and what must outlive it: the parser owns the weights."""

    builder: Any
    network: Any
    parser: Any
    logger: Any
    shape: GraphShape


def parse_graph(api: TensorRt, onnx: Path) -> ParsedGraph:
    """Parse an ONNX graph into a strongly typed network.

    Raises
    ------
    EngineError
        With every fault that the parser found, or if the graph is not one of a bundle.
    """
    trt = api.module
    logger = create_logger(api)
    builder = trt.Builder(logger)
    network = create_network(api, builder)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(_read(onnx)):
        faults = [_parser_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise_faults(
            EngineError,
            f"{onnx}: {api.runtime} {api.version} cannot parse it; export the bundle again, or copy it again",
            faults or logger.errors or ["no reason was given"],
        )
    return ParsedGraph(builder, network, parser, logger, _graph_shape(trt, network, onnx))


def build_plan(
    api: TensorRt,
    onnx: Path,
    plan: Path,
    *,
    max_batch: int = 1,
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES,
    target: str | None = None,
    on_progress: Progress | None = None,
) -> GraphShape:
    """Build an engine and write it to `plan`, whole or not at all.

    Parameters
    ----------
    max_batch
        The engine takes 1 to `max_batch` clips, fastest with `max_batch`.
    workspace_bytes
        Most scratch memory that a layer may use.
    target
        Compute capability to build for, such as ``sm86``; None builds for this machine's GPU.

    Raises
    ------
    EngineError
        If the graph cannot be parsed or built, with TensorRT's reasons. An existing `plan` stays as it was.
    """
    trt = api.module
    parsed = parse_graph(api, onnx)
    config = parsed.builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    if target is not None:
        set_target(api, config, target)
    profile = parsed.builder.create_optimization_profile()
    one, most = ((batch, *parsed.shape.time_major) for batch in (1, max_batch))
    profile.set_shape("clips", one, most, most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"{onnx}: {api.runtime} refuses batches of 1 to {max_batch} clips.")
    monitor = _create_monitor(api, on_progress)
    config.progress_monitor = monitor
    serialized = parsed.builder.build_serialized_network(parsed.network, config)
    if monitor.interruption is not None:
        raise monitor.interruption
    if serialized is None:
        raise_faults(
            EngineError,
            f"{onnx}: {api.runtime} {api.version} cannot build an engine",
            parsed.logger.errors or ["no reason was given; the workspace limit or the memory may be too small"],
        )
    with atomic_write(plan) as beside:
        beside.write_bytes(serialized)
    return parsed.shape


def _read(onnx: Path) -> bytes:
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise EngineError(f"{onnx}: cannot be read ({error.strerror}).") from error


def _parser_fault(fault: Any) -> str:
    where = f" at node {fault.node_name()!r} ({fault.node_operator()})" if fault.node_name() else ""
    return f"{fault.desc()}{where}"


def _graph_shape(trt: Any, network: Any, onnx: Path) -> GraphShape:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = [(tensor.name, tensor.dtype, tuple(tensor.shape)) for tensor in (*inputs, *outputs)]
    match found:
        case [("clips", clip_type, (_, frames, channels, height, width)), ("logits", logit_type, (_, classes))] if (
            clip_type == logit_type == trt.DataType.FLOAT and min(frames, channels, height, width, classes) > 0
        ):
            return GraphShape(channels=channels, frames=frames, height=height, width=width, classes=classes)
    raise EngineError(
        f"{onnx}: expected one float32 input clips (N, T, C, H, W) and one float32 output logits (N, K), "
        f"found {found}. Export the bundle again."
    )


def _create_monitor(api: TensorRt, on_progress: Progress | None) -> Any:
    trt = api.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        """Passes TensorRT's phases on. What a callback raises stops the build: it must not unwind through C++."""

        def __init__(self) -> None:
            super().__init__()
            self.interruption: BaseException | None = None
            self._started_s = time.monotonic()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return self.interruption is None

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._steps.pop(phase_name, 0))

        def _tell(self, phase: str, done: int) -> None:
            if on_progress is None or self.interruption is not None:
                return
            try:
                on_progress(phase, done, self._steps.get(phase, done), time.monotonic() - self._started_s)
            except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt included; raised again after the build
                self.interruption = error

    return Monitor()
