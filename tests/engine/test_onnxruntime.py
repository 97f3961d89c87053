"""The ONNX Runtime backend: it feeds the ring's own memory, and says every wrong input or graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from toolkit.bundle import Bundle
from toolkit.clips import ClipRing
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.errors import EngineError


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the arrays that ONNX Runtime is handed, as it is handed them."""
    arrays: list[Any] = []

    class Recording(onnxruntime.InferenceSession):  # type: ignore[misc, unused-ignore]
        def run(self, outputs: Any, feed: dict[str, Any], *rest: Any) -> Any:
            arrays.extend(feed.values())
            return super().run(outputs, feed, *rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recording)
    return arrays


def test_a_rings_clip_is_fed_without_a_copy(bundle: Bundle, fed: list[Any]) -> None:
    ring = ClipRing(4, (3, 16, 16))
    rng = np.random.default_rng(0)
    with OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp32")) as backend:
        for _ in range(6):
            ring.slot[...] = rng.standard_normal((3, 16, 16), dtype=np.float32)
            ring.advance()
            logits = backend.infer(ring.clip).copy()
            # A copy in another layout is the same clip, so the same logits, by the slow way.
            assert np.array_equal(backend.infer(ring.clip.copy()), logits)
    assert np.shares_memory(fed[-2], ring.clip)
    assert not np.shares_memory(fed[-1], ring.clip)
    assert fed[-2].flags.c_contiguous
    assert fed[-2].shape == (1, 4, 3, 16, 16)


def test_a_batch_gives_each_clips_logits(bundle: Bundle) -> None:
    clips = np.random.default_rng(1).standard_normal((3, 2, 4, 16, 16), dtype=np.float32)
    with OnnxRuntimeBackend(bundle.onnx_path("flow", "fp32"), threads=1) as backend:
        together = backend.infer(clips).copy()
        single = np.concatenate([backend.infer(clip[np.newaxis]).copy() for clip in clips])
    assert together.shape == (3, 8)
    np.testing.assert_allclose(together, single, atol=1e-6)


@pytest.mark.parametrize(
    "clips",
    [
        np.zeros((1, 3, 4, 16, 15), dtype=np.float32),
        np.zeros((1, 2, 4, 16, 16), dtype=np.float32),
        np.zeros((1, 4, 3, 16, 16), dtype=np.float32),
        np.zeros((3, 4, 16, 16), dtype=np.float32),
        np.zeros((0, 3, 4, 16, 16), dtype=np.float32),
        np.zeros((1, 3, 4, 16, 16), dtype=np.float64),
        np.zeros((1, 3, 4, 16, 16), dtype=np.uint8),
    ],
    ids=["side", "channels", "time-major", "no batch", "empty batch", "float64", "uint8"],
)
def test_a_wrong_clip_is_refused(bundle: Bundle, clips: Any) -> None:
    with (
        OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp32")) as backend,
        pytest.raises(EngineError, match=r"expected float32 clips of shape .*C 3, T 4, H 16, W 16.*found"),
    ):
        backend.infer(clips)


def test_it_must_be_entered(bundle: Bundle) -> None:
    backend = OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp32"))
    clips = np.zeros((1, 3, 4, 16, 16), dtype=np.float32)
    with pytest.raises(EngineError, match="with block"):
        backend.infer(clips)
    with backend:
        backend.infer(clips)
    with pytest.raises(EngineError, match="with block"):
        backend.infer(clips)


@pytest.mark.parametrize("kept_bytes", [0, 40, 900])
def test_a_corrupt_graph_is_one_clear_error(
    bundle: Bundle, tmp_path: Path, kept_bytes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = tmp_path / "cut.onnx"
    graph.write_bytes(bundle.onnx_path("rgb", "fp32").read_bytes()[:kept_bytes])
    with pytest.raises(EngineError, match=r"cut\.onnx: ONNX Runtime cannot load it"), OnnxRuntimeBackend(graph):
        pass
    assert capfd.readouterr().err == ""


def test_a_missing_graph_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.onnx"), OnnxRuntimeBackend(tmp_path / "none.onnx"):
        pass


def test_a_graph_of_something_else_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["result"])],
        "other",
        [value("image", TensorProto.FLOAT, [1, 3])],
        [value("result", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "other.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match="expected one float32 input clips"), OnnxRuntimeBackend(path):
        pass


def test_the_identity_names_runtime_device_and_precision(bundle: Bundle) -> None:
    backend = OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp16"), precision="fp16")
    assert backend.identity == f"onnxruntime-{onnxruntime.__version__}/cpu/fp16"
