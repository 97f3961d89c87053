"""Layers that FP16 breaks are found in graphs whose every value is known by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundles import manifest_fields
from toolkit.bundle import Bundle, GoldenClip, load_bundle, write_manifest_and_golden
from toolkit.engine.builder import parse_graph
from toolkit.engine.contract import Backend
from toolkit.engine.diagnose import Diagnosis, LayerValues, diagnose, first_broken, simulated
from toolkit.engine.layers import LayeredGraph
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.tensorrt_api import import_tensorrt
from toolkit.errors import EngineError
from toolkit.fusion import fusion_for
from toolkit.preprocess import rgb_input

onnx = pytest.importorskip("onnx", reason="needs the train extra")

CLASSES = 8
VALUE = 0.1
"""Every value of the clip."""
WEIGHTS = np.linspace(-1, 1, CLASSES, dtype=np.float32)
SHAPE = (16, 3, 16, 16)


def write_graph(path: Path, factors: Sequence[float]) -> None:
    """Write a graph that multiplies by each factor in turn, averages, and multiplies by `WEIGHTS`.

    Its layers are ``times0``, ``times1``, ..., ``mean`` and ``classify``.
    """
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        onnx.numpy_helper.from_array(np.float32(factor), f"factor{place}") for place, factor in enumerate(factors)
    ]
    names = ["clips", *(f"product{place}" for place in range(len(factors)))]
    nodes = [
        helper.make_node("Mul", [names[place], f"factor{place}"], [names[place + 1]], name=f"times{place}")
        for place in range(len(factors))
    ]
    nodes.append(helper.make_node("ReduceMean", [names[-1], "axes"], ["pooled"], name="mean", keepdims=0))
    nodes.append(helper.make_node("Reshape", ["pooled", "column"], ["columns"], name="stand"))
    nodes.append(helper.make_node("MatMul", ["columns", "weights"], ["logits"], name="classify"))
    axes = onnx.numpy_helper.from_array(np.array([1, 2, 3, 4], dtype=np.int64), "axes")
    column = onnx.numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "column")
    matrix = onnx.numpy_helper.from_array(WEIGHTS[np.newaxis], "weights")
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("clips", single, ["N", *SHAPE])],
        [helper.make_tensor_value_info("logits", single, ["N", CLASSES])],
        [*weights, axes, column, matrix],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Bundle]:
    """Return a function that writes a bundle of an RGB stream with these factors; all but `kept` is FP16 in it."""

    def make(*factors: float, kept: Collection[str] = ()) -> Bundle:
        folder = tmp_path / "made"
        folder.mkdir()
        write_graph(folder / "rgb.fp32.onnx", factors)
        graph = LayeredGraph(folder / "rgb.fp32.onnx")
        half = {layer.name for layer in graph.layers} - set(kept)
        (folder / "rgb.fp16.onnx").write_bytes(graph.computed_in_half(half))
        clip = GoldenClip(
            behaviour=0,
            frames=np.zeros((17, 48, 64, 3), dtype=np.uint8),
            inputs={"rgb": np.full((3, 16, 16, 16), VALUE, dtype=np.float32)},
            logits={"rgb": (VALUE * math.prod(factors) * WEIGHTS).astype(np.float32)},
        )
        fields = manifest_fields(inputs=(rgb_input(20, 16),), fusion=fusion_for(("rgb",)))
        write_manifest_and_golden(folder, fields, [clip])
        return load_bundle(folder)

    return make


class Counting:
    """Simulates FP16 storage and counts the graphs."""

    def __init__(self) -> None:
        self.graphs = 0

    @contextmanager
    def __call__(self, graph: LayeredGraph, half: Collection[str]) -> Iterator[Backend]:
        self.graphs += 1
        with simulated(graph, half) as backend:
            yield backend


def values_of(diagnosis: Diagnosis) -> dict[str, LayerValues]:
    return {values.layer.name: values for values in diagnosis.values}


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count - 1))))
def test_bisecting_finds_the_first_of_any_number_in_its_logarithm(case: tuple[int, int]) -> None:
    count, broken = case
    asked: list[int] = []

    def breaks(prefix: int) -> bool:
        asked.append(prefix)
        return prefix > broken

    assert first_broken(count, breaks) == broken
    assert len(asked) <= math.ceil(math.log2(count))
    assert {0, count}.isdisjoint(asked)


def test_a_graph_within_range_breaks_nothing(made: Callable[..., Bundle]) -> None:
    diagnosis = diagnose(made(2.0, 3.0), "rgb", engine="onnxruntime")
    assert (diagnosis.broken, diagnosis.passes, diagnosis.evaluations) == ((), True, 1)
    assert "no layer breaks the golden sample" in diagnosis.lines()
    assert not any(values.overflows for values in diagnosis.values)


def test_one_overflow_is_found_where_it_was_put(made: Callable[..., Bundle]) -> None:
    # 0.1, 0.1, 1000, 1e6, 1, 1, ...: times3 writes what FP16 cannot hold and times4 reads it.
    factors = [1.0, 1.0, 1e4, 1e3, 1e-6, *[1.0] * 11]
    bundle, factory = made(*factors), Counting()
    diagnosis = diagnose(bundle, "rgb", factory=factory)
    assert diagnosis.broken == ("times3", "times4")
    assert diagnosis.passes
    assert diagnosis.evaluations == factory.graphs
    # All, none, and for each of two layers log2(19) prefixes and the rest once more; then all clips.
    assert factory.graphs <= 2 + 2 * (math.ceil(math.log2(19)) + 1) + 2
    found = values_of(diagnosis)
    assert [name for name, values in found.items() if values.overflows] == ["times3", "times4"]
    assert found["times3"].largest_written == pytest.approx(1e6)
    assert found["times3"].largest_read == pytest.approx(1e3)
    assert found["times4"].largest_read == pytest.approx(1e6)
    text = "\n".join(diagnosis.lines())
    assert "breaks with times3 (Mul) writes values up to 1e+06; FP16 holds 65504" in text
    assert "breaks with times4 (Mul) reads values up to 1e+06" in text
    assert "--keep-fp32 rgb:times3 --keep-fp32 rgb:times4" in text


def test_two_overflows_are_both_found(made: Callable[..., Bundle]) -> None:
    # 0.1, 1e3, 1e7, 1, 1, -5e4, -1e5, 1: times2 and times6 write, times3 and times7 read.
    factors = [1.0, 1e4, 1e4, 1e-7, 1.0, -5e4, 2.0, -1e-5]
    diagnosis = diagnose(made(*factors), "rgb", engine="onnxruntime")
    assert diagnosis.broken == ("times2", "times3", "times6", "times7")
    assert diagnosis.passes


@pytest.mark.parametrize(("value", "infinite"), [(65_510.0, False), (65_530.0, True)])
def test_the_range_ends_where_fp16_rounds_to_infinity(
    made: Callable[..., Bundle], value: float, infinite: bool
) -> None:
    """65504 is the largest number of FP16; what is below 65520 still rounds to it (IEEE 754)."""
    bundle = made(10.0, value, 1e-5, kept=("times1",))
    # Only what is written is too large: the weight stays float32, and times2 reads it.
    found = values_of(diagnose(bundle, "rgb", engine="onnxruntime"))
    assert np.isinf(found["times2"].logit_error) == infinite


def test_a_weight_that_fp16_cannot_hold_is_found(made: Callable[..., Bundle]) -> None:
    diagnosis = diagnose(made(1e-3, 1e5, 1e-2), "rgb", engine="onnxruntime")
    assert diagnosis.broken == ("times1",)
    assert "times1 (Mul) holds weights up to 1e+05" in "\n".join(diagnosis.lines())


def test_layers_that_the_bundle_keeps_float32_are_left_out(made: Callable[..., Bundle]) -> None:
    bundle = made(1.0, 1e7, 1e-6, 1.0, kept=("times1", "times2", "mean"))
    diagnosis = diagnose(bundle, "rgb", engine="onnxruntime")
    assert list(values_of(diagnosis)) == ["times0", "times3", "stand", "classify"]
    assert diagnosis.broken == ()


def test_the_error_of_a_layer_is_that_of_rounding_it(made: Callable[..., Bundle]) -> None:
    found = values_of(diagnose(made(0.7, 3.0), "rgb", engine="onnxruntime"))
    exact = np.float32(VALUE) * np.float32(0.7) * np.float32(3.0)
    half, single = np.float16, np.float32
    stored = single(half(single(half(VALUE)) * single(half(0.7)))) * single(3.0)
    assert found["times0"].logit_error == pytest.approx(abs(float(stored - exact)), rel=0.05)
    assert found["times0"].logit_error > 1e-6


def test_what_vanishes_is_counted(made: Callable[..., Bundle]) -> None:
    # 0.1 * 1e-8 is below half of FP16's smallest number, 2**-24.
    found = values_of(diagnose(made(1e-8, 1e8), "rgb", engine="onnxruntime"))
    assert found["times0"].underflow == 1.0
    assert found["times1"].underflow == 0.0
    assert found["times0"].logit_error == pytest.approx(VALUE, rel=1e-3)


def test_a_failure_that_is_not_of_fp16_is_said(made: Callable[..., Bundle]) -> None:
    @contextmanager
    def broken(graph: LayeredGraph, half: Collection[str]) -> Iterator[Backend]:
        with simulated(graph, half) as backend:
            infer = backend.infer
            backend.infer = lambda clips: infer(clips) * np.nan  # type: ignore[method-assign]
            yield backend

    diagnosis = diagnose(made(1.0, 2.0), "rgb", factory=broken)
    assert not diagnosis.passes
    assert "the cause is not the range of FP16" in "\n".join(diagnosis.lines())


def test_mixed_graphs_parse_at_the_precisions_asked_for(made: Callable[..., Bundle], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, which parses without a GPU")
    graph = LayeredGraph(made(2.0, 3.0, 4.0).onnx_path("rgb", "fp32"))
    (tmp_path / "mixed.onnx").write_bytes(graph.computed_in_half(["times1", "classify"]))
    network = parse_graph(import_tensorrt(for_absent_gpu=True), tmp_path / "mixed.onnx").network
    layers = {network.get_layer(index).name: network.get_layer(index) for index in range(network.num_layers)}
    types = {name: layers[name].get_output(0).dtype.name for name in ("times0", "times1", "times2", "mean", "classify")}
    assert types == {"times0": "FLOAT", "times1": "HALF", "times2": "FLOAT", "mean": "FLOAT", "classify": "HALF"}


def test_where_tensorrt_runs_the_mixed_graphs_are_engines(
    made: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine can run here: the builder keeps the graph as its plan, which ONNX Runtime runs."""
    built: list[int] = []

    def build_plan(api: object, graph: Path, plan: Path) -> None:
        nodes = onnx.load(graph).graph.node
        built.append(sum(node.op_type == "Cast" for node in nodes))
        plan.write_bytes(graph.read_bytes())

    monkeypatch.setattr("toolkit.engine.diagnose.choose_engine", lambda engine: ("tensorrt", "tensorrt 10.3.0 on Orin"))
    monkeypatch.setattr("toolkit.engine.diagnose.import_tensorrt", lambda: None)
    monkeypatch.setattr("toolkit.engine.diagnose.build_plan", build_plan)
    monkeypatch.setattr("toolkit.engine.diagnose.TensorRtBackend", OnnxRuntimeBackend)
    diagnosis = diagnose(made(2.0, 3.0), "rgb")
    assert diagnosis.lines()[0] == "rgb: 5 FP16 layers, engines of tensorrt 10.3.0 on Orin"
    assert (diagnosis.broken, diagnosis.passes) == ((), True)
    # One engine, with all layers FP16: each of the five casts what it reads and what it writes.
    assert built == [10]


def test_a_bundle_of_networks_is_diagnosed_by_the_command(exported: Path) -> None:
    from typer.testing import CliRunner

    from toolkit.cli import app

    result = CliRunner().invoke(
        app, ["engine", "diagnose", str(exported), "--stream", "rgb", "--engine", "onnxruntime"]
    )
    assert result.exit_code == 0, result.output
    assert "FP16 storage between layers simulated by ONNX Runtime" in result.output
    assert "no layer breaks the golden sample" in result.output
    assert "Conv" in result.output
    assert "flow:" not in result.output


def test_a_file_that_is_no_graph_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\xff\x01nonsense")
    with pytest.raises(EngineError, match=r"cut\.onnx: not a readable ONNX graph"):
        LayeredGraph(tmp_path / "cut.onnx")
