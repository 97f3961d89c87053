"""What a network starts from: random weights, or published ones and the preprocessing that they were trained with."""

from __future__ import annotations

from torch import nn

from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.networks import build_network
from toolkit.train.pretrained import Pretrained, load_pretrained
from toolkit.train.pretrained.loading import read_facts


def with_weights_preprocessing(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the RGB mean and deviation that its pretrained weights were trained with.

    What the configuration says itself stays. Afterwards a network's input no longer depends on the weights' file.

    Raises
    ------
    InputError
        If the weights cannot be read.
    """
    source = config.pretrained.get("rgb") if "rgb" in config.streams else None
    if source is None or (config.mean is not None and config.std is not None):
        return config
    facts = read_facts(source)
    return config.model_copy(update={"mean": config.mean or facts.mean, "std": config.std or facts.std})


def initial_network(config: TrainConfig, stream: Stream, classes: int) -> tuple[nn.Module, Pretrained | None]:
    """Build a stream's network, with its pretrained weights where the configuration names some.

    Raises
    ------
    InputError
        If the weights do not fit; every fault is named.
    """
    network = untrained_network(config, stream, classes)
    source = config.pretrained.get(stream)
    if source is None:
        return network, None
    return network, load_pretrained(network, config.architecture, stream, source, config.head)


def untrained_network(config: TrainConfig, stream: Stream, classes: int) -> nn.Module:
    """Build a stream's network with random weights."""
    return build_network(
        config.architecture,
        channels=config.stream_input(stream).channels,
        classes=classes,
        dropout=config.dropout,
        head=config.head,
    )
