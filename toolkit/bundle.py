"""The model bundle: a directory that is the only thing that passes from training to a cage.

It holds the networks as ONNX graphs, everything that decides what they are fed, the ethogram, the fusion, where they
came from, and a golden sample with which any machine proves its preprocessing, its flow and its engine. A bundle that
fails its hashes or its schema is refused.

ONNX graphs take one input, ``clips``, (N, T, C, H, W) float32, and give one output, ``logits``, (N, K) float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolkit.bouts import BundleDecision
from toolkit.clips import ClipGeometry
from toolkit.errors import BundleError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.files import sha256_of_file
from toolkit.flow import FlowEncoding, FlowParameters
from toolkit.fusion import Fusion
from toolkit.npz_file import NpzFile
from toolkit.onnx_file import MOST_BYTES as MOST_GRAPH_BYTES
from toolkit.onnx_file import graph_fault
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry

SCHEMA_VERSION: Literal[2] = 2
"""What is written. 2 added `Manifest.decision`."""
READ_VERSIONS = (1, 2)
"""What is read."""
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"

MOST_MANIFEST_BYTES = 1 << 20
MOST_GOLDEN_BYTES = 4 << 30
"""Of the golden sample, unpacked: thirty clips of 1920 x 1080 px."""


class FlowSpec(BaseModel):
    """The flow that the networks were trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: FlowParameters
    implementation: str
    """`FlowEstimator.implementation` at training, e.g. ``opencv-5.0.0``."""
    encoding: FlowEncoding


class Scores(BaseModel):
    """Cross-validated scores. They are the fold models', not the exported model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str
    """How the folds were made, e.g. ``leave-one-video-out over 6 videos``."""
    accuracy: dict[str, float]
    """Fraction of right frames, pooled over folds: ``rgb``, ``flow``, ``fused``."""
    f1: dict[str, float]
    """Fused F1 of each behaviour."""
    kappa: float
    """Cohen's kappa of the fused labels."""
    frames: int
    """Test frames, pooled over folds."""
    note: str = "scores of the cross-validation's fold models; the exported networks were trained on all videos"


class Provenance(BaseModel):
    """Who made the networks, from what, with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created_utc: str
    """ISO 8601."""
    dataset_sha256: str
    """Hash over the data set's videos and annotations."""
    videos: int
    git_revision: str | None
    seeds: dict[str, int]
    """Seed of each stream's training."""
    versions: dict[str, str]
    """Libraries that took part."""
    runs: dict[str, str]
    """Name of each stream's run folder."""


class Parity(BaseModel):
    """What an engine may differ by from the float32 graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_logit_error: float = Field(default=0.15, gt=0)
    """Largest absolute difference of a logit on the golden sample."""
    max_label_flips: int = Field(default=0, ge=0)
    """Golden clips whose label may change."""
    max_macro_f1_drop: float = Field(default=0.02, ge=0, le=1)
    """Most that macro F1 may fall on a data set that an engine is validated on."""
    max_kappa_drop: float = Field(default=0.02, ge=0, le=1)
    """Most that Cohen's kappa may fall there."""


class Manifest(BaseModel):
    """What `manifest.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    name: str
    architecture: str
    """Name in the registry of networks, e.g. ``i3d``."""
    ethogram: Ethogram
    geometry: WorkingGeometry
    clip: ClipGeometry
    inputs: tuple[StreamInput, ...] = Field(min_length=1, max_length=2)
    """One per stream, in the order of the fusion's weights."""
    flow: FlowSpec
    fusion: Fusion
    scores: Scores | None = None
    """None where nothing was cross-validated."""
    provenance: Provenance
    parity: Parity = Parity()
    decision: BundleDecision | None = None
    """For deciding bouts from rows; None in bundles of schema 1."""
    files: dict[str, str]
    """SHA-256 of every file of the bundle but the manifest."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Names of the streams in order."""
        return tuple(spec.stream for spec in self.inputs)

    @model_validator(mode="after")
    def _is_consistent(self) -> Manifest:
        if self.streams != tuple(self.fusion.weights):
            raise ValueError(
                f"inputs {self.streams} and fusion weights {tuple(self.fusion.weights)} must name the same"
            )
        expected = {GOLDEN, *(onnx_name(stream, p) for stream in self.streams for p in ("fp32", "fp16"))}
        if set(self.files) != expected:
            raise ValueError(f"files must be {sorted(expected)}, found {sorted(self.files)}")
        transitions = self.decision.transitions if self.decision is not None else None
        if transitions is not None and len(transitions.prior) != len(self.ethogram):
            raise ValueError(
                f"transitions of {len(transitions.prior)} behaviours, the ethogram has {len(self.ethogram)}"
            )
        return self


@dataclass(frozen=True)
class GoldenClip:
    """One clip of the golden sample."""

    behaviour: int
    """Index of the annotated behaviour of the centre frame."""
    frames: NDArray[np.uint8]
    """(T + 1, H, W, 3) uint8 RGB source frames, the clip's and the one before it, which its first flow needs."""
    inputs: Mapping[Stream, NDArray[np.float32]]
    """Per stream the (C, T, crop, crop) float32 network input."""
    logits: Mapping[Stream, NDArray[np.float32]]
    """Per stream the (K,) float32 logits of the float32 graph."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest
    sha256: str
    """Hash of the manifest, which holds the hash of everything else: the bundle's identity."""

    def onnx_path(self, stream: Stream, precision: str) -> Path:
        """Return the graph of a stream at ``fp32`` or ``fp16``."""
        return self.path / onnx_name(stream, precision)

    def golden(self) -> list[GoldenClip]:
        """Read the golden sample.

        Raises
        ------
        BundleError
            If an array is missing, damaged, too large, or not of the shape that the manifest makes it.
        """
        frames = self.manifest.clip.frames
        with self._arrays() as arrays:
            clips = []
            for index, behaviour in enumerate(self._behaviours(arrays)):
                inputs: dict[Stream, NDArray[np.float32]] = {}
                logits: dict[Stream, NDArray[np.float32]] = {}
                for spec in self.manifest.inputs:
                    stream, shape = spec.stream, (spec.channels, frames, spec.crop, spec.crop)
                    inputs[stream] = arrays.read(f"{stream}_input_{index}", np.float32, shape)
                    logits[stream] = arrays.read(f"{stream}_logits_{index}", np.float32, [len(self.manifest.ethogram)])
                clips.append(GoldenClip(behaviour, self._frames(arrays, index), inputs, logits))
            return clips

    def golden_frames(self) -> list[NDArray[np.uint8]]:
        """Read the golden sample's (T + 1, H, W, 3) uint8 RGB source frames alone, a small part of it; see `golden`."""
        with self._arrays() as arrays:
            return [self._frames(arrays, index) for index, _ in enumerate(self._behaviours(arrays))]

    def _arrays(self) -> NpzFile:
        return NpzFile(self.path / GOLDEN, most_bytes=MOST_GOLDEN_BYTES)

    def _behaviours(self, arrays: NpzFile) -> list[int]:
        behaviours: list[int] = arrays.read("behaviours", np.int16, [None]).tolist()
        if not all(0 <= behaviour < len(self.manifest.ethogram) for behaviour in behaviours):
            raise BundleError(
                f"{self.path / GOLDEN}: a behaviour that the ethogram of {len(self.manifest.ethogram)} has not. Copy "
                "the bundle again from where it was exported."
            )
        return behaviours

    def _frames(self, arrays: NpzFile, index: int) -> NDArray[np.uint8]:
        return arrays.read(f"frames_{index}", np.uint8, (self.manifest.clip.frames + 1, None, None, 3))


def onnx_name(stream: Stream, precision: str) -> str:
    """Return a graph's file name in the bundle."""
    return f"{stream}.{precision}.onnx"


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises
    ------
    BundleError
        If the folder or a file is missing, a link or too large, a hash differs, the manifest is not one of this schema,
        or a graph keeps weights elsewhere.
    """
    manifest_path = path / MANIFEST
    if not _is_own_file(manifest_path):
        raise BundleError(f"{path}: not a bundle (no {MANIFEST}). Expected a folder written by: toolkit export")
    manifest = _read_manifest(manifest_path)
    faults = []
    for name, expected in manifest.files.items():
        if PurePosixPath(name).name != name:
            faults.append(f"{name}: the manifest names a file outside the bundle")
        elif not _is_own_file(path / name):
            faults.append(f"{name}: {'a link, not a file of the bundle' if (path / name).is_symlink() else 'missing'}")
        elif (size := (path / name).stat().st_size) > (most := _most_bytes(name)):
            faults.append(f"{name}: {size} bytes, at most {most} are read")
        elif (found := sha256_of_file(path / name)) != expected:
            faults.append(f"{name}: SHA-256 is {found[:12]}..., the manifest says {expected[:12]}...: it was changed")
        elif name != GOLDEN and (fault := graph_fault(path / name)) is not None:
            faults.append(f"{name}: {fault}")
    raise_faults(BundleError, f"{path} is damaged; copy it again from where it was exported", faults)
    return Bundle(path, manifest, sha256_of_file(manifest_path))


def write_manifest_and_golden(folder: Path, manifest: Mapping[str, Any], golden: list[GoldenClip]) -> None:
    """Complete a bundle whose ONNX graphs already lie in `folder`.

    Parameters
    ----------
    manifest
        Keyword arguments of `Manifest` but `files`.
    """
    arrays: dict[str, NDArray[Any]] = {"behaviours": np.array([clip.behaviour for clip in golden], dtype=np.int16)}
    for index, clip in enumerate(golden):
        arrays[f"frames_{index}"] = clip.frames
        for stream, tensor in clip.inputs.items():
            arrays[f"{stream}_input_{index}"] = tensor
            arrays[f"{stream}_logits_{index}"] = clip.logits[stream]
    np.savez_compressed(folder / GOLDEN, allow_pickle=False, **arrays)
    names = sorted(file.name for file in folder.iterdir())
    complete = Manifest(**manifest, files={name: sha256_of_file(folder / name) for name in names})
    (folder / MANIFEST).write_text(complete.model_dump_json(indent=2) + "\n")


def _is_own_file(path: Path) -> bool:
    """Return whether a bundle holds this itself: what a link leads to was not exported with it."""
    return path.is_file() and not path.is_symlink()


def _most_bytes(name: str) -> int:
    return MOST_GOLDEN_BYTES if name == GOLDEN else MOST_GRAPH_BYTES


def _read_manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_MANIFEST_BYTES + 1)
        if len(raw) > MOST_MANIFEST_BYTES:
            raise BundleError(f"{path}: over {MOST_MANIFEST_BYTES >> 20} MiB. Copy the bundle again from its source.")
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not JSON ({error}). Copy the bundle again from where it was exported.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READ_VERSIONS:
        raise BundleError(
            f"{path}: bundle schema {version!r}, this toolkit reads schemas 1 to {SCHEMA_VERSION}. "
            "Update the toolkit on this machine, or export the bundle again with the one installed here."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise_faults(BundleError, f"{path} does not follow bundle schema {version}", faults)
        raise
