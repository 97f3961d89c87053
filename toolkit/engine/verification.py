"""Parity as behaviour: an engine is trusted after it has labelled the golden sample as the float32 graph did.

Three proofs on the machine that will run the engine: the same frames give the same network input, flow is the flow
that the networks were trained on (or by how much it is not), and the same input gives the same label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolkit.bundle import Bundle, GoldenClip
from toolkit.engine.contract import Backend
from toolkit.engine.golden import golden_inputs
from toolkit.engine.validation import BehaviourParity
from toolkit.errors import EngineError, FlowError, raise_faults
from toolkit.flow import FlowEstimator, open_flow
from toolkit.preprocess import Stream

MAX_GREY_LEVELS = 1.0
"""Largest difference of an RGB input that another build of OpenCV's resize may cause."""
MAX_FLOW_PX = 0.02
"""Mean difference of flow under which equally right runs of one implementation differ (not converged further)."""


class LogitParity(BaseModel):
    """How far an engine's logits are from the float32 graph's on the golden sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_error: float
    """Largest absolute difference of a logit."""
    mean_error: float
    """Mean absolute difference."""
    label_flips: int
    """Clips whose label changed."""


class FlowParity(BaseModel):
    """How far this machine's flow is from the golden sample's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained: str
    """Implementation that the networks were trained on."""
    here: str
    """Implementation of this machine."""
    clips: int
    """Golden clips compared, those with the most motion."""
    mean_px: float
    """Mean absolute difference, px per frame."""
    max_px: float
    """Largest absolute difference, px per frame."""


class ParityReport(BaseModel):
    """What verification measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: int
    """Golden clips."""
    logits: dict[Stream, LogitParity]
    fused_label_flips: int
    """Clips whose fused label changed."""
    rgb_max_grey_levels: float | None
    """Largest difference of a recomputed RGB input, grey levels; 0 is expected. None without an RGB stream."""
    flow: FlowParity | None
    """None without a flow stream, or where this machine has no TV-L1."""
    behaviour: BehaviourParity | None = None
    """Scores on a labelled data set; None where none was given."""

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        lines = [
            f"{stream}: largest logit error {logits.max_error:.2g}, mean {logits.mean_error:.2g}, "
            f"{logits.label_flips} of {self.clips} golden labels changed"
            for stream, logits in self.logits.items()
        ]
        lines.append(f"fused: {self.fused_label_flips} of {self.clips} golden labels changed")
        if self.rgb_max_grey_levels is not None:
            lines.append(f"preprocessing: golden frames reproduced within {self.rgb_max_grey_levels:g} grey levels")
        if self.flow is not None:
            lines.append(
                f"flow: {self.flow.here} here, {self.flow.trained} at training, mean difference "
                f"{self.flow.mean_px:.2g} px per frame, largest {self.flow.max_px:.2g}"
            )
        if self.behaviour is not None:
            lines += self.behaviour.lines()
        return lines


def verify(
    bundle: Bundle,
    backends: Mapping[Stream, Backend],
    *,
    estimator: FlowEstimator | None = None,
    flow_clips: int = 1,
) -> ParityReport:
    """Run the golden sample through entered backends and this machine's preprocessing.

    Parameters
    ----------
    backends
        One entered backend per stream of the bundle.
    estimator
        This machine's flow; None takes OpenCV's with the bundle's parameters.
    flow_clips
        Golden clips whose flow is recomputed, those with the most motion first: a clip costs 16 pairs.

    Raises
    ------
    EngineError
        If anything is outside the bundle's limits; the message names the clips and their behaviours.
    """
    golden = bundle.golden()
    streams = bundle.manifest.streams
    expected = {stream: np.stack([clip.logits[stream] for clip in golden]) for stream in streams}
    found = {stream: _infer_all(backends[stream], stream, golden) for stream in streams}
    _check_classes(expected, found)
    faults = [fault for stream in streams for fault in _logit_faults(bundle, stream, golden, expected, found)]
    fused = [_fused(bundle, logits) for logits in (expected, found)]
    flips = fused[0].argmax(axis=1) != fused[1].argmax(axis=1)
    if flips.sum() > bundle.manifest.parity.max_label_flips:
        faults.append(f"fused: {_flip_sentence(bundle, golden, flips, fused[0], fused[1])}")
    rgb, rgb_faults = _compare_rgb(bundle, golden)
    flow, flow_faults = _compare_flow(bundle, golden, estimator, flow_clips)
    runtimes = ", ".join(sorted({backend.identity for backend in backends.values()}))
    summary = f"{bundle.manifest.name}: the engine ({runtimes}) fails the bundle's golden sample and is not installed"
    raise_faults(EngineError, summary, faults + rgb_faults + flow_faults)
    return ParityReport(
        clips=len(golden),
        logits={stream: _logit_parity(expected[stream], found[stream]) for stream in streams},
        fused_label_flips=int(flips.sum()),
        rgb_max_grey_levels=rgb,
        flow=flow,
    )


def _infer_all(backend: Backend, stream: Stream, golden: Sequence[GoldenClip]) -> NDArray[np.float32]:
    # One by one: batches of the daemon's size, and no more memory than it needs.
    return np.concatenate([backend.infer(clip.inputs[stream][np.newaxis]).copy() for clip in golden])


def _check_classes(expected: Mapping[Stream, NDArray[np.float32]], found: Mapping[Stream, NDArray[np.float32]]) -> None:
    faults = [
        f"{stream}: expected {logits.shape[1]} classes, found {found[stream].shape[1]}"
        for stream, logits in expected.items()
        if found[stream].shape != logits.shape
    ]
    raise_faults(EngineError, "the engine was made for another ethogram; export the bundle again", faults)


def _fused(bundle: Bundle, logits: Mapping[Stream, NDArray[np.float32]]) -> NDArray[np.float32]:
    # Infinite logits, which are reported on their own, have no softmax.
    with np.errstate(invalid="ignore"):
        return bundle.manifest.fusion.probabilities(np.stack([logits[stream] for stream in bundle.manifest.streams]))


def _logit_parity(expected: NDArray[np.float32], found: NDArray[np.float32]) -> LogitParity:
    error = np.abs(found - expected)
    flips = expected.argmax(axis=1) != found.argmax(axis=1)
    return LogitParity(max_error=float(error.max()), mean_error=float(error.mean()), label_flips=int(flips.sum()))


def _logit_faults(
    bundle: Bundle,
    stream: Stream,
    golden: Sequence[GoldenClip],
    expected: Mapping[Stream, NDArray[np.float32]],
    found: Mapping[Stream, NDArray[np.float32]],
) -> list[str]:
    limits = bundle.manifest.parity
    # An overflow gives NaN or infinity, which no comparison with a limit may wave through.
    overflown = np.any(~np.isfinite(found[stream]), axis=1)
    if overflown.any():
        return [f"{stream}: the logits are not finite (overflow) for {_clip_names(bundle, golden, overflown)}"]
    faults = []
    errors = np.abs(found[stream] - expected[stream]).max(axis=1)
    if errors.max() > limits.max_logit_error:
        wrong = _clip_names(bundle, golden, errors > limits.max_logit_error)
        faults.append(
            f"{stream}: largest logit error {errors.max():.3g}, the bundle allows {limits.max_logit_error:g}: {wrong}"
        )
    flips = expected[stream].argmax(axis=1) != found[stream].argmax(axis=1)
    if flips.sum() > limits.max_label_flips:
        faults.append(f"{stream}: {_flip_sentence(bundle, golden, flips, expected[stream], found[stream])}")
    return faults


def _flip_sentence(
    bundle: Bundle,
    golden: Sequence[GoldenClip],
    flips: NDArray[np.bool_],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
) -> str:
    names = bundle.manifest.ethogram.names
    changes = ", ".join(
        f"clip {index} ({names[golden[index].behaviour]}: {names[expected[index].argmax()]} became "
        f"{names[found[index].argmax()]})"
        for index in np.flatnonzero(flips).tolist()
    )
    return f"{flips.sum()} labels changed, the bundle allows {bundle.manifest.parity.max_label_flips}: {changes}"


def _clip_names(bundle: Bundle, golden: Sequence[GoldenClip], chosen: NDArray[np.bool_]) -> str:
    names = bundle.manifest.ethogram.names
    return ", ".join(f"clip {index} ({names[golden[index].behaviour]})" for index in np.flatnonzero(chosen).tolist())


def _compare_rgb(bundle: Bundle, golden: Sequence[GoldenClip]) -> tuple[float | None, list[str]]:
    manifest = bundle.manifest
    specs = [spec for spec in manifest.inputs if spec.stream == "rgb"]
    if not specs:
        return None, []
    scale = np.abs(np.array(specs[0].scale, dtype=np.float32))[:, np.newaxis, np.newaxis, np.newaxis]
    worst = 0.0
    for clip in golden:
        here = golden_inputs(clip.frames, manifest.geometry, specs, manifest.flow, None, manifest.clip)["rgb"]
        worst = max(worst, float((np.abs(here - clip.inputs["rgb"]) / scale).max()))
    if worst <= MAX_GREY_LEVELS:
        return worst, []
    return worst, [
        f"preprocessing: RGB input differs by {worst:.3g} grey levels from the bundle's, at most {MAX_GREY_LEVELS:g} "
        "is allowed; this machine's OpenCV resizes differently: install the version that the project pins"
    ]


def _compare_flow(
    bundle: Bundle, golden: Sequence[GoldenClip], estimator: FlowEstimator | None, flow_clips: int
) -> tuple[FlowParity | None, list[str]]:
    manifest = bundle.manifest
    specs = [spec for spec in manifest.inputs if spec.stream == "flow"]
    if not specs:
        return None, []
    if estimator is None:
        try:
            # No warning of another implementation: the parity says which were compared, and how far they lie apart.
            estimator = open_flow("auto", manifest.flow.parameters, warn=lambda _line: None)
        except FlowError:
            return None, []
    scale = np.abs(np.array(specs[0].scale, dtype=np.float32))[:, np.newaxis, np.newaxis, np.newaxis]
    moving = sorted(golden, key=lambda clip: float(np.abs(clip.inputs["flow"]).mean()), reverse=True)[:flow_clips]
    differences = [
        np.abs(
            golden_inputs(clip.frames, manifest.geometry, specs, manifest.flow, estimator, manifest.clip)["flow"]
            - clip.inputs["flow"]
        )
        / scale
        for clip in moving
    ]
    parity = FlowParity(
        trained=manifest.flow.implementation,
        here=estimator.implementation,
        clips=len(moving),
        mean_px=float(np.mean(differences)),
        max_px=float(np.max(differences)),
    )
    if parity.here != parity.trained or parity.mean_px <= MAX_FLOW_PX:
        return parity, []
    return parity, [
        f"flow: {parity.here} differs by {parity.mean_px:.3g} px on average from its own flow in the bundle, "
        f"{MAX_FLOW_PX:g} px is allowed; the golden sample was made with other parameters or the library is faulty"
    ]
