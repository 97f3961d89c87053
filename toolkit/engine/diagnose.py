"""Finds which layers FP16 breaks: by bisecting over engines, and by what their values are in float32.

An engine that fails the golden sample says only that its logits are wrong. Here the first k layers of the graph are
made FP16 and the others left float32, and k is halved until the one layer is found with which the logits break. It is
kept float32 and the search goes on until the rest passes. On a machine without TensorRT the storage between layers is
simulated, because ONNX Runtime computes FP16 graphs in float32 on most CPUs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Bundle
from toolkit.engine.builder import build_plan
from toolkit.engine.contract import Backend
from toolkit.engine.layers import Layer, LayeredGraph
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.select import EngineChoice, choose_engine
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.engine.tensorrt_api import import_tensorrt
from toolkit.preprocess import Stream

FP16_LARGEST = 65504.0
"""Largest finite number of FP16 (IEEE 754 binary16)."""

BackendFactory = Callable[[LayeredGraph, Collection[str]], AbstractContextManager[Backend]]
"""Makes an entered backend of a graph whose layers of these names are FP16."""

Report = Callable[[str, int, int], None]
"""Told what is being done, steps done, and steps in all, 0 where unknown."""


@dataclass(frozen=True)
class LayerValues:
    """What a layer's values are on the golden sample, computed in float32."""

    layer: Layer
    largest_read: float
    """Largest magnitude that it reads."""
    largest_written: float
    """Largest magnitude that it writes."""
    underflow: float
    """Share of the values it writes that FP16 makes zero."""
    logit_error: float
    """Largest change of a logit, of one clip, when only this layer reads, holds and writes FP16; may be infinite."""

    @property
    def largest(self) -> float:
        """Largest magnitude that it reads, holds as a weight, or writes."""
        return max(self.largest_read, self.layer.largest_weight, self.largest_written)

    @property
    def overflows(self) -> bool:
        """Whether it reads, holds or writes what FP16 cannot."""
        return self.largest > FP16_LARGEST

    def sentence(self) -> str:
        """Return name, operator and magnitude."""
        where = {
            self.largest_read: "reads values",
            self.layer.largest_weight: "holds weights",
            self.largest_written: "writes values",
        }
        return f"{self.layer.name} ({self.layer.operator}) {where[self.largest]} up to {self.largest:.4g}"


@dataclass(frozen=True)
class Diagnosis:
    """What was found of one stream's graph."""

    stream: Stream
    runtime: str
    """What ran the mixed graphs, e.g. ``FP16 storage simulated by ONNX Runtime``."""
    values: tuple[LayerValues, ...]
    """Of every layer that is FP16 in the bundle, in the order of the graph."""
    broken: tuple[str, ...]
    """Layers that have to stay float32 for the golden sample to pass, in the order found."""
    evaluations: int
    """Mixed graphs that were run to find them."""
    passes: bool
    """Whether the golden sample passes with those layers in float32."""

    def lines(self, *, most: int = 12) -> list[str]:
        """Return the report as lines of text; the `most` layers with the largest values, all for 0."""
        by_name = {values.layer.name: values for values in self.values}
        lines = [f"{self.stream}: {len(self.values)} FP16 layers, {self.runtime}"]
        if not self.broken and self.passes:
            lines.append("no layer breaks the golden sample")
        for name in self.broken:
            lines.append(f"breaks with {by_name[name].sentence()}; FP16 holds {FP16_LARGEST:g}")
        if self.broken:
            options = " ".join(f"--keep-fp32 {self.stream}:{name}" for name in self.broken)
            lines.append(
                f"found in {self.evaluations} evaluations. Keep float32: toolkit export RUN --out BUNDLE {options}"
            )
        if not self.passes:
            lines.append("the golden sample fails even so: the cause is not the range of FP16")
        ranked = sorted(self.values, key=lambda values: -values.largest)
        lines.append(f"{'layer':40} {'operator':12} {'largest':>10} {'of range':>8} {'to zero':>8} {'logit error':>11}")
        for values in ranked[: most or None]:
            lines.append(
                f"{values.layer.name[:40]:40} {values.layer.operator[:12]:12} {values.largest:10.4g} "
                f"{values.largest / FP16_LARGEST:8.1%} {values.underflow:8.2%} {values.logit_error:11.2g}"
            )
        return lines


def diagnose(
    bundle: Bundle,
    stream: Stream,
    *,
    engine: EngineChoice = "auto",
    factory: BackendFactory | None = None,
    on_progress: Report | None = None,
) -> Diagnosis:
    """Find which layers FP16 breaks in one stream's graph, on the golden sample.

    Parameters
    ----------
    engine
        ``tensorrt`` bisects over real engines of this machine; ``onnxruntime`` simulates FP16 storage; ``auto`` takes
        the first where it can run.
    factory
        Runs the mixed graphs instead of those.

    Raises
    ------
    MissingDependency
        If the package onnx is absent, or TensorRT is demanded and absent.
    EngineError
        If a graph cannot be read, or an engine not be built.
    """

    def report(what: str, done: int, steps: int) -> None:
        if on_progress is not None:
            on_progress(f"{stream}: {what}", done, steps)

    graph = LayeredGraph(bundle.onnx_path(stream, "fp32"))
    layers = graph.half_layers(bundle.onnx_path(stream, "fp16"))
    golden = bundle.golden()
    clips = [clip.inputs[stream] for clip in golden]
    logits = [clip.logits[stream] for clip in golden]
    runtime = "given"
    if factory is None:
        runtime, factory = _factory(engine)
    search = _Search(graph, factory, clips, logits, bundle.manifest.parity.max_logit_error, report)
    broken, passes = search.run(layers)
    values = _layer_values(graph, layers, clips, logits, report)
    return Diagnosis(stream, runtime, values, broken, search.evaluations, passes)


def first_broken(count: int, breaks: Callable[[int], bool]) -> int:
    """Return the layer with which a prefix begins to break: `breaks(k)` says whether the first k layers do.

    It takes log2(`count`) evaluations. ``breaks(count)`` must be true and ``breaks(0)`` false.

    Examples
    --------
    >>> first_broken(100, lambda k: k > 41)
    41
    """
    good, bad = 0, count
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if breaks(middle) else (middle, bad)
    return good


class _Search:
    """Bisects for one layer after the other until the golden sample passes."""

    def __init__(
        self,
        graph: LayeredGraph,
        factory: BackendFactory,
        clips: Sequence[NDArray[np.float32]],
        logits: Sequence[NDArray[np.float32]],
        max_error: float,
        report: Report,
    ) -> None:
        self._graph = graph
        self._factory = factory
        self._golden = list(zip(clips, logits, strict=True))
        self._max_error = max_error
        self._report = report
        self.evaluations = 0

    def run(self, layers: Sequence[Layer]) -> tuple[tuple[str, ...], bool]:
        """Return the layers that have to stay float32, and whether the golden sample then passes."""
        half = [layer.name for layer in layers]
        broken: list[str] = []
        while half and (failing := self._failing(half, self._golden)):
            # One clip is enough to find a layer; all are tried again once it passes.
            if self._failing((), failing[:1]):
                return tuple(broken), False
            while self._failing(half, failing[:1]):
                place = first_broken(len(half), lambda k: bool(self._failing(half[:k], failing[:1])))
                broken.append(half.pop(place))
        return tuple(broken), True

    def _failing(
        self, half: Collection[str], golden: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return the clips whose logits are not finite, or too far from the float32 graph's, with these layers FP16."""
        self.evaluations += 1
        self._report("bisect", self.evaluations, 0)
        with self._factory(self._graph, half) as backend:
            # Written so that NaN counts as failing.
            return [
                (clip, logits)
                for clip, logits in golden
                if not _largest_change(backend, clip, logits) <= self._max_error
            ]


def _largest_change(backend: Backend, clip: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.abs(backend.infer(clip[np.newaxis])[0] - logits).max())


def _layer_values(
    graph: LayeredGraph,
    layers: Sequence[Layer],
    clips: Sequence[NDArray[np.float32]],
    logits: Sequence[NDArray[np.float32]],
    report: Report,
) -> tuple[LayerValues, ...]:
    largest: dict[str, float] = {"clips": max(float(np.abs(clip).max()) for clip in clips)}
    lost: dict[str, float] = {}
    peaks: list[float] = []
    # Every layer of the graph: what an FP16 layer reads may come from one that is not.
    for index, clip in enumerate(clips):
        report("values", index, len(clips))
        peak = 0.0
        for name, tensor in graph.values(graph.layers, clip):
            magnitude = float(np.abs(tensor).max())
            peak = max(peak, magnitude)
            largest[name] = max(largest.get(name, 0.0), magnitude)
            lost[name] = lost.get(name, 0.0) + _underflow(tensor) / len(clips)
        peaks.append(peak)
    report("values", len(clips), len(clips))
    worst = int(np.argmax(peaks))
    found = []
    for index, layer in enumerate(layers):
        report("layers alone", index, len(layers))
        with simulated(graph, [layer.name]) as backend:
            error = _largest_change(backend, clips[worst], logits[worst])
        found.append(
            LayerValues(
                layer,
                largest_read=max(largest.get(name, 0.0) for name in layer.inputs),
                largest_written=max(largest[name] for name in layer.outputs),
                underflow=max(lost[name] for name in layer.outputs),
                logit_error=error,
            )
        )
    report("layers alone", len(layers), len(layers))
    return tuple(found)


def _underflow(tensor: NDArray[np.float32]) -> float:
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    return float(np.count_nonzero((half == 0) & (tensor != 0))) / tensor.size


def _factory(engine: EngineChoice) -> tuple[str, BackendFactory]:
    chosen, reason = choose_engine(engine)
    if chosen == "tensorrt":
        return f"engines of {reason}", built
    return "FP16 storage between layers simulated by ONNX Runtime", simulated


@contextmanager
def simulated(graph: LayeredGraph, half: Collection[str]) -> Iterator[Backend]:
    """Yield a backend on the CPU that stores what these layers read and write as FP16."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / graph.path.name
        path.write_bytes(graph.stored_in_half(half))
        with OnnxRuntimeBackend(path, precision="simulated fp16") as backend:
            yield backend


@contextmanager
def built(graph: LayeredGraph, half: Collection[str]) -> Iterator[Backend]:
    """Yield a TensorRT engine of this machine in which these layers are FP16 and the others float32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / graph.path.name
        path.write_bytes(graph.computed_in_half(half))
        plan = path.with_suffix(".plan")
        build_plan(import_tensorrt(), path, plan)
        with TensorRtBackend(plan, precision="mixed") as backend:
            yield backend
