"""How a network starts when no published weights are given."""

from __future__ import annotations

from torch import nn


def initialise_weights(network: nn.Module, classifier: nn.Conv3d | nn.Linear) -> None:
    """Draw the convolutions from He et al. 2015 (equation 10, fan-in) and the classifier from N(0, 0.01), in place.

    Batch norms keep PyTorch's start: shift 0, scale 1, running mean 0 and variance 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module is not classifier:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    # Small logits: the first steps must not have to undo a confident guess.
    nn.init.normal_(classifier.weight, std=0.01)
    if classifier.bias is not None:
        nn.init.zeros_(classifier.bias)
