"""The parse-and-build gate: TensorRT for RTX builds real plans on a machine without a GPU.

Such a plan can be neither loaded without a GPU nor run on a Jetson; it proves that the graphs parse into strongly
typed networks of the intended precision, and that they build.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit.engine
from tests.engine.tiny import write_other_graph
from toolkit.bundle import Bundle
from toolkit.engine.build import BuildProgress, build_engines
from toolkit.engine.builder import build_plan, parse_graph
from toolkit.engine.layers import LayeredGraph
from toolkit.engine.lock import LOCK
from toolkit.engine.select import open_backends
from toolkit.engine.sidecar import engines_folder, read_sidecar
from toolkit.engine.tensorrt_api import TensorRt, import_tensorrt
from toolkit.engine.tensors import GraphShape
from toolkit.errors import EngineError, EngineMismatch

pytest.importorskip(
    "tensorrt_rtx", reason="needs TensorRT for RTX, which builds without a GPU (pip install tensorrt-rtx)"
)

TARGET = "sm86"


@pytest.fixture(scope="module")
def api() -> TensorRt:
    return import_tensorrt(for_absent_gpu=True)


@dataclass(frozen=True)
class Layer:
    """One layer of a parsed network."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    """Types of its inputs."""
    outputs: tuple[str, ...]


def layers_of(api: TensorRt, graph: Path) -> list[Layer]:
    """Return every layer of the network that TensorRT parses of a graph."""
    parsed = parse_graph(api, graph)
    assert parsed.network.get_flag(api.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    layers = []
    for index in range(parsed.network.num_layers):
        layer = parsed.network.get_layer(index)
        inputs = [layer.get_input(place) for place in range(layer.num_inputs)]
        outputs = [layer.get_output(place) for place in range(layer.num_outputs)]
        types = [tuple(tensor.dtype.name for tensor in side if tensor is not None) for side in (inputs, outputs)]
        layers.append(Layer(layer.name, layer.type.name, *types))
    return layers


def float_nodes(graph: Path) -> set[str]:
    """Return the nodes that may be float32: those that export keeps so, and the casts that lead to them or out."""
    from onnx import TensorProto, load

    from toolkit.train.export import KEPT_FP32

    model = load(graph).graph
    kept = {node.name for node in model.node if node.op_type in KEPT_FP32}
    readers: dict[str, set[str]] = defaultdict(set)
    for node in model.node:
        for name in node.input:
            readers[name].add(node.name)
    ends = {output.name for output in model.output}
    casts = {
        node.name
        for node in model.node
        if node.op_type == "Cast"
        and node.attribute[0].i == TensorProto.FLOAT
        and (node.output[0] in ends or readers[node.output[0]] <= kept)
    }
    return kept | casts


def check_mixed(api: TensorRt, folder: Path) -> None:
    """Check a graph as `diagnose` makes them: every second of the layers FP16, no other."""
    graph = LayeredGraph(folder / "fp32.onnx")
    half = {layer.name for layer in graph.half_layers(folder / "fp16.onnx")[::2]}
    (folder / "mixed.onnx").write_bytes(graph.computed_in_half(half))
    types = {layer.name: layer.outputs for layer in layers_of(api, folder / "mixed.onnx")}
    assert {layer.name for layer in graph.layers if types[layer.name] == ("HALF",)} == half


def settle(network: Any, clip: Any) -> None:
    """Give batch norms the statistics of a clip, as training does: random weights alone grow beyond FP16's range."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(clip[np.newaxis]))
    network.eval()


# Every layer that is not half, in the order of the network: its type, and whose rounding it spares.
I3D_FLOAT = ["CAST", "POOLING", "CAST", "REDUCE"]  # average pooling over the clip, and the mean of what the head says
R2PLUS1D_FLOAT = ["CAST", "REDUCE", "CAST"]  # the mean over the clip; the last cast is of the logits


@pytest.mark.parametrize(
    ("architecture", "channels", "crop", "exceptions"),
    [
        ("i3d", 3, 224, I3D_FLOAT),
        ("i3d", 2, 224, I3D_FLOAT),
        ("r2plus1d-18", 3, 112, R2PLUS1D_FLOAT),
        ("r2plus1d-18", 2, 112, R2PLUS1D_FLOAT),
        pytest.param("r2plus1d-34", 3, 112, R2PLUS1D_FLOAT, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_the_papers_networks_build_at_fp16(
    api: TensorRt, tmp_path: Path, architecture: str, channels: int, crop: int, exceptions: list[str]
) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from toolkit.preprocess import flow_input, rgb_input
    from toolkit.train.export import convert_to_fp16, export_onnx
    from toolkit.train.networks import build_network

    torch.manual_seed(0)
    network = build_network(architecture, channels=channels, classes=8)
    spec = rgb_input(crop, crop) if channels == 3 else flow_input(crop, crop)
    clip = np.random.default_rng(0).uniform(-1, 1, (channels, 16, crop, crop)).astype(np.float32)
    is_large = architecture == "r2plus1d-34"
    if is_large:
        settle(network, clip)
    export_onnx(network, spec, 16, tmp_path / "fp32.onnx")
    convert_to_fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx", [clip])
    layers = layers_of(api, tmp_path / "fp16.onnx")
    is_float = [layer for layer in layers if layer.outputs != ("HALF",)]
    assert {layer.outputs for layer in is_float} == {("FLOAT",)}
    assert [layer.kind for layer in is_float] == exceptions
    assert {layer.name for layer in is_float} == float_nodes(tmp_path / "fp16.onnx")
    for layer in layers:
        if layer.kind == "CAST":
            assert sorted((*layer.inputs, *layer.outputs)) == ["FLOAT", "HALF"], layer
        else:
            assert set(layer.inputs) <= set(layer.outputs), f"{layer} mixes precisions"
    convolutions = sum(isinstance(module, torch.nn.Conv3d) for module in network.modules())
    assert sum(layer.kind == "CONVOLUTION" for layer in layers) == convolutions
    if not is_large:
        check_mixed(api, tmp_path)
    shape = build_plan(api, tmp_path / "fp16.onnx", tmp_path / "network.plan", max_batch=2, target=TARGET)
    assert shape == GraphShape(channels=channels, frames=16, height=crop, width=crop, classes=8)
    # The weights are in the plan at two bytes each.
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert 1.8 * weights < (tmp_path / "network.plan").stat().st_size < 3 * weights


def test_a_float32_graph_stays_float32(api: TensorRt, bundle: Bundle) -> None:
    types = {kind for layer in layers_of(api, bundle.onnx_path("rgb", "fp32")) for kind in layer.outputs}
    assert "HALF" not in types
    assert "FLOAT" in types


def test_plans_for_an_absent_gpu_are_written_unverified_and_refused(bundle: Bundle) -> None:
    progress: list[BuildProgress] = []
    built = build_engines(bundle, target=TARGET, max_batch=4, on_progress=progress.append)
    folder = engines_folder(bundle) / f"tensorrt-rtx-fp16-{TARGET}"
    assert [engine.path for engine in built] == [folder / "rgb.plan", folder / "flow.plan"]
    assert sorted(path.name for path in folder.iterdir()) == ["flow.json", "flow.plan", "rgb.json", "rgb.plan"]
    sidecar = read_sidecar(folder / "rgb.json")
    assert not sidecar.verified
    assert sidecar.identity.compute_capability == TARGET
    assert sidecar.max_batch == 4
    assert {step.stage.split(":")[0] for step in progress} == {"rgb", "flow"}
    assert all(0 <= step.done <= step.steps and step.elapsed_s >= 0 for step in progress)
    with pytest.raises(EngineMismatch, match=f"on any {TARGET} GPU; found here onnxruntime"):
        open_backends(bundle, engine="onnxruntime")


def test_an_interrupted_build_stops_and_leaves_what_was_there(bundle: Bundle) -> None:
    build_engines(bundle, target=TARGET)
    folder = engines_folder(bundle)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}

    def interrupt(progress: BuildProgress) -> None:
        if progress.stage.startswith("flow"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, target=TARGET, on_progress=interrupt)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_every_fault_of_the_parser_is_told(api: TensorRt, tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("NoSuchOperator", ["clips"], ["between"], name="first"),
            helper.make_node("NorThisOne", ["between"], ["logits"], name="second"),
        ],
        "unsupported",
        [value("clips", TensorProto.FLOAT, ["N", 4, 3, 16, 16])],
        [value("logits", TensorProto.FLOAT, ["N", 8])],
    )
    path = tmp_path / "unsupported.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    plan = tmp_path / "kept.plan"
    plan.write_bytes(b"a good engine")
    with pytest.raises(EngineError, match=r"cannot parse it.*\n.*'first' \(NoSuchOperator\)(.|\n)*'second'"):
        build_plan(api, path, plan, target=TARGET)
    assert plan.read_bytes() == b"a good engine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.plan", "unsupported.onnx"]


def test_a_corrupt_graph_is_one_clear_error(
    api: TensorRt, bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = tmp_path / "cut.onnx"
    graph.write_bytes(bundle.onnx_path("rgb", "fp16").read_bytes()[:800])
    with pytest.raises(EngineError, match=r"cut\.onnx: tensorrt-rtx .* cannot parse it"):
        build_plan(api, graph, tmp_path / "cut.plan", target=TARGET)
    assert not (tmp_path / "cut.plan").exists()
    assert capfd.readouterr() == ("", "")


def test_a_graph_of_something_else_is_refused(api: TensorRt, tmp_path: Path) -> None:
    path = write_other_graph(tmp_path / "other.onnx")
    with pytest.raises(EngineError, match="expected one float32 input clips"):
        parse_graph(api, path)


def test_an_unknown_target_names_the_known(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"unknown target 'sm87': .* builds for .*sm86"):
        build_engines(bundle, target="sm87")
    assert [path.name for path in engines_folder(bundle).iterdir()] == [LOCK]


def test_onnxruntime_has_no_target(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="onnxruntime builds nothing for sm86"):
        build_engines(bundle, engine="onnxruntime", target=TARGET)


# By house rule, a variable of this name in toolkit/engine holds an object of this class of TensorRT.
CLASSES = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "engine": "ICudaEngine",
    "execution": "IExecutionContext",
    "fault": "ParserError",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "rtx": "IBuilderConfig",
    "runtime": "Runtime",
    "tensor": "ITensor",
}
FILES = ("tensorrt_api.py", "builder.py", "timing_cache.py", "plan.py", "tensorrt.py")
RTX_ONLY = (
    "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
)
STUBS = Path(__file__).parents[2] / ".stubs" / "tensorrt_bindings" / "tensorrt.pyi"


def names_used() -> Iterator[str]:
    """Yield every dotted TensorRT name in the engine room, such as ``ICudaEngine.num_io_tensors``."""
    for file in FILES:
        tree = ast.parse((Path(toolkit.engine.__path__[0]) / file).read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            chain = ast.unparse(node).split(".")
            if chain[0] in ("trt", "tensorrt"):
                yield ".".join(chain[1:])
            elif chain[:2] == ["api", "module"] and len(chain) > 2:
                yield ".".join(chain[2:])
            elif len(chain) > 1 and chain[-2] in CLASSES and chain[0] not in ("api", "cuda"):
                yield f"{CLASSES[chain[-2]]}.{chain[-1]}"


def test_the_names_are_found() -> None:
    names = set(names_used())
    assert {"ICudaEngine.num_io_tensors", "IExecutionContext.execute_async_v3", "Builder"} <= names
    assert {"OnnxParser.get_error", "IBuilderConfig.progress_monitor", "ParserError.desc"} <= names
    assert {"ITimingCache.serialize", "MemoryPoolType.WORKSPACE", *RTX_ONLY[1:]} <= names


def test_tensorrt_for_rtx_has_every_name_used() -> None:
    trt: Any = importlib.import_module("tensorrt_rtx")
    missing = []
    for name in sorted(set(names_used())):
        found = trt
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
    assert missing == []


def stubbed_names() -> set[str]:
    """Return every name that the stubs of TensorRT 10.13 declare, with those of base classes."""
    names: set[str] = set()

    def declare(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name):
                    declare(node.body, f"{prefix}{name}.")
                    for base in map(ast.unparse, node.bases):
                        names.update(
                            f"{prefix}{name}.{n[len(base) + 1 :]}" for n in set(names) if n.startswith(f"{base}.")
                        )
                case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                    pass
                case _:
                    continue
            names.add(f"{prefix}{name}")

    declare(ast.parse(STUBS.read_text()).body, "")
    return names


@pytest.mark.skipif(not STUBS.is_file(), reason="needs TensorRT's stubs (make .stubs/fetched)")
def test_tensorrt_10_13_has_every_name_used() -> None:
    names = {name for name in names_used() if not name.startswith(RTX_ONLY)}
    assert names - stubbed_names() == set()


@pytest.mark.parametrize("name", ["FP16", "EXPLICIT_BATCH", "platform_has_fast_fp16", "device_memory_size"])
def test_nothing_that_tensorrt_11_lacks_is_used(name: str) -> None:
    assert not [used for used in names_used() if used.split(".")[-1] == name]


def test_a_package_of_type_stubs_is_not_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of .pyi files is an empty package to Python, as the stubs leave one where they are installed."""
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.pyi").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    try:
        assert import_tensorrt().runtime == "tensorrt-rtx"
    finally:
        sys.modules.pop("tensorrt", None)
