"""The checks of `toolkit verify-device`. Each yields its figures in the order in which it names them.

A check that this machine has not the parts for raises `NotHere`, or gives one in place of a figure; one that finds
something wrong raises its error, which becomes the figure that was due.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from toolkit.benchmark.device_report import Figures, NotHere
from toolkit.benchmark.flow_checks import CPU_FLOW_FIGURES, CUDA_FLOW_FIGURES, cpu_flow, cuda_flow
from toolkit.benchmark.measure import Progress, bench
from toolkit.benchmark.report import BenchReport, StrideRun, milliseconds
from toolkit.benchmark.source import open_source
from toolkit.benchmark.timed import FRAME_TO_COMMIT, FRAME_TO_ROW, LOG_COMMIT
from toolkit.bundle import Bundle
from toolkit.engine.build import build_engines
from toolkit.engine.contract import Backend, ClipNetworks
from toolkit.engine.gpu_probe import GpuProbe
from toolkit.engine.host import HostNetworks
from toolkit.engine.networks import open_networks
from toolkit.engine.select import CpuEngineName, EngineChoice, choose_engine, cpu_backend, open_backends
from toolkit.engine.sidecar import Sidecar
from toolkit.errors import EngineError, MissingDependency
from toolkit.flow import FlowChoice, open_flow
from toolkit.frames import NS_PER_S, Frame
from toolkit.pipeline import Pipeline

STRIDES = (1, 2, 4, 8)
CPU_ENGINES: tuple[CpuEngineName, ...] = get_args(CpuEngineName)
CLIPS = 5
"""Inferences that are timed, after one that is not."""


@dataclass
class Device:
    """What checks share."""

    bundle: Bundle
    engine: EngineChoice
    flow: FlowChoice
    short_s: float
    """Of the benchmark of every stride, s each."""
    sustained_s: float
    """Of the benchmark of stride 1 that shows throttling; 0 leaves it out."""
    on_progress: Progress | None = None
    notes: list[str] = field(default_factory=list)
    """What opening networks and flow warned of."""
    benchmarks: dict[str, BenchReport] = field(default_factory=dict)

    def open_networks(self) -> ClipNetworks:
        """Open what `toolkit cage run` would run here."""
        return open_networks(self.bundle, engine=self.engine, flow=self.flow, warn=self.notes.append)


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    figures: tuple[str, ...]
    """What it measures, in order."""
    run: Callable[[Device], Figures]


def checks_of(bundle: Bundle) -> tuple[Check, ...]:
    """Return every check of a bundle, in the order in which they are run."""
    streams = bundle.manifest.streams
    built = tuple(f"TensorRT build of {stream}" for stream in streams)
    on_cpu = tuple(f"{engine}, {stream}" for engine in CPU_ENGINES for stream in streams)
    parity = tuple(f"parity of {stream} with the float32 graph" for stream in streams)
    return (
        Check("engines", ("runtime", *built, *parity, "fused labels", "preprocessing", "flow"), _engines),
        Check("device-resident runtime", ("logits against the host's",), _resident),
        Check("a clip on the CPU", on_cpu, _cpu_engines),
        Check("flow on the CPU", CPU_FLOW_FIGURES, lambda _device: cpu_flow()),
        Check("flow on the GPU", CUDA_FLOW_FIGURES, lambda _device: cuda_flow()),
        Check(
            "latency",
            ("loading the engines", *(f"stride {s}" for s in STRIDES), "commit of the log", "memory", "device memory"),
            _latency,
        ),
        Check("sustained", ("speed", "frame to row", "temperature", "power", "clocks"), _sustained),
    )


def _engines(device: Device) -> Figures:
    chosen, reason = choose_engine(device.engine)
    yield "runtime", reason
    if chosen != "tensorrt":
        for stream in device.bundle.manifest.streams:
            yield f"TensorRT build of {stream}", NotHere(reason)
    advance = device.on_progress
    built = build_engines(
        device.bundle,
        engine=device.engine,
        on_progress=None if advance is None else lambda p: advance(p.stage, p.done, p.steps, ""),
    )
    if chosen == "tensorrt":
        for item in built:
            yield f"TensorRT build of {item.stream}", f"{item.sidecar.build_s:.1f} s, {item.sidecar.identity.precision}"
    yield from _parity(built[0].sidecar)


def _parity(sidecar: Sidecar) -> Figures:
    parity, identity = sidecar.parity, sidecar.identity
    if parity is None:
        raise EngineError("the engines were installed without verification. Send this report back.")
    runtime = f"{identity.runtime} {identity.runtime_version} {identity.precision}"
    for stream, logits in parity.logits.items():
        flips = f"{logits.label_flips} of {parity.clips} golden labels changed"
        error = f"largest logit error {logits.max_error:.2g}, mean {logits.mean_error:.2g}"
        yield f"parity of {stream} with the float32 graph", f"{error}, {flips} ({runtime})"
    yield "fused labels", f"{parity.fused_label_flips} of {parity.clips} changed"
    if parity.rgb_max_grey_levels is not None:
        yield "preprocessing", f"golden frames reproduced within {parity.rgb_max_grey_levels:g} grey levels"
    if parity.flow is not None:
        flow = parity.flow
        away = f"mean difference {flow.mean_px:.2g} px per frame, largest {flow.max_px:.2g}"
        yield "flow", f"{flow.here} here, {flow.trained} at training, {away}"


def _cpu_engines(device: Device) -> Figures:
    manifest = device.bundle.manifest
    for engine in CPU_ENGINES:
        for spec in manifest.inputs:
            shape = (1, manifest.clip.frames, spec.channels, spec.crop, spec.crop)
            clip = np.random.default_rng(0).normal(size=shape).astype(np.float32).transpose(0, 2, 1, 3, 4)
            backend = cpu_backend(engine, device.bundle.onnx_path(spec.stream, "fp32"))
            try:
                yield f"{engine}, {spec.stream}", _inference(backend, clip)
            except MissingDependency as missing:
                yield f"{engine}, {spec.stream}", NotHere(str(missing))


def _inference(backend: Backend, clip: NDArray[np.float32]) -> str:
    durations_ms = []
    with backend:
        backend.infer(clip)
        for _ in range(CLIPS):
            begun_s = time.perf_counter()
            backend.infer(clip)
            durations_ms.append(1000 * (time.perf_counter() - begun_s))
        return f"{milliseconds(float(np.median(durations_ms)))} ms (median of {CLIPS}; {backend.identity})"


def _resident(device: Device) -> Figures:
    resident = device.open_networks()
    if isinstance(resident, HostNetworks):
        named = ", ".join(sorted(set(resident.engines.values())))
        raise NotHere(f"frames of this bundle stay in host memory here ({named})")
    manifest = device.bundle.manifest
    spec = manifest.flow
    estimator = None
    if "flow" in manifest.streams:
        estimator = open_flow("auto", spec.parameters, trained_with=spec.implementation, warn=device.notes.append)
    host = HostNetworks(manifest, estimator, open_backends(device.bundle, engine=device.engine))
    found, expected = (_golden_logits(device.bundle, networks) for networks in (resident, host))
    worst = float(np.abs(found - expected).max())
    if not worst <= manifest.parity.max_logit_error:
        raise EngineError(
            f"logits differ by {worst:.3g} from those of the same engines fed by the host; the bundle allows "
            f"{manifest.parity.max_logit_error:g}. Send this report back."
        )
    yield "logits against the host's", f"{len(found)} clips, largest difference {worst:.2g}"


def _golden_logits(bundle: Bundle, networks: ClipNetworks) -> NDArray[np.float32]:
    logits = []
    fps = bundle.manifest.geometry.fps
    with networks:
        for clip in bundle.golden_frames():
            pipeline = Pipeline(bundle.manifest, networks, source_fps=fps)
            frames = (Frame(index, round(index * NS_PER_S / fps), image) for index, image in enumerate(clip))
            # The logits are borrowed until the next inference.
            logits += [centre.logits.copy() for frame in frames for centre in pipeline.push(frame)]
            pipeline.end_segment()
    return np.stack(logits)


def _latency(device: Device) -> Figures:
    with GpuProbe() as gpu:
        before_mib = gpu.memory_mib()
        report = _benchmark(device, "short", STRIDES, device.short_s)
        after_mib = gpu.memory_mib()
    yield "loading the engines", f"{report.open_s:.2f} s"
    for run in report.runs:
        work, committed = run.stages[FRAME_TO_ROW], run.stages.get(FRAME_TO_COMMIT)
        figures = [
            f"{run.realtime_factor:.2f} times real time, {run.cages} cages",
            f"frame to row {milliseconds(work.median_ms)} ms, percentile(99%) {milliseconds(work.percentile_99_ms)} ms",
        ]
        if committed is not None:
            figures.append(f"to its commit {milliseconds(committed.median_ms)} ms")
        yield f"stride {run.stride}", ", ".join(figures)
    commits = [run.stages[LOG_COMMIT] for run in report.runs if LOG_COMMIT in run.stages]
    if commits:
        slowest = max(figures.max_ms for figures in commits)
        median = float(np.median([figures.median_ms for figures in commits]))
        yield "commit of the log", f"{milliseconds(median)} ms, slowest {milliseconds(slowest)} ms"
    peak_mib = report.peak_host_mib
    yield "memory", NotHere("this system does not tell") if peak_mib is None else f"{peak_mib:.0f} MiB at most"
    if before_mib is None or after_mib is None or report.peak_device_mib is None:
        yield "device memory", NotHere("no GPU")
    else:
        # What stays taken after the networks were left would be a leak.
        used = f"{before_mib:.0f} MiB before, {report.peak_device_mib:.0f} MiB at most, {after_mib:.0f} MiB after"
        yield "device memory", f"{used} (all processes)"


def _sustained(device: Device) -> Figures:
    if not device.sustained_s:
        raise NotHere("left out by --sustained 0")
    (run,) = _benchmark(device, "sustained", (1,), device.sustained_s).runs
    first, last = run.windows[0], run.windows[-1]
    change = 100 * (last.realtime_factor / first.realtime_factor - 1)
    yield "speed", f"{first.realtime_factor:.2f}, then {last.realtime_factor:.2f} times real time ({change:+.0f} %)"
    medians = [window.stages[FRAME_TO_ROW].median_ms for window in (first, last)]
    yield "frame to row", f"{milliseconds(medians[0])} ms, then {milliseconds(medians[1])} ms (medians)"
    for kind, figure in (("temperature", "temperature"), ("power", "power"), ("clock", "clocks")):
        yield figure, _first_and_last(run, kind) or NotHere("this machine reports none")


def _first_and_last(run: StrideRun, kind: str) -> str:
    first, last = run.windows[0].readings, run.windows[-1].readings
    names = [name for name in first if name.startswith(f"{kind} ") and name in last]
    return "; ".join(f"{name.removeprefix(f'{kind} ')} {first[name]:.1f}, then {last[name]:.1f}" for name in names)


def _benchmark(device: Device, name: str, strides: tuple[int, ...], duration_s: float) -> BenchReport:
    source = open_source(device.bundle, None)
    report = bench(
        device.bundle,
        device.open_networks(),
        source,
        strides=strides,
        duration_s=duration_s,
        on_progress=device.on_progress,
    )
    device.benchmarks[name] = report
    return report
