"""Export: the graphs compute what torch computes, FP16 is where it should be, and a bundle is whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
onnx = pytest.importorskip("onnx")

from tests.engine.tiny import BEHAVIOURS, CLIP, INPUTS, moving_frames, tiny_manifest, tiny_network, write_tiny_bundle  # noqa: E402
from toolkit.bundle import load_bundle  # noqa: E402
from toolkit.engine.host import HostNetworks  # noqa: E402
from toolkit.engine.onnxruntime import OnnxRuntimeBackend  # noqa: E402
from toolkit.errors import BundleError, ConfigError, EngineError, InputError  # noqa: E402
from toolkit.flow import PARAMETER_SETS, OpenCvFlow  # noqa: E402
from toolkit.frames import Frame  # noqa: E402
from toolkit.pipeline import Pipeline  # noqa: E402
from toolkit.preprocess import rgb_input  # noqa: E402
from toolkit.train.export import GoldenFrames, convert_to_fp16, export_onnx  # noqa: E402
from toolkit.train.networks import build_network  # noqa: E402

FLOAT, HALF = 1, 10


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the small R(2+1)D with lively batch norms, its graphs and a clip."""
    torch.manual_seed(3)
    network = build_network("r2plus1d-small", channels=3, classes=8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    folder = tmp_path_factory.mktemp("graphs")
    clips = np.random.default_rng(3).standard_normal((3, 3, 16, 56, 56), dtype=np.float32)
    export_onnx(network, rgb_input(64, 56), 16, folder / "fp32.onnx")
    convert_to_fp16(folder / "fp32.onnx", folder / "fp16.onnx", list(clips))
    return {"network": network.eval(), "fp32": folder / "fp32.onnx", "fp16": folder / "fp16.onnx", "clips": clips}


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_computes_what_torch_computes(small: dict[str, Any], batch: int) -> None:
    clips = small["clips"][:batch]
    with torch.inference_mode():
        expected = small["network"](torch.from_numpy(clips)).numpy()
    with OnnxRuntimeBackend(small["fp32"], threads=1) as backend:
        np.testing.assert_allclose(backend.infer(clips), expected, atol=1e-4)
    with OnnxRuntimeBackend(small["fp16"], precision="fp16", threads=1) as backend:
        np.testing.assert_allclose(backend.infer(clips), expected, atol=0.03)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph_is_of_opset_20_whole_and_without_paths(small: dict[str, Any], precision: str) -> None:
    path: Path = small[precision]
    model = onnx.load(path, load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    (clips,), (logits,) = model.graph.input, model.graph.output
    assert (clips.name, clips.type.tensor_type.elem_type) == ("clips", FLOAT)
    assert [dim.dim_value for dim in clips.type.tensor_type.shape.dim] == [0, 16, 3, 56, 56]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", FLOAT)
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".onnx"] == []
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    content = path.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b".py" not in content


def test_convolutions_are_half_and_global_pooling_is_float(small: dict[str, Any]) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(small["fp16"])).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 10
    assert {types[name] for node in convolutions for name in (*node.input[1:], *node.output)} == {HALF}
    (pooling,) = [node for node in graph.node if node.op_type == "ReduceMean"]
    assert (types[pooling.input[0]], types[pooling.output[0]]) == (FLOAT, FLOAT)


def test_a_layer_that_overflows_half_on_the_calibration_clips_stays_float(tmp_path: Path) -> None:
    class Huge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv3d(3, 8, 1)

        def forward(self, clips: Any) -> Any:
            return (torch.relu(self.conv(clips)) * 40_000 / 20_000).mean((2, 3, 4))

    torch.manual_seed(0)
    clips = [10 * np.random.default_rng(0).standard_normal((3, 4, 16, 16), dtype=np.float32)]
    export_onnx(Huge(), INPUTS[0], 4, tmp_path / "fp32.onnx")
    convert_to_fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx", clips)
    # ONNX's reference evaluator computes half precision in half precision, which ONNX Runtime on a CPU does not.
    evaluator = onnx.reference.ReferenceEvaluator(str(tmp_path / "fp16.onnx"))
    (logits,) = evaluator.run(None, {"clips": np.stack(clips).transpose(0, 2, 1, 3, 4)})
    with OnnxRuntimeBackend(tmp_path / "fp32.onnx") as backend:
        expected = backend.infer(np.stack(clips))
    assert np.abs(expected).max() > 5
    np.testing.assert_allclose(logits, expected, rtol=0.01, atol=0.05)


def test_a_layer_that_is_asked_for_stays_float_and_no_other(small: dict[str, Any], tmp_path: Path) -> None:
    def half(path: Path) -> set[str]:
        graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        return {node.name for node in graph.node if node.op_type != "Cast" and types[node.output[0]] == HALF}

    convolutions = [node.name for node in onnx.load(small["fp32"]).graph.node if node.op_type == "Conv"]
    kept = [convolutions[1], convolutions[-1]]
    convert_to_fp16(small["fp32"], tmp_path / "fp16.onnx", list(small["clips"]), keep_fp32=kept)
    assert half(small["fp16"]) - half(tmp_path / "fp16.onnx") == set(kept)


def test_a_layer_that_is_not_there_cannot_be_kept(small: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layer 'node_conv_999'"):
        convert_to_fp16(small["fp32"], tmp_path / "fp16.onnx", list(small["clips"]), keep_fp32=["node_conv_999"])
    assert list(tmp_path.iterdir()) == []


def test_the_golden_sample_is_what_torch_and_the_pipeline_say(tmp_path: Path) -> None:
    written = write_tiny_bundle(tmp_path / "tiny")
    golden = load_bundle(written.path).golden()
    assert [clip.behaviour for clip in golden] == list(BEHAVIOURS)
    networks = {"rgb": tiny_network(3), "flow": tiny_network(2)}
    for index, clip in enumerate(golden):
        fed = _fed_by_the_pipeline(written.manifest, moving_frames(CLIP.frames + 1, shift_px=index + 1, seed=index))
        for stream, network in networks.items():
            assert np.array_equal(clip.inputs[stream], fed[stream])
            with torch.inference_mode():
                expected = network(torch.from_numpy(fed[stream].copy())[None]).numpy()[0]
            np.testing.assert_allclose(clip.logits[stream], expected, atol=1e-4)


def _fed_by_the_pipeline(manifest: Any, frames: Any) -> dict[str, Any]:
    """Return the last clip that a live pipeline feeds to each backend, (C, T, H, W)."""
    fed: dict[str, Any] = {}

    class Recording:
        def __init__(self, stream: str) -> None:
            self.stream = stream

        def infer(self, clips: Any) -> Any:
            fed[self.stream] = clips[0].copy()
            return np.zeros((1, 8), dtype=np.float32)

    estimator = OpenCvFlow(PARAMETER_SETS["fast"])
    backends: Any = {stream: Recording(stream) for stream in manifest.streams}
    pipeline = Pipeline(manifest, HostNetworks(manifest, estimator, backends), source_fps=30)
    for index, image in enumerate(frames):
        pipeline.push(Frame(index=index, capture_time_ns=round(index * 1e9 / 30), image=image))
    return fed


def test_flow_computed_before_gives_the_same_golden_sample(tmp_path: Path) -> None:
    from toolkit.engine.golden import working_flow

    frames = moving_frames(CLIP.frames + 1, shift_px=2)
    manifest = tiny_manifest()
    estimator = OpenCvFlow(PARAMETER_SETS["fast"])
    working = [manifest["geometry"].working_frame(image) for image in frames]
    stored = working_flow(working, manifest["flow"].encoding, estimator)
    both = write_tiny_bundle(
        tmp_path / "tiny", golden=[GoldenFrames(1, frames), GoldenFrames(1, frames, flow=stored)]
    ).golden()
    assert np.array_equal(both[0].inputs["flow"], both[1].inputs["flow"])


def test_export_says_nothing_and_leaves_the_network_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = tiny_network(3).train()
    steps: list[str] = []
    write_tiny_bundle(tmp_path / "tiny", networks={"rgb": network, "flow": tiny_network(2)}, on_progress=steps.append)
    assert capfd.readouterr() == ("", "")
    assert network.training
    assert [step.split(":")[0] for step in steps][:2] == ["golden sample", "rgb"]


class _LiesWhenExported(torch.nn.Module):
    def forward(self, clips: Any) -> Any:
        logits = clips.mean((2, 3, 4)).repeat(1, 4)[:, :8]
        return logits + 1 if torch.compiler.is_exporting() else logits


def _too_few_frames() -> list[Any]:
    return [GoldenFrames(0, moving_frames(CLIP.frames, shift_px=1))]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"networks": {"rgb": tiny_network(3)}}, BundleError, r"networks of \['rgb'\] given"),
        ({"golden": []}, BundleError, "golden sample is empty"),
        ({"golden": [GoldenFrames(8, moving_frames(5, 1))]}, BundleError, "behaviour 8, the ethogram has 8"),
        ({"golden": _too_few_frames()}, BundleError, r"needs \(5, H, W, 3\) uint8 frames"),
        ({"estimator": None}, BundleError, "needs the estimator"),
        ({"estimator": OpenCvFlow(PARAMETER_SETS["paper"])}, BundleError, r"trained on flow by .*\(fast\)"),
        (
            {"networks": {"rgb": _LiesWhenExported(), "flow": tiny_network(2)}},
            EngineError,
            "rgb: the ONNX graph's logits differ from the network's by 1",
        ),
        (
            {"networks": {"rgb": torch.nn.Sequential(tiny_network(3), torch.nn.Linear(8, 5)), "flow": tiny_network(2)}},
            BundleError,
            "the network has 5 outputs, the ethogram 8",
        ),
    ],
    ids=["a network short", "no golden", "behaviour", "frames", "no flow", "other flow", "export differs", "classes"],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_tiny_bundle(tmp_path / "tiny", **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(InputError, match="--overwrite"):
        write_tiny_bundle(tmp_path / "tiny")
