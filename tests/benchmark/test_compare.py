"""A planted regression is found, noise is not taken for one, and what cannot be compared is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmark.reports import MACHINE, noisy, report, run, setup
from toolkit.benchmark import regressions
from toolkit.errors import InputError

STEADY = [[10.0] * 30] * 10


def test_equal_runs_pass() -> None:
    one = report(run({"flow": noisy(0, 10.0), "engine rgb": noisy(1, 5.0)}))
    assert regressions(one, one) == []


def test_a_planted_regression_is_found_and_named() -> None:
    old = report(run({"flow": noisy(0, 10.0), "engine rgb": noisy(1, 5.0)}))
    new = report(run({"flow": noisy(2, 15.0), "engine rgb": noisy(3, 5.0)}))
    found = [regression.figure for regression in regressions(old, new)]
    assert "stride 1, flow, median" in found
    assert "stride 1, flow, percentile(90%)" in found
    assert "stride 1, real-time factor" in found
    assert not any("engine rgb" in figure for figure in found)
    assert regressions(new, old) == []


def test_a_slower_tail_alone_is_found() -> None:
    """A tenth of the frames take twice as long: the median is as before."""
    slower = [[10.0] * 26 + [20.0] * 4] * 10
    found = [
        regression.figure for regression in regressions(report(run({"flow": STEADY})), report(run({"flow": slower})))
    ]
    assert "stride 1, flow, percentile(90%)" in found
    assert "stride 1, flow, median" not in found


def test_what_is_said_of_a_regression() -> None:
    """No spread within either run: what remains is a twentieth of 10 ms."""
    (median, *_) = [
        regression
        for regression in regressions(report(run({"flow": STEADY})), report(run({"flow": [[10.6] * 30] * 10})))
        if regression.figure.endswith("median")
    ]
    assert str(median) == "stride 1, flow, median: 10.0 ms before, 10.6 ms now (noise: 0.500 ms)"
    assert regressions(report(run({"flow": STEADY})), report(run({"flow": [[10.4] * 30] * 10}))) == []


def test_microseconds_are_no_regression() -> None:
    old, new = ([[value] * 30] * 10 for value in (0.020, 0.035))
    steady = {"flow": STEADY}
    assert regressions(report(run({**steady, "fusion": old})), report(run({**steady, "fusion": new}))) == []


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_noise_passes(spread: float) -> None:
    """100 pairs of runs that differ by chance alone: at most one of them is taken for slower."""
    alarms = 0
    for seed in range(100):
        old, new = (
            report(
                run(
                    {
                        "flow": noisy(4 * seed + i, 10.0, spread=spread),
                        "engine": noisy(4 * seed + i + 2, 5, spread=spread),
                    }
                )
            )
            for i in (0, 1)
        )
        alarms += bool(regressions(old, new))
    assert alarms <= 1


def test_one_hiccup_is_no_regression() -> None:
    hiccup = [[10.0] * 29 + [400.0], *STEADY[1:]]
    assert regressions(report(run({"flow": STEADY})), report(run({"flow": hiccup}))) == []


def test_memory_that_grows_is_found() -> None:
    steady = run({"flow": STEADY})
    found = regressions(report(steady), report(steady, peak_host_mib=560.0, peak_device_mib=910.0))
    assert [regression.figure for regression in found] == ["peak host memory"]


def test_too_few_windows_tell_nothing() -> None:
    old, new = (report(run({"flow": [[value] * 30] * 3})) for value in (10.0, 20.0))
    assert regressions(old, new) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": MACHINE.model_copy(update={"model": "other"})}, "machine's model: board before, other now"),
        (
            {"machine": MACHINE.model_copy(update={"power_mode": "pmode:0002"})},
            "machine's power mode: pmode:0000 before",
        ),
        ({"machine": MACHINE.model_copy(update={"gpu": None})}, "machine's gpu: Orin before, None now"),
        ({"bundle_sha256": "c" * 64}, "bundle: aaaaaaaaaaaa before, cccccccccccc now"),
        ({"engines": {"rgb": "onnxruntime-1.32.0/cpu/fp32"}}, "engines: .*tensorrt/Orin/fp16.* before, .*onnxruntime"),
        ({"source": "cage.mp4"}, "source: .*golden sample.* before, .*cage.mp4"),
        ({"strides": (1, 2)}, r"strides: \(1,\) before, \(1, 2\) now"),
    ],
    ids=["machine", "power mode", "GPU", "bundle", "engine", "source", "strides"],
)
def test_what_cannot_be_compared_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    steady = run({"flow": STEADY})
    with pytest.raises(InputError, match=words):
        regressions(report(steady), report(steady, setup=setup(**changes)))


def test_another_version_of_an_engine_is_compared() -> None:
    steady = run({"flow": STEADY})
    newer = setup(engines={"rgb": "tensorrt-10.13.2/Orin/fp16", "optical flow": "toolkit-tvl1-1/paper"})
    assert regressions(report(steady), report(steady, setup=newer)) == []
