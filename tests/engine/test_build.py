"""Building and opening engines: what was made for something else never runs, and failures leave what was there."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from toolkit.bundle import Bundle, load_bundle
from toolkit.engine.build import BuildProgress, build_engines
from toolkit.engine.lock import LOCK
from toolkit.engine.select import open_backends
from toolkit.engine.sidecar import engines_folder
from toolkit.errors import EngineError, EngineMismatch, MissingDependency

from .tiny import resealed

SET = "onnxruntime-fp32"


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file's content but the lock's, which stays."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def changed_sidecar(bundle: Bundle, change: Any) -> None:
    path = engines_folder(bundle) / SET / "rgb.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_engines_are_built_verified_and_opened_on_a_cpu(bundle: Bundle) -> None:
    before = files_of(bundle.path)
    progress: list[BuildProgress] = []
    built = build_engines(bundle, engine="onnxruntime", on_progress=progress.append)
    assert [engine.stream for engine in built] == ["rgb", "flow"]
    assert files_of(bundle.path) == before
    folder = bundle.path.parent / "tiny.engines"
    assert set(files_of(folder)) == {f"{SET}/rgb.json", f"{SET}/flow.json"}
    sidecar = json.loads((folder / SET / "rgb.json").read_text())
    assert sidecar["identity"]["runtime_version"] == onnxruntime.__version__
    assert sidecar["identity"]["bundle_sha256"] == bundle.sha256
    assert sidecar["parity"]["logits"]["rgb"]["label_flips"] == 0
    assert sidecar["input_shape"] == [4, 3, 16, 16]
    assert [step.stage for step in progress] == ["verify", "verify"]
    golden = bundle.golden()[0]
    for stream, backend in open_backends(bundle, engine="onnxruntime", threads=1).items():
        with backend:
            logits = backend.infer(golden.inputs[stream][np.newaxis])[0]
        np.testing.assert_allclose(logits, golden.logits[stream], atol=1e-5)


def test_tensorrt_without_a_gpu_says_what_is_missing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycuda", None)
    with pytest.raises(MissingDependency, match="pip install"):
        build_engines(bundle, engine="tensorrt")
    with pytest.raises(MissingDependency, match="pip install"):
        open_backends(bundle, engine="tensorrt")
    assert not engines_folder(bundle).exists()


def test_an_engine_that_was_never_built_is_asked_for(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"no engine was built for rgb.*Run: toolkit build-engine") as info:
        open_backends(bundle, engine="onnxruntime")
    assert not isinstance(info.value, EngineMismatch)


def test_an_engine_of_another_bundle_is_refused(bundle: Bundle) -> None:
    build_engines(bundle, engine="onnxruntime")
    other = resealed(bundle, lambda manifest: manifest.update(name="retrained"))
    with pytest.raises(EngineMismatch) as info:
        open_backends(other, engine="onnxruntime")
    message = str(info.value)
    assert f"bundle sha256: made for {bundle.sha256}, found here {other.sha256}" in message
    assert "onnx sha256" not in message
    assert f"Run: toolkit build-engine {other.path}" in message
    build_engines(other, engine="onnxruntime")
    assert open_backends(other, engine="onnxruntime")


def test_an_engine_of_another_version_and_device_names_both(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    build_engines(bundle, engine="onnxruntime")
    found = f"cpu/{platform.machine()}"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(onnxruntime, "__version__", "9.9.9")
    with pytest.raises(EngineMismatch) as info:
        open_backends(bundle, engine="onnxruntime")
    assert "runtime version: made for" in str(info.value)
    assert "found here 9.9.9" in str(info.value)
    assert f"device: made for {found}, found here cpu/aarch64" in str(info.value)


def test_engines_of_another_runtime_are_a_mismatch(bundle: Bundle) -> None:
    build_engines(bundle, engine="onnxruntime")
    folder = engines_folder(bundle)
    for path in (folder / SET).iterdir():
        content = json.loads(path.read_text())
        content["identity"] |= {"runtime": "tensorrt", "runtime_version": "10.3.0", "device": "Orin"}
        path.write_text(json.dumps(content))
    shutil.move(folder / SET, folder / "tensorrt-fp16")
    with pytest.raises(EngineMismatch, match=r"made for tensorrt 10\.3\.0 fp32 on Orin; found here onnxruntime"):
        open_backends(bundle, engine="onnxruntime")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("identity"), "not an engine's sidecar.*identity"),
        (lambda content: content["identity"].update(precision="int3"), "not an engine's sidecar.*precision"),
        (lambda content: content.update(comment="mine"), "not an engine's sidecar.*comment"),
        (lambda content: content.update(schema_version=2), "sidecar schema 2, this toolkit reads 1"),
        (lambda content: content["identity"].update(onnx_sha256="0" * 64), "onnx sha256: made for 0000"),
        (lambda content: content.update(parity=None), "never run"),
    ],
    ids=["field gone", "bad value", "unknown field", "newer schema", "another graph", "unverified"],
)
def test_a_changed_sidecar_is_refused(bundle: Bundle, change: Any, message: str) -> None:
    build_engines(bundle, engine="onnxruntime")
    changed_sidecar(bundle, change)
    with pytest.raises(EngineError, match=message):
        open_backends(bundle, engine="onnxruntime")


def test_a_sidecar_that_is_not_json_is_refused_and_replaced(bundle: Bundle) -> None:
    build_engines(bundle, engine="onnxruntime")
    (engines_folder(bundle) / SET / "flow.json").write_bytes(b"\xff\x00")
    with pytest.raises(EngineError, match=r"flow\.json: not an engine's sidecar"):
        open_backends(bundle, engine="onnxruntime")
    build_engines(bundle, engine="onnxruntime")
    assert open_backends(bundle, engine="onnxruntime")


def swapped_graph(bundle: Bundle) -> Bundle:
    """Return the bundle with a graph of the right shape and the wrong weights, its hashes made to fit."""
    from onnx import load, numpy_helper

    path = bundle.onnx_path("flow", "fp32")
    model = load(path)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(-array, tensor.name))
    path.write_bytes(model.SerializeToString())
    return resealed(bundle)


def test_an_engine_that_fails_the_golden_sample_is_not_installed(bundle: Bundle) -> None:
    build_engines(bundle, engine="onnxruntime")
    good = files_of(engines_folder(bundle))
    bad = swapped_graph(bundle)
    with pytest.raises(EngineError, match=r"fails the bundle's golden sample.*\n.*flow: .*clip 0 \(hang\)"):
        build_engines(bad, engine="onnxruntime")
    assert files_of(engines_folder(bad)) == good
    assert sorted(path.name for path in bundle.path.parent.iterdir()) == ["tiny", "tiny.engines"]
    with pytest.raises(EngineMismatch):
        open_backends(bad, engine="onnxruntime")


def test_a_folder_that_cannot_be_written_is_one_clear_error(bundle: Bundle) -> None:
    engines_folder(bundle).write_text("in the way")
    with pytest.raises(EngineError, match="cannot be written beside it"):
        build_engines(bundle, engine="onnxruntime")


def test_a_batch_of_nothing_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="max_batch must be at least 1, found 0"):
        build_engines(bundle, max_batch=0)


def test_a_bundle_found_by_a_relative_path_has_its_engines_beside_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.path)
    here = load_bundle(Path())
    build_engines(here, engine="onnxruntime")
    assert (bundle.path.parent / "tiny.engines" / SET / "rgb.json").is_file()
