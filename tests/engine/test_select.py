"""Which engine runs on which machine, and that the reason is told."""

from __future__ import annotations

import platform
import re
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from toolkit.bundle import Bundle
from toolkit.engine.build import build_engines
from toolkit.engine.select import EngineName, choose_engine, open_backends
from toolkit.engine.sidecar import engines_folder
from toolkit.errors import MissingDependency

ABSENT: Any = None
NO_GPU = r"; TensorRT cannot run here: .*PyCUDA"


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", ABSENT)


@pytest.mark.parametrize(
    ("machine", "module", "chosen", "reason"),
    [
        ("x86_64", object(), "openvino", "OpenVINO, the fastest on this processor"),
        ("x86_64", ABSENT, "onnxruntime", "ONNX Runtime, for want of the faster OpenVINO: .*pip install openvino"),
        ("aarch64", object(), "onnxruntime", "ONNX Runtime on aarch64, where OpenVINO has not been measured"),
    ],
    ids=["x86-64", "x86-64 without OpenVINO", "aarch64"],
)
def test_auto_takes_the_fastest_that_was_measured(
    monkeypatch: pytest.MonkeyPatch, machine: str, module: Any, chosen: str, reason: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setitem(sys.modules, "openvino", module)
    engine, why = choose_engine("auto")
    assert engine == chosen
    assert re.match(reason + NO_GPU, why)


def test_openvino_that_is_demanded_and_absent_says_how_to_get_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", ABSENT)
    with pytest.raises(MissingDependency, match="pip install openvino"):
        build_engines(bundle, engine="openvino")
    assert not engines_folder(bundle).exists()


def test_each_cpu_engine_is_built_and_opened_beside_the_other(bundle: Bundle) -> None:
    engines: tuple[EngineName, ...] = ("onnxruntime", "openvino")
    if find_spec("openvino") is None:
        pytest.skip("there is no OpenVINO for this machine")
    for engine in engines:
        (rgb, _) = build_engines(bundle, engine=engine)
        assert (rgb.sidecar.identity.runtime, rgb.sidecar.identity.precision) == (engine, "fp32")
    golden = bundle.golden()[0]
    for engine in engines:
        for stream, backend in open_backends(bundle, engine=engine, threads=1).items():
            with backend:
                assert backend.identity.startswith(f"{engine}-")
                logits = backend.infer(golden.inputs[stream][np.newaxis])[0]
            np.testing.assert_allclose(logits, golden.logits[stream], atol=1e-5)
