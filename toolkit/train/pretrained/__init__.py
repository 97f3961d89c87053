"""Published weights: a catalogue, and what brings a file of them into a network of ours, whatever its layout."""

from __future__ import annotations

from toolkit.train.pretrained.catalogue import CATALOGUE, Entry, InputFacts
from toolkit.train.pretrained.download import fetch, weights_folder
from toolkit.train.pretrained.inspection import inspect
from toolkit.train.pretrained.loading import Pretrained, load_pretrained, pretrained_input

__all__ = [
    "CATALOGUE",
    "Entry",
    "InputFacts",
    "Pretrained",
    "fetch",
    "inspect",
    "load_pretrained",
    "pretrained_input",
    "weights_folder",
]
