"""The layouts in which weights were published, recognised from the tensors' names and never from the file's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolkit.errors import InputError
from toolkit.train.pretrained import i3d_layouts, r2plus1d_layouts
from toolkit.train.pretrained.catalogue import I3D_FACTS, INCEPTION_FACTS, TORCHVISION_FACTS, VMZ_FACTS, InputFacts
from toolkit.train.pretrained.conversion import Converted
from toolkit.train.pretrained.tensor_files import Tensors


@dataclass(frozen=True)
class Layout:
    """One way to name, order and wrap the tensors of a network."""

    name: str
    """In words, for messages."""
    mark: Callable[[Tensors], bool]
    """Whether tensors have this layout, by names that no other layout has."""
    convert: Callable[[Tensors], Converted]
    """To our names and shapes."""
    facts: InputFacts
    """What its published weights were trained with, for a file that is not in the catalogue."""


LAYOUTS = (
    Layout(
        "PyTorch I3D",
        lambda t: "Conv3d_1a_7x7.conv3d.weight" in t,
        i3d_layouts.from_pytorch_i3d,
        I3D_FACTS,
    ),
    Layout(
        "flax I3D",
        lambda t: "params/Conv3d_1a_7x7/Conv_0/kernel" in t,
        i3d_layouts.from_flax,
        I3D_FACTS,
    ),
    Layout(
        "2-D Inception-v1 (torchvision)",
        lambda t: "inception3a.branch1.conv.weight" in t,
        i3d_layouts.from_torchvision_inception,
        INCEPTION_FACTS,
    ),
    Layout(
        "2-D Inception-v1 (TensorFlow-Slim)",
        lambda t: "InceptionV1/Conv2d_1a_7x7/weights" in t,
        i3d_layouts.from_slim_inception,
        INCEPTION_FACTS,
    ),
    Layout(
        "torchvision R(2+1)D",
        lambda t: "stem.0.weight" in t and "layer1.0.conv1.0.0.weight" in t,
        r2plus1d_layouts.from_torchvision,
        TORCHVISION_FACTS,
    ),
    Layout(
        "VMZ R(2+1)D",
        lambda t: "conv1_middle_w" in t and "comp_0_conv_1_middle_w" in t,
        r2plus1d_layouts.from_vmz,
        VMZ_FACTS,
    ),
)
"""Every layout that can be read."""


def recognise(tensors: Tensors, source: str) -> Layout:
    """Return the layout of these tensors.

    Raises
    ------
    InputError
        If they have none that is known; `source` says where they came from.
    """
    for layout in LAYOUTS:
        if layout.mark(tensors):
            return layout
    some = ", ".join(list(tensors)[:3])
    raise InputError(
        f"{source}: {len(tensors)} tensors ({some}, ...) in no layout that is known. "
        f"Expected one of: {'; '.join(layout.name for layout in LAYOUTS)}."
    )
