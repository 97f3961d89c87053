"""Which engine this machine runs: what it has, whether an engine was built for it, and the backends that run it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal, get_args

from toolkit.bundle import Bundle
from toolkit.engine.contract import Backend
from toolkit.engine.device import cpu_name, find_gpu
from toolkit.engine.onnxruntime import OnnxRuntimeBackend, onnxruntime_version
from toolkit.engine.openvino import OpenVinoBackend, import_openvino, openvino_version
from toolkit.engine.sidecar import (
    EngineIdentity,
    Precision,
    Sidecar,
    check_identity,
    engine_set,
    engines_folder,
    identity_faults,
    read_sidecar,
)
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.engine.tensorrt_api import import_tensorrt
from toolkit.errors import EngineError, EngineMismatch, MissingDependency, ToolkitError
from toolkit.files import sha256_of_file
from toolkit.preprocess import Stream

EngineChoice = Literal["auto", "tensorrt", "openvino", "onnxruntime"]
EngineName = Literal["tensorrt", "openvino", "onnxruntime"]
CpuEngineName = Literal["openvino", "onnxruntime"]
ENGINE_CHOICES: tuple[str, ...] = get_args(EngineChoice)


def choose_engine(engine: EngineChoice) -> tuple[EngineName, str]:
    """Return the engine that this machine uses, and why in one sentence.

    Raises
    ------
    EngineError, MissingDependency
        If an engine is demanded that this machine cannot run.
    """
    if engine == "onnxruntime":
        return "onnxruntime", "ONNX Runtime was asked for"
    if engine == "openvino":
        import_openvino()
        return "openvino", "OpenVINO was asked for"
    try:
        api, gpu = import_tensorrt(), find_gpu()
    except ToolkitError as error:
        if engine == "tensorrt":
            raise
        cpu_engine, reason = _fastest_on_cpu()
        return cpu_engine, f"{reason}; TensorRT cannot run here: {error}"
    return "tensorrt", f"{api.runtime} {api.version} on {gpu.name}"


def _fastest_on_cpu() -> tuple[CpuEngineName, str]:
    machine = platform.machine()
    if machine != "x86_64":
        return "onnxruntime", f"ONNX Runtime on {machine}, where OpenVINO has not been measured"
    try:
        import_openvino()
    except MissingDependency as error:
        return "onnxruntime", f"ONNX Runtime, for want of the faster OpenVINO: {error}"
    return "openvino", "OpenVINO, the fastest on this processor"


def cpu_backend(engine: CpuEngineName, graph: Path, *, threads: int = 0, spin: bool = True) -> Backend:
    """Return the backend, not entered yet, that runs a float32 graph on the CPU; `spin` is ONNX Runtime's."""
    if engine == "openvino":
        return OpenVinoBackend(graph, threads=threads)
    return OnnxRuntimeBackend(graph, threads=threads, spin=spin)


def identity_here(bundle: Bundle, stream: Stream, engine: EngineName, precision: Precision) -> EngineIdentity:
    """Return the identity that an engine of this bundle must have to run on this machine.

    On a CPU it is always float32.
    """
    if engine != "tensorrt":
        return EngineIdentity(
            bundle_sha256=bundle.sha256,
            onnx_sha256=sha256_of_file(bundle.onnx_path(stream, "fp32")),
            runtime=engine,
            runtime_version=openvino_version() if engine == "openvino" else onnxruntime_version(),
            device=cpu_name(),
            compute_capability=None,
            precision="fp32",
        )
    api, gpu = import_tensorrt(), find_gpu()
    return EngineIdentity(
        bundle_sha256=bundle.sha256,
        onnx_sha256=sha256_of_file(bundle.onnx_path(stream, precision)),
        runtime=api.runtime,
        runtime_version=api.version,
        device=gpu.name,
        compute_capability=".".join(map(str, gpu.compute_capability)),
        precision=precision,
    )


def open_backends(
    bundle: Bundle,
    *,
    engine: EngineChoice = "auto",
    precision: Precision = "fp16",
    threads: int = 0,
    shared: bool = False,
) -> dict[Stream, Backend]:
    """Return a backend, not entered yet, for every stream of a bundle whose engines were built on this machine.

    Parameters
    ----------
    engine
        ``auto`` takes TensorRT where it can run, else the fastest on the CPU.
    precision
        Of TensorRT engines.
    threads
        Of an inference on the CPU; 0 takes one per physical core.
    shared
        For several cages of one process, whose flow needs the cores between inferences: no thread spins there.

    Raises
    ------
    EngineError
        If no engine was built yet, or a sidecar is damaged.
    EngineMismatch
        If the engine was made for another bundle, version or device; every differing field is named.
    """
    chosen, _ = choose_engine(engine)
    backends: dict[Stream, Backend] = {}
    for stream in bundle.manifest.streams:
        here = identity_here(bundle, stream, chosen, precision)
        path = engine_set(bundle, here.runtime, here.precision) / f"{stream}.json"
        if not path.is_file():
            raise _not_built(bundle, stream, here)
        check_identity(path, read_sidecar(path), here, bundle)
        if chosen == "tensorrt":
            backends[stream] = TensorRtBackend(path.with_suffix(".plan"), precision=precision)
        else:
            backends[stream] = cpu_backend(chosen, bundle.onnx_path(stream, "fp32"), threads=threads, spin=not shared)
    return backends


def stale_engines(bundle: Bundle, *, engine: EngineChoice = "auto", precision: Precision = "fp16") -> list[str]:
    """Return why engines cannot run here, a line for every reason: `open_backends` succeeds where there is none.

    Raises
    ------
    EngineError, MissingDependency
        If ``tensorrt`` is demanded and this machine cannot run it.
    """
    chosen, _ = choose_engine(engine)
    reasons: list[str] = []
    for stream in bundle.manifest.streams:
        here = identity_here(bundle, stream, chosen, precision)
        path = engine_set(bundle, here.runtime, here.precision) / f"{stream}.json"
        if not path.is_file():
            reasons.append(f"{stream}: none was built for {here.runtime} {here.precision} on this machine")
            continue
        try:
            faults = identity_faults(path, read_sidecar(path), here)
        except EngineError as error:
            faults = [str(error)]
        reasons += [f"{stream}: {fault}" for fault in faults]
    return reasons


def built_sidecars(bundle: Bundle) -> list[Sidecar]:
    """Return the sidecar of every engine beside a bundle, readable ones only."""
    sidecars = []
    for path in sorted(engines_folder(bundle).glob("*/*.json")):
        try:
            sidecars.append(read_sidecar(path))
        except EngineError:
            continue
    return sidecars


def _not_built(bundle: Bundle, stream: Stream, here: EngineIdentity) -> EngineError:
    command = f"Run: toolkit build-engine {bundle.path}"
    others = [sidecar.identity for sidecar in built_sidecars(bundle) if sidecar.stream == stream]
    if not others:
        return EngineError(f"{bundle.path}: no engine was built for {stream} on this machine yet. {command}")
    made = "; ".join(f"{i.runtime} {i.runtime_version} {i.precision} on {i.device}" for i in others)
    found = f"{here.runtime} {here.runtime_version} {here.precision} on {here.device}"
    return EngineMismatch(f"{bundle.path}: engine of {stream}: made for {made}; found here {found}. {command}")
