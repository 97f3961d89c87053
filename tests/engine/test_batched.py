"""Several cages on one engine: each gets its own logits, at most a window late, and only its own faults."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.engine.batched import BatchedBackend, ClipBatcher
from toolkit.errors import EngineError

from .tiny import FunctionBackend

SHAPE = (1, 3, 4, 16, 16)


def clip(value: float) -> NDArray[np.float32]:
    return np.full(SHAPE, value, dtype=np.float32)


class Engine(FunctionBackend):
    """Says the mean of each clip, refuses what holds a NaN, notes its batches, and can be held."""

    def __init__(self) -> None:
        super().__init__(self._mean)
        self.batches: list[list[float]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def _mean(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        means = clips.mean((1, 2, 3, 4), dtype=np.float32)
        self.batches.append(means.tolist())
        self.entered.set()
        self.go_on.wait()
        if np.isnan(means).any():
            raise EngineError("not a number")
        return means[:, np.newaxis]


def asked_while_busy(engine: Engine, batcher: ClipBatcher, values: list[float]) -> list[float | Exception]:
    """Ask once and hold the engine there; ask for all `values` meanwhile, in order, and let it go on."""

    def ask(member: BatchedBackend, value: float) -> float | Exception:
        try:
            return float(member.infer(clip(value))[0, 0])
        except EngineError as error:
            return error

    engine.go_on.clear()
    with ThreadPoolExecutor(len(values) + 1) as pool:
        first = pool.submit(ask, batcher.member(), -1.0)
        assert engine.entered.wait(10)
        futures = []
        for count, value in enumerate(values, start=1):
            futures.append(pool.submit(ask, batcher.member(), value))
            while batcher.clips_waiting < count:
                time.sleep(0.001)
        engine.go_on.set()
        assert first.result(10) == -1.0
        return [future.result(10) for future in futures]


def test_who_asks_while_the_engine_is_busy_is_answered_at_once_with_its_own() -> None:
    engine = Engine()
    assert asked_while_busy(engine, ClipBatcher(engine, most=None, window_s=0.0), [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert engine.batches == [[-1.0], [1.0, 2.0, 3.0]]


def test_no_more_clips_than_the_engine_takes() -> None:
    engine = Engine()
    batcher = ClipBatcher(engine, most=2, window_s=0.0)
    assert asked_while_busy(engine, batcher, [1.0, 2.0, 3.0, 4.0, 5.0]) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert engine.batches == [[-1.0], [1.0, 2.0], [3.0, 4.0], [5.0]]
    assert (batcher.inferences, batcher.clips) == (4, 6)


def test_a_clip_that_fails_fails_its_own_cage_alone() -> None:
    engine = Engine()
    found = asked_while_busy(engine, ClipBatcher(engine, most=None, window_s=0.0), [1.0, np.nan, 3.0])
    assert (found[0], found[2]) == (1.0, 3.0)
    assert isinstance(found[1], EngineError)


def test_those_that_are_awake_are_waited_for() -> None:
    """Two threads that ask at the same pace: the window is long, and no round goes off without the other."""
    engine = Engine()
    batcher = ClipBatcher(engine, most=None, window_s=5.0)
    members = [batcher.member(), batcher.member()]
    # Who has never asked is not waited for; after this both are awake.
    begun_s = time.monotonic()
    members[0].infer(clip(0.0))
    assert time.monotonic() - begun_s < 4.0
    with ThreadPoolExecutor(2) as pool:
        pool.submit(members[1].infer, clip(0.5))
        members[0].infer(clip(0.25))
        engine.batches.clear()
        for round_ in range(1, 6):
            answers = list(pool.map(lambda m, v: float(m.infer(clip(v))[0, 0]), members, (round_, -round_)))
            assert answers == [round_, -round_]
    assert [sorted(batch) for batch in engine.batches] == [[-n, n] for n in range(1, 6)]


def test_a_cage_that_is_silent_or_gone_holds_nobody() -> None:
    batcher = ClipBatcher(Engine(), most=None, window_s=0.05)
    alone, silent = batcher.member(), batcher.member()
    silent.infer(clip(1.0))
    for _ in range(3):
        begun_s = time.monotonic()
        alone.infer(clip(2.0))
        # At most a window; generous for a machine that is busy otherwise.
        assert time.monotonic() - begun_s < 1.0
    gone = ClipBatcher(Engine(), most=None, window_s=30.0)
    leaving, staying = gone.member(), gone.member()
    with leaving:
        leaving.infer(clip(1.0))
    begun_s = time.monotonic()
    staying.infer(clip(2.0))
    assert time.monotonic() - begun_s < 10.0


def test_memory_that_is_time_major_stays_so() -> None:
    seen: list[bool] = []

    def look(clips: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(clips.transpose(0, 2, 1, 3, 4).flags.c_contiguous)
        return clips[:, 0, 0, 0, :1]

    batcher = ClipBatcher(FunctionBackend(look), most=None, window_s=0.3)
    window = np.arange(4 * 3 * 16 * 16, dtype=np.float32).reshape(4, 3, 16, 16).transpose(1, 0, 2, 3)[np.newaxis]
    members = [batcher.member(), batcher.member()]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            list(pool.map(lambda member: member.infer(window), members))
    assert seen
    assert all(seen)
    assert batcher.inferences < batcher.clips


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_logits_are_those_of_an_engine_alone(engine: str, request: pytest.FixtureRequest) -> None:
    """Clips of two cages, through real engines: to the bit one by one, within rounding in a batch."""
    from toolkit.engine.build import build_engines
    from toolkit.engine.select import open_backends

    bundle = request.getfixturevalue("bundle")
    build_engines(bundle, engine=engine)
    golden = [clip.inputs["rgb"][np.newaxis] for clip in bundle.golden()]
    (backend,) = [open_backends(bundle, engine=engine, threads=1)["rgb"]]
    with backend, ThreadPoolExecutor(len(golden)) as pool:
        alone = [backend.infer(clips).copy() for clips in golden]
        for most, tolerance in ((1, 0.0), (None, 1e-5)):
            batcher = ClipBatcher(backend, most=most, window_s=1.0)
            members = [batcher.member() for _ in golden]
            for _ in range(3):
                together = list(pool.map(lambda member, clips: member.infer(clips), members, golden))
            np.testing.assert_allclose(together, alone, rtol=0, atol=tolerance)
            assert (batcher.inferences < batcher.clips) == (most is None)
