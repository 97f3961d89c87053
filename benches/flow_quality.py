"""Flow against truth: ``python -m benches.flow_quality [VIDEO ...]`` prints the table of docs/benchmarks.md.

Truth comes from two places: the synthetic cage, whose motion is known, and frames warped by smooth random fields,
sampled with Lanczos. VIDEOs give real frames to warp; without them, frames of the synthetic cage are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.flow.cpu import CpuFlow
from toolkit.frames import read_frames
from toolkit.preprocess import WorkingGeometry, grey_frame
from toolkit.synth import SyntheticVideo
from toolkit.synth.render import Renderer

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
SIZE = (320, 240)
CAGES, PAIRS_PER_CAGE, FRAMES_PER_VIDEO = 3, 8, 3
WARP_PX = (1.0, 3.0, 6.0)


@dataclass(frozen=True)
class Case:
    """A pair whose flow is known."""

    previous: Grey
    current: Grey
    flow: Flow
    parts: dict[str, Mask]
    """Named sets of pixels over which errors are counted."""


@dataclass
class Tally:
    """Errors of one method."""

    seconds: list[float] = field(default_factory=list)
    errors: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)


def methods() -> dict[str, Callable[[Grey, Grey], Flow]]:
    """Return every method that is here, by name."""
    found: dict[str, Callable[[Grey, Grey], Flow]] = {"no motion": lambda a, b: np.zeros((*a.shape, 2), np.float32)}
    for name, parameters in PARAMETER_SETS.items():
        if CpuFlow.available() is None:
            found[f"TV-L1, ours, `{name}`"] = CpuFlow(parameters).flow
        found[f"TV-L1, OpenCV, `{name}`"] = OpenCvFlow(parameters).flow
    for name in ("ULTRAFAST", "FAST", "MEDIUM"):
        dis = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{name}"))
        found[f"DIS, {name.lower()}"] = lambda a, b, dis=dis: dis.calc(a, b, None)
    found["Farneback"] = lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 5, 15, 3, 5, 1.2, 0)
    return found


def cage_cases() -> Iterator[Case]:
    """Yield pairs of the synthetic cage, with its noise and flicker, in which the mouse moves."""
    for seed in range(11, 11 + CAGES):
        video = SyntheticVideo(seed=seed, duration_s=20.0, size=SIZE)
        renderer = Renderer(video.appearance, SIZE, seed)
        chosen = 0
        for index in np.random.default_rng(seed).permutation(np.arange(1, len(video))).tolist():
            true = video.true_flow(index)
            moving = true.valid & true.mouse & (np.hypot(true.flow[..., 0], true.flow[..., 1]) > 0.5)
            if moving.sum() < 100:
                continue
            previous, current = (grey_frame(renderer.render(video.state(at))) for at in (index - 1, index))
            yield Case(previous, current, true.flow, {"cage, moving mouse": moving, "cage, all pixels": true.valid})
            chosen += 1
            if chosen == PAIRS_PER_CAGE:
                break


def warp_cases(videos: list[Path]) -> Iterator[Case]:
    """Yield frames and what smooth random fields of a known greatest displacement make of them."""
    rng = np.random.default_rng(0)
    for image in _frames(videos):
        for reach_px in WARP_PX:
            yield warped(image, reach_px, rng)


def warped(image: Grey, reach_px: float, rng: np.random.Generator) -> Case:
    """Return a later frame of `image` whose flow is smooth and at most `reach_px`.

    The later frame samples the earlier one at x - b(x); the flow at x is the f that solves f(x) = b(x + f(x)), found
    by fixed-point iteration, which converges since b changes by far less than 1 px per px.
    """
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    noise = rng.standard_normal((2, height, width)).astype(np.float32)
    back = np.stack([cv2.GaussianBlur(part, (0, 0), 32) for part in noise], axis=-1)
    back *= np.float32(reach_px) / np.float32(np.hypot(back[..., 0], back[..., 1]).max())
    later = cv2.remap(image, x - back[..., 0], y - back[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    flow = back.copy()
    for _ in range(30):
        flow = cv2.remap(back, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (x + flow[..., 0] >= 0) & (y + flow[..., 1] >= 0)
    inside &= (x + flow[..., 0] <= width - 1) & (y + flow[..., 1] <= height - 1)
    return Case(image, later, flow, {"warped frames": inside})


def _frames(videos: list[Path]) -> Iterator[Grey]:
    geometry = WorkingGeometry(width=SIZE[0], height=SIZE[1], aspect="stretch")
    for path in videos:
        for frame in read_frames(path):
            if frame.index % 20 == 5:
                yield grey_frame(geometry.working_frame(frame.image))
            if frame.index >= 20 * FRAMES_PER_VIDEO - 1:
                break
    if not videos:
        video = SyntheticVideo(seed=5, duration_s=20.0, size=SIZE)
        renderer = Renderer(video.appearance, SIZE, 5)
        for index in range(100, 100 + 100 * FRAMES_PER_VIDEO, 100):
            yield grey_frame(renderer.render(video.state(index)))


def measure(cases: list[Case]) -> dict[str, Tally]:
    """Run every method over every case on one thread."""
    cv2.setNumThreads(1)
    tallies = {}
    for name, method in methods().items():
        tally = tallies[name] = Tally()
        method(cases[0].previous, cases[0].current)
        for case in cases:
            started = time.perf_counter()
            flow = method(case.previous, case.current)
            tally.seconds.append(time.perf_counter() - started)
            error = np.hypot(*np.moveaxis(flow - case.flow, -1, 0))
            for part, pixels in case.parts.items():
                tally.errors.setdefault(part, []).append(error[pixels])
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Return a Markdown table: endpoint error as mean / median / 99th percentile in px, and ms per pair."""
    parts = list(next(iter(tallies.values())).errors)
    rows = [["method", *parts, "ms per pair"], ["---"] * (len(parts) + 2)]
    for name, tally in tallies.items():
        cells = []
        for part in parts:
            error = np.concatenate(tally.errors[part])
            cells.append(f"{error.mean():.3f} / {np.median(error):.3f} / {np.percentile(error, 99):.2f}")
        rows.append([name, *cells, f"{1e3 * float(np.median(tally.seconds)):.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table(measure([*cage_cases(), *warp_cases([Path(name) for name in sys.argv[1:]])])))
