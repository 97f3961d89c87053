"""The count of exact reuse between windows (docs/decisions/0012) against counts by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the train extra")
import torch
from torch import nn

from benches.reuse_count import count_reuse
from toolkit.train.networks import build_network


@pytest.mark.parametrize(("stride", "reused"), [(1, [15, 13, 5]), (2, [14, 12, 5]), (4, [12, 10, 4]), (8, [8, 6, 2])])
def test_padding_phases_and_steps_in_time_limit_reuse(stride: int, reused: list[int]) -> None:
    """Spatial: all 16 but the new. Temporal: 1 to 14 see no padding. With a step of 2: 1 to 6, every second frame."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(4, 5, (3, 1, 1), padding=(1, 0, 0)),
        nn.Conv3d(5, 6, (3, 1, 1), (2, 1, 1), padding=(1, 0, 0)),
    )
    layers = count_reuse(network, channels=3, side=20, stride=stride)
    assert [layer.reused for layer in layers] == reused
    assert [layer.positions for layer in layers] == [16, 16, 8]
    assert [layer.macs for layer in layers] == [
        16 * 400 * 4 * 3 * 9,
        16 * 400 * 5 * 4 * 3,
        8 * 400 * 6 * 5 * 3,
    ]
    assert layers[1].macs_left == layers[1].macs * (16 - reused[1]) / 16


def test_r2plus1d_18_loses_one_position_at_either_end_per_temporal_convolution() -> None:
    torch.manual_seed(0)
    network = build_network("r2plus1d-18", channels=3, classes=8)
    layers = count_reuse(nn.Sequential(network.stem, network.layer1), channels=3, side=112, stride=1)
    assert [layer.reused for layer in layers] == [15, 13, 13, 11, 11, 9, 9, 7, 7, 5]
    # The stem's 45 1x7x7 kernels over 56 x 56, and 144 1x3x3 kernels over 64 channels (paper, table 1).
    assert layers[0].macs == 16 * 56 * 56 * 45 * 3 * 49
    assert layers[2].macs == 16 * 56 * 56 * 144 * 64 * 9


def test_i3d_reuses_half_its_stem() -> None:
    """Its outputs read frames 2t - 2 to 2t + 4 of 16: 1 to 5 see no padding, and of these 4 lie one step further."""
    torch.manual_seed(0)
    (stem,) = count_reuse(build_network("i3d", channels=3, classes=8).Conv3d_1a_7x7, channels=3, side=224, stride=1)
    assert (stem.positions, stem.reused) == (8, 4)
    assert stem.macs == 8 * 112 * 112 * 64 * 3 * 343
