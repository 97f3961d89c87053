"""Backends of a CPU meet one contract: they feed the ring's own memory, and say every wrong input or graph."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.engine.tiny import write_other_graph
from toolkit.bundle import Bundle
from toolkit.clips import ClipRing
from toolkit.engine.contract import Backend
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.openvino import OpenVinoBackend, import_openvino
from toolkit.errors import EngineError, MissingDependency

Make = Callable[..., Backend]
NAMES: dict[Any, str] = {OnnxRuntimeBackend: "ONNX Runtime", OpenVinoBackend: "OpenVINO"}


@pytest.fixture(params=NAMES, ids=lambda kind: kind.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    """Return a backend's class."""
    if request.param is OpenVinoBackend:
        openvino_or_skip()
    kind: Make = request.param
    return kind


def openvino_or_skip() -> Any:
    try:
        return import_openvino()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the arrays that a runtime is handed, as it is handed them."""
    arrays: list[Any] = []

    class Recording(onnxruntime.InferenceSession):  # type: ignore[misc, unused-ignore]
        def run(self, outputs: Any, feed: dict[str, Any], *rest: Any) -> Any:
            arrays.extend(feed.values())
            return super().run(outputs, feed, *rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recording)
    try:
        openvino = import_openvino()
    except MissingDependency:
        return arrays
    tensor_of = openvino.Tensor

    def record(array: Any, **options: Any) -> Any:
        tensor = tensor_of(array, **options)
        arrays.append(tensor.data)
        return tensor

    monkeypatch.setattr(openvino, "Tensor", record)
    return arrays


def test_a_rings_clip_is_fed_without_a_copy(bundle: Bundle, fed: list[Any], make: Make) -> None:
    ring = ClipRing(4, (3, 16, 16))
    rng = np.random.default_rng(0)
    with make(bundle.onnx_path("rgb", "fp32")) as backend:
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


def test_the_golden_logits_are_those_of_the_bundle(bundle: Bundle, make: Make) -> None:
    for stream in bundle.manifest.streams:
        with make(bundle.onnx_path(stream, "fp32"), threads=1) as backend:
            for clip in bundle.golden():
                logits = backend.infer(clip.inputs[stream][np.newaxis])
                np.testing.assert_allclose(logits[0], clip.logits[stream], atol=1e-5)


def test_a_batch_gives_each_clips_logits(bundle: Bundle, make: Make) -> None:
    clips = np.random.default_rng(1).standard_normal((3, 2, 4, 16, 16), dtype=np.float32)
    with make(bundle.onnx_path("flow", "fp32"), threads=1) as backend:
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
def test_a_wrong_clip_is_refused(bundle: Bundle, clips: Any, make: Make) -> None:
    with (
        make(bundle.onnx_path("rgb", "fp32")) as backend,
        pytest.raises(EngineError, match=r"expected float32 clips of shape .*C 3, T 4, H 16, W 16.*found"),
    ):
        backend.infer(clips)


def test_it_must_be_entered(bundle: Bundle, make: Make) -> None:
    backend = make(bundle.onnx_path("rgb", "fp32"))
    clips = np.zeros((1, 3, 4, 16, 16), dtype=np.float32)
    with pytest.raises(EngineError, match="with block"):
        backend.infer(clips)
    with backend:
        backend.infer(clips)
    with pytest.raises(EngineError, match="with block"):
        backend.infer(clips)


@pytest.mark.parametrize("kept_bytes", [0, 40, 900])
def test_a_corrupt_graph_is_one_clear_error(
    bundle: Bundle, tmp_path: Path, kept_bytes: int, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = tmp_path / "cut.onnx"
    graph.write_bytes(bundle.onnx_path("rgb", "fp32").read_bytes()[:kept_bytes])
    with pytest.raises(EngineError, match=rf"cut\.onnx: {NAMES[make]} cannot load it"), make(graph):
        pass
    assert capfd.readouterr().err == ""


def test_a_missing_graph_is_one_clear_error(tmp_path: Path, make: Make) -> None:
    with pytest.raises(EngineError, match=r"none\.onnx"), make(tmp_path / "none.onnx"):
        pass


def test_a_graph_of_something_else_is_refused(tmp_path: Path, make: Make) -> None:
    path = write_other_graph(tmp_path / "other.onnx")
    with pytest.raises(EngineError, match="expected one float32 input clips"), make(path):
        pass


def test_the_identity_names_runtime_device_and_precision(bundle: Bundle) -> None:
    backend = OnnxRuntimeBackend(bundle.onnx_path("rgb", "fp16"), precision="fp16")
    assert backend.identity == f"onnxruntime-{onnxruntime.__version__}/cpu/fp16"


def test_openvinos_identity_is_its_release(bundle: Bundle) -> None:
    openvino_or_skip()
    from importlib.metadata import version

    assert OpenVinoBackend(bundle.onnx_path("rgb", "fp32")).identity == f"openvino-{version('openvino')}/cpu/fp32"


def test_openvino_tells_nobody_that_it_was_imported(bundle: Bundle, tmp_path: Path) -> None:
    openvino_or_skip()
    graph = bundle.onnx_path("rgb", "fp32")
    script = f"""
import sys
from pathlib import Path
from toolkit.engine.openvino import OpenVinoBackend
with OpenVinoBackend(Path({str(graph)!r})):
    assert "openvino" in sys.modules
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"HOME": str(home)}, check=True, timeout=60)
    assert list(home.iterdir()) == []
