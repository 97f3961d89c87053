"""Verification: what must be refused is refused, with the clips and behaviours; what differs harmlessly is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.bundle import Bundle
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.verification import verify
from toolkit.errors import EngineError
from toolkit.flow import PARAMETER_SETS, OpenCvFlow

from .tiny import FunctionBackend, resealed

Logits = NDArray[np.float32]


def altered(bundle: Bundle, **changes: Callable[[int, Logits], Logits]) -> dict[Any, Any]:
    """Return backends that answer with the golden logits of each clip in turn, changed per stream."""
    golden = bundle.golden()

    def backend(stream: Any) -> FunctionBackend:
        counter = iter(range(len(golden)))
        change = changes.get(stream, lambda _, logits: logits)

        def answer(clips: Logits) -> Logits:
            index = next(counter)
            assert np.array_equal(clips[0], golden[index].inputs[stream])
            return change(index, golden[index].logits[stream].copy())[np.newaxis]

        return FunctionBackend(answer)

    return {stream: backend(stream) for stream in bundle.manifest.streams}


def test_the_float32_graph_passes_and_is_measured(bundle: Bundle) -> None:
    with (
        OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp32")) as rgb,
        OnnxRuntimeBackend(bundle.onnx_path("flow", "fp32")) as flow,
    ):
        report = verify(bundle, {"rgb": rgb, "flow": flow}, flow_clips=3)
    assert report.clips == 3
    assert report.logits["rgb"].max_error < 1e-5
    assert report.fused_label_flips == 0
    assert report.rgb_max_grey_levels == 0
    assert report.flow is not None
    assert (report.flow.clips, report.flow.mean_px, report.flow.max_px) == (3, 0, 0)


def test_logit_errors_are_the_largest_and_the_mean_over_all_clips(bundle: Bundle) -> None:
    def change(index: int, logits: Logits) -> Logits:
        logits[2] += 0.12 if index == 1 else 0
        return logits

    report = verify(bundle, altered(bundle, rgb=change), flow_clips=1)
    assert report.logits["rgb"].max_error == pytest.approx(0.12, rel=1e-4)
    assert report.logits["rgb"].mean_error == pytest.approx(0.12 / (3 * 8), rel=1e-4)
    assert report.logits["flow"].max_error == 0


def test_a_logit_error_above_the_limit_names_the_clip(bundle: Bundle) -> None:
    def change(index: int, logits: Logits) -> Logits:
        return logits - 0.2 if index == 2 else logits

    with pytest.raises(
        EngineError, match=r"largest logit error 0\.2, the bundle allows 0\.15: clip 2 \(walk\)"
    ) as info:
        verify(bundle, altered(bundle, flow=change))
    assert "clip 0" not in str(info.value)
    assert "labels changed" not in str(info.value)


def test_a_label_flip_within_the_logit_limit_is_refused(bundle: Bundle) -> None:
    generous = resealed(bundle, lambda manifest: manifest["parity"].update(max_logit_error=1000))
    names = bundle.manifest.ethogram.names

    def change(index: int, logits: Logits) -> Logits:
        if index == 1:
            logits[int(logits.argmin())] = logits.max() + 50
        return logits

    best = bundle.golden()[1].logits["rgb"]
    sentence = f"clip 1 (rear: {names[best.argmax()]} became {names[best.argmin()]})"
    with pytest.raises(EngineError) as info:
        verify(generous, altered(generous, rgb=change))
    message = str(info.value)
    assert message.count("1 labels changed, the bundle allows 0") == 2
    assert f"rgb: 1 labels changed, the bundle allows 0: {sentence}" in message
    assert "fused: 1 labels changed" in message
    allowed = resealed(generous, lambda manifest: manifest["parity"].update(max_label_flips=1))
    report = verify(allowed, altered(allowed, rgb=change))
    assert (report.logits["rgb"].label_flips, report.logits["flow"].label_flips) == (1, 0)
    assert report.fused_label_flips == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_overflow_is_refused_whatever_the_limits(bundle: Bundle, value: float) -> None:
    lax = resealed(bundle, lambda manifest: manifest["parity"].update(max_logit_error=1e30, max_label_flips=99))

    def change(index: int, logits: Logits) -> Logits:
        logits[0] = value if index == 0 else logits[0]
        return logits

    with pytest.raises(EngineError, match=r"rgb: the logits are not finite \(overflow\) for clip 0 \(hang\)"):
        verify(lax, altered(lax, rgb=change))


def half_graph(weight: float) -> Any:
    """Return a tiny half-precision graph: clips * weight / weight, then means as logits."""
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    with np.errstate(over="ignore"):
        half = np.array([weight], dtype=np.float32).astype(np.float16)
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["clips"], ["half"], to=TensorProto.FLOAT16),
                helper.make_node("Mul", ["half", "weight"], ["large"]),
                helper.make_node("Div", ["large", "weight"], ["back"]),
                helper.make_node("Cast", ["back"], ["float"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
                helper.make_node("Concat", ["means", "means"], ["logits"], axis=1),
            ],
            "overflow",
            [value("clips", TensorProto.FLOAT, ["N", 4, 3, 16, 16])],
            [value("logits", TensorProto.FLOAT, ["N", 8])],
            [numpy_helper.from_array(half, "weight"), numpy_helper.from_array(np.array([2, 3, 4]), "axes")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def expecting_means(bundle: Bundle) -> Bundle:
    """Return the bundle with an rgb golden sample of the float32 form of `half_graph`: the means of each frame."""
    path = bundle.path / "golden.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    for index in range(3):
        means = content[f"rgb_input_{index}"].mean(axis=(0, 2, 3))
        content[f"rgb_logits_{index}"] = np.concatenate([means, means]).astype(np.float32)
    np.savez(path, allow_pickle=False, **content)
    return resealed(bundle)


def test_an_activation_that_overflows_half_precision_is_refused(bundle: Bundle) -> None:
    import onnx.reference

    bundle = expecting_means(bundle)
    # ONNX's reference evaluator computes half precision in half precision: 60000 * 4 is infinite.
    evaluator = onnx.reference.ReferenceEvaluator(half_graph(weight=60_000))

    def evaluate(clips: Logits) -> Logits:
        with np.errstate(over="ignore", invalid="ignore"):
            logits: Logits = evaluator.run(None, {"clips": 4 * clips.transpose(0, 2, 1, 3, 4)})[0] / 4
        return logits

    backends = altered(bundle) | {"rgb": FunctionBackend(evaluate)}
    with pytest.raises(EngineError, match=r"rgb: the logits are not finite \(overflow\) for clip 0 \(hang\)"):
        verify(bundle, backends)


def test_onnxruntime_on_a_cpu_does_not_show_an_activation_that_overflows(bundle: Bundle, tmp_path: Path) -> None:
    """Why agreement of ONNX Runtime proves nothing about FP16: it computes the graph in FP32."""
    graph = tmp_path / "rgb.fp16.onnx"
    graph.write_bytes(half_graph(weight=60_000).SerializeToString())
    with OnnxRuntimeBackend(graph, precision="fp16") as backend:
        assert np.isfinite(backend.infer(np.full((1, 3, 4, 16, 16), 4, dtype=np.float32))).all()


def test_a_weight_that_overflows_half_precision_is_refused_by_onnxruntime_too(bundle: Bundle, tmp_path: Path) -> None:
    bundle = expecting_means(bundle)
    graph = tmp_path / "rgb.fp16.onnx"
    graph.write_bytes(half_graph(weight=70_000).SerializeToString())
    with (
        OnnxRuntimeBackend(graph, precision="fp16") as rgb,
        pytest.raises(EngineError, match=r"fails the bundle's golden sample and is not installed:\n.*not finite"),
    ):
        verify(bundle, altered(bundle) | {"rgb": rgb})


def test_another_number_of_classes_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="rgb: expected 8 classes, found 5"):
        verify(bundle, altered(bundle, rgb=lambda _, logits: logits[:5]))


def test_preprocessing_that_differs_is_refused(bundle: Bundle) -> None:
    path = bundle.path / "golden.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    # As if this machine's resize had moved the picture.
    content["frames_1"] = np.roll(content["frames_1"], 8, axis=2)
    np.savez(path, allow_pickle=False, **content)
    moved = resealed(bundle)
    with pytest.raises(EngineError, match=r"preprocessing: RGB input differs by \d+ grey levels"):
        verify(moved, altered(moved))


class _OtherFlow:
    """The bundle's flow by another implementation: half a pixel off."""

    def __init__(self, implementation: str) -> None:
        self._estimator = OpenCvFlow(PARAMETER_SETS["fast"])
        self.parameters = self._estimator.parameters
        self.implementation = implementation

    def flow(self, previous: Any, current: Any) -> Any:
        return self._estimator.flow(previous, current) + np.float32(0.5)


def test_another_flow_implementation_is_reported_in_px(bundle: Bundle) -> None:
    report = verify(bundle, altered(bundle), estimator=_OtherFlow("other-1"))
    assert report.flow is not None
    assert (report.flow.here, report.flow.trained) == ("other-1", bundle.manifest.flow.implementation)
    assert report.flow.mean_px == pytest.approx(0.5, abs=0.01)


def test_the_same_implementation_with_another_flow_is_refused(bundle: Bundle) -> None:
    faulty = _OtherFlow(bundle.manifest.flow.implementation)
    with pytest.raises(EngineError, match=r"flow: opencv-.* differs by 0\.\d+ px on average from its own flow"):
        verify(bundle, altered(bundle), estimator=faulty)
