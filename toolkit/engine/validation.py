"""Parity as behaviour on a labelled data set: what an engine would say of hours, and what the float32 graph says.

The golden sample proves arithmetic; it is too small for scores. Here labelled frames of a data set run through both,
and what counts is what a lab publishes: F1 of each behaviour, Cohen's kappa, accuracy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolkit.annotations import AnnotatedVideo, load_dataset
from toolkit.bundle import Bundle, Manifest
from toolkit.engine.contract import Backend
from toolkit.engine.golden import golden_inputs
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.errors import DatasetError
from toolkit.flow import FlowEstimator, open_flow
from toolkit.frames import FrameRateGate, probe, read_frames
from toolkit.preprocess import Stream
from toolkit.scoring import confusion_matrix, frame_scores

DEFAULT_CLIPS = 300
"""Clips that are taken where no stride is given: minutes on a laptop."""


@dataclass(frozen=True)
class Validation:
    """What an engine is to be validated on."""

    dataset: Path
    """Data set folder (docs/annotations.md), annotated in the bundle's ethogram."""
    stride: int | None = None
    """Take every n-th labelled frame; None takes about `DEFAULT_CLIPS`, evenly spread."""


class BothScores(BaseModel):
    """One score of the float32 graph and of the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: float | None
    """Of the float32 graph in ONNX Runtime. None where it is not defined, as F1 of a behaviour that never occurs."""
    engine: float | None

    @property
    def drop(self) -> float:
        """By how much the engine is worse; 0 where a score is not defined on either side."""
        if self.reference is None:
            return 0.0
        return self.reference - (self.engine if self.engine is not None else 0.0)

    def __str__(self) -> str:
        reference, engine = ("-" if score is None else f"{score:.4f}" for score in (self.reference, self.engine))
        return f"{engine}, float32 {reference}"


class BehaviourParity(BaseModel):
    """How far an engine's behaviour is from the float32 graph's on labelled frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Name of the data set's folder."""
    stride: int
    """Every n-th labelled frame was taken."""
    clips: int
    """Labelled frames that were classified."""
    labels_changed: int
    """Frames whose fused label differs between the two."""
    accuracy: BothScores
    macro_f1: BothScores
    kappa: BothScores
    """Cohen's."""
    f1: dict[str, BothScores]
    """Of each behaviour."""

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return [
            f"{self.dataset}: {self.labels_changed} of {self.clips} labels changed",
            f"accuracy: {self.accuracy}",
            f"kappa: {self.kappa}",
            f"macro F1: {self.macro_f1}",
            *(f"F1 of {name}: {scores}" for name, scores in self.f1.items()),
        ]

    def faults(self, manifest: Manifest) -> list[str]:
        """Return in what the engine is outside the bundle's limits, naming the behaviours that suffer."""
        limits = manifest.parity
        faults = [
            f"{name} falls by {scores.drop:.3g}, the bundle allows {limit:g} ({scores})"
            for name, scores, limit in (
                ("macro F1", self.macro_f1, limits.max_macro_f1_drop),
                ("kappa", self.kappa, limits.max_kappa_drop),
            )
            if scores.drop > limit
        ]
        if not faults:
            return []
        worse = sorted((item for item in self.f1.items() if item[1].drop > 0), key=lambda item: -item[1].drop)
        behaviours = "; ".join(f"F1 of {name}: {scores}" for name, scores in worse)
        return [f"{self.dataset}: {fault}" for fault in faults] + [f"behaviours that suffer: {behaviours or 'none'}"]


def validate(
    bundle: Bundle,
    backends: Mapping[Stream, Backend],
    validation: Validation,
    *,
    estimator: FlowEstimator | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> BehaviourParity:
    """Classify labelled frames with entered backends and with the float32 graph, and score both.

    Only frames whose whole clip lies in their video are taken. Both see the same tensors, by this machine's
    preprocessing and flow.

    Parameters
    ----------
    estimator
        This machine's flow; None takes what a cage would.
    on_progress
        Told clips done and clips in all.

    Raises
    ------
    DatasetError, AnnotationError, VideoError
        If the data set cannot be read, is annotated in other behaviours, or has no labelled frame with a whole clip.
    """
    manifest = bundle.manifest
    if "flow" in manifest.streams and estimator is None:
        estimator = open_flow("auto", manifest.flow.parameters, warn=lambda _line: None)
    chosen, stride = _choose_frames(manifest, validation)
    total = sum(len(frames) for _, frames in chosen)
    truth: list[int] = []
    said: tuple[list[int], list[int]] = ([], [])
    with ExitStack() as stack:
        reference = {s: stack.enter_context(OnnxRuntimeBackend(bundle.onnx_path(s, "fp32"))) for s in manifest.streams}
        for label, tensors in _clips(manifest, chosen, estimator):
            truth.append(label)
            for labels, networks in zip(said, (reference, backends), strict=True):
                labels.append(_fused_label(manifest, networks, tensors))
            if on_progress is not None:
                on_progress(len(truth), total)
    names = manifest.ethogram.names
    scores = [frame_scores(confusion_matrix(np.array(truth), np.array(labels), len(names))) for labels in said]
    return BehaviourParity(
        dataset=validation.dataset.resolve().name,
        stride=stride,
        clips=len(truth),
        labels_changed=int((np.array(said[0]) != np.array(said[1])).sum()),
        accuracy=_both(score.accuracy for score in scores),
        macro_f1=_both(score.macro_f1 for score in scores),
        kappa=_both(score.kappa for score in scores),
        f1={name: _both(float(score.f1[index]) for score in scores) for index, name in enumerate(names)},
    )


def _both(scores: Iterable[float]) -> BothScores:
    # JSON has no NaN.
    reference, engine = (None if math.isnan(score) else round(score, 6) for score in scores)
    return BothScores(reference=reference, engine=engine)


def _choose_frames(
    manifest: Manifest, validation: Validation
) -> tuple[list[tuple[AnnotatedVideo, dict[int, int]]], int]:
    """Return every video with the source frames to classify and their labels, and the stride between them."""
    dataset = load_dataset(validation.dataset, behaviours=manifest.ethogram.names)
    labelled = [(video, _labelled_centres(manifest, video)) for video in dataset.videos]
    total = sum(len(frames) for _, frames in labelled)
    if not total:
        raise DatasetError(
            f"{validation.dataset}: no labelled frame has {manifest.clip.before + 1} frames before it and "
            f"{manifest.clip.after} after it, which a clip needs. Expected longer annotated videos."
        )
    stride = validation.stride or max(1, total // DEFAULT_CLIPS)
    chosen = []
    offset = 0
    for video, frames in labelled:
        # Counted through all videos, so that short ones are not left out.
        kept = {frame: label for place, (frame, label) in enumerate(frames.items(), offset) if place % stride == 0}
        offset += len(frames)
        if kept:
            chosen.append((video, kept))
    return chosen, stride


def _labelled_centres(manifest: Manifest, video: AnnotatedVideo) -> dict[int, int]:
    """Return the labels of the source frames that are labelled centres of whole clips at the networks' rate."""
    info = probe(video.path)
    manifest.geometry.check_source(info.width, info.height, float(info.fps), str(video.path))
    gate = FrameRateGate(manifest.geometry.fps, float(info.fps))
    interval_ns = 1e9 / float(info.fps)
    kept = [frame for frame in range(video.frames) if gate.accept(round(frame * interval_ns))]
    labels = video.labels(manifest.ethogram)
    centres = kept[manifest.clip.before + 1 : len(kept) - manifest.clip.after]
    return {frame: int(labels[frame]) for frame in centres if labels[frame] >= 0}


def _clips(
    manifest: Manifest,
    chosen: Sequence[tuple[AnnotatedVideo, Mapping[int, int]]],
    estimator: FlowEstimator | None,
) -> Iterator[tuple[int, dict[Stream, NDArray[np.float32]]]]:
    """Yield the label of every chosen frame and what the networks see of it, (C, T, crop, crop) per stream."""
    clip = manifest.clip
    for video, labels in chosen:
        gate = FrameRateGate(manifest.geometry.fps, video.fps)
        window: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=clip.frames + 1)
        for frame in read_frames(video.path):
            if not gate.accept(frame.capture_time_ns):
                continue
            window.append((frame.index, frame.image))
            centre = window[-1 - clip.after][0] if len(window) == clip.frames + 1 else -1
            if centre in labels:
                frames = np.stack([image for _, image in window])
                yield (
                    labels[centre],
                    golden_inputs(frames, manifest.geometry, manifest.inputs, manifest.flow, estimator, clip),
                )


def _fused_label(
    manifest: Manifest, backends: Mapping[Stream, Backend], tensors: Mapping[Stream, NDArray[np.float32]]
) -> int:
    logits = np.stack([backends[stream].infer(tensors[stream][np.newaxis])[0] for stream in manifest.streams])
    with np.errstate(invalid="ignore"):
        return int(manifest.fusion.probabilities(logits).argmax())
