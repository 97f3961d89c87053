"""Whether a benchmark is slower than an earlier one of the same machine, bundle, engines and strides, beyond noise.

The noise is measured, not assumed. Each run is cut into windows; a statistic's value is its median over the windows,
and its standard error comes from the spread of the windows between quartiles. A statistic is a regression if it is
worse by more than `ERRORS` times both runs' errors together (the root of the sum of squares), and by more than
`LEAST_SHARE`, and, for durations, by more than `LEAST_MS`. What drifts between two runs but not within either, such as
another load on the machine, is in no spread: measure both when it is idle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from toolkit.benchmark.report import BenchReport, Setup, StrideRun, Window, milliseconds
from toolkit.benchmark.statistics import STATISTICS, median_and_error
from toolkit.errors import InputError, raise_faults

ERRORS = 4.0
LEAST_SHARE = 0.05
LEAST_MS = 0.02
LEAST_WINDOWS = 4
"""A statistic with fewer windows has no spread to speak of, and is not compared."""
LEAST_MIB = 16.0

COMPARED = ("mean_ms", "median_ms", "percentile_90_ms", "percentile_95_ms", "percentile_99_ms")


@dataclass(frozen=True, slots=True)
class Regression:
    """One figure that became worse."""

    figure: str
    """Such as ``stride 1, flow, median``."""
    old: str
    new: str
    noise: str
    """By how much it may differ."""

    def __str__(self) -> str:
        return f"{self.figure}: {self.old} before, {self.new} now (noise: {self.noise})"


def check_comparable(old: Setup, new: Setup) -> None:
    """Raise InputError, naming all that differs, unless both benchmarks are of the same thing.

    Versions may differ, those in the engines' names too: what they do to the figures is the question.
    """
    before, now = _comparable(old), _comparable(new)
    faults = [f"{name}: {before[name]} before, {now[name]} now" for name in before if before[name] != now[name]]
    raise_faults(InputError, "the benchmarks cannot be compared; measure both on the same", faults)


def regressions(old: BenchReport, new: BenchReport) -> list[Regression]:
    """Return what became worse beyond noise, empty if nothing did.

    Raises
    ------
    InputError
        If the reports are of different machines, bundles, engines, sources or strides.
    """
    check_comparable(old.setup, new.setup)
    found = [
        regression
        for before, now in zip(old.runs, new.runs, strict=True)
        for regression in (*_slower_stages(before, now), *_slower_than_real_time(before, now))
    ]
    for name, was, is_now in (
        ("peak host memory", old.peak_host_mib, new.peak_host_mib),
        ("peak device memory", old.peak_device_mib, new.peak_device_mib),
    ):
        if was is not None and is_now is not None and is_now - was > max(LEAST_SHARE * was, LEAST_MIB):
            allowed = f"{max(LEAST_SHARE * was, LEAST_MIB):.0f} MiB"
            found.append(Regression(name, f"{was:.0f} MiB", f"{is_now:.0f} MiB", allowed))
    return found


def _comparable(setup: Setup) -> dict[str, object]:
    machine = {f"machine's {name.replace('_', ' ')}": value for name, value in setup.machine.model_dump().items()}
    # Memory as the kernel counts it changes by a little with every boot.
    machine.pop("machine's memory gib")
    return {
        **machine,
        "bundle": setup.bundle_sha256[:12],
        "engines": {stream: re.sub(r"-\d[^/]*", "", engine) for stream, engine in setup.engines.items()},
        "source": (setup.source, setup.width, setup.height, setup.fps),
        "strides": setup.strides,
    }


def _slower_stages(old: StrideRun, new: StrideRun) -> Iterator[Regression]:
    for stage in old.stages:
        for field in COMPARED:
            was, is_now, allowed = _compared(old, new, partial(_statistic, stage, field))
            if is_now - was > max(allowed, LEAST_MS):
                yield Regression(
                    f"stride {old.stride}, {stage}, {STATISTICS[field]}",
                    f"{milliseconds(was)} ms",
                    f"{milliseconds(is_now)} ms",
                    f"{milliseconds(max(allowed, LEAST_MS))} ms",
                )


def _slower_than_real_time(old: StrideRun, new: StrideRun) -> Iterator[Regression]:
    was, is_now, allowed = _compared(old, new, lambda window: window.realtime_factor)
    if was - is_now > allowed:
        name = f"stride {old.stride}, real-time factor"
        yield Regression(name, f"{was:.2f}", f"{is_now:.2f}", f"{allowed:.2f}")


def _statistic(stage: str, field: str, window: Window) -> float | None:
    return getattr(window.stages[stage], field) if stage in window.stages else None


def _compared(old: StrideRun, new: StrideRun, value: Callable[[Window], float | None]) -> tuple[float, float, float]:
    """Return a figure before and now, and by how much they may differ; equal ones if there are too few windows."""
    values = [[v for window in run.windows if (v := value(window)) is not None] for run in (old, new)]
    if min(map(len, values)) < LEAST_WINDOWS:
        return 0.0, 0.0, 0.0
    (was, was_error), (is_now, error) = (median_and_error(each) for each in values)
    return was, is_now, max(ERRORS * (was_error**2 + error**2) ** 0.5, LEAST_SHARE * was)
