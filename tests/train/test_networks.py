"""The networks against published counts, widths, layer names and costs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from toolkit.errors import ConfigError
from toolkit.train.networks import ARCHITECTURES, build_network

NAMES = sorted(ARCHITECTURES)
# Depth 34 is the class of depth 18 and costs seconds to fill: its own facts need no values.
COMPUTED = ["i3d", "r2plus1d-18", "r2plus1d-small"]
CLASSIFIER = {
    "i3d": "logits.conv3d",
    "r2plus1d-18": "fc",
    "r2plus1d-small": "fc",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on cores that other tests use wait for each other: ten times slower than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _on_meta(name: str, channels: int, classes: int = 400) -> nn.Module:
    """Shapes and counts without a single multiplication."""
    with torch.device("meta"):
        return build_network(name, channels=channels, classes=classes).eval()


def _forward_on_meta(network: nn.Module, channels: int, height: int, width: int) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(torch.empty(2, channels, 16, height, width, device="meta"))
    return logits


def _parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _gmacs_per_clip(name: str, channels: int) -> float:
    """Multiply-accumulates of convolutions and the classifier: kernel size x output positions."""
    network, macs = _on_meta(name, channels), 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += module.weight.numel() * output[0, 0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.register_forward_hook(count)
    _forward_on_meta(network, channels, ARCHITECTURES[name].crop, ARCHITECTURES[name].crop)
    return macs / 1e9


def _with_lived_in_batch_norms(network: nn.Module) -> nn.Module:
    """Statistics away from 0 and 1, so that an exporter that drops them is caught."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.1, 0.3, generator=generator)
    return network


# Published counts.


def test_i3d_has_the_published_number_of_values() -> None:
    network = _on_meta("i3d", 3)
    statistics = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert _parameter_count(network) + statistics == 12_704_544


def test_i3d_has_the_published_number_of_tensors() -> None:
    # DeepMind's Kinetics-400 RGB checkpoint: 57 units of kernel, shift, mean and variance, and the classifier's two.
    names = [name for name in _on_meta("i3d", 3).state_dict() if not name.endswith("num_batches_tracked")]
    assert len(names) == 230


@pytest.mark.parametrize(("name", "published"), [("r2plus1d-18", 31_505_325), ("r2plus1d-34", 63_697_175)])
def test_r2plus1d_has_the_published_number_of_parameters(name: str, published: int) -> None:
    assert _parameter_count(_on_meta(name, 3)) == published


@pytest.mark.parametrize(
    ("name", "first_kernel_values"), [("i3d", 64 * 7**3), ("r2plus1d-18", 45 * 7**2), ("r2plus1d-34", 45 * 7**2)]
)
def test_flow_network_lacks_one_input_channel_and_nothing_else(name: str, first_kernel_values: int) -> None:
    assert _parameter_count(_on_meta(name, 3)) - _parameter_count(_on_meta(name, 2)) == first_kernel_values


@pytest.mark.parametrize(("name", "channels", "gmacs"), [("i3d", 3, 27.8), ("i3d", 2, 25.6), ("r2plus1d-18", 3, 40.5)])
def test_cost_per_clip(name: str, channels: int, gmacs: float) -> None:
    assert _gmacs_per_clip(name, channels) == pytest.approx(gmacs, abs=0.05)


def test_cost_per_clip_of_depth_34() -> None:
    # 75.2 was measured with torchvision's one width per block. A width per convolution widens the second convolution of
    # three blocks, each by `wider` channels at T x H x W positions, between `planes` and `planes`.
    extra = 0
    for wider, planes, positions in [
        (288 - 230, 128, 8 * 28 * 28),
        (576 - 460, 256, 4 * 14 * 14),
        (1152 - 921, 512, 2 * 7 * 7),
    ]:
        extra += wider * planes * (9 + 3) * positions
    assert _gmacs_per_clip("r2plus1d-34", 3) == pytest.approx(75.2 + extra / 1e9, abs=0.05)


@pytest.mark.parametrize("channels", [2, 3])
def test_small_preset_is_small(channels: int) -> None:
    assert 0.1 < _gmacs_per_clip("r2plus1d-small", channels) < 0.2


# Layers.


def test_i3d_features_have_the_sizes_of_figure_3() -> None:
    network, shapes = _on_meta("i3d", 3), {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    _forward_on_meta(network, 3, 224, 224)
    assert shapes["Conv3d_1a_7x7"] == (64, 8, 112, 112)
    assert shapes["MaxPool3d_2a_3x3"] == (64, 8, 56, 56)
    assert shapes["Conv3d_2c_3x3"] == (192, 8, 56, 56)
    assert shapes["Mixed_3c"] == (480, 8, 28, 28)
    assert shapes["Mixed_4f"] == (832, 4, 14, 14)
    assert shapes["Mixed_5c"] == (1024, 2, 7, 7)
    assert shapes["dropout"] == (1024, 1, 1, 1)


def test_i3d_layers_have_the_published_names_and_shapes() -> None:
    state = {name: tuple(value.shape) for name, value in _on_meta("i3d", 3).state_dict().items()}
    assert state["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert state["Mixed_3b.b1b.bn.running_mean"] == (128,)
    assert state["Mixed_4e.b1b.conv3d.weight"] == (288, 144, 3, 3, 3)
    assert state["Mixed_5c.b2b.conv3d.weight"] == (128, 48, 3, 3, 3)
    assert state["Mixed_5c.b3b.conv3d.weight"] == (128, 832, 1, 1, 1)
    assert state["logits.conv3d.weight"] == (400, 1024, 1, 1, 1)
    assert state["logits.conv3d.bias"] == (400,)
    assert not [name for name in state if name.endswith("bn.weight")]


def _torchvision_names(blocks: tuple[int, ...]) -> set[str]:
    def norm(name: str) -> list[str]:
        return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    names = ["stem.0.weight", *norm("stem.1"), "stem.3.weight", *norm("stem.4"), "fc.weight", "fc.bias"]
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            for convolution in ("conv1", "conv2"):
                prefix = f"layer{layer}.{block}.{convolution}"
                names += [f"{prefix}.0.0.weight", *norm(f"{prefix}.0.1"), f"{prefix}.0.3.weight", *norm(f"{prefix}.1")]
        if layer > 1:
            names += [f"layer{layer}.0.downsample.0.weight", *norm(f"layer{layer}.0.downsample.1")]
    return set(names)


@pytest.mark.parametrize(("name", "blocks"), [("r2plus1d-18", (2, 2, 2, 2)), ("r2plus1d-34", (3, 4, 6, 3))])
def test_r2plus1d_layers_have_the_names_of_torchvision(name: str, blocks: tuple[int, ...]) -> None:
    assert set(_on_meta(name, 3).state_dict()) == _torchvision_names(blocks)


# floor(27 I O / (9 I + 3 O)), Tran et al. 2018, section 3.5, worked by hand for each (I, O).
SHARED_WIDTHS = {
    "layer1.0.conv1": 144,
    "layer1.1.conv2": 144,
    "layer2.0.conv1": 230,
    "layer2.1.conv1": 288,
    "layer3.0.conv1": 460,
    "layer3.1.conv2": 576,
    "layer4.0.conv1": 921,
    "layer4.1.conv2": 1152,
}


@pytest.mark.parametrize(
    ("name", "second_of_the_first_block"),
    [
        ("r2plus1d-18", {"layer2.0.conv2": 230, "layer3.0.conv2": 460, "layer4.0.conv2": 921}),
        ("r2plus1d-34", {"layer2.0.conv2": 288, "layer3.0.conv2": 576, "layer4.0.conv2": 1152}),
    ],
)
def test_widths_between_space_and_time(name: str, second_of_the_first_block: dict[str, int]) -> None:
    state = _on_meta(name, 3).state_dict()
    for convolution, width in {**SHARED_WIDTHS, **second_of_the_first_block}.items():
        spatial, temporal = state[f"{convolution}.0.0.weight"], state[f"{convolution}.0.3.weight"]
        assert (spatial.shape[0], *spatial.shape[2:]) == (width, 1, 3, 3), convolution
        assert tuple(temporal.shape[1:]) == (width, 3, 1, 1), convolution
    assert tuple(state["stem.0.weight"].shape) == (45, 3, 1, 7, 7)
    assert tuple(state["stem.3.weight"].shape) == (64, 45, 3, 1, 1)


@pytest.mark.parametrize(("name", "epsilon"), [("i3d", 1e-3), ("r2plus1d-18", 1e-5), ("r2plus1d-34", 1e-3)])
def test_batch_norm_epsilon(name: str, epsilon: float) -> None:
    norms = [module for module in _on_meta(name, 3).modules() if isinstance(module, nn.BatchNorm3d)]
    assert {norm.eps for norm in norms} == {epsilon}


# Behaviour.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [2, 3])
def test_one_logit_per_class(name: str, channels: int) -> None:
    crop = ARCHITECTURES[name].crop
    assert _forward_on_meta(_on_meta(name, channels, classes=8), channels, crop, crop).shape == (2, 8)


@pytest.mark.parametrize("name", NAMES)
def test_other_picture_sizes(name: str) -> None:
    assert _forward_on_meta(_on_meta(name, 3, classes=5), 3, 97, 130).shape == (2, 5)


@pytest.mark.parametrize("name", COMPUTED)
def test_evaluation_is_deterministic_and_clips_are_independent(name: str) -> None:
    torch.manual_seed(0)
    network = _with_lived_in_batch_norms(build_network(name, channels=2, classes=8)).eval()
    clips = torch.rand(2, 2, 16, 48, 48) * 2 - 1
    with torch.inference_mode():
        together, again, alone = network(clips), network(clips), network(clips[:1])
    torch.testing.assert_close(together, again, rtol=0, atol=0)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", COMPUTED)
def test_dropout_drops_64_per_cent_right_before_the_classifier(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, channels=2, classes=8)
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == 1
    seen: dict[str, torch.Tensor] = {}
    dropouts[0].register_forward_hook(lambda _, inputs, __: seen.update(pooled=inputs[0].flatten(1)))
    network.get_submodule(CLASSIFIER[name]).register_forward_pre_hook(
        lambda _, inputs: seen.update(classified=inputs[0].flatten(1))
    )

    network(torch.rand(4, 2, 16, 32, 32))

    alive = seen["pooled"] > 0
    kept = seen["classified"][alive] > 0
    # Four standard deviations of a coin thrown once for each living feature (384 at least).
    tolerance = 4 * (0.36 * 0.64 / len(kept)) ** 0.5
    assert kept.float().mean().item() == pytest.approx(0.36, abs=tolerance)
    torch.testing.assert_close(seen["classified"][alive][kept], seen["pooled"][alive][kept] / 0.36)


def _moving_bars(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Bars that start anywhere and walk left (0) or right (1): no single frame tells which."""
    labels = torch.randint(2, (count,), generator=generator)
    velocity = 2.0 * (2 * labels - 1)
    centre = 56 * torch.rand(count, 1, generator=generator) + velocity[:, None] * torch.arange(16)
    distance = (torch.arange(56) - centre[..., None] + 28) % 56 - 28
    bars = torch.exp(-(distance**2) / 18)[:, None, :, None, :].expand(count, 3, 16, 56, 56)
    return bars + 0.1 * torch.randn(count, 3, 16, 56, 56, generator=generator), labels


def test_small_preset_learns_motion() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = build_network("r2plus1d-small", channels=3, classes=2, dropout=0.2)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(40):
        clips, labels = _moving_bars(8, generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(clips), labels).backward()
        optimiser.step()

    clips, labels = _moving_bars(48, generator)
    with torch.inference_mode():
        forwards = network.eval()(clips).argmax(dim=1)
        backwards = network(clips.flip(2)).argmax(dim=1)

    assert (forwards == labels).float().mean() > 0.9
    assert (backwards == labels).float().mean() < 0.1


# torch's exporter itself uses a deprecated name.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.parametrize(("name", "channels"), [("i3d", 3), ("r2plus1d-small", 2)])
def test_export_has_only_plain_layers_and_the_same_logits(name: str, channels: int) -> None:
    torch.manual_seed(0)
    network = _with_lived_in_batch_norms(build_network(name, channels=channels, classes=8)).eval()
    crop = ARCHITECTURES[name].crop
    clips = torch.rand(1, channels, 16, crop, crop) * 2 - 1
    program = torch.onnx.export(network, (clips,), dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    graph = program.model_proto.graph

    assert not {node.op_type for node in graph.node} & {"Pad", "Slice", "BatchNormalization"}
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (found,) = session.run(None, {graph.input[0].name: clips.numpy()})
    with torch.inference_mode():
        expected = network(clips).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


# Registry.


@pytest.mark.parametrize(
    ("name", "resize", "crop"),
    [("i3d", 255, 224), ("r2plus1d-18", 128, 112), ("r2plus1d-34", 128, 112), ("r2plus1d-small", 64, 56)],
)
def test_picture_sizes(name: str, resize: int, crop: int) -> None:
    architecture = ARCHITECTURES[name]
    assert (architecture.name, architecture.resize, architecture.crop) == (name, resize, crop)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_network("i3D", channels=4, classes=0, dropout=1.0)
    message = str(caught.value)
    assert "'i3D'" in message
    assert "r2plus1d-18" in message
    assert "channels must be 3 (RGB) or 2 (flow), found 4" in message
    assert "classes must be at least 1, found 0" in message
    assert "found 1.0" in message
