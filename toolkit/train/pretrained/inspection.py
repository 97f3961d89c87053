"""What a file of weights is, in words, before anybody trains with it."""

from __future__ import annotations

from pathlib import Path

import torch

from toolkit.errors import InputError
from toolkit.train.networks import ARCHITECTURES, build_network
from toolkit.train.pretrained.loading import load_pretrained, read_weights


def inspect(source: str | Path) -> list[str]:
    """Return what a catalogue entry's file, or any file, holds and how a network of ours would take it, line by line.

    Raises
    ------
    InputError
        If it cannot be read or has no layout that is known.
    """
    weights = read_weights(source)
    converted, facts = weights.converted, weights.facts
    values = sum(tensor.numel() for tensor in converted.tensors.values())
    lines = [
        f"file: {weights.path}",
        f"SHA-256: {weights.sha256}",
        f"catalogue: {weights.name if weights.name != weights.path.name else 'not in it'}",
        f"layout: {weights.layout.name}",
        f"architecture: {converted.architecture}",
        f"tensors: {len(converted.tensors)} mapped ({values:,} values), {len(converted.left)} left",
        f"input: {facts.colour_order.upper()}, {facts.range}, crop {facts.crop} px, {facts.clip_frames} frames",
    ]
    architecture = ARCHITECTURES.get(converted.architecture)
    if architecture is None:
        return [*lines, f"no network of the toolkit takes it; there are {', '.join(ARCHITECTURES)}"]
    kernel = converted.tensors.get(architecture.first_convolution)
    classifier = converted.tensors.get(f"{architecture.classifier}.weight")
    flow = kernel is not None and kernel.ndim == 5 and kernel.shape[1] == 2
    lines.append(f"trained on: {'optical flow (2 channels)' if flow else 'RGB (3 channels)'}")
    lines.append(f"classes: {len(classifier) if classifier is not None else 'no classifier'}")
    lines += converted.notes
    lines += [f"left: {name} ({reason})" for name, reason in converted.left.items()]
    try:
        with torch.no_grad():
            network = build_network(converted.architecture, channels=2 if flow else 3, classes=1)
            load_pretrained(network, converted.architecture, "flow" if flow else "rgb", source)
    except InputError as error:
        return [*lines, *str(error).splitlines()]
    return [*lines, f"fits {converted.architecture}: yes"]
