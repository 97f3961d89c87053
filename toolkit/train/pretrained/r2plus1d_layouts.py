"""R(2+1)D as others wrote it, under the names of `toolkit.train.networks.r2plus1d`, which are torchvision's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.train.pretrained.conversion import UNKNOWN, Converted
from toolkit.train.pretrained.tensor_files import Tensors

_DEPTHS = {(2, 2, 2, 2): "r2plus1d-18", (3, 4, 6, 3): "r2plus1d-34", (1, 1, 1, 1): "r2plus1d-small"}
_BLOCKS_OF_COMPONENTS = {8: (2, 2, 2, 2), 16: (3, 4, 6, 3)}
# Caffe2 calls the running variance "riv", though it is not inverted.
_NORM = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def from_torchvision(tensors: Tensors) -> Converted:
    """Map the state dictionary of torchvision's VideoResNet, or of IG-65M's, as it is."""
    counts = [0, 0, 0, 0]
    for name in tensors:
        if match := re.match(r"layer([1-4])\.(\d+)\.", name):
            counts[int(match[1]) - 1] = max(counts[int(match[1]) - 1], int(match[2]) + 1)
    one, two, three, four = counts
    return Converted(_architecture((one, two, three, four)), dict(tensors))


def from_vmz(tensors: Tensors) -> Converted:
    """Map the blobs of a VMZ pickle.

    Its residual blocks are numbered through as ``comp_0`` to ``comp_15``, their two convolutions from 1, the spatial
    half of each is called ``middle``, and a block that changes the width has a ``shortcut_projection``.
    """
    found = [int(match[1]) for name in tensors if (match := re.match(r"comp_(\d+)_", name))]
    blocks = _BLOCKS_OF_COMPONENTS.get(max(found) + 1, (0, 0, 0, 0))
    ours: Tensors = {}
    left = dict.fromkeys(tensors, UNKNOWN)
    for name, blob in _vmz_blobs(blocks):
        theirs = blob if blob != "last_out" else _last_out(tensors, name)
        if theirs in tensors:
            ours[name] = tensors[theirs]
            left.pop(theirs, None)
    return Converted(_architecture(blocks), ours, left)


def _architecture(blocks: tuple[int, int, int, int]) -> str:
    return _DEPTHS.get(blocks, f"R(2+1)D with {' + '.join(map(str, blocks))} blocks")


def _last_out(tensors: Tensors, name: str) -> str:
    suffix = "w" if name == "fc.weight" else "b"
    return next((theirs for theirs in tensors if re.fullmatch(rf"last_out_L\d+_{suffix}", theirs)), "")


def _norm_blobs(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    return ((f"{ours}.{part}", f"{theirs}_{suffix}") for part, suffix in _NORM.items())


def _vmz_blobs(blocks: tuple[int, int, int, int]) -> Iterator[tuple[str, str]]:
    """Yield (our name, blob name); the classifier's blob, whose name holds its classes, is ``last_out``."""
    yield "stem.0.weight", "conv1_middle_w"
    yield from _norm_blobs("stem.1", "conv1_middle_spatbn_relu")
    yield "stem.3.weight", "conv1_w"
    yield from _norm_blobs("stem.4", "conv1_spatbn_relu")
    component = 0
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            ours = f"layer{layer}.{block}"
            for index in (1, 2):
                convolution, norm = f"comp_{component}_conv_{index}", f"comp_{component}_spatbn_{index}"
                yield f"{ours}.conv{index}.0.0.weight", f"{convolution}_middle_w"
                yield from _norm_blobs(f"{ours}.conv{index}.0.1", f"{norm}_middle")
                yield f"{ours}.conv{index}.0.3.weight", f"{convolution}_w"
                yield from _norm_blobs(f"{ours}.conv{index}.1", norm)
            if layer > 1 and block == 0:
                yield f"{ours}.downsample.0.weight", f"shortcut_projection_{component}_w"
                yield from _norm_blobs(f"{ours}.downsample.1", f"shortcut_projection_{component}_spatbn")
            component += 1
    yield "fc.weight", "last_out"
    yield "fc.bias", "last_out"
