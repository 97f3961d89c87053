"""I3D: Inception-v1 inflated to three dimensions (Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?").

Layers carry the names of the published checkpoints (``Conv3d_1a_7x7``, ``Mixed_3b.b1b``, ...), so that their weights
map onto ours tensor by tensor.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from toolkit.train.networks.initialise import initialise_weights
from toolkit.train.networks.same_padding import SameConv3d, SameMaxPool3d, Triple

_BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Widths:
    """Output channels of one inception block's convolutions, in the columns of Szegedy et al. 2015, table 1."""

    one: int
    """1x1x1 of the first branch."""
    three_reduce: int
    """1x1x1 before the second branch's 3x3x3."""
    three: int
    """3x3x3 of the second branch."""
    five_reduce: int
    """1x1x1 before the third branch's convolution (5x5 in the table, 3x3x3 in I3D)."""
    five: int
    """3x3x3 of the third branch."""
    pool: int
    """1x1x1 after the fourth branch's max pool."""

    @property
    def total(self) -> int:
        """Output channels of the block."""
        return self.one + self.three + self.five + self.pool


class Unit3D(nn.Module):
    """Convolution without bias, batch norm, ReLU: (N, C, T, H, W) to (N, O, ...) with SAME padding.

    The batch norm learns a shift but no scale, as published: the next convolution's kernel can take the scale's part.
    Its scale is a constant 1 and not None, with which torch's CUDA backward fails on channels-last memory, and which
    keeps cuDNN away.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Triple = (1, 1, 1), stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        self.conv3d = SameConv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=_BATCH_NORM_EPSILON)
        del self.bn.weight
        self.bn.register_buffer("weight", torch.ones(outputs), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv3d(x)), inplace=True)


class InceptionBlock(nn.Module):
    """Four branches side by side, concatenated over channels (paper, figure 3, right): keeps T, H and W."""

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        self.b0 = Unit3D(inputs, widths.one)
        self.b1a = Unit3D(inputs, widths.three_reduce)
        self.b1b = Unit3D(widths.three_reduce, widths.three, (3, 3, 3))
        self.b2a = Unit3D(inputs, widths.five_reduce)
        self.b2b = Unit3D(widths.five_reduce, widths.five, (3, 3, 3))
        self.b3a = SameMaxPool3d((3, 3, 3), (1, 1, 1))
        self.b3b = Unit3D(inputs, widths.pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))]
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """Inception-v1 inflated (paper, figure 3, left).

    Parameters
    ----------
    channels
        Input channels: 3 (RGB) or 2 (flow).
    classes
        Number of logits.
    dropout
        Probability of DROPPING a feature before the classifier, in [0, 1).
    """

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(channels, 64, (7, 7, 7), (2, 2, 2))
        self.MaxPool3d_2a_3x3 = SameMaxPool3d((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, (3, 3, 3))
        self.MaxPool3d_3a_3x3 = SameMaxPool3d((1, 3, 3), (1, 2, 2))
        self.Mixed_3b = InceptionBlock(192, Widths(64, 96, 128, 16, 32, 32))
        self.Mixed_3c = InceptionBlock(256, Widths(128, 128, 192, 32, 96, 64))
        self.MaxPool3d_4a_3x3 = SameMaxPool3d((3, 3, 3), (2, 2, 2))
        self.Mixed_4b = InceptionBlock(480, Widths(192, 96, 208, 16, 48, 64))
        self.Mixed_4c = InceptionBlock(512, Widths(160, 112, 224, 24, 64, 64))
        self.Mixed_4d = InceptionBlock(512, Widths(128, 128, 256, 24, 64, 64))
        self.Mixed_4e = InceptionBlock(512, Widths(112, 144, 288, 32, 64, 64))
        self.Mixed_4f = InceptionBlock(528, Widths(256, 160, 320, 32, 128, 128))
        self.MaxPool3d_5a_2x2 = SameMaxPool3d((2, 2, 2), (2, 2, 2))
        self.Mixed_5b = InceptionBlock(832, Widths(256, 160, 320, 32, 128, 128))
        self.Mixed_5c = InceptionBlock(832, Widths(384, 192, 384, 48, 128, 128))
        self.dropout = nn.Dropout(dropout)
        classifier = nn.Conv3d(1024, classes, 1)
        # A container only for the published name, logits.conv3d.
        self.logits = nn.Sequential(OrderedDict(conv3d=classifier))
        initialise_weights(self, classifier)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return (N, K) float32 logits of (N, C, T, H, W) float32 clips in [-1, 1].

        T is at least 9 (16 in the product); H and W are 224 in the paper and may be any size.
        """
        x = self.Conv3d_1a_7x7(clips)
        x = self.MaxPool3d_2a_3x3(x)
        x = self.Conv3d_2b_1x1(x)
        x = self.Conv3d_2c_3x3(x)
        x = self.MaxPool3d_3a_3x3(x)
        x = self.Mixed_3b(x)
        x = self.Mixed_3c(x)
        x = self.MaxPool3d_4a_3x3(x)
        x = self.Mixed_4b(x)
        x = self.Mixed_4c(x)
        x = self.Mixed_4d(x)
        x = self.Mixed_4e(x)
        x = self.Mixed_4f(x)
        x = self.MaxPool3d_5a_2x2(x)
        x = self.Mixed_5b(x)
        x = self.Mixed_5c(x)
        # The paper's 2x7x7 window covers the whole picture at 224 px; here it does so at any size.
        x = functional.avg_pool3d(x, (2, x.shape[3], x.shape[4]), stride=1)
        x = self.dropout(x)
        logits: torch.Tensor = self.logits(x)
        return logits.mean(dim=(2, 3, 4))
