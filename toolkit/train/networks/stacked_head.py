"""The head of the authors' code: the published classifier stays, and a dense layer learns from its logits."""

from __future__ import annotations

import torch
from torch import nn

PUBLISHED_CLASSES = 400
"""Logits of a network trained on Kinetics-400."""


class StackedHead(nn.Module):
    """A network of `PUBLISHED_CLASSES` logits, dropout on them, and a dense layer.

    Parameters
    ----------
    network
        (N, C, T, H, W) clips to (N, 400) logits.
    classes
        Number of behaviours.
    dropout
        Probability of DROPPING one of the 400 logits, in [0, 1).
    """

    def __init__(self, network: nn.Module, classes: int, dropout: float) -> None:
        super().__init__()
        self.network = network
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(PUBLISHED_CLASSES, classes)
        # As every classifier of ours: the first steps must not have to undo a confident guess.
        nn.init.normal_(self.dense.weight, std=0.01)
        nn.init.zeros_(self.dense.bias)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return (N, K) float32 logits of (N, C, T, H, W) float32 clips."""
        logits: torch.Tensor = self.dense(self.dropout(self.network(clips)))
        return logits
