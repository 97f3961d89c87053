"""From trained networks to a bundle: ONNX graphs at FP32 and mixed FP16, and a golden sample with their logits.

FP16 is made here once, in the graph, so that every TensorRT builds the same arithmetic (docs/decisions/0005).
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.bundle import (
    GOLDEN,
    Bundle,
    GoldenClip,
    Manifest,
    load_bundle,
    onnx_name,
    write_manifest_and_golden,
)
from toolkit.engine.golden import golden_inputs
from toolkit.engine.layers import LayeredGraph
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.errors import BundleError, ConfigError, EngineError, raise_faults
from toolkit.files import atomic_directory
from toolkit.flow import FlowEstimator
from toolkit.preprocess import Stream, StreamInput

OPSET = 20
"""Newest that TensorRT 10.3 reads."""

KEPT_FP32 = ("AveragePool", "GlobalAveragePool", "ReduceMean", "Softmax")
"""Operators that stay FP32 in the mixed graph: sums over a whole clip, and exponentials."""

TORCH_TOLERANCE = 1e-4
"""Largest difference of a logit between torch and ONNX Runtime, relative to logits larger than one."""

_CALIBRATION_CLIPS = 4
_CHECKED_CLIPS = 4


@dataclass(frozen=True)
class GoldenFrames:
    """A clip to be put into the golden sample."""

    behaviour: int
    """Index of the annotated behaviour of the centre frame."""
    frames: NDArray[np.uint8]
    """(T + 1, H, W, 3) uint8 RGB source frames, the clip's and the one before it."""
    flow: Sequence[NDArray[np.float32]] | None = None
    """T quantised (height, width, 2) float32 flows of the clip, px, from the flow store; None computes them."""


def write_bundle(
    path: Path,
    *,
    networks: Mapping[Stream, nn.Module],
    manifest: Mapping[str, Any],
    golden: Sequence[GoldenFrames],
    estimator: FlowEstimator | None,
    keep_fp32: Mapping[Stream, Sequence[str]] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it.

    Parameters
    ----------
    networks
        A trained network per stream; it takes (N, C, T, H, W) float32 clips and gives (N, K) logits. Not changed.
    manifest
        Keyword arguments of `Manifest` but ``files`` (and ``schema_version``).
    golden
        A few clips of every behaviour. Their inputs are computed here, by the cage's own functions.
    estimator
        The flow that the networks were trained on; None for a bundle without a flow stream.
    keep_fp32
        Per stream names of layers of its float32 graph that stay float32 in the mixed graph, beside those that
        `convert_to_fp16` keeps by itself; `toolkit.engine.diagnose` finds them.
    on_progress
        Called with what is about to be done.

    Raises
    ------
    BundleError
        If networks, manifest, estimator and golden clips do not fit together.
    EngineError
        If a graph's logits are not its network's.
    InputError
        If `path` exists and `overwrite` is false.
    """
    tell = on_progress if on_progress is not None else _ignore
    planned = _planned_manifest(manifest)
    _check_parts(planned, networks, golden, estimator)
    with atomic_directory(path, overwrite=overwrite) as folder:
        tell(f"golden sample: preprocessing and flow of {len(golden)} clips")
        inputs = [
            golden_inputs(
                clip.frames,
                planned.geometry,
                planned.inputs,
                planned.flow,
                estimator,
                planned.clip,
                flow=clip.flow,
            )
            for clip in golden
        ]
        logits: dict[Stream, NDArray[np.float32]] = {}
        for spec in planned.inputs:
            clips = [tensors[spec.stream] for tensors in inputs]
            fp32, fp16 = (folder / onnx_name(spec.stream, precision) for precision in ("fp32", "fp16"))
            tell(f"{spec.stream}: export to ONNX")
            export_onnx(networks[spec.stream], spec, planned.clip.frames, fp32)
            tell(f"{spec.stream}: mixed FP16 graph")
            convert_to_fp16(fp32, fp16, clips, keep_fp32=(keep_fp32 or {}).get(spec.stream, ()))
            tell(f"{spec.stream}: golden logits")
            logits[spec.stream] = _golden_logits(fp32, clips, len(planned.ethogram))
            _check_against_torch(networks[spec.stream], spec.stream, clips, logits[spec.stream])
        tell("writing the golden sample and the manifest")
        sample = [
            GoldenClip(clip.behaviour, clip.frames, tensors, {s: logits[s][index] for s in planned.streams})
            for index, (clip, tensors) in enumerate(zip(golden, inputs, strict=True))
        ]
        write_manifest_and_golden(folder, manifest, sample)
    return load_bundle(path)


def export_onnx(network: nn.Module, spec: StreamInput, frames: int, path: Path) -> None:
    """Write a network as a float32 ONNX graph, (N, T, C, H, W) ``clips`` to (N, K) ``logits``, any N.

    Parameters
    ----------
    network
        Takes (N, C, T, H, W). Exported in evaluation mode from a copy.
    frames
        T.
    path
        Overwritten. All weights are inside the file, and no path of this machine.
    """
    module = _TimeMajor(copy.deepcopy(network).cpu().eval())
    example = torch.zeros(2, frames, spec.channels, spec.crop, spec.crop)
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes={"clips": {0: torch.export.Dim("N", min=1, max=1024)}},
            verbose=False,
        )
    if program is None:
        raise EngineError(f"torch gave no ONNX graph of the {spec.stream} network.")
    _save(program.model_proto, path)


def convert_to_fp16(
    fp32: Path, fp16: Path, calibration: Sequence[NDArray[np.float32]], *, keep_fp32: Sequence[str] = ()
) -> None:
    """Write the mixed-FP16 graph of a float32 graph; its input and output stay float32.

    Parameters
    ----------
    calibration
        (C, T, H, W) float32 network inputs. Nodes whose values grow too large for FP16 on them stay FP32. Four of
        them, evenly spread, are used: every activation of each is held in memory.
    keep_fp32
        Names of further layers that stay FP32.

    Raises
    ------
    ConfigError
        If the graph has no layer of such a name.
    EngineError
        If the converted graph is not of opset 20.
    """
    if keep_fp32:
        known = {layer.name for layer in LayeredGraph(fp32).layers}
        faults = [f"no layer {name!r}; `toolkit engine diagnose` lists them" for name in keep_fp32 if name not in known]
        raise_faults(ConfigError, f"{fp32.name}: layers cannot be kept float32", faults)
    step = max(1, len(calibration) // _CALIBRATION_CLIPS)
    clips = np.stack(calibration[::step][:_CALIBRATION_CLIPS]).transpose(0, 2, 1, 3, 4)
    with _quiet():
        from modelopt.onnx.autocast import convert_to_mixed_precision

        model = convert_to_mixed_precision(
            onnx_path=str(fp32),
            low_precision_type="fp16",
            op_types_to_exclude=list(KEPT_FP32),
            nodes_to_exclude=[f"{re.escape(name)}$" for name in keep_fp32],
            keep_io_types=True,
            calibration_data={"clips": np.ascontiguousarray(clips)},
            providers=["cpu"],
            opset=OPSET,
        )
    _save(model, fp16)


def export_versions() -> dict[str, str]:
    """Return the versions of the libraries that take part in an export, for `Provenance.versions`."""
    return {name: version(name) for name in ("torch", "onnx", "onnxscript", "nvidia-modelopt", "onnxruntime")}


class _TimeMajor(nn.Module):
    """Takes clips as a ring holds them, so that no machine has to transpose before its engine."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: torch.Tensor) -> Any:
        return self.network(clips.transpose(1, 2))


def _planned_manifest(manifest: Mapping[str, Any]) -> Manifest:
    """Validate the manifest's fields before minutes of work rest on them; the hashes come last."""
    streams = [spec.stream for spec in manifest.get("inputs", ())]
    names = [GOLDEN, *(onnx_name(stream, precision) for stream in streams for precision in ("fp32", "fp16"))]
    return Manifest(**manifest, files=dict.fromkeys(names, ""))


def _check_parts(
    manifest: Manifest,
    networks: Mapping[Stream, nn.Module],
    golden: Sequence[GoldenFrames],
    estimator: FlowEstimator | None,
) -> None:
    faults = []
    if set(networks) != set(manifest.streams):
        faults.append(f"networks of {sorted(networks)} given, the manifest has inputs of {sorted(manifest.streams)}")
    if not golden:
        faults.append("the golden sample is empty; give a few clips of every behaviour")
    for index, clip in enumerate(golden):
        if not 0 <= clip.behaviour < len(manifest.ethogram):
            faults.append(f"golden clip {index}: behaviour {clip.behaviour}, the ethogram has {len(manifest.ethogram)}")
    if "flow" in manifest.streams and estimator is None:
        faults.append("the flow stream needs the estimator that it was trained on")
    elif "flow" in manifest.streams and estimator is not None:
        found = (estimator.parameters, estimator.implementation)
        if found != (manifest.flow.parameters, manifest.flow.implementation):
            faults.append(
                f"the networks were trained on flow by {manifest.flow.implementation} "
                f"({manifest.flow.parameters.name}), the golden sample would be made by "
                f"{estimator.implementation} ({estimator.parameters.name})"
            )
    raise_faults(BundleError, f"bundle {manifest.name} cannot be written", faults)


def _golden_logits(graph: Path, clips: Sequence[NDArray[np.float32]], classes: int) -> NDArray[np.float32]:
    with OnnxRuntimeBackend(graph) as backend:
        logits = np.concatenate([backend.infer(clip[np.newaxis]).copy() for clip in clips])
    if logits.shape[1] != classes:
        raise BundleError(
            f"{graph.name}: the network has {logits.shape[1]} outputs, the ethogram {classes} behaviours."
        )
    return logits


def _check_against_torch(
    network: nn.Module, stream: Stream, clips: Sequence[NDArray[np.float32]], logits: NDArray[np.float32]
) -> None:
    """Raise unless torch gives the graph's logits; a few clips show what any clip would."""
    module = copy.deepcopy(network).cpu().eval()
    with torch.inference_mode():
        expected = torch.cat([module(torch.from_numpy(clip).unsqueeze(0)) for clip in clips[:_CHECKED_CLIPS]]).numpy()
    error = float(np.abs(logits[:_CHECKED_CLIPS] - expected).max())
    limit = TORCH_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    # Written so that NaN, on either side, fails too.
    if not error <= limit:
        raise EngineError(
            f"{stream}: the ONNX graph's logits differ from the network's by {error:.3g}, the limit is {limit:.3g}. "
            "The exporter translated an operation wrongly: this is a fault of the toolkit or of its torch version."
        )


def _save(model: Any, path: Path) -> None:
    import onnx

    opset = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if opset != OPSET:
        raise EngineError(f"{path.name}: the graph came out at ONNX opset {opset}, expected {OPSET}.")
    # The exporter notes stack traces, which hold this machine's paths.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters print, warn and log from the user, whose progress display it would garble."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _ignore(message: str) -> None:
    del message
