"""What a training is told, in one frozen object that its run folder keeps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolkit.clips import ClipGeometry
from toolkit.errors import ConfigError, raise_faults
from toolkit.flow import PARAMETER_SETS, FlowChoice, FlowEncoding
from toolkit.flow.store import FlowRecipe
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry, flow_input, rgb_input
from toolkit.train.networks import ARCHITECTURES, Head
from toolkit.train.presets import with_preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


class TrainConfig(BaseModel):
    """How networks are trained. Defaults are those of Nguyen et al. 2019, unless a field says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "i3d"
    """Name in the registry of networks: i3d, r2plus1d-18, r2plus1d-34 or r2plus1d-small."""
    streams: tuple[Stream, ...] = Field(default=("rgb", "flow"), min_length=1, max_length=2)
    """Streams to train, ``rgb`` before ``flow``."""
    geometry: WorkingGeometry = WorkingGeometry()
    """Working size, region, aspect, frame rate and light: what every frame is brought to before flow."""
    clip: ClipGeometry = ClipGeometry()
    """Frames before and after the centre frame, and what happens at the ends of a segment."""
    flow: Literal["paper", "fast"] = "paper"
    """Named set of TV-L1 parameters."""
    flow_by: FlowChoice = "auto"
    """What computes flow: ``cuda``, ``cpu`` (ours), ``opencv``; ``auto`` is ours, or OpenCV where it was not built."""
    encoding: FlowEncoding = FlowEncoding()
    """How flow is quantised; its bound is also what the flow network's input is divided by."""
    resize: int | None = Field(default=None, ge=16, le=1024)
    """Side that working frames are resized to, px; None takes the architecture's (255, 128, 128, 64)."""
    crop: int | None = Field(default=None, ge=16, le=1024)
    """Side of the crop that the network sees, px; None takes the architecture's (224, 112, 112, 56)."""
    pretrained: dict[Stream, str] = Field(default_factory=dict)
    """Per stream, the published weights it starts from: a name of `toolkit weights list`, or a file. RGB weights may
    start a flow network. Without, networks start from random weights."""
    head: Head = "replaced"
    """What becomes of the published classifier: ``replaced`` by ours, or kept under it (``stacked``, the authors')."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from RGB values in [0, 1]; None takes what the pretrained weights were trained with, else 0.5."""
    std: tuple[float, float, float] | None = None
    """Divides them afterwards; None as for `mean`."""
    epochs: int = Field(default=20, ge=1, le=10_000)
    """Passes over the training samples. There is no early stopping; the last weights are kept."""
    batch: int = Field(default=6, ge=1, le=4096)
    """Clips per optimiser step."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` with momentum as in the paper; ``adamw`` converges in fewer steps from random weights."""
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """Learning rate at the start."""
    final_learning_rate: float = Field(default=5e-5, gt=0, le=10)
    """Learning rate at the end."""
    schedule: Literal["exponential", "cosine", "steps"] = "exponential"
    """Course of the learning rate from start to end, step by step; ``steps`` follows `learning_rate_steps` instead."""
    learning_rate_steps: tuple[tuple[int, float], ...] = ()
    """(optimiser steps done, learning rate from then on), rising in steps; only with schedule ``steps``."""
    warm_up: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the steps over which the learning rate first rises linearly from zero (not in the paper)."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of ``sgd``, first beta of ``adamw``."""
    weight_decay: float = Field(default=7e-7, ge=0, le=1)
    """L2 penalty on kernels only: not on biases, nor on batch norms' scales."""
    dropout: float = Field(default=0.64, ge=0, lt=1)
    """Probability of DROPPING a feature before the classifier: one minus the paper's keep-probability 0.36."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all behaviours (Szegedy et al. 2016; not in the paper)."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the weights' moving average, which is then what is evaluated and kept; 0: none, as in the paper."""
    amp: Literal["off", "auto", "bf16", "fp16"] = "off"
    """Mixed precision of the forward pass; ``auto`` is bf16 on a GPU that has it, fp16 on another, off on a CPU."""
    memory_format: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Layout of clips and kernels; ``auto`` is channels-last on a CPU, contiguous on a GPU."""
    keep: Literal["last", "best"] = "last"
    """Weights that are evaluated and exported: the last epoch's (the paper's), or those of the epoch with the best
    accuracy on the validation groups; without any, the last. Never chosen on what is held out."""
    sampling: Literal["clip", "balanced"] = "clip"
    """``clip``: one random centre frame per annotated interval and epoch. ``balanced``: `clips_per_epoch` random centre
    frames, every behaviour equally likely, every frame of a behaviour equally likely (not in the paper)."""
    clips_per_epoch: int = Field(default=1000, ge=1)
    """Training clips per epoch where sampling is ``balanced``."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    flip_flow: Literal["negate", "as-published"] = "negate"
    """What a flip does to flow's horizontal channel: it is negated, as motion is, or left as in the authors' code."""
    per_stream: dict[Stream, dict[str, Any]] = Field(default_factory=dict)
    """Settings of one stream that differ from the above: any of `PER_STREAM_KEYS`."""
    inner_validation: bool = True
    """In cross-validation, each fold sets one training group aside, the next by name, and chooses on it alone: best
    epoch, fusion weight, temperature, smoothing. Off: it trains on that group too, and chooses nothing."""
    validation_stride: int = Field(default=8, ge=1)
    """After each epoch, predict every n-th labelled frame of the validation groups."""
    evaluation_stride: int = Field(default=1, ge=1)
    """Evaluate every n-th labelled frame of a held-out video (paper: every frame)."""
    evaluation_batch: int = Field(default=32, ge=1, le=4096)
    """Clips per forward pass in evaluation: bounds memory, does not change results."""
    seed: int = Field(default=0, ge=0)
    """Seed of weights, samples, crops and flips."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks are trained; ``auto`` takes the GPU if there is one."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of torch; None takes all cores. Results are reproducible for a given number only."""
    deterministic: bool = False
    """Ask torch for deterministic GPU kernels, at a cost in speed. I3D's pooling has none backwards on a GPU: torch
    then warns. On a CPU a seed and a number of threads always give the same weights."""

    @model_validator(mode="after")
    def _is_consistent(self) -> TrainConfig:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, found {self.architecture!r}")
        if self.streams not in (("rgb",), ("flow",), ("rgb", "flow")):
            raise ValueError(f'streams must be ["rgb"], ["flow"] or ["rgb", "flow"], found {list(self.streams)}')
        if self.head == "stacked" and set(self.streams) - set(self.pretrained):
            raise ValueError('head = "stacked" keeps a published classifier: name pretrained weights for every stream')
        for stream, settings in self.per_stream.items():
            if unknown := sorted(set(settings) - set(PER_STREAM_KEYS)):
                raise ValueError(
                    f"per_stream.{stream}: expected any of {', '.join(PER_STREAM_KEYS)}; found {', '.join(unknown)}"
                )
        for stream in self.per_stream:
            self.of(stream)
        starts = [start for start, _ in self.learning_rate_steps]
        if starts != sorted(set(starts)) or any(rate <= 0 for _, rate in self.learning_rate_steps):
            raise ValueError("learning_rate_steps must rise in steps, and every learning rate must be positive")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive, found {list(self.std)}")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not exceed learning_rate")
        if self.crop_px > self.resize_px:
            raise ValueError(f"crop ({self.crop_px}) must not exceed resize ({self.resize_px})")
        return self

    def of(self, stream: Stream) -> TrainConfig:
        """Return the settings of one stream, `per_stream` resolved."""
        if not self.per_stream:
            return self
        values = {**self.model_dump(exclude={"per_stream"}), **self.per_stream.get(stream, {})}
        return TrainConfig.model_validate(values)

    @property
    def resize_px(self) -> int:
        """Side that working frames are resized to, px."""
        return self.resize or ARCHITECTURES[self.architecture].resize

    @property
    def crop_px(self) -> int:
        """Side of the crop that the network sees, px."""
        return self.crop or ARCHITECTURES[self.architecture].crop

    def stream_input(self, stream: Stream) -> StreamInput:
        """Return how the stream's network sees a working frame or its flow."""
        if stream == "rgb":
            half = (0.5, 0.5, 0.5)
            return rgb_input(self.resize_px, self.crop_px, self.mean or half, self.std or half)
        return flow_input(self.resize_px, self.crop_px, self.encoding.bound_px)

    def recipe(self) -> FlowRecipe:
        """Return what videos are prepared by; without a flow stream, no flow."""
        parameters = PARAMETER_SETS[self.flow] if "flow" in self.streams else None
        return FlowRecipe(geometry=self.geometry, parameters=parameters, encoding=self.encoding)


PER_STREAM_KEYS = ("epochs", "batch", "learning_rate", "final_learning_rate", "schedule", "learning_rate_steps")
"""Keys that `TrainConfig.per_stream` may set."""

SHARED_KEYS = ("architecture", "geometry", "clip", "flow", "encoding", "resize", "crop")
"""Keys in which the two streams of one bundle must agree; the others may differ, as they do in the authors' code."""


def train_config(values: Mapping[str, Any], source: str = "configuration") -> TrainConfig:
    """Return the configuration of these values; ``preset`` among them names a recipe of `presets`.

    Raises
    ------
    ConfigError
        With every unknown key and wrong value; `source` says where they came from.
    """
    values = dict(values)
    preset = values.pop("preset", None)
    try:
        return TrainConfig.model_validate(with_preset(preset, values) if preset is not None else values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'all'}: {_sentence(fault)}" for fault in error.errors()]
        raise_faults(ConfigError, f"{source} cannot be used", faults)
        raise


def read_train_config(path: Path) -> TrainConfig:
    """Read a configuration from a TOML file whose keys are the fields of `TrainConfig`, and ``preset``.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or with every unknown key and wrong value.
    """
    return train_config(read_values(path), str(path))


def read_values(path: Path) -> dict[str, Any]:
    """Return what a configuration file says, and nothing else; its values are not checked.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Expected a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error}).") from error
    return values


def differing_keys(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Return ``key: value, not other value`` for every field in which two configurations differ."""
    ours, theirs = one.model_dump(mode="json"), other.model_dump(mode="json")
    return [f"{key}: {ours[key]!r}, not {theirs[key]!r}" for key in ours if ours[key] != theirs[key]]


def _sentence(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return f"unknown key; expected one of {', '.join(_keys_beside(fault['loc']))}"
    return f"{fault['msg']}, found {fault['input']!r}" if fault["loc"] else str(fault["msg"])


def _keys_beside(place: tuple[str | int, ...]) -> list[str]:
    model: Any = TrainConfig
    for key in place[:-1]:
        model = model.model_fields[key].annotation
    return list(model.model_fields)
