"""The run folder: what a training leaves behind, and how it is read again.

``RUN/<stream>/`` holds ``config.json`` (resolved), ``split.json`` (data set, ethogram, training, validation and
held-out videos), ``metrics.csv`` (a row per epoch), ``tensorboard/``, ``provenance.json``, ``last.pt`` and, where there
were validation videos, ``best.pt`` (tensors and plain types only). While it is trained it is
``RUN/<stream>.unfinished/`` (`toolkit.train.unfinished`).
``RUN/golden.npz`` holds the raw frames of the golden sample, and ``RUN/transitions.json`` how the training videos'
behaviours follow each other, so that a run can be exported without its data set.
"""

from __future__ import annotations

import json
import pickle
import platform
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from toolkit.errors import ConfigError, InputError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.files import atomic_write, replace_directory
from toolkit.preprocess import STREAMS, Stream
from toolkit.train.config import SHARED_KEYS, TrainConfig, differing_keys
from toolkit.train.dataset import PreparedDataset, Split
from toolkit.train.initial import untrained_network
from toolkit.train.pretrained import Pretrained
from toolkit.train.unfinished import CONFIG, SPLIT, STATE, save_tensors

PROVENANCE, LAST, BEST = "provenance.json", "last.pt", "best.pt"

_LIBRARIES = ("toolkit", "torch", "numpy", "opencv-contrib-python-headless", "av")


class PretrainedProvenance(BaseModel):
    """The published weights that a network started from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """In the catalogue, or the file's."""
    sha256: str
    """Of the file."""
    layout: str
    """How its tensors were named and ordered."""
    left: tuple[str, ...]
    """``NAME: reason`` for each tensor that was not used."""
    notes: tuple[str, ...]
    """What else was done to the values."""


class StreamProvenance(BaseModel):
    """Who trained a stream's network, on what, with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created_utc: str
    """ISO 8601."""
    dataset_sha256: str
    """Hash over the data set's videos and annotations."""
    videos: int
    """Training videos."""
    flow_implementation: str | None
    """`FlowEstimator.implementation`; None where no flow was computed."""
    git_revision: str | None
    """Revision of the working directory, ``-dirty`` with uncommitted changes; None outside a repository."""
    seed: int
    pretrained: PretrainedProvenance | None = None
    """The published weights that the network started from; None for random ones."""
    versions: dict[str, str]
    """Libraries that took part."""


@dataclass(frozen=True)
class TrainedStream:
    """A stream's network and where it came from."""

    stream: Stream
    config: TrainConfig
    ethogram: Ethogram
    network: nn.Module
    """On the CPU, in evaluation mode."""
    epoch: int
    """After which these weights were kept."""
    provenance: StreamProvenance


@dataclass(frozen=True)
class Run:
    """The trained streams of a run folder, which agree in `SHARED_KEYS`, ethogram and data set."""

    path: Path
    streams: dict[Stream, TrainedStream]
    """In the order rgb, flow."""

    @property
    def config(self) -> TrainConfig:
        """The first stream's configuration, naming all streams of the run."""
        first = next(iter(self.streams.values())).config
        return first.model_copy(update={"streams": tuple(self.streams)})

    @property
    def ethogram(self) -> Ethogram:
        """What the networks tell apart."""
        return next(iter(self.streams.values())).ethogram

    @property
    def networks(self) -> dict[Stream, nn.Module]:
        """Each stream's network."""
        return {stream: trained.network for stream, trained in self.streams.items()}


def split_content(data: PreparedDataset, split: Split) -> dict[str, Any]:
    """Return what ``split.json`` says."""
    parts = {"training": split.training, "validation": split.validation, "held_out": split.held_out}
    videos = {name: [{"video": v.name, "group": v.group} for v in part] for name, part in parts.items()}
    return {"dataset_sha256": data.sha256, "ethogram": data.ethogram.model_dump(mode="json"), **videos}


def finish_stream(
    folder: Path,
    stream: Stream,
    network: nn.Module,
    config: TrainConfig,
    data: PreparedDataset,
    videos: int,
    epochs: int,
    weights: Pretrained | None,
) -> None:
    """Turn the folder of a training that has ended into a stream's folder of a run.

    `videos` is the number of training videos, `epochs` of epochs done.
    """
    save_tensors(folder / LAST, checkpoint(stream, epochs, network))
    provenance = StreamProvenance(
        created_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        dataset_sha256=data.sha256,
        videos=videos,
        flow_implementation=data.videos[0].prepared.implementation,
        git_revision=_git_revision(),
        seed=config.seed,
        pretrained=_pretrained(weights),
        versions=library_versions(),
    )
    with atomic_write(folder / PROVENANCE) as beside:
        beside.write_text(provenance.model_dump_json(indent=2) + "\n")
    finished = folder.with_name(stream)
    replace_directory(folder, finished)
    # Last, so that a kill just before leaves a training that is resumed, not begun anew.
    (finished / STATE).unlink(missing_ok=True)


def checkpoint(stream: Stream, epoch: int, network: nn.Module) -> dict[str, Any]:
    """Return what a checkpoint's file holds: tensors and plain types only."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return {"format": 1, "stream": stream, "epoch": epoch, "state_dict": state}


def _pretrained(weights: Pretrained | None) -> PretrainedProvenance | None:
    if weights is None:
        return None
    return PretrainedProvenance(
        name=weights.name, sha256=weights.sha256, layout=weights.layout, left=weights.left, notes=weights.notes
    )


def load_run(path: Path) -> Run:
    """Read a run folder's streams, their weights loaded.

    Raises
    ------
    InputError
        If the folder holds no trained stream, or a file in it is missing or damaged.
    ConfigError
        If its streams do not fit together; every differing key is named.
    """
    streams = {stream: load_stream(path / stream, stream) for stream in STREAMS if (path / stream).is_dir()}
    if not streams:
        raise InputError(f"{path}: holds no trained stream. Expected a folder written by: toolkit train")
    if len(streams) == 2:
        rgb, flow = streams["rgb"], streams["flow"]
        faults = [fault for fault in differing_keys(rgb.config, flow.config) if fault.split(":")[0] in SHARED_KEYS]
        if rgb.ethogram != flow.ethogram:
            faults.append(f"behaviours: {', '.join(rgb.ethogram.names)}, not {', '.join(flow.ethogram.names)}")
        if rgb.provenance.dataset_sha256 != flow.provenance.dataset_sha256:
            faults.append("data set: its videos or annotations changed between the two trainings")
        raise_faults(ConfigError, f"{path}: rgb and flow do not fit together. Train one of them again", faults)
    return Run(path, streams)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that take part in training."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def load_stream(folder: Path, stream: Stream) -> TrainedStream:
    """Read one stream's folder; InputError if a file of it is missing or damaged."""
    try:
        config = TrainConfig.model_validate_json((folder / CONFIG).read_text())
        ethogram = Ethogram.model_validate(json.loads((folder / SPLIT).read_text())["ethogram"])
        provenance = StreamProvenance.model_validate_json((folder / PROVENANCE).read_text())
        kept = BEST if config.keep == "best" and (folder / BEST).exists() else LAST
        stored: dict[str, Any] = torch.load(folder / kept, map_location="cpu", weights_only=True)
        if stored["stream"] != stream:
            raise ValueError(f"checkpoint of stream {stored['stream']}")
        network = untrained_network(config, stream, len(ethogram))
        network.load_state_dict(stored["state_dict"])
    except (OSError, ValueError, KeyError, RuntimeError, ValidationError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder}: the run is damaged or incomplete ({reason}). Train this stream again.") from error
    return TrainedStream(stream, config, ethogram, network.eval(), int(stored["epoch"]), provenance)


def _git_revision() -> str | None:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
