"""The networks by name: what a configuration, a run folder and a bundle call them, and the sizes they were made for.

Torch is imported when a network is built, not before: a report on stored predictions reads configurations too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from toolkit.errors import ConfigError, raise_faults

if TYPE_CHECKING:
    from torch import nn

Head = Literal["replaced", "stacked"]
"""What stands where the published classifier was: one of ours, or the published one with ours on its logits."""


@dataclass(frozen=True)
class Architecture:
    """A network that can be trained, before anything is chosen about its data."""

    name: str
    """As in a configuration, e.g. ``i3d``."""
    resize: int
    """Side that frames are resized to before the crop, px."""
    crop: int
    """Side of the square that the network sees, px."""
    build: Callable[..., nn.Module]
    """Called with the keywords ``channels``, ``classes`` and ``dropout``."""
    paper: str
    """Where the network was published."""
    first_convolution: str
    """The only kernel whose shape depends on the input's channels, as in its state: ``stem.0.weight``."""
    classifier: str
    """The layer that gives the logits, as in its state: ``fc``."""


def _i3d(**settings: Any) -> nn.Module:
    from toolkit.train.networks.i3d import I3D

    return I3D(**settings)


def _r2plus1d(depth: str, **settings: Any) -> nn.Module:
    from toolkit.train.networks import r2plus1d

    return r2plus1d.R2Plus1D(getattr(r2plus1d, depth), **settings)


_I3D_ENDS = ("Conv3d_1a_7x7.conv3d.weight", "logits.conv3d")
_R2PLUS1D_ENDS = ("stem.0.weight", "fc")
_TRAN = "Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR"
_CARREIRA = "Carreira and Zisserman 2017, Quo Vadis, Action Recognition?, CVPR"

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("i3d", 255, 224, _i3d, _CARREIRA, *_I3D_ENDS),
        Architecture("r2plus1d-18", 128, 112, partial(_r2plus1d, "DEPTH_18"), _TRAN, *_R2PLUS1D_ENDS),
        Architecture("r2plus1d-34", 128, 112, partial(_r2plus1d, "DEPTH_34"), _TRAN, *_R2PLUS1D_ENDS),
        Architecture("r2plus1d-small", 64, 56, partial(_r2plus1d, "SMALL"), f"reduced from {_TRAN}", *_R2PLUS1D_ENDS),
    )
}
"""Every network by its name. Sizes are those of Nguyen et al. 2019, but for the small preset."""


def build_network(
    name: str, *, channels: int, classes: int, dropout: float = 0.64, head: Head = "replaced"
) -> nn.Module:
    """Return a network with fresh weights, in training mode, on the CPU.

    It takes (N, channels, 16, H, W) float32 clips and returns (N, classes) float32 logits.

    Parameters
    ----------
    name
        A key of `ARCHITECTURES`.
    channels
        3 for RGB, 2 for flow.
    classes
        Number of behaviours, at least 1.
    dropout
        Probability of DROPPING a feature before the classifier, in [0, 1). The default 0.64 is the keep-probability
        0.36 of Nguyen et al. 2019.
    head
        ``stacked`` keeps a classifier of the published 400 classes and puts dropout and a dense layer behind its
        logits, as in the authors' code; its own features are then not dropped.

    Raises
    ------
    ConfigError
        For an unknown name or a value out of its range; every fault is named.

    Examples
    --------
    >>> network = build_network("r2plus1d-small", channels=2, classes=8)
    >>> network(torch.zeros(1, 2, 16, 56, 56)).shape
    torch.Size([1, 8])
    """
    faults = []
    if name not in ARCHITECTURES:
        faults.append(f"architecture {name!r} is unknown; choose one of {', '.join(ARCHITECTURES)}")
    if channels not in (2, 3):
        faults.append(f"channels must be 3 (RGB) or 2 (flow), found {channels}")
    if classes < 1:
        faults.append(f"classes must be at least 1, found {classes}")
    if not 0 <= dropout < 1:
        faults.append(f"dropout is the probability of dropping a feature and must lie in [0, 1), found {dropout}")
    raise_faults(ConfigError, "The network cannot be built", faults)
    from toolkit.train.networks.stacked_head import PUBLISHED_CLASSES, StackedHead

    build = ARCHITECTURES[name].build
    if head == "stacked":
        return StackedHead(build(channels=channels, classes=PUBLISHED_CLASSES, dropout=0.0), classes, dropout)
    return build(channels=channels, classes=classes, dropout=dropout)
