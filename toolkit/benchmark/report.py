"""What a benchmark says: on what machine, of which bundle, and each stride's figures. JSON, and Markdown to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.benchmark.statistics import STATISTICS, Statistics
from toolkit.errors import InputError

HEADROOM = 0.2
"""Share of the time that is left free when cages are counted: for bursts, and whatever else the machine does."""

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Machine(BaseModel):
    """What was measured on; no name of the host or of a person."""

    model_config = _STRICT

    model: str
    """The board's name, or the processor's."""
    architecture: str
    cores: int = Field(ge=1)
    """Cores that this process may use."""
    memory_gib: float | None
    gpu: str | None
    power_mode: str | None
    """A Jetson's nvpmodel mode."""


class Setup(BaseModel):
    """What two benchmarks must share to be compared."""

    model_config = _STRICT

    machine: Machine
    bundle: str
    bundle_sha256: str
    architecture: str
    """The networks'."""
    engines: dict[str, str]
    """What computes, by stream and ``optical flow``."""
    source: str
    """Where frames came from."""
    width: int
    """Of the source, px."""
    height: int
    fps: float
    """Frames per second of the source."""
    network_fps: float
    clip_wait_s: float
    """Time from a frame to the last of its clip: a row cannot come sooner."""
    strides: tuple[int, ...]


class Window(BaseModel):
    """A stretch of a stride's run."""

    model_config = _STRICT

    start_s: float
    """From the end of the warm-up."""
    stop_s: float
    frames: int
    realtime_factor: float
    stages: dict[str, Statistics]
    readings: dict[str, float]
    """Mean of what the board reported, by name with unit."""


class StrideRun(BaseModel):
    """One stride's figures."""

    model_config = _STRICT

    stride: int = Field(ge=1)
    frames: int
    """Frames that were taken, after the warm-up."""
    rows: int
    """Rows that were committed."""
    elapsed_s: float
    busy_share: float
    """Time spent on a second of video, s: flow, preprocessing, networks, fusion and log."""
    capture_share: float
    """Time spent on decoding a second of video, s; 0 for frames from memory."""
    realtime_factor: float
    """Seconds of video per second of work, 1 / `busy_share`: a daemon keeps up from 1 on."""
    cages: int
    """Cages that this machine can serve one after another: (1 - headroom) / (`busy_share` + `capture_share`)."""
    stages: dict[str, Statistics]
    windows: tuple[Window, ...]


class BenchReport(BaseModel):
    """Everything that `toolkit bench` writes."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    created_utc: str
    setup: Setup
    versions: dict[str, str]
    open_s: float
    """Time to load the engines."""
    warm_up_frames: int
    """Frames of each stride that are in no figure."""
    headroom: float
    log_flush_s: float
    """Time between two commits of the log."""
    peak_host_mib: float | None
    """Most physical memory of the process."""
    peak_device_mib: float | None
    """Most device memory in use, by any process."""
    runs: tuple[StrideRun, ...]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        return "\n".join(_header(self) + [line for run in self.runs for line in _run(run, self.headroom)]) + "\n"


def read_bench_report(path: Path) -> BenchReport:
    """Read a report that `toolkit bench --json` wrote.

    Raises
    ------
    InputError
        If it is absent, or no such report, or of another version.
    """
    try:
        return BenchReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Expected a file of `toolkit bench --json`."
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"{path}: not a report of `toolkit bench --json` of this toolkit ({place}: {fault['msg']}). "
            "Measure again and write a new one."
        ) from error


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]


def milliseconds(value: float) -> str:
    """Return a duration, ms, with as many digits as mean something."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def machine_line(machine: Machine) -> str:
    """Return a machine in one line."""
    parts = [machine.model, machine.architecture, f"{machine.cores} cores"]
    if machine.memory_gib is not None:
        parts.append(f"{machine.memory_gib:.1f} GiB")
    return ", ".join([*parts, machine.gpu or "no GPU", *([machine.power_mode] if machine.power_mode else [])])


def _header(report: BenchReport) -> list[str]:
    setup = report.setup
    memory = [f"host {report.peak_host_mib:.0f} MiB"] if report.peak_host_mib is not None else []
    if report.peak_device_mib is not None:
        memory.append(f"device {report.peak_device_mib:.0f} MiB (all processes)")
    rows = [
        (
            str(run.stride),
            f"{run.realtime_factor:.2f}",
            str(run.cages),
            f"{run.busy_share:.3f} s",
            f"{run.capture_share:.3f} s",
            str(run.rows),
        )
        for run in report.runs
    ]
    return [
        "# Latency of a cage",
        "",
        f"- machine: {machine_line(setup.machine)}",
        f"- bundle: {setup.bundle}, {setup.architecture}, {setup.bundle_sha256[:12]}",
        "- engines: " + ", ".join(f"{stream} {engine}" for stream, engine in setup.engines.items()),
        f"- source: {setup.source}, {setup.width} x {setup.height} px, {setup.fps:g} frames per second",
        "- versions: " + ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        f"- measured: {report.created_utc}",
        f"- engines loaded in {report.open_s:.2f} s; {report.warm_up_frames} frames of warm-up a stride, in no figure",
        "- peak memory: " + (", ".join(memory) or "not reported by this system"),
        f"- a row waits {setup.clip_wait_s:.3f} s for the rest of its clip, then up to {report.log_flush_s:g} s to be "
        "committed; the first is in no figure below, the second in `frame to committed row`",
        "",
        *table(
            ("stride", "real-time factor", "cages", "work per second of video", "decoding", "rows"),
            rows,
        ),
    ]


def _run(run: StrideRun, headroom: float) -> list[str]:
    rows = [
        (
            stage,
            str(figures.samples),
            *(milliseconds(getattr(figures, field)) for field in STATISTICS),
            "" if stage.startswith("frame to committed") else f"{figures.throughput_per_s:.1f}",
        )
        for stage, figures in run.stages.items()
    ]
    return [
        "",
        f"## Stride {run.stride}",
        "",
        f"{run.frames} frames in {run.elapsed_s:.1f} s. Cages: {1 - headroom:g} s of every second, divided by work and "
        f"decoding of a second of video, {run.busy_share:.3f} s + {run.capture_share:.3f} s.",
        "",
        *table(("stage, ms", "samples", *STATISTICS.values(), "throughput, 1/s"), rows),
        *_windows(run),
    ]


def _windows(run: StrideRun) -> list[str]:
    if len(run.windows) < 2:
        return []
    stage = "frame to row"
    names = list(dict.fromkeys(name for window in run.windows for name in window.readings))
    rows = [
        (
            f"{window.start_s:.1f} to {window.stop_s:.1f}",
            f"{window.realtime_factor:.2f}",
            *(
                [milliseconds(window.stages[stage].median_ms), milliseconds(window.stages[stage].percentile_99_ms)]
                if stage in window.stages
                else ["", ""]
            ),
            *(f"{window.readings[name]:.1f}" if name in window.readings else "" for name in names),
        )
        for window in run.windows
    ]
    header = ("window, s", "real-time factor", "frame to row, median", "percentile(99%)", *names)
    return ["", *table(header, rows), "", _drift(run, names)]


def _drift(run: StrideRun, names: list[str]) -> str:
    """Return how the last window differs from the first: throttling, if there is any, shows here."""
    first, last = run.windows[0], run.windows[-1]
    parts = []
    if first.realtime_factor:
        parts.append(f"speed {100 * (last.realtime_factor / first.realtime_factor - 1):+.0f} %")
    parts += [
        f"{name} {last.readings[name] - first.readings[name]:+.1f}"
        for name in names
        if name in first.readings and name in last.readings
    ]
    return "Last window against the first: " + ", ".join(parts) + "."
