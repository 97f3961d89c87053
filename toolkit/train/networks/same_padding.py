"""TensorFlow's SAME padding, which I3D was published with and PyTorch does not have.

SAME pads so that an axis of n samples gives ceil(n / stride). When the padding is odd, the extra sample goes behind.
PyTorch's own padding is equal on both sides, so a strided layer with it looks at other pixels than the published
network: the weights still load, and the logits are wrong.

Neither form below leaves a Pad or Slice node in an exported graph: the exporter folds constant padding into the
convolution, and a pool needs none.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Triple = tuple[int, int, int]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many samples TensorFlow's SAME adds before and behind one axis.

    Parameters
    ----------
    size, kernel, stride
        Samples along the axis, width of the window and its step; all at least 1.
    """
    windows = -(-size // stride)
    total = max((windows - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _paddings(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
    return [same_padding(*axis) for axis in zip(x.shape[2:], kernel, stride, strict=True)]


class SameConv3d(nn.Conv3d):
    """A 3-D convolution with SAME zero padding: (N, C, T, H, W) to (N, O, ceil(T/s), ceil(H/s), ceil(W/s)).

    Parameters and state are those of `torch.nn.Conv3d` without padding.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        paddings = _paddings(x, self.kernel_size, self.stride)
        if all(before == behind for before, behind in paddings):
            # The convolution's own padding spares a copy of its input.
            padding = tuple(before for before, _ in paddings)
            return functional.conv3d(x, self.weight, self.bias, self.stride, padding)
        # functional.pad counts axes from the last one.
        x = functional.pad(x, [side for axis in reversed(paddings) for side in axis])
        return functional.conv3d(x, self.weight, self.bias, self.stride)


class SameMaxPool3d(nn.Module):
    """A 3-D max pool with SAME padding, which never wins a maximum: (N, C, T, H, W) to (N, C, ceil(T/s), ...).

    Rounding the number of windows up lets the last window hang over the edge, which is the extra sample that SAME puts
    behind. On each axis the kernel must be odd or the stride greater than one, as everywhere in I3D.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = [before for before, _ in _paddings(x, self.kernel, self.stride)]
        return functional.max_pool3d(x, self.kernel, self.stride, padding, ceil_mode=True)
