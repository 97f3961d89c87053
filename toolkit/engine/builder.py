"""Builds a TensorRT plan from a bundle's graph, says how far it is, and leaves no half-built plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.engine.tensorrt_api import (
    TensorRt,
    build_serialized,
    create_builder,
    create_config,
    create_logger,
    create_network,
    create_parser,
    dims_of,
    set_target,
    sizes_of,
)
from toolkit.engine.tensors import GraphShape
from toolkit.engine.timing_cache import load_timings, save_timings
from toolkit.errors import EngineError, raise_faults
from toolkit.files import atomic_write
from toolkit.terminal import print_warning

if TYPE_CHECKING:
    import tensorrt

    from toolkit.engine.tensorrt_api import ErrorLog

DEFAULT_WORKSPACE_BYTES = 1 << 30

Progress = Callable[[str, int, int, float], None]
"""Called with a phase's name, steps done, steps in all, and the time since the build began, s."""


@dataclass(frozen=True)
class ParsedGraph:
    """A network definition and what must outlive it: the parser owns the weights."""

    builder: tensorrt.Builder
    network: tensorrt.INetworkDefinition
    parser: tensorrt.OnnxParser
    logger: ErrorLog
    shape: GraphShape


def parse_graph(api: TensorRt, onnx: Path) -> ParsedGraph:
    """Parse an ONNX graph into a strongly typed network.

    Raises
    ------
    EngineError
        With every fault that the parser found, or if the graph is not one of a bundle.
    """
    logger = create_logger(api)
    builder = create_builder(api, logger)
    network = create_network(api, builder)
    parser = create_parser(api, network, logger)
    if not parser.parse(_read(onnx)):
        faults = [_parser_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise_faults(
            EngineError,
            f"{onnx}: {api.runtime} {api.version} cannot parse it; export the bundle again, or copy it again",
            faults or logger.errors or ["no reason was given"],
        )
    return ParsedGraph(builder, network, parser, logger, _graph_shape(api, network, onnx))


def build_plan(
    api: TensorRt,
    onnx: Path,
    plan: Path,
    *,
    max_batch: int = 1,
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES,
    target: str | None = None,
    timing_cache: Path | None = None,
    on_progress: Progress | None = None,
    warn: Callable[[str], None] = print_warning,
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
    timing_cache
        File of timings of this machine's GPU, read and written; see `timing_cache_path`.
    warn
        Told of a timing cache that cannot be used.

    Raises
    ------
    EngineError
        If the graph cannot be parsed or built, or memory runs out, with TensorRT's reasons. An existing
        `plan` stays as it was.
    """
    parsed = parse_graph(api, onnx)
    config = create_config(api, parsed.builder, workspace_bytes)
    if target is not None:
        set_target(api, config, target)
    profile = parsed.builder.create_optimization_profile()
    one, most = (dims_of(api, (batch, *parsed.shape.time_major)) for batch in (1, max_batch))
    profile.set_shape("clips", one, most, most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"{onnx}: {api.runtime} refuses batches of 1 to {max_batch} clips.")
    if timing_cache is not None:
        load_timings(config, timing_cache, warn)
    monitor = _create_monitor(api, on_progress)
    config.progress_monitor = monitor
    try:
        serialized = build_serialized(parsed.builder, parsed.network, config)
    except MemoryError as error:
        raise EngineError(_no_memory(api, onnx)) from error
    if monitor.interruption is not None:
        raise monitor.interruption
    if serialized is None:
        reasons = parsed.logger.errors or ["no reason was given; the workspace limit or the memory may be too small"]
        raise_faults(EngineError, f"{onnx}: {api.runtime} {api.version} cannot build an engine", reasons)
        return parsed.shape
    if timing_cache is not None:
        save_timings(config, timing_cache, warn)
    with atomic_write(plan) as beside:
        beside.write_bytes(serialized)
    return parsed.shape


def _no_memory(api: TensorRt, onnx: Path) -> str:
    return (
        f"{onnx}: {api.runtime} {api.version} ran out of memory while it built the engine. Stop what else runs on this "
        "machine, or build with less: toolkit build-engine --workspace-mib 256 --max-batch 1"
    )


def _read(onnx: Path) -> bytes:
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise EngineError(f"{onnx}: cannot be read ({error.strerror}).") from error


def _parser_fault(fault: tensorrt.ParserError) -> str:
    where = f" at node {fault.node_name()!r} ({fault.node_operator()})" if fault.node_name() else ""
    return f"{fault.desc()}{where}"


def _graph_shape(api: TensorRt, network: tensorrt.INetworkDefinition, onnx: Path) -> GraphShape:
    trt = api.module
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = [(tensor.name, tensor.dtype, sizes_of(tensor.shape)) for tensor in (*inputs, *outputs)]
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
