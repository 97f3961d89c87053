"""Builds, verifies and installs a bundle's engines: the room's door for `toolkit build-engine`.

A set of engines, one per stream, is installed as a whole after all of it passed the golden sample, or not at all. One
process builds at a time; another that waited for it takes what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from toolkit import __version__
from toolkit.bundle import Bundle
from toolkit.engine.builder import DEFAULT_WORKSPACE_BYTES, build_plan
from toolkit.engine.contract import Backend
from toolkit.engine.lock import build_lock
from toolkit.engine.select import (
    CpuEngineName,
    EngineChoice,
    EngineName,
    choose_engine,
    cpu_backend,
    identity_here,
    stale_engines,
)
from toolkit.engine.sidecar import EngineIdentity, Precision, Sidecar, engine_set, engines_folder, read_sidecar
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.engine.tensorrt_api import TensorRt, import_tensorrt
from toolkit.engine.timing_cache import timing_cache_path
from toolkit.engine.validation import Validation, validate
from toolkit.engine.verification import ParityReport, verify
from toolkit.errors import EngineError, raise_faults
from toolkit.files import atomic_directory, sha256_of_file
from toolkit.preprocess import Stream


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is."""

    stage: str
    """What is being done, e.g. ``rgb: build``, ``verify``, or ``waiting for process 17``."""
    done: int
    """Steps done of this stage."""
    steps: int
    """Steps of this stage; 0 where unknown."""
    elapsed_s: float
    """Time since the stage began, s."""


@dataclass(frozen=True)
class BuiltEngine:
    """One installed engine."""

    stream: Stream
    path: Path
    """The plan, or the bundle's graph that the CPU runs."""
    sidecar: Sidecar
    reason: str
    """Why this kind of engine was built, in one sentence."""


Report = Callable[[BuildProgress], None]


def build_engines(
    bundle: Bundle,
    *,
    engine: EngineChoice = "auto",
    precision: Precision = "fp16",
    max_batch: int = 1,
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES,
    target: str | None = None,
    validation: Validation | None = None,
    only_if_stale: bool = False,
    on_progress: Report | None = None,
) -> list[BuiltEngine]:
    """Build, verify and install the engines of every stream, into ``BUNDLE.engines`` beside the bundle.

    Parameters
    ----------
    engine
        ``auto`` takes TensorRT where it can run, else the fastest on the CPU, which needs no building, only
        verification.
    precision
        Of TensorRT engines; a CPU always runs float32.
    max_batch
        Most clips in one inference of a TensorRT engine.
    target
        Compute capability such as ``sm86`` to build for without its GPU (TensorRT for RTX only). Such engines cannot
        be verified here and `open_backends` refuses them.
    validation
        A labelled data set to score the engines on as well, before they are installed.
    only_if_stale
        Return the installed engines where they are this bundle's, this version's and this device's. Otherwise only
        those are, that another process installed while this one waited for it, and that are what was asked for.
    on_progress
        Told how far it is. What it raises stops the build or the waiting, and is raised again.

    Raises
    ------
    EngineError
        If an engine cannot be built, is outside the bundle's limits, or cannot be written. Engines that were
        installed before stay as they were.
    DatasetError, AnnotationError, VideoError
        If the data set to validate on cannot be read.
    MissingDependency
        If an engine is demanded that, or PyCUDA for ``tensorrt``, is not installed.
    """
    if max_batch < 1:
        raise EngineError(f"max_batch must be at least 1, found {max_batch}.")
    report: Report = on_progress if on_progress is not None else _ignore
    found = _sets(bundle)
    try:
        if target is not None:
            _check_target(target, engine, validation)
            with build_lock(engines_folder(bundle), partial(_report_waiting, report)):
                return _build_for_absent_gpu(bundle, target, precision, max_batch, workspace_bytes, report)
        chosen, reason = choose_engine(engine)
        with build_lock(engines_folder(bundle), partial(_report_waiting, report)) as before:
            if only_if_stale and (installed := _installed(bundle, chosen, precision, "it was built before")):
                return installed
            if before and (installed := _installed(bundle, chosen, precision, f"{before} built it meanwhile")):
                asked = max_batch if chosen == "tensorrt" else None
                # Not those of before, where the other builder was killed.
                if _sets(bundle) != found and all(_is_as_asked(one.sidecar, asked, validation) for one in installed):
                    return installed
            if chosen != "tensorrt":
                return _verify_on_cpu(bundle, chosen, reason, validation, report)
            return _build_and_verify(bundle, reason, precision, max_batch, workspace_bytes, validation, report)
    except OSError as error:
        raise EngineError(
            f"the engines of {bundle.path} cannot be written beside it ({error}). "
            "Free space, or copy the bundle to a folder that can be written to."
        ) from error


def _check_target(target: str, engine: EngineChoice, validation: Validation | None) -> None:
    if engine not in ("auto", "tensorrt"):
        raise EngineError(f"{engine} builds nothing for {target}: choose the engine tensorrt, or no target.")
    if validation is not None:
        raise EngineError(f"an engine for {target} cannot run here, so it cannot be validated: leave out one of them.")


def _installed(bundle: Bundle, chosen: EngineName, precision: Precision, reason: str) -> list[BuiltEngine]:
    """Return the installed engines, none if any of them may not run here."""
    if stale_engines(bundle, engine=chosen, precision=precision):
        return []
    built = []
    for stream in bundle.manifest.streams:
        here = identity_here(bundle, stream, chosen, precision)
        folder = engine_set(bundle, here.runtime, here.precision)
        sidecar = read_sidecar(folder / f"{stream}.json")
        graph = bundle.onnx_path(stream, "fp32")
        built.append(BuiltEngine(stream, folder / f"{stream}.plan" if sidecar.plan_sha256 else graph, sidecar, reason))
    return built


def _sets(bundle: Bundle) -> set[tuple[int, int]]:
    """Tell the sets of engines that are there from others of the same names: no clock is asked, since clocks step."""
    return {(path.stat().st_ino, path.stat().st_mtime_ns) for path in engines_folder(bundle).glob("[!.]*/")}


def _is_as_asked(sidecar: Sidecar, max_batch: int | None, validation: Validation | None) -> bool:
    """Say whether an engine was built for the same as is asked for now."""
    validated = sidecar.parity is not None and sidecar.parity.behaviour is not None
    return sidecar.max_batch == max_batch and (validation is None or validated)


def _verify_on_cpu(
    bundle: Bundle, engine: CpuEngineName, reason: str, validation: Validation | None, report: Report
) -> list[BuiltEngine]:
    streams = bundle.manifest.streams
    folder = engine_set(bundle, engine, "fp32")
    with atomic_directory(folder, overwrite=True) as staging:
        backends = {stream: cpu_backend(engine, bundle.onnx_path(stream, "fp32")) for stream in streams}
        parity = _verify(bundle, backends, validation, report)
        built = []
        for stream in streams:
            identity = identity_here(bundle, stream, engine, "fp32")
            sidecar = _sidecar(bundle, stream, identity, max_batch=None, plan=None, build_s=0.0, parity=parity)
            _write(staging, sidecar)
            built.append(BuiltEngine(stream, bundle.onnx_path(stream, "fp32"), sidecar, reason))
    return built


def _build_and_verify(
    bundle: Bundle,
    reason: str,
    precision: Precision,
    max_batch: int,
    workspace_bytes: int,
    validation: Validation | None,
    report: Report,
) -> list[BuiltEngine]:
    api = import_tensorrt()
    streams = bundle.manifest.streams
    folder = engine_set(bundle, api.runtime, precision)
    with atomic_directory(folder, overwrite=True) as staging:
        times_s = _build_plans(api, bundle, staging, precision, max_batch, workspace_bytes, None, report)
        backends = {stream: TensorRtBackend(staging / f"{stream}.plan", precision=precision) for stream in streams}
        parity = _verify(bundle, backends, validation, report)
        built = []
        for stream in streams:
            plan = staging / f"{stream}.plan"
            identity = identity_here(bundle, stream, "tensorrt", precision)
            sidecar = _sidecar(bundle, stream, identity, max_batch, plan, times_s[stream], parity)
            _write(staging, sidecar)
            built.append(BuiltEngine(stream, folder / plan.name, sidecar, reason))
    return built


def _build_for_absent_gpu(
    bundle: Bundle, target: str, precision: Precision, max_batch: int, workspace_bytes: int, report: Report
) -> list[BuiltEngine]:
    api = import_tensorrt(for_absent_gpu=True)
    folder = engine_set(bundle, api.runtime, precision, target)
    with atomic_directory(folder, overwrite=True) as staging:
        times_s = _build_plans(api, bundle, staging, precision, max_batch, workspace_bytes, target, report)
        built = []
        for stream in bundle.manifest.streams:
            plan = staging / f"{stream}.plan"
            identity = EngineIdentity(
                bundle_sha256=bundle.sha256,
                onnx_sha256=sha256_of_file(bundle.onnx_path(stream, precision)),
                runtime=api.runtime,
                runtime_version=api.version,
                device=f"any {target} GPU",
                compute_capability=target,
                precision=precision,
            )
            sidecar = _sidecar(bundle, stream, identity, max_batch, plan, times_s[stream], None)
            _write(staging, sidecar)
            built.append(BuiltEngine(stream, folder / plan.name, sidecar, f"built for {target}, unverified"))
    return built


def _build_plans(
    api: TensorRt,
    bundle: Bundle,
    folder: Path,
    precision: Precision,
    max_batch: int,
    workspace_bytes: int,
    target: str | None,
    report: Report,
) -> dict[Stream, float]:
    times_s: dict[Stream, float] = {}
    for stream in bundle.manifest.streams:
        started_s = time.monotonic()
        build_plan(
            api,
            bundle.onnx_path(stream, precision),
            folder / f"{stream}.plan",
            max_batch=max_batch,
            workspace_bytes=workspace_bytes,
            target=target,
            timing_cache=None if target else timing_cache_path(api, engines_folder(bundle), precision),
            on_progress=partial(_report_phase, report, stream),
        )
        times_s[stream] = time.monotonic() - started_s
    return times_s


def _verify(
    bundle: Bundle, backends: Mapping[Stream, Backend], validation: Validation | None, report: Report
) -> ParityReport:
    started_s = time.monotonic()
    report(BuildProgress("verify", 0, 1, 0.0))
    with ExitStack() as stack:
        entered = {stream: stack.enter_context(backend) for stream, backend in backends.items()}
        parity = verify(bundle, entered)
        report(BuildProgress("verify", 1, 1, time.monotonic() - started_s))
        if validation is None:
            return parity
        started_s = time.monotonic()
        behaviour = validate(
            bundle,
            entered,
            validation,
            on_progress=lambda done, clips: report(
                BuildProgress("validate", done, clips, time.monotonic() - started_s)
            ),
        )
    summary = f"{bundle.manifest.name}: the engine behaves otherwise than the float32 graph and is not installed"
    raise_faults(EngineError, summary, behaviour.faults(bundle.manifest))
    return parity.model_copy(update={"behaviour": behaviour})


def _sidecar(
    bundle: Bundle,
    stream: Stream,
    identity: EngineIdentity,
    max_batch: int | None,
    plan: Path | None,
    build_s: float,
    parity: ParityReport | None,
) -> Sidecar:
    spec = next(spec for spec in bundle.manifest.inputs if spec.stream == stream)
    return Sidecar(
        stream=stream,
        bundle_name=bundle.manifest.name,
        identity=identity,
        input_shape=(bundle.manifest.clip.frames, spec.channels, spec.crop, spec.crop),
        max_batch=max_batch,
        plan_sha256=None if plan is None else sha256_of_file(plan),
        build_s=round(build_s, 3),
        built_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        toolkit_version=__version__,
        parity=parity,
    )


def _write(folder: Path, sidecar: Sidecar) -> None:
    (folder / f"{sidecar.stream}.json").write_text(sidecar.model_dump_json(indent=2) + "\n")


def _report_phase(report: Report, stream: Stream, phase: str, done: int, steps: int, elapsed_s: float) -> None:
    report(BuildProgress(f"{stream}: {phase}", done, steps, elapsed_s))


def _report_waiting(report: Report, holder: str, elapsed_s: float) -> None:
    report(BuildProgress(f"waiting for {holder}", 0, 0, elapsed_s))


def _ignore(progress: BuildProgress) -> None:
    del progress
