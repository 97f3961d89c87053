"""The run folder: what a training leaves behind, and how it is read again.

``RUN/<stream>/`` holds ``config.json`` (resolved), ``split.json`` (ethogram, training and held-out videos),
``metrics.csv`` (a row per epoch), ``provenance.json`` and ``checkpoint.pt`` (tensors and plain types only).
``RUN/golden.npz`` holds the raw frames of the golden sample, so that a run can be exported without its data set.
"""

from __future__ import annotations

import csv
import json
import pickle
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from toolkit.errors import ConfigError, InputError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.preprocess import Stream
from toolkit.train.config import SHARED_KEYS, TrainConfig, differing_keys
from toolkit.train.dataset import LabelledVideo, PreparedDataset
from toolkit.train.initial import untrained_network
from toolkit.train.pretrained import Pretrained

CONFIG, SPLIT, METRICS, PROVENANCE, CHECKPOINT = (
    "config.json",
    "split.json",
    "metrics.csv",
    "provenance.json",
    "checkpoint.pt",
)
STREAMS: tuple[Stream, ...] = ("rgb", "flow")

_LIBRARIES = ("toolkit", "torch", "numpy", "opencv-contrib-python", "av")


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
class EpochMetrics:
    """One row of ``metrics.csv``."""

    epoch: int
    """From 1."""
    loss: float
    """Mean cross-entropy over the epoch's training clips."""
    accuracy: float
    """Fraction of right training clips, before each step's update."""
    learning_rate: float
    """At the epoch's last step."""
    seconds: float
    clips_per_s: float


@dataclass(frozen=True)
class TrainedStream:
    """A stream's network and where it came from."""

    stream: Stream
    config: TrainConfig
    ethogram: Ethogram
    network: nn.Module
    """On the CPU, in evaluation mode."""
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


def write_stream(
    folder: Path,
    stream: Stream,
    network: nn.Module,
    config: TrainConfig,
    data: PreparedDataset,
    split: tuple[Sequence[LabelledVideo], Sequence[LabelledVideo]],
    metrics: Sequence[EpochMetrics],
    weights: Pretrained | None,
) -> None:
    """Write a trained stream's files into an existing folder."""
    training, held_out = split
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n")
    content = {
        "ethogram": data.ethogram.model_dump(mode="json"),
        "training": [{"video": video.name, "group": video.group} for video in training],
        "held_out": [{"video": video.name, "group": video.group} for video in held_out],
    }
    (folder / SPLIT).write_text(json.dumps(content, indent=2) + "\n")
    with (folder / METRICS).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(EpochMetrics.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _rounded(value) for key, value in asdict(row).items()} for row in metrics)
    provenance = StreamProvenance(
        created_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        dataset_sha256=data.sha256,
        videos=len(training),
        flow_implementation=data.videos[0].prepared.implementation,
        git_revision=_git_revision(),
        seed=config.seed,
        pretrained=_pretrained(weights),
        versions=library_versions(),
    )
    (folder / PROVENANCE).write_text(provenance.model_dump_json(indent=2) + "\n")
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    torch.save({"format": 1, "stream": stream, "epoch": len(metrics), "state_dict": state}, folder / CHECKPOINT)


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
        checkpoint: dict[str, Any] = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        if checkpoint["stream"] != stream:
            raise ValueError(f"checkpoint of stream {checkpoint['stream']}")
        network = untrained_network(config, stream, len(ethogram))
        network.load_state_dict(checkpoint["state_dict"])
    except (OSError, ValueError, KeyError, RuntimeError, ValidationError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder}: the run is damaged or incomplete ({reason}). Train this stream again.") from error
    return TrainedStream(stream, config, ethogram, network.eval(), provenance)


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


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
