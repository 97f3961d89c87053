"""What exact reuse between overlapping windows can save inside each network: multiplications per clip, by stride.

``python -m benches.reuse_count`` prints the table of docs/decisions/0012. A value is reused if an earlier window has
computed the same one; zero padding at the ends of the clip makes the others differ. Nothing is derived from the
architecture: windows run through the network itself, and what comes out equal is counted.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from toolkit.train.networks import ARCHITECTURES, build_network

FRAMES = 16
STRIDES = (1, 2, 4, 8)
# Only time is compared, which no layer treats otherwise in a small picture than in a large one.
_SIDE = 32
_TOLERANCE = 1e-11


@dataclass(frozen=True)
class LayerReuse:
    """One convolution, on one window."""

    name: str
    macs: int
    """Multiplications with addition for all its outputs."""
    positions: int
    """Outputs along time."""
    reused: int
    """How many of these an earlier window has computed."""

    @property
    def macs_left(self) -> float:
        """What is left to compute."""
        return self.macs * (self.positions - self.reused) / self.positions


def count_reuse(network: nn.Module, channels: int, side: int, stride: int) -> list[LayerReuse]:
    """Return the work and the reuse of every convolution, in the order of computation.

    Parameters
    ----------
    network
        (N, C, T, H, W) to (N, K).
    side
        Height and width of its real input, which is square.
    stride
        Frames from one window to the next.
    """
    network = copy.deepcopy(network).eval().double()
    clip = torch.empty(1, channels, FRAMES, side, side, dtype=torch.float64, device="meta")
    shapes = _outputs(copy.deepcopy(network).to("meta"), clip)
    steps = {name: FRAMES // output.shape[2] for name, output in shapes.items()}
    # A layer with a step in time meets its old positions again only after so many frames.
    offsets = {name: math.lcm(stride, step) for name, step in steps.items()}
    video = torch.rand(1, channels, 2 * FRAMES, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0)).double()
    windows = {offset: _outputs(network, video[:, :, offset : offset + FRAMES]) for offset in {0, *offsets.values()}}
    layers = dict(network.named_modules())
    return [
        LayerReuse(
            name,
            macs=output.numel() * layers[name].weight[0].numel(),
            positions=output.shape[2],
            reused=_equal_positions(windows[0][name], windows[offsets[name]][name], offsets[name] // steps[name]),
        )
        for name, output in shapes.items()
    ]


def _outputs(network: nn.Module, clip: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what every convolution makes of a clip, in the order of computation."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: found.update({name: output}))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv3d)
    ]
    with torch.inference_mode():
        network(clip)
    for hook in hooks:
        hook.remove()
    return found


def _equal_positions(earlier: torch.Tensor, later: torch.Tensor, shift: int) -> int:
    length = later.shape[2] - shift
    if length <= 0:
        return 0
    before, after = earlier[:, :, shift:], later[:, :, :length]
    difference = (before - after).abs().amax(dim=(0, 1, 3, 4))
    return int((difference <= _TOLERANCE * after.abs().amax(dim=(0, 1, 3, 4))).sum())


def main() -> None:
    print("| network | GMAC per clip | " + " | ".join(f"stride {stride}" for stride in STRIDES) + " |")
    print("|---" * (2 + len(STRIDES)) + "|")
    for name in ("i3d", "r2plus1d-18", "r2plus1d-34"):
        for stream, channels in (("rgb", 3), ("flow", 2)):
            torch.manual_seed(0)
            network = build_network(name, channels=channels, classes=8)
            cells = []
            for stride in STRIDES:
                layers = count_reuse(network, channels, ARCHITECTURES[name].crop, stride)
                whole, left = sum(layer.macs for layer in layers), sum(layer.macs_left for layer in layers)
                cells.append(f"{left / 1e9:.1f} ({whole / left:.2f})")
            print(f"| {name} {stream} | {whole / 1e9:.1f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
