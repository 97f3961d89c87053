"""What `toolkit verify-device` finds out about optical flow, on the CPU and on the GPU."""

from __future__ import annotations

import hashlib
import time

import numpy as np
from numpy.typing import NDArray

from toolkit.benchmark.device_report import Figures, NotHere
from toolkit.benchmark.report import milliseconds
from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, FlowEstimator, OpenCvFlow
from toolkit.flow.cpu import IMPLEMENTATION, CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.flow.difference import endpoint_difference, textured_pair
from toolkit.flow.select import why_absent

SIZE = (320, 240)
PAIRS = 20
"""Pairs of frames whose flow is timed one by one; the first is in no figure."""
BATCH_PAIRS = 32

SAME_AS_X86, SAME_AS_CPU, APART = "bits of x86-64", "bits of the CPU", "difference to OpenCV"
COMPILED, BATCHES = "compiling the kernels", f"batches of {BATCH_PAIRS} pairs, paper"
PAPER, FAST = "a pair, paper", "a pair, fast"
CPU_FLOW_FIGURES = (SAME_AS_X86, PAPER, FAST, APART)
CUDA_FLOW_FIGURES = (COMPILED, SAME_AS_CPU, PAPER, FAST, BATCHES)

X86_64_FLOW = {"toolkit-tvl1-1": "af72ed08a22993073f47d817690b0146856e3614e3e917fb205d0dc880bb8744"}
"""SHA-256 of the flow of `integer_pair` with `paper`, by implementation, on x86-64 with and without AVX2."""


def cpu_flow() -> Figures:
    """Yield what our flow on the CPU is here; its bits are to be x86-64's."""
    absent = why_absent("cpu")
    if absent is not None:
        raise NotHere(absent)
    paper = PARAMETER_SETS["paper"]
    digest = hashlib.sha256(CpuFlow(paper).flow(*integer_pair()).astype("<f4").tobytes()).hexdigest()
    if digest != X86_64_FLOW[IMPLEMENTATION]:
        raise FlowError(
            f"{IMPLEMENTATION} gives other bits here (SHA-256 {digest[:12]}) than on x86-64 "
            f"({X86_64_FLOW[IMPLEMENTATION][:12]}): this compiler or processor rounds otherwise. Send this report back."
        )
    yield SAME_AS_X86, f"equal ({IMPLEMENTATION}, SHA-256 {digest[:12]})"
    yield PAPER, _pair_time(CpuFlow(paper))
    yield FAST, _pair_time(CpuFlow(PARAMETER_SETS["fast"]))
    if why_absent("opencv") is None:
        yield APART, _difference(OpenCvFlow(paper), CpuFlow(paper))


def cuda_flow() -> Figures:
    """Yield what our flow on the GPU is here; its bits are to be the CPU's."""
    absent = why_absent("cuda")
    if absent is not None:
        raise NotHere(absent)
    paper = PARAMETER_SETS["paper"]
    begun_s = time.perf_counter()
    with CudaFlow(paper, batch=BATCH_PAIRS) as cuda:
        yield COMPILED, f"{time.perf_counter() - begun_s:.2f} s (or loading what was compiled before)"
        if why_absent("cpu") is None:
            yield SAME_AS_CPU, _same_bits(cuda, CpuFlow(paper))
        yield PAPER, _pair_time(cuda)
        with CudaFlow(PARAMETER_SETS["fast"]) as fast:
            yield FAST, _pair_time(fast)
        frames = np.stack([textured_pair(*SIZE, seed=seed)[0] for seed in range(BATCH_PAIRS + 1)])
        cuda.flow_batch(frames)
        begun_s = time.perf_counter()
        cuda.flow_batch(frames)
        rate = BATCH_PAIRS / (time.perf_counter() - begun_s)
        yield BATCHES, f"{rate:.0f} pairs/s at {SIZE[0]} x {SIZE[1]}, copies included"


def integer_pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two (120, 160) uint8 frames of a texture that moves 2 px to the right, by integer arithmetic alone.

    So every machine has the same pair, whatever its processor and libraries.
    """
    coarse = np.random.default_rng(5).integers(0, 256, (22, 30))
    texture = np.kron(coarse, np.ones((6, 6), dtype=np.int64))
    around = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    for _ in range(2):
        texture = np.sum([np.roll(texture, shift, (0, 1)) for shift in around], axis=0) // 25
    return texture[:120, 4:164].astype(np.uint8), texture[:120, 2:162].astype(np.uint8)


def _pair_time(estimator: FlowEstimator) -> str:
    earlier, later = textured_pair(*SIZE)
    durations_ms = []
    for number in range(PAIRS + 1):
        # To and fro: each frame is the next pair's first, as in a stream.
        pair = (earlier, later) if number % 2 == 0 else (later, earlier)
        begun_s = time.perf_counter()
        estimator.flow(*pair)
        durations_ms.append(1000 * (time.perf_counter() - begun_s))
    p50, p99 = np.percentile(durations_ms[1:], (50, 99))
    return f"{milliseconds(p50)} ms at {SIZE[0]} x {SIZE[1]} (median; percentile(99%) {milliseconds(p99)} ms)"


def _difference(one: FlowEstimator, other: FlowEstimator) -> str:
    pair = textured_pair(*SIZE)
    apart = endpoint_difference(one.flow(*pair).copy(), other.flow(*pair))
    return f"{apart.mean_px:.3f} px on average, {apart.p99_px:.3f} px at the 99th percentile (a textured pair, paper)"


def _same_bits(one: FlowEstimator, other: FlowEstimator) -> str:
    pairs = [textured_pair(*SIZE, seed=seed) for seed in range(4)] + [integer_pair()]
    apart = [float(np.abs(one.flow(*pair).copy() - other.flow(*pair)).max()) for pair in pairs]
    if max(apart) > 0:
        raise FlowError(
            f"flow differs from the CPU's by up to {max(apart):.3g} px in {sum(a > 0 for a in apart)} of {len(apart)} "
            "pairs; the same bits were expected. Send this report back."
        )
    return f"equal over {len(apart)} pairs"
