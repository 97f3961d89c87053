"""Every published layout finds its places in our networks, against names, shapes and responses worked out by hand."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.train.published import inception_units, vmz_shapes
from toolkit.errors import InputError
from toolkit.train.networks import build_network
from toolkit.train.networks.stacked_head import StackedHead
from toolkit.train.pretrained import load_pretrained
from toolkit.train.pretrained.catalogue import InputFacts
from toolkit.train.pretrained.layouts import recognise
from toolkit.train.pretrained.loading import _first_kernel

VMZ_34 = (3, 4, 6, 3)
State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _on_meta(name: str, channels: int, classes: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = build_network(name, channels=channels, classes=classes)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _random(shape: tuple[int, ...], seed: int, *, positive: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if positive:
        return torch.rand(shape, generator=generator) + 0.5
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
    return torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5


def _pytorch_i3d(channels: int = 3, classes: int = 400, *, scale: bool = True) -> State:
    """pytorch-i3d's state dictionary: batch norms with a scale, which the converted checkpoints have at 1."""
    state: State = {}
    for seed, (name, _, _, inputs, outputs, size) in enumerate(inception_units()):
        inputs = channels if seed == 0 else inputs
        state[f"{name}.conv3d.weight"] = _random((outputs, inputs, size, size, size), seed)
        if scale:
            state[f"{name}.bn.weight"] = torch.ones(outputs)
        state[f"{name}.bn.bias"] = _random((outputs,), 100 + seed)
        state[f"{name}.bn.running_mean"] = _random((outputs,), 200 + seed)
        state[f"{name}.bn.running_var"] = _random((outputs,), 300 + seed, positive=True)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
    state["logits.conv3d.weight"] = _random((classes, 1024, 1, 1, 1), 400)
    state["logits.conv3d.bias"] = _random((classes,), 401)
    return state


def flax_to_torch(variables: dict[str, Any]) -> State:
    """Rename and transpose flax variables (T, H, W, in, out) by hand."""
    state: State = {}
    for ours, theirs, *_ in inception_units():
        parameters, statistics = variables["params"], variables["batch_stats"]
        for part in theirs.format(n=3).split("/", 1):
            parameters, statistics = parameters[part], statistics[part]
        kernel = np.transpose(parameters["Conv_0"]["kernel"], (4, 3, 0, 1, 2))
        state[f"{ours}.conv3d.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
        state[f"{ours}.bn.bias"] = torch.from_numpy(parameters["BatchNorm_0"]["bias"])
        state[f"{ours}.bn.running_mean"] = torch.from_numpy(statistics["BatchNorm_0"]["mean"].ravel())
        state[f"{ours}.bn.running_var"] = torch.from_numpy(statistics["BatchNorm_0"]["var"].ravel())
        state[f"{ours}.bn.weight"] = torch.ones(len(parameters["BatchNorm_0"]["bias"]))
    logits = variables["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]
    state["logits.conv3d.weight"] = torch.from_numpy(np.transpose(logits["kernel"], (4, 3, 0, 1, 2)).copy())
    state["logits.conv3d.bias"] = torch.from_numpy(logits["bias"])
    return state


def _googlenet() -> State:
    """torchvision's 2-D GoogLeNet, with one of its two auxiliary classifiers."""
    state: State = {}
    for seed, (_, _, name, inputs, outputs, size) in enumerate(inception_units()):
        state[f"{name}.conv.weight"] = _random((outputs, inputs, size, size), seed)
        state[f"{name}.bn.weight"] = torch.ones(outputs)
        state[f"{name}.bn.bias"] = _random((outputs,), 100 + seed)
        state[f"{name}.bn.running_mean"] = _random((outputs,), 200 + seed)
        state[f"{name}.bn.running_var"] = _random((outputs,), 300 + seed, positive=True)
    state["fc.weight"], state["fc.bias"] = _random((1000, 1024), 500), _random((1000,), 501)
    state["aux1.fc2.weight"] = torch.zeros(3, 3)
    return state


def _saved(state: dict[str, Any], folder: Path, name: str = "holiday photograph.jpg", **options: Any) -> Path:
    """The name says nothing, or the wrong thing: layouts are recognised from content."""
    path = folder / name
    torch.save(state, path, **options)
    return path


def _logits(network: nn.Module, channels: int = 3) -> torch.Tensor:
    clips = torch.rand(1, channels, 16, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        logits: torch.Tensor = network.eval()(clips)
    return logits


def test_pytorch_i3d_is_taken_whole(tmp_path: Path) -> None:
    state = _pytorch_i3d()
    network = build_network("i3d", channels=3, classes=8, head="stacked")
    found = load_pretrained(network, "i3d", "rgb", _saved({"state_dict": state}, tmp_path), "stacked")
    assert (found.layout, found.fresh) == ("PyTorch I3D", ("dense.weight", "dense.bias"))
    assert len(found.left) == 57
    assert all("scale of 1 everywhere" in left for left in found.left)
    taken = {name.removeprefix("network."): value for name, value in network.state_dict().items()}
    for name, tensor in state.items():
        if not name.endswith("bn.weight"):
            assert torch.equal(taken[name], tensor), name


def test_an_old_torch_file_of_several_gpus_is_read(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in _pytorch_i3d(scale=False).items()}
    path = _saved(state, tmp_path, _use_new_zipfile_serialization=False)
    found = load_pretrained(build_network("i3d", channels=3, classes=8), "i3d", "rgb", path)
    assert found.fresh == ("logits.conv3d.weight", "logits.conv3d.bias")
    assert found.left == (
        "logits.conv3d.weight: the classifier is replaced",
        "logits.conv3d.bias: the classifier is replaced",
    )


def test_scales_other_than_one_are_folded_exactly(tmp_path: Path) -> None:
    state = _pytorch_i3d()
    scale = torch.linspace(-1, 2, 64)
    state["Conv3d_2b_1x1.bn.weight"] = scale
    network = build_network("i3d", channels=3, classes=8)
    found = load_pretrained(network, "i3d", "rgb", _saved(state, tmp_path))
    assert any("folded" in note for note in found.notes)

    x = torch.rand(1, 64, 2, 5, 5)
    prefix = "Conv3d_2b_1x1."
    expected = functional.relu(
        functional.batch_norm(
            functional.conv3d(x, state[f"{prefix}conv3d.weight"]),
            state[f"{prefix}bn.running_mean"],
            state[f"{prefix}bn.running_var"],
            scale,
            state[f"{prefix}bn.bias"],
            eps=1e-3,
        )
    )
    with torch.inference_mode():
        torch.testing.assert_close(network.eval().get_submodule("Conv3d_2b_1x1")(x), expected)


def test_a_flax_and_a_torch_copy_give_equal_logits(tmp_path: Path) -> None:
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for seed, (_, theirs, _, inputs, outputs, size) in enumerate(inception_units()):
        parameters, statistics = variables["params"], variables["batch_stats"]
        for part in theirs.format(n=3).split("/", 1):
            parameters, statistics = parameters.setdefault(part, {}), statistics.setdefault(part, {})
        kernel = _random((outputs, inputs, size, size, size), seed).permute(2, 3, 4, 1, 0).contiguous().numpy()
        parameters["Conv_0"] = {"kernel": kernel}
        parameters["BatchNorm_0"] = {"bias": _random((outputs,), 100 + seed).numpy()}
        statistics["BatchNorm_0"] = {
            "mean": _random((1, 1, 1, 1, outputs), 200 + seed).numpy(),
            "var": _random((1, 1, 1, 1, outputs), 300 + seed, positive=True).numpy(),
        }
    logits = _random((400, 1024), 400).T.reshape(1, 1, 1, 1024, 400).contiguous().numpy()
    variables["params"]["Logits/Conv3d_0c_1x1"] = {"Conv_0": {"kernel": logits, "bias": _random((400,), 401).numpy()}}
    flat = {f"{part}/{name}": tensor for part in variables for name, tensor in _paths(variables[part])}
    np.savez(tmp_path / "flax.npz", **flat)

    found = []
    for path in (tmp_path / "flax.npz", _saved(flax_to_torch(variables), tmp_path)):
        network = build_network("i3d", channels=3, classes=8, head="stacked")
        pretrained = load_pretrained(network, "i3d", "rgb", path, "stacked")
        assert isinstance(network, StackedHead)
        found.append((pretrained.layout, _logits(network.network)))
    assert [layout for layout, _ in found] == ["flax I3D", "PyTorch I3D"]
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].std() > 1e-3


def _paths(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("publisher", ["torchvision", "slim"])
def test_two_dimensional_inception_is_inflated(tmp_path: Path, publisher: str) -> None:
    state = _googlenet()
    path = _saved(state, tmp_path)
    if publisher == "slim":
        path = tmp_path / "slim.npz"
        np.savez(path, **_slim(state))
    network = build_network("i3d", channels=3, classes=8)
    found = load_pretrained(network, "i3d", "rgb", path)
    assert found.layout.startswith("2-D Inception-v1")
    assert found.fresh == ("logits.conv3d.weight", "logits.conv3d.bias")
    left = {line.split(":")[0] for line in found.left if "scale of 1" not in line}
    assert left == {"logits.conv3d.weight", "logits.conv3d.bias"} | (
        {"aux1.fc2.weight"} if publisher == "torchvision" else set()
    )

    # Section 2.4: a boring video gives the response of its picture, away from the ends that padding reaches.
    for unit, name in (("Mixed_4e.b1b", "inception4d.branch2.1"), ("Mixed_5b.b2b", "inception5a.branch3.1")):
        kernel = state[f"{name}.conv.weight"]
        picture = torch.rand(1, kernel.shape[1], 9, 9)
        expected = functional.conv2d(picture, kernel, padding=1)
        video = picture.unsqueeze(2).repeat(1, 1, 5, 1, 1)
        with torch.inference_mode():
            response = network.get_submodule(f"{unit}.conv3d")(video)
        torch.testing.assert_close(response[:, :, 2], expected, rtol=1e-4, atol=1e-5)


def _slim(state: State) -> dict[str, np.ndarray]:
    renamed = {}
    for _, theirs, name, *_ in inception_units():
        # Slim's Mixed_5b calls its second 3x3 "0a".
        unit = f"InceptionV1/{theirs.format(n=2)}".replace("5b/Branch_2/Conv2d_0b", "5b/Branch_2/Conv2d_0a")
        renamed[f"{unit}/weights"] = state[f"{name}.conv.weight"].permute(2, 3, 1, 0).numpy()
        renamed[f"{unit}/BatchNorm/beta"] = state[f"{name}.bn.bias"].numpy()
        renamed[f"{unit}/BatchNorm/moving_mean"] = state[f"{name}.bn.running_mean"].numpy()
        renamed[f"{unit}/BatchNorm/moving_variance"] = state[f"{name}.bn.running_var"].numpy()
    renamed["InceptionV1/Logits/Conv2d_0c_1x1/weights"] = np.zeros((1, 1, 1024, 1001), dtype=np.float32)
    renamed["InceptionV1/Logits/Conv2d_0c_1x1/biases"] = np.zeros(1001, dtype=np.float32)
    return renamed


@pytest.mark.parametrize("channels", [2, 3])
def test_vmz_blobs_cover_the_34_layers_and_no_more(channels: int) -> None:
    # On the meta device: shapes without their 255 MB.
    blobs = {name: torch.empty(shape, device="meta") for name, shape in vmz_shapes(VMZ_34, channels, 400).items()}
    layout = recognise(blobs, "blobs")
    converted = layout.convert(blobs)
    found = {name: tuple(tensor.shape) for name, tensor in converted.tensors.items()}
    wanted = _on_meta("r2plus1d-34", channels, 400)
    assert (layout.name, converted.architecture, converted.left) == ("VMZ R(2+1)D", "r2plus1d-34", {})
    assert found == {name: shape for name, shape in wanted.items() if not name.endswith("num_batches_tracked")}


# By hand: 3 + 4 + 6 + 3 blocks numbered through from 0, so that layer2 begins at 3, layer3 at 7 and layer4 at 13.
BY_HAND = {
    "conv1_middle_w": "stem.0.weight",
    "conv1_middle_spatbn_relu_riv": "stem.1.running_var",
    "conv1_w": "stem.3.weight",
    "conv1_spatbn_relu_rm": "stem.4.running_mean",
    "comp_0_conv_1_middle_w": "layer1.0.conv1.0.0.weight",
    "comp_0_spatbn_1_middle_s": "layer1.0.conv1.0.1.weight",
    "comp_0_spatbn_1_b": "layer1.0.conv1.1.bias",
    "comp_2_conv_2_w": "layer1.2.conv2.0.3.weight",
    "comp_3_conv_1_middle_w": "layer2.0.conv1.0.0.weight",
    "shortcut_projection_3_w": "layer2.0.downsample.0.weight",
    "comp_6_spatbn_2_middle_rm": "layer2.3.conv2.0.1.running_mean",
    "shortcut_projection_7_spatbn_s": "layer3.0.downsample.1.weight",
    "comp_12_conv_2_middle_w": "layer3.5.conv2.0.0.weight",
    "shortcut_projection_13_spatbn_riv": "layer4.0.downsample.1.running_var",
    "comp_15_spatbn_2_b": "layer4.2.conv2.1.bias",
    "last_out_L400_w": "fc.weight",
    "last_out_L400_b": "fc.bias",
}


def test_vmz_blobs_go_where_they_belong() -> None:
    blobs = {name: torch.tensor(float(index)) for index, name in enumerate(vmz_shapes(VMZ_34, 3, 400))}
    blobs["lr"] = torch.tensor(-1.0)
    converted = recognise(blobs, "blobs").convert(blobs)
    for theirs, ours in BY_HAND.items():
        assert converted.tensors[ours] is blobs[theirs], theirs
    assert converted.left == {"lr": "unknown to the layout"}


def test_a_vmz_pickle_is_loaded(tmp_path: Path) -> None:
    blobs = {
        name: np.full(shape, index % 100, dtype=np.float16)
        for index, (name, shape) in enumerate(vmz_shapes(VMZ_34, 2, 400).items())
    }
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    with torch.device("meta"):
        network = build_network("r2plus1d-34", channels=2, classes=8)
    network.to_empty(device="cpu")
    found = load_pretrained(network, "r2plus1d-34", "flow", path)
    assert (len(found.mapped), found.fresh) == (len(blobs) - 2, ("fc.weight", "fc.bias"))
    state = network.state_dict()
    for theirs, ours in BY_HAND.items():
        if not ours.startswith("fc"):
            assert float(state[ours].flatten()[0]) == float(blobs[theirs].flatten()[0]), theirs


def test_torchvision_is_taken_whole_and_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = build_network("r2plus1d-18", channels=3, classes=400).eval()
    network = build_network("r2plus1d-18", channels=3, classes=8, head="stacked")
    found = load_pretrained(network, "r2plus1d-18", "rgb", _saved(published.state_dict(), tmp_path), "stacked")
    assert isinstance(network, StackedHead)
    assert (found.left, found.fresh) == ((), ("dense.weight", "dense.bias"))
    assert found.facts.mean == (0.43216, 0.394666, 0.37645)
    assert torch.equal(_logits(network.network), _logits(published))


def test_colour_weights_for_flow_are_averaged_and_repeated(tmp_path: Path) -> None:
    state = _pytorch_i3d()
    network = build_network("i3d", channels=2, classes=8)
    found = load_pretrained(network, "i3d", "flow", _saved(state, tmp_path))
    red, green, blue = state["Conv3d_1a_7x7.conv3d.weight"].unbind(1)
    kernel = network.state_dict()["Conv3d_1a_7x7.conv3d.weight"]
    for direction in (0, 1):
        torch.testing.assert_close(kernel[:, direction], (red + green + blue) / 3)
    assert any("averaged over colour" in note for note in found.notes)


def test_kernels_for_bgr_are_turned() -> None:
    kernel = torch.arange(3.0).reshape(1, 3, 1, 1, 1)
    turned, _, _ = _first_kernel(kernel, InputFacts(112, 16, colour_order="bgr"), "rgb")
    assert turned.flatten().tolist() == [2.0, 1.0, 0.0]


def test_every_fault_is_named_and_the_network_is_as_it_was(tmp_path: Path) -> None:
    state = _pytorch_i3d()
    del state["Mixed_4c.b1b.bn.running_var"]
    state["Mixed_3b.b0.conv3d.weight"] = torch.zeros(64, 192, 3, 1, 1)
    state["Mixed_5c.b0.bn.bias"][3] = float("nan")
    state["something.else"] = torch.zeros(1)
    network = build_network("i3d", channels=3, classes=8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_pretrained(network, "i3d", "rgb", _saved(state, tmp_path))
    message = str(caught.value)
    assert "Mixed_4c.b1b.bn.running_var is missing" in message
    assert "Mixed_3b.b0.conv3d.weight: expected the shape (64, 192, 1, 1, 1), found (64, 192, 3, 1, 1)" in message
    assert "Mixed_5c.b0.bn.bias: holds values that are not finite" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_tensor_without_a_place_is_reported(tmp_path: Path) -> None:
    state = _pytorch_i3d(scale=False) | {"something.else": torch.zeros(1)}
    found = load_pretrained(build_network("i3d", channels=3, classes=8), "i3d", "rgb", _saved(state, tmp_path))
    assert "something.else: i3d has no such tensor" in found.left


def test_flow_weights_do_not_fit_an_rgb_network(tmp_path: Path) -> None:
    path = _saved(_pytorch_i3d(channels=2), tmp_path)
    with pytest.raises(InputError, match=r"optical flow \(2 channels\) for an RGB network"):
        load_pretrained(build_network("i3d", channels=3, classes=8), "i3d", "rgb", path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = _saved(_pytorch_i3d(), tmp_path)
    network = build_network("r2plus1d-small", channels=3, classes=8)
    with pytest.raises(InputError, match="weights of i3d, but the network is r2plus1d-small"):
        load_pretrained(network, "r2plus1d-small", "rgb", path)


def test_a_stacked_head_needs_400_classes(tmp_path: Path) -> None:
    network = build_network("i3d", channels=3, classes=8, head="stacked")
    with pytest.raises(InputError, match=r"logits.conv3d.bias: expected the shape \(400,\), found \(600,\)"):
        load_pretrained(network, "i3d", "rgb", _saved(_pytorch_i3d(classes=600), tmp_path), "stacked")


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    path = _saved({"layer1.weight": torch.zeros(3)}, tmp_path)
    with pytest.raises(InputError, match=r"no layout that is known. Expected one of: PyTorch I3D"):
        load_pretrained(build_network("i3d", channels=3, classes=8), "i3d", "rgb", path)


def test_the_stacked_head_drops_logits_and_adds_a_dense_layer() -> None:
    torch.manual_seed(0)
    network = build_network("r2plus1d-small", channels=2, classes=8, dropout=0.64, head="stacked")
    assert isinstance(network, StackedHead)
    clips = torch.rand(2, 2, 16, 56, 56)
    seen: list[torch.Tensor] = []
    network.dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        logits = network.eval()(clips)
        inner = network.network(clips)
        expected = inner @ network.dense.weight.T + network.dense.bias
        network.train()(clips)
    assert (inner.shape, logits.shape) == ((2, 400), (2, 8))
    torch.testing.assert_close(logits, expected)
    # Four standard deviations of 800 throws.
    assert (seen[1] == 0).float().mean().item() == pytest.approx(0.64, abs=4 * (0.64 * 0.36 / 800) ** 0.5)
    # Dropout stands behind the published classifier, not before it as well.
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)].count(0.64) == 1
