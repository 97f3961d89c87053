"""What a layout's conversion gives: our names for the file's tensors, and an account of those it did not use."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolkit.train.pretrained.tensor_files import Tensors

UNKNOWN = "unknown to the layout"


@dataclass(frozen=True)
class Converted:
    """A file's tensors under the names of our networks."""

    architecture: str
    """The network they belong to, by its name in the registry of networks."""
    tensors: Tensors
    """Under our names. Shapes are as found: the network that takes them checks."""
    left: dict[str, str] = field(default_factory=dict)
    """The file's tensors that are not among them, each with the reason."""
    notes: tuple[str, ...] = ()
    """What else was done to them, one sentence each."""


def kernel_in_torch_order(kernel: torch.Tensor) -> torch.Tensor:
    """Return a kernel of (T, H, W, in, out) or (H, W, in, out) as (out, in, T, H, W) or (out, in, H, W)."""
    if kernel.ndim not in (4, 5):
        return kernel
    return kernel.permute(-1, -2, *range(kernel.ndim - 2)).contiguous()


def inflated(kernel: torch.Tensor) -> torch.Tensor:
    """Return a 2-D kernel (O, I, k, k) as a cubic one (O, I, k, k, k): repeated over time and divided by k.

    A video of one picture repeated then gives the response of the picture (Carreira and Zisserman 2017, section 2.4).
    """
    if kernel.ndim != 4:
        return kernel
    frames = kernel.shape[-1]
    return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
