"""The networks that can be trained: I3D and R(2+1)D."""

from __future__ import annotations

from toolkit.train.networks.registry import ARCHITECTURES, Architecture, Head, build_network

__all__ = ["ARCHITECTURES", "Architecture", "Head", "build_network"]
