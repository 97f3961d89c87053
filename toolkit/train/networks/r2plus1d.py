"""R(2+1)D: residual networks whose 3-D convolutions are split into space and time (Tran et al. 2018).

"A Closer Look at Spatiotemporal Convolutions for Action Recognition". Layers carry torchvision's names
(``stem.0``, ``layer1.0.conv1.0.3``, ``fc``), so that its weights, and those of IG-65M, map onto ours tensor by tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from toolkit.train.networks.initialise import initialise_weights


@dataclass(frozen=True)
class Stage:
    """One of the four groups of residual blocks (paper, table 1)."""

    blocks: int
    """Number of residual blocks."""
    width: int
    """Output channels of every block."""
    time_stride: int
    """Step in time of the first block's first convolution."""
    space_stride: int
    """Step in height and width of the first block's first convolution."""


@dataclass(frozen=True)
class Design:
    """What distinguishes one R(2+1)D from another."""

    stem_spatial: int
    """Channels between the stem's 1x7x7 and 3x1x1."""
    stem: int
    """Channels behind the stem."""
    stages: tuple[Stage, Stage, Stage, Stage]
    """The groups of residual blocks, from input to output."""
    one_width_per_block: bool
    """True: both convolutions of a block are split with the width of the first; False: each with its own."""
    batch_norm_epsilon: float
    """Added to the variance in every batch norm."""


def _paper_stages(*blocks: int) -> tuple[Stage, Stage, Stage, Stage]:
    first, second, third, fourth = blocks
    return Stage(first, 64, 1, 1), Stage(second, 128, 2, 2), Stage(third, 256, 2, 2), Stage(fourth, 512, 2, 2)


# Every published model, RGB or flow, has a stem 45 wide; `split_width` does not give that number.
DEPTH_18 = Design(45, 64, _paper_stages(2, 2, 2, 2), one_width_per_block=True, batch_norm_epsilon=1e-5)
"""As torchvision has it."""
DEPTH_34 = Design(45, 64, _paper_stages(3, 4, 6, 3), one_width_per_block=False, batch_norm_epsilon=1e-3)
"""As VMZ (the authors' code) and IG-65M have it."""
SMALL = Design(
    16,
    16,
    (Stage(1, 16, 1, 2), Stage(1, 32, 1, 2), Stage(1, 64, 2, 2), Stage(1, 96, 2, 1)),
    one_width_per_block=False,
    batch_norm_epsilon=1e-3,
)
"""For the demo and for training without a GPU: space shrinks early, time only in the last two stages."""


def split_width(inputs: int, outputs: int) -> int:
    """Return the channels between the spatial and the temporal half of a split 3x3x3 convolution.

    Chosen so that the halves have no more parameters than the whole (paper, section 3.5, with t = d = 3).
    """
    return 27 * inputs * outputs // (9 * inputs + 3 * outputs)


def _convolution_2plus1d(inputs: int, between: int, outputs: int, stage: Stage, epsilon: float) -> nn.Sequential:
    """A 1x3x3 convolution, batch norm, ReLU, and a 3x1x1 convolution, with the stage's strides (paper, figure 2b)."""
    space = stage.space_stride
    return nn.Sequential(
        nn.Conv3d(inputs, between, (1, 3, 3), (1, space, space), (0, 1, 1), bias=False),
        nn.BatchNorm3d(between, eps=epsilon),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, outputs, (3, 1, 1), (stage.time_stride, 1, 1), (1, 0, 0), bias=False),
    )


class ResidualBlock(nn.Module):
    """Two split convolutions and a shortcut: (N, I, T, H, W) to (N, O, T/t, H/s, W/s)."""

    def __init__(self, inputs: int, stage: Stage, design: Design) -> None:
        super().__init__()
        outputs, epsilon = stage.width, design.batch_norm_epsilon
        unstrided = Stage(1, outputs, 1, 1)
        first = split_width(inputs, outputs)
        second = first if design.one_width_per_block else split_width(outputs, outputs)
        self.conv1 = nn.Sequential(
            _convolution_2plus1d(inputs, first, outputs, stage, epsilon),
            nn.BatchNorm3d(outputs, eps=epsilon),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            _convolution_2plus1d(outputs, second, outputs, unstrided, epsilon),
            nn.BatchNorm3d(outputs, eps=epsilon),
        )
        stride = (stage.time_stride, stage.space_stride, stage.space_stride)
        self.downsample: nn.Module | None = None
        if inputs != outputs or stride != (1, 1, 1):
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm3d(outputs, eps=epsilon),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        x = self.conv2(x)
        return functional.relu(x + shortcut, inplace=True)


class R2Plus1D(nn.Module):
    """A residual network of split convolutions (paper, table 1 and figure 1e).

    Parameters
    ----------
    design
        `DEPTH_18`, `DEPTH_34` or `SMALL`.
    channels
        Input channels: 3 (RGB) or 2 (flow).
    classes
        Number of logits.
    dropout
        Probability of DROPPING a feature before the classifier, in [0, 1).
    """

    def __init__(self, design: Design, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        epsilon = design.batch_norm_epsilon
        first, second, third, fourth = design.stages
        self.stem = nn.Sequential(
            nn.Conv3d(channels, design.stem_spatial, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(design.stem_spatial, eps=epsilon),
            nn.ReLU(inplace=True),
            nn.Conv3d(design.stem_spatial, design.stem, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(design.stem, eps=epsilon),
            nn.ReLU(inplace=True),
        )
        self.layer1 = _residual_stage(design.stem, first, design)
        self.layer2 = _residual_stage(first.width, second, design)
        self.layer3 = _residual_stage(second.width, third, design)
        self.layer4 = _residual_stage(third.width, fourth, design)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(fourth.width, classes)
        initialise_weights(self, self.fc)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return (N, K) float32 logits of (N, C, T, H, W) float32 clips; T = 16 and H = W = 112 in the paper."""
        x = self.stem(clips)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = self.avgpool(x).flatten(1)
        x = self.dropout(x)
        logits: torch.Tensor = self.fc(x)
        return logits


def _residual_stage(inputs: int, stage: Stage, design: Design) -> nn.Sequential:
    following = Stage(1, stage.width, 1, 1)
    strided = ResidualBlock(inputs, stage, design)
    return nn.Sequential(strided, *(ResidualBlock(stage.width, following, design) for _ in range(stage.blocks - 1)))
