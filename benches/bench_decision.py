"""What deciding costs per row of a log, and what a commit adds, against bouts of raw labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.bouts import DecidedBouts, DecisionFilter, FixedLagViterbi, Hysteresis, MovingAverage
from toolkit.frames import NS_PER_S

K = 8
INTERVAL_NS = round(NS_PER_S / 30)
ROWS = 1000
RANDOM = np.random.default_rng(0)
LABELS = np.repeat(RANDOM.integers(K, size=ROWS // 10), 10)
PROBABILITIES = (RANDOM.dirichlet(np.ones(K), ROWS) + 2 * np.eye(K)[LABELS]).astype(np.float32) / 3
RAW = PROBABILITIES.argmax(axis=1).tolist()


def viterbi(lag_s: float) -> DecisionFilter:
    transitions = np.full((K, K), 0.01 / (K - 1)) + (0.99 - 0.01 / (K - 1)) * np.eye(K)
    return FixedLagViterbi(transitions, np.full(K, 1 / K), round(lag_s * 30))


FILTERS: dict[str, Callable[[], DecisionFilter | None]] = {
    "off": lambda: None,
    "hysteresis 0.3 s": lambda: Hysteresis(round(0.3 * NS_PER_S), {}, INTERVAL_NS),
    "bundle, 0.4 s": lambda: MovingAverage(6, Hysteresis(round(0.5 * NS_PER_S), {}, INTERVAL_NS)),
    "viterbi, lag 1 s": lambda: viterbi(1.0),
    "viterbi, lag 5 s": lambda: viterbi(5.0),
}


def push_all(bouts: DecidedBouts) -> None:
    for row, label in enumerate(RAW):
        bouts.push(row * INTERVAL_NS, label, PROBABILITIES[row])


@pytest.mark.benchmark(group="bouts of 1,000 rows, 8 behaviours")
@pytest.mark.parametrize("name", list(FILTERS))
def bench_rows(benchmark: BenchmarkFixture, name: str) -> None:
    bouts = DecidedBouts(FILTERS[name](), INTERVAL_NS)

    def push_and_end() -> None:
        push_all(bouts)
        bouts.end()

    benchmark(push_and_end)


@pytest.mark.benchmark(group="the bout that goes on, at a commit")
@pytest.mark.parametrize("name", list(FILTERS))
def bench_commit(benchmark: BenchmarkFixture, name: str) -> None:
    bouts = DecidedBouts(FILTERS[name](), INTERVAL_NS)
    push_all(bouts)
    benchmark(bouts.so_far)
