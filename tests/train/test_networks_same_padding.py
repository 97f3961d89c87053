"""SAME padding against TensorFlow's documented formula, written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolkit.train.networks.same_padding import SameConv3d, SameMaxPool3d, same_padding


def _padded_like_tensorflow(
    x: NDArray[np.float64], kernel: tuple[int, ...], stride: tuple[int, ...], fill: float
) -> NDArray[np.float64]:
    widths = []
    for size, k, s in zip(x.shape, kernel, stride, strict=True):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, widths, constant_values=fill)


def _windows(padded: NDArray[np.float64], kernel: tuple[int, ...], stride: tuple[int, ...]) -> NDArray[np.float64]:
    """Return (T', H', W', kt, kh, kw) of every window."""
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel)
    return views[:: stride[0], :: stride[1], :: stride[2]]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 7, 2, (2, 3)),
        (225, 7, 2, (3, 3)),
        (16, 7, 2, (2, 3)),
        (112, 3, 2, (0, 1)),
        (113, 3, 2, (1, 1)),
        (14, 2, 2, (0, 0)),
        (15, 2, 2, (0, 1)),
        (28, 3, 1, (1, 1)),
        (9, 1, 2, (0, 0)),
    ],
)
def test_padding_worked_by_hand(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


SIZES = [(8, 12, 14), (9, 13, 15), (8, 13, 14), (5, 10, 9)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [(7, 7, 7), (3, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 1, 1), (1, 2, 2)])
def test_convolution_equals_tensorflow(
    size: tuple[int, int, int], kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=size)
    layer = SameConv3d(1, 1, kernel, stride).double()
    weight = layer.weight.detach().numpy()[0, 0]
    expected = np.einsum(
        "abcijk,ijk->abc", _windows(_padded_like_tensorflow(x, kernel, stride, 0), kernel, stride), weight
    )
    assert layer.bias is not None
    expected += layer.bias.item()

    found = layer(torch.from_numpy(x)[None, None]).detach().numpy()[0, 0]

    assert found.shape == tuple(math.ceil(n / s) for n, s in zip(size, stride, strict=True))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pool", [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))]
)
def test_pool_equals_tensorflow(
    size: tuple[int, int, int], pool: tuple[tuple[int, int, int], tuple[int, int, int]]
) -> None:
    kernel, stride = pool
    # All negative: a padding of zeros would win every maximum at an edge.
    x = np.random.default_rng(0).uniform(-2, -1, size=size)
    expected = _windows(_padded_like_tensorflow(x, kernel, stride, -np.inf), kernel, stride).max(axis=(3, 4, 5))

    found = SameMaxPool3d(kernel, stride)(torch.from_numpy(x)[None, None]).numpy()[0, 0]

    np.testing.assert_array_equal(found, expected)
