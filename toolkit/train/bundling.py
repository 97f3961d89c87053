"""From a run folder to a bundle: what `toolkit export` does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.bouts import BundleDecision, ChosenDecision
from toolkit.bundle import FlowSpec, Provenance
from toolkit.errors import BundleError, ConfigError, raise_faults
from toolkit.flow import PARAMETER_SETS, FlowEstimator
from toolkit.flow.select import flow_as_trained
from toolkit.fusion import Fusion, fusion_for
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig, differing_keys
from toolkit.train.crossval import load_evaluation
from toolkit.train.export import GoldenFrames, export_versions, write_bundle
from toolkit.train.golden import read_golden_frames
from toolkit.train.progress import OnProgress, Progress, silent
from toolkit.train.run_folder import Run, library_versions, load_run
from toolkit.train.scores import Evaluation
from toolkit.train.transitions import read_transitions

_FREE_KEYS = ("streams", "seed", "device", "threads", "evaluation_stride", "evaluation_batch", "inner_validation")
"""Keys in which a run may differ from its cross-validation."""


def export_run(
    run: Path,
    bundle: Path,
    *,
    crossval: Path | None = None,
    keep_fp32: Mapping[Stream, Sequence[str]] | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Write a run's networks as a bundle.

    Clips of a bundle repeat frames at the ends of a segment, since a live stream cannot wrap around; a network that
    was trained with ``wrap`` is exported all the same, and the bundle's provenance says so.

    Parameters
    ----------
    run
        Folder of `toolkit train`.
    crossval
        Folder of `toolkit crossval` whose scores go into the bundle, with the fusion weights, the temperature and the
        smoothing that it chose (`Evaluation.chosen`); None writes no scores and the paper's fusion.
    keep_fp32
        Per stream names of layers that stay float32 in its mixed graph; see `write_bundle`.

    Raises
    ------
    InputError
        If the run or the report is missing or damaged, or `bundle` exists and `overwrite` is false.
    ConfigError
        If the run's streams do not fit together, or the cross-validation is of other networks or data.
    BundleError
        If the flow that the networks were trained on cannot be computed here.
    """
    trained = load_run(run)
    config = trained.config
    evaluation = load_evaluation(crossval) if crossval else None
    if evaluation is not None and crossval is not None:
        _check_same_method(trained, evaluation, crossval)
    golden = [
        GoldenFrames(
            clip.behaviour,
            clip.frames,
            None if clip.flow_steps is None else list(config.encoding.decode(clip.flow_steps)),
        )
        for clip in read_golden_frames(run, _dataset_sha256(trained))
    ]
    tell = on_progress or silent
    steps = 4 + 3 * len(trained.streams)
    done = 0

    def began(message: str) -> None:
        nonlocal done
        tell(Progress("export", done, steps, "steps", message))
        done = min(done + 1, steps - 1)

    write_bundle(
        bundle,
        networks=trained.networks,
        manifest=_manifest(trained, config, bundle, evaluation),
        golden=golden,
        estimator=_estimator(trained, config),
        keep_fp32=keep_fp32,
        overwrite=overwrite,
        on_progress=began,
    )
    tell(Progress("export", steps, steps, "steps"))


def _manifest(trained: Run, config: TrainConfig, bundle: Path, evaluation: Evaluation | None) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "architecture": config.architecture,
        "ethogram": trained.ethogram,
        "geometry": config.geometry,
        "clip": config.clip.model_copy(update={"boundary": "repeat"}),
        "inputs": tuple(config.stream_input(stream) for stream in trained.streams),
        "flow": FlowSpec(
            parameters=PARAMETER_SETS[config.flow],
            implementation=_flow_implementation(trained) or "none",
            encoding=config.encoding,
        ),
        "fusion": _fusion(trained, evaluation),
        "scores": evaluation.scores() if evaluation else None,
        "provenance": _provenance(trained, config),
        "decision": _decision(trained, evaluation),
    }


def _decision(trained: Run, evaluation: Evaluation | None) -> BundleDecision:
    """Return what the cross-validation chose for these streams, and what training counted."""
    learned = read_transitions(trained.path, _dataset_sha256(trained))
    chosen = None
    if evaluation is not None and _is_of(evaluation, trained) and evaluation.chosen.frames:
        chosen = ChosenDecision(
            **evaluation.chosen.model_dump(include={"smoothing_s", "min_bout_s", "uncertain_below", "frames"})
        )
    return BundleDecision(chosen=chosen, transitions=learned.transitions, without_transitions=learned.reason)


def _fusion(trained: Run, evaluation: Evaluation | None) -> Fusion:
    """Return the weights and temperature that the cross-validation chose for these streams, else the paper's."""
    if evaluation is not None and _is_of(evaluation, trained):
        return evaluation.chosen.fusion
    return fusion_for(tuple(trained.streams))


def _is_of(evaluation: Evaluation, trained: Run) -> bool:
    return tuple(evaluation.chosen.fusion.weights) == tuple(trained.streams)


def _provenance(trained: Run, config: TrainConfig) -> Provenance:
    first = next(iter(trained.streams.values())).provenance
    versions = {**library_versions(), **export_versions()}
    for stream, part in trained.streams.items():
        versions.update({f"{name} (training {stream})": found for name, found in part.provenance.versions.items()})
    if config.clip.boundary == "wrap":
        versions["clip boundary (training)"] = "wrap"
    return Provenance(
        created_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        dataset_sha256=first.dataset_sha256,
        videos=first.videos,
        git_revision=first.git_revision,
        seeds={stream: part.provenance.seed for stream, part in trained.streams.items()},
        versions=versions,
        runs={stream: f"{trained.path.name}/{stream}" for stream in trained.streams},
    )


def _flow_implementation(trained: Run) -> str | None:
    part = trained.streams.get("flow")
    return part.provenance.flow_implementation if part else None


def _estimator(trained: Run, config: TrainConfig) -> FlowEstimator | None:
    wanted = _flow_implementation(trained)
    if wanted is None:
        return None
    estimator = flow_as_trained(wanted, PARAMETER_SETS[config.flow])
    if estimator.implementation != wanted:
        raise BundleError(
            f"{trained.path}: the flow network was trained on flow by {wanted}, this machine has "
            f"{estimator.implementation}. Export where it was trained, or train it again here."
        )
    return estimator


def _dataset_sha256(trained: Run) -> str:
    return next(iter(trained.streams.values())).provenance.dataset_sha256


def _check_same_method(trained: Run, evaluation: Evaluation, crossval: Path) -> None:
    """Scores say something of a network only if its folds were trained on the same data in the same way."""
    faults = []
    if evaluation.dataset_sha256 != _dataset_sha256(trained):
        faults.append("data set: other videos or annotations")
    if evaluation.behaviours != trained.ethogram.names:
        faults.append(f"behaviours: {', '.join(evaluation.behaviours)}, not {', '.join(trained.ethogram.names)}")
    for stream, part in trained.streams.items():
        differing = differing_keys(part.config, evaluation.config.of(stream))
        faults += [f"{stream}: {fault}" for fault in differing if fault.split(":")[0] not in _FREE_KEYS]
        if stream not in evaluation.config.streams:
            faults.append(f"{stream}: was not cross-validated")
    raise_faults(ConfigError, f"{crossval} says nothing of {trained.path}: it was trained otherwise", faults)
