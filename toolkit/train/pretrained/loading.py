"""Published weights into a network of ours: every tensor has a place or a reason, and every shape is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toolkit.errors import InputError, raise_faults
from toolkit.files import sha256_of_file
from toolkit.preprocess import Stream, StreamInput
from toolkit.train.networks import ARCHITECTURES, Head
from toolkit.train.networks.stacked_head import StackedHead
from toolkit.train.pretrained.catalogue import CATALOGUE, InputFacts, entry_of_sha256
from toolkit.train.pretrained.conversion import Converted
from toolkit.train.pretrained.download import check_hash, fetched
from toolkit.train.pretrained.layouts import Layout, recognise
from toolkit.train.pretrained.tensor_files import Tensors, read_tensors

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class ReadWeights:
    """A file of weights under our names, before a network takes them."""

    name: str
    """In the catalogue, or the file's name."""
    path: Path
    sha256: str
    """Of the file."""
    layout: Layout
    facts: InputFacts
    """Preprocessing: the catalogue's for a known file, else the layout's."""
    converted: Converted


@dataclass(frozen=True)
class Pretrained:
    """What a network was given, for the run's provenance."""

    name: str
    """In the catalogue, or the file's name."""
    sha256: str
    """Of the file."""
    layout: str
    """How its tensors were named and ordered."""
    facts: InputFacts
    """Preprocessing that the weights were trained with."""
    mapped: tuple[str, ...]
    """The network's tensors that have their values from the file."""
    fresh: tuple[str, ...]
    """The network's tensors that keep their own."""
    left: tuple[str, ...]
    """``NAME: reason`` for each of the file's tensors that was not used."""
    notes: tuple[str, ...]
    """What else was done to the values, one sentence each."""

    def lines(self) -> list[str]:
        """Return the summary that a person reads."""
        lines = [f"weights: {self.name} ({self.layout}, {self.sha256[:12]})"]
        lines.append(f"{len(self.mapped)} tensors taken, {len(self.left)} left, {len(self.fresh)} start fresh")
        return [*lines, *self.notes]


def read_weights(source: str | Path) -> ReadWeights:
    """Read a catalogue entry's file from the weights folder, or any file.

    Raises
    ------
    InputError
        If it is neither, is not there, fails its hash, holds code, or has no layout that is known.
    """
    entry = CATALOGUE.get(str(source))
    path = fetched(entry) if entry else Path(source)
    if entry is None and not path.is_file():
        raise InputError(
            f"{source}: neither a file nor a name in the catalogue. Expected a path, or one of {', '.join(CATALOGUE)}."
        )
    sha256 = sha256_of_file(path)
    if entry:
        check_hash(entry, path, sha256)
    entry = entry or entry_of_sha256(sha256)
    tensors = read_tensors(path)
    layout = recognise(tensors, str(path))
    converted = layout.convert(tensors)
    if entry and entry.architecture != converted.architecture:
        raise InputError(
            f"{path}: expected the weights of {entry.architecture} ({entry.name}), found {converted.architecture}. "
            f"Get the file from {entry.source}."
        )
    return ReadWeights(
        entry.name if entry else path.name, path, sha256, layout, entry.facts if entry else layout.facts, converted
    )


def pretrained_input(
    source: str | Path, stream: Stream, *, resize: int, crop: int, bound_px: float = 20.0
) -> StreamInput:
    """Return the preprocessing that weights were trained with, at our sizes; a catalogue name reads no file."""
    return read_facts(source).stream_input(stream, resize, crop, bound_px)


def read_facts(source: str | Path) -> InputFacts:
    """Return how the input looked while weights were trained; a catalogue name reads no file."""
    entry = CATALOGUE.get(str(source))
    return entry.facts if entry else read_weights(source).facts


def load_pretrained(
    network: nn.Module, architecture: str, stream: Stream, source: str | Path, head: Head = "replaced"
) -> Pretrained:
    """Give a fresh network published weights, in place.

    Parameters
    ----------
    network
        As `build_network(architecture, channels=..., classes=..., head=head)` gives it.
    architecture
        Its name in the registry of networks.
    stream
        What it will see. RGB weights for ``flow`` have their first kernel averaged over colour and repeated over the
        two directions (Wang et al. 2016, section 3.2, cross-modality pre-training).
    source
        A name in the catalogue, whose file must have been fetched, or a path.
    head
        ``replaced``: the published classifier is left. ``stacked``: it is kept, under the network's own dense layer.

    Raises
    ------
    InputError
        If the weights cannot be read, belong to another architecture or channel count, lack a tensor or have one of
        another shape; every fault is named, and the network is as it was.
    """
    weights = read_weights(source)
    converted = weights.converted
    if converted.architecture != architecture:
        known = converted.architecture in ARCHITECTURES
        raise InputError(
            f"{weights.path}: weights of {converted.architecture}, but the network is {architecture}. "
            + (f'Train with architecture "{converted.architecture}", or c' if known else "C")
            + f"hoose weights of {architecture} (`toolkit weights list`)."
        )
    if (head == "stacked") != isinstance(network, StackedHead):
        raise InputError(f'A network built with another head cannot be loaded with head "{head}".')
    body = network.network if isinstance(network, StackedHead) else network
    if not isinstance(body, nn.Module):
        raise TypeError("a stacked head stands on a network")
    return _fill(network, body, weights, architecture, stream, head)


def _fill(
    network: nn.Module, body: nn.Module, weights: ReadWeights, architecture: str, stream: Stream, head: Head
) -> Pretrained:
    ends = ARCHITECTURES[architecture]
    ours, left = dict(weights.converted.tensors), dict(weights.converted.left)
    notes = list(weights.converted.notes)
    faults: list[str] = []
    if head == "replaced":
        for name in [name for name in ours if name.startswith(f"{ends.classifier}.")]:
            left[name] = "the classifier is replaced"
            del ours[name]
    kernel = ours.get(ends.first_convolution)
    if kernel is not None and kernel.ndim == 5:
        ours[ends.first_convolution], changes, faults = _first_kernel(kernel, weights.facts, stream)
        notes += changes
    wanted = body.state_dict()
    for name in [name for name in ours if name not in wanted]:
        left[name] = f"{architecture} has no such tensor"
        del ours[name]
    faults += _faults_of_coverage(wanted, ours, "" if head == "stacked" else ends.classifier)
    if not faults and not ours.keys() - {name for name in ours if name.endswith(_COUNTER)}:
        faults.append("no tensor fits")
    raise_faults(InputError, f"{weights.path}: cannot be loaded into {architecture} ({stream})", faults)
    body.load_state_dict(ours, strict=False)
    prefix = "network." if network is not body else ""
    mapped = tuple(f"{prefix}{name}" for name in wanted if name in ours)
    fresh = tuple(name for name in network.state_dict() if name not in mapped and not name.endswith(_COUNTER))
    reasons = tuple(f"{name}: {reason}" for name, reason in left.items())
    return Pretrained(
        weights.name, weights.sha256, weights.layout.name, weights.facts, mapped, fresh, reasons, tuple(notes)
    )


def _first_kernel(kernel: torch.Tensor, facts: InputFacts, stream: Stream) -> tuple[torch.Tensor, list[str], list[str]]:
    """Return the first kernel for a stream's channels, what was done to it, and what cannot be done."""
    channels = kernel.shape[1]
    if channels == 3 and facts.colour_order == "bgr":
        kernel = kernel.flip(1)
    if stream == "flow" and channels == 3:
        averaged = kernel.mean(dim=1, keepdim=True).repeat(1, 2, 1, 1, 1)
        return averaged, ["first kernel averaged over colour and repeated over the two directions of flow"], []
    if stream == "rgb" and channels == 2:
        return kernel, [], ["weights of optical flow (2 channels) for an RGB network (3 channels); choose RGB weights"]
    return kernel, [], []


def _faults_of_coverage(wanted: Tensors, found: Tensors, replaced: str) -> list[str]:
    faults = []
    for name, tensor in wanted.items():
        if name.endswith(_COUNTER) or (replaced and name.startswith(f"{replaced}.")):
            continue
        if name not in found:
            faults.append(f"{name} is missing")
        elif found[name].shape != tensor.shape:
            faults.append(f"{name}: expected the shape {tuple(tensor.shape)}, found {tuple(found[name].shape)}")
        elif not bool(torch.isfinite(found[name]).all()):
            faults.append(f"{name}: holds values that are not finite")
    return faults
