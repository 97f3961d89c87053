"""A bundle that was made to harm is refused with one message, before any of it is unpacked, followed or believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from typer.testing import CliRunner

from toolkit import bundle as bundles
from toolkit.bundle import load_bundle
from toolkit.cli import app
from toolkit.errors import BundleError
from toolkit.files import sha256_of_file
from toolkit.npz_file import NpzFile
from toolkit.onnx_file import graph_fault

onnx = pytest.importorskip("onnx", reason="needs the train extra to make graphs")

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole bundle, not to be changed."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    from tests.engine.tiny import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("whole") / "tiny").path


@pytest.fixture
def bundle_path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "lab" / "tiny"))


def sealed(path: Path) -> None:
    """Make the manifest's hashes fit the files, as whoever forges a bundle does."""
    content = json.loads((path / "manifest.json").read_text())
    content["files"] = {name: sha256_of_file(path / name) for name in content["files"] if (path / name).is_file()}
    (path / "manifest.json").write_text(json.dumps(content))


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((path / "manifest.json").read_text())
    change(content)
    (path / "manifest.json").write_text(json.dumps(content))


def refused(path: Path) -> str:
    """Return why a bundle is refused, by loading it and by `cage check` alike."""
    config = path.parent / "cage.toml"
    config.write_text(f'[cage]\nname = "a1"\nbundle = "{path}"\n[camera]\nvideo = "a.mp4"\n[log]\nfolder = "logs"\n')
    checked = CliRunner().invoke(app, ["cage", "check", str(config)])
    assert isinstance(checked.exception, SystemExit)
    assert "fault  bundle: " in checked.output
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    assert str(caught.value).splitlines()[0] in checked.output
    return str(caught.value)


def linked(path: Path, name: str) -> None:
    (path / name).rename(path.parent / "elsewhere")
    (path / name).symlink_to(path.parent / "elsewhere")


def external(path: Path, location: str) -> None:
    model = onnx.load(path / "rgb.fp32.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (path / "rgb.fp32.onnx").write_bytes(model.SerializeToString())
    sealed(path)


def external_within(path: Path) -> None:
    """Hide a reference in the graph of a branch, where no list of the main graph's weights has it."""
    tensor = onnx.TensorProto(dims=[1], data_type=1, data_location=1)
    tensor.external_data.add(key="location", value="/etc/passwd")
    value = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    inner = onnx.GraphProto(name="inner", node=[onnx.NodeProto(op_type="Constant", output=["x"], attribute=[value])])
    branch = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH, g=inner)
    model = onnx.load(path / "rgb.fp32.onnx")
    model.graph.node.append(onnx.NodeProto(op_type="If", input=["c"], output=["y"], attribute=[branch]))
    (path / "rgb.fp32.onnx").write_bytes(model.SerializeToString())
    sealed(path)


def sparse(path: Path, name: str, size: int) -> None:
    with (path / name).open("r+b") as file:
        os.truncate(file.fileno(), size)


FORGED: dict[str, tuple[Change, str]] = {
    "a file outside": (lambda p: edited(p, lambda m: m["files"].update({"../secret": "0" * 64})), "files must be"),
    "an absolute file": (lambda p: edited(p, lambda m: m["files"].update({"/etc/passwd": "0" * 64})), "files must be"),
    "a linked manifest": (lambda p: linked(p, "manifest.json"), "not a bundle"),
    "a linked graph": (lambda p: linked(p, "rgb.fp32.onnx"), "rgb.fp32.onnx: a link"),
    "a linked sample": (lambda p: linked(p, "golden.npz"), "golden.npz: a link"),
    "a device": (lambda p: ((p / "golden.npz").unlink(), os.mkfifo(p / "golden.npz")), "golden.npz: missing"),
    "a folder": (lambda p: ((p / "golden.npz").unlink(), (p / "golden.npz").mkdir()), "golden.npz: missing"),
    "a huge graph": (lambda p: sparse(p, "rgb.fp32.onnx", 1 << 40), "rgb.fp32.onnx: 1099511627776 bytes"),
    "a huge sample": (lambda p: sparse(p, "golden.npz", 1 << 40), "golden.npz: 1099511627776 bytes"),
    "a huge manifest": (lambda p: sparse(p, "manifest.json", 1 << 40), "over 1 MiB"),
    "a cut manifest": (lambda p: sparse(p, "manifest.json", 200), "not JSON"),
    "deep JSON": (lambda p: (p / "manifest.json").write_text("[" * 500_000), "not JSON"),
    "digits": (lambda p: (p / "manifest.json").write_text("9" * 100_000), "not JSON"),
    "no text": (lambda p: (p / "manifest.json").write_bytes(b"\xff\xfe{}"), "not JSON"),
    "a huge picture": (lambda p: edited(p, lambda m: m["geometry"].update(width=1 << 40)), "geometry.width"),
    "a huge crop": (lambda p: edited(p, lambda m: m["inputs"][0].update(crop=1 << 30)), "inputs.0.crop"),
    "a huge clip": (lambda p: edited(p, lambda m: m["clip"].update(before=1 << 30)), "clip.before"),
    "endless flow": (lambda p: edited(p, lambda m: m["flow"]["parameters"].update(warps=1 << 30)), "warps"),
    "no number": (lambda p: edited(p, lambda m: m["inputs"][0].update(scale=[float("nan")] * 3)), "inputs.0.scale"),
    "a class of another": (lambda p: edited(p, lambda m: m.update(ethogram=[1])), "ethogram"),
    "weights outside": (lambda p: external(p, "../../../../etc/passwd"), "external data"),
    "weights in the bundle": (lambda p: external(p, "golden.npz"), "external data"),
    "weights in a branch": (external_within, "external data"),
    "a graph of zeros": (lambda p: ((p / "flow.fp16.onnx").write_bytes(bytes(1000)), sealed(p)), "not an ONNX graph"),
    "an empty graph": (lambda p: ((p / "flow.fp16.onnx").write_bytes(b""), sealed(p)), "is empty"),
}


@pytest.mark.parametrize(("forge", "words"), FORGED.values(), ids=FORGED)
def test_a_forged_bundle_is_refused(bundle_path: Path, forge: Change, words: str) -> None:
    forge(bundle_path)
    assert words in refused(bundle_path)


def test_a_bundle_behind_a_link_is_a_bundle(bundle_path: Path) -> None:
    """As an operator switches between versions."""
    (bundle_path.parent / "current").symlink_to("tiny")
    assert load_bundle(bundle_path.parent / "current").sha256 == load_bundle(bundle_path).sha256


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object], method: int = zipfile.ZIP_DEFLATED) -> None:
    """Change the golden sample's members as bytes, and seal the bundle again."""
    with zipfile.ZipFile(path / "golden.npz") as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(path / "golden.npz", "w", method) as target:
        for name, content in members.items():
            target.writestr(name, content)
    sealed(path)


def array(value: Any, **header: Any) -> bytes:
    """Return an array as NumPy stores it; `header` replaces what its header says."""
    value = np.asarray(value)
    told = {"descr": npy.dtype_to_descr(value.dtype), "fortran_order": False, "shape": value.shape, **header}
    file = io.BytesIO()
    npy.write_array_header_1_0(file, told)
    file.write(value.tobytes())
    return file.getvalue()


class Evil:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("pickled",))


def pickled(members: dict[str, bytes]) -> None:
    content = array(np.zeros(1), descr="|O", shape=(1,))
    members["behaviours.npy"] = content[: -np.zeros(1).nbytes] + pickle.dumps(np.array([Evil()], dtype=object))


SAMPLES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "a pickle": (pickled, "behaviours: expected int16"),
    "a shape of terabytes": (
        lambda m: m.update({"frames_0.npy": array(np.zeros(9, np.uint8), shape=(5, 1 << 20, 1 << 20, 3))}),
        "frames_0: declares",
    ),
    "many behaviours": (
        lambda m: m.update({"behaviours.npy": array(np.zeros(9, np.int16), shape=(1 << 40,))}),
        "behaviours: declares",
    ),
    "another shape": (
        lambda m: m.update({"rgb_input_0.npy": array(np.zeros((3, 4, 16, 17), np.float32))}),
        "rgb_input_0: expected float32 of (3, 4, 16, 16)",
    ),
    "another type": (lambda m: m.update({"rgb_logits_0.npy": array(np.zeros(8))}), "rgb_logits_0: expected float32"),
    "a negative shape": (
        lambda m: m.update({"frames_0.npy": array(np.zeros(9, np.uint8), shape=(5, -1, 1, 3))}),
        "frames_0",
    ),
    "no number": (
        lambda m: m.update({"rgb_logits_0.npy": array(np.full(8, np.nan, np.float32))}),
        "rgb_logits_0 is not finite",
    ),
    "an unknown behaviour": (
        lambda m: m.update({"behaviours.npy": array(np.array([3, 5, 99], np.int16))}),
        "a behaviour that the ethogram of 8 has not",
    ),
    "a missing array": (lambda m: m.pop("flow_input_2.npy"), "flow_input_2 is missing"),
    "no header": (lambda m: m.update({"behaviours.npy": b"\x93NUMPY"}), "behaviours cannot be read"),
    "a header of code": (
        lambda m: m.update({"behaviours.npy": b"\x93NUMPY\x01\x00\x20\x00__import__('os').mkdir('x')   \n"}),
        "behaviours cannot be read",
    ),
    "a header of brackets": (
        lambda m: m.update({"behaviours.npy": b"\x93NUMPY\x01\x00\x00\x20" + b"[" * 8192}),
        "behaviours cannot be read",
    ),
}


@pytest.mark.parametrize(("change", "words"), SAMPLES.values(), ids=SAMPLES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_forged_golden_sample_is_refused(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], object], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rewritten(bundle_path, change)
    with pytest.raises(BundleError, match="golden") as caught:
        load_bundle(bundle_path).golden()
    assert words in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_is_not_numpy_s(bundle_path: Path, method: int) -> None:
    rewritten(bundle_path, lambda _members: None, method)
    with pytest.raises(BundleError, match="NumPy does not pack"):
        load_bundle(bundle_path).golden()


def test_a_bomb_is_not_unpacked(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 MB of zeros in half a MB: refused by what the ZIP's directory says, and by nothing that was allocated."""
    monkeypatch.setattr(bundles, "MOST_GOLDEN_BYTES", 100_000_000)
    bomb = array(np.zeros((5, 1000, 13_000, 3), np.uint8))
    rewritten(bundle_path, lambda members: members.update({"frames_0.npy": bomb}))
    assert (bundle_path / "golden.npz").stat().st_size < 2_000_000
    loaded = load_bundle(bundle_path)
    tracemalloc.start()
    try:
        for read in (loaded.golden, loaded.golden_frames):
            with pytest.raises(BundleError, match="at most 100000000 are read"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_zip_that_lies_about_its_size_is_read_no_further(tmp_path: Path) -> None:
    """The directory says 100 bytes less than the member unpacks to."""
    path = tmp_path / "a.npz"
    content = array(np.arange(1000, dtype=np.int16))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("behaviours.npy", content)
    true, lie = len(content).to_bytes(4, "little"), (len(content) - 100).to_bytes(4, "little")
    assert path.read_bytes().count(true) >= 2
    path.write_bytes(path.read_bytes().replace(true, lie))
    with NpzFile(path, most_bytes=10_000) as arrays, pytest.raises(BundleError, match="behaviours"):
        arrays.read("behaviours", np.int16, [1000])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_sample_is_a_message(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, allow_pickle=False, behaviours=np.arange(100, dtype=np.int16))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        with NpzFile(path, most_bytes=10_000) as arrays:
            assert arrays.read("behaviours", np.int16, [None]).dtype == np.int16
    except BundleError as error:
        assert str(path) in str(error)  # noqa: PT017  it may as well be whole


def referring_model() -> bytes:
    """Return a graph with one weight elsewhere and one in place."""
    elsewhere = onnx.TensorProto(name="w", dims=[1], data_type=1, data_location=1)
    elsewhere.external_data.add(key="location", value="../w")
    here = onnx.TensorProto(name="v", dims=[1], data_type=1, raw_data=bytes(4))
    nodes = [onnx.NodeProto(op_type="Add", input=["w", "v"], output=["y"])]
    graph = onnx.GraphProto(name="g", node=nodes, initializer=[here, elsewhere])
    return bytes(onnx.ModelProto(ir_version=10, producer_name="p", graph=graph).SerializeToString())


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_what_protobuf_sees_is_not_overlooked(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A graph damaged at will: where Google's parser still finds a weight elsewhere, ours refuses the graph."""
    raw = bytearray(referring_model())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(raw)
    fault = graph_fault(path)
    try:
        model = onnx.ModelProto.FromString(bytes(raw))
    except DecodeError:
        return
    if any(tensor.external_data or tensor.data_location for tensor in model.graph.initializer):
        assert fault is not None


def test_a_graph_of_endless_graphs(tmp_path: Path) -> None:
    raw = b""
    for _ in range(200):
        # A graph with a node with an attribute that is a graph.
        for field in (6, 5, 1):
            raw = bytes([field << 3 | 2]) + varint(len(raw)) + raw
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x3a" + varint(len(raw)) + raw)
    assert graph_fault(path) == "is not an ONNX graph, or is cut short"


def varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
