"""The golden sample's inputs from its raw frames: computed at export, and again on every machine that builds an engine.

Both sides call these functions, which themselves only call preprocessing's, so a machine whose preprocessing or flow
differs is found out before its first label.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import FlowSpec
from toolkit.clips import ClipGeometry
from toolkit.errors import BundleError
from toolkit.flow import FlowEncoding, FlowEstimator
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry, grey_frame


def golden_inputs(
    frames: NDArray[np.uint8],
    geometry: WorkingGeometry,
    inputs: Sequence[StreamInput],
    flow_spec: FlowSpec,
    estimator: FlowEstimator | None,
    clip: ClipGeometry,
    *,
    flow: Sequence[NDArray[np.float32]] | None = None,
) -> dict[Stream, NDArray[np.float32]]:
    """Return what the networks see of one golden clip.

    Parameters
    ----------
    frames
        (T + 1, H, W, 3) uint8 RGB source frames: the clip's and the one before it.
    estimator
        Flow; None leaves the flow stream out, unless `flow` is given.
    flow
        T quantised (height, width, 2) float32 flows of the clip, px, where they were computed before.

    Returns
    -------
    dict of (C, T, crop, crop) float32
        One per stream of `inputs`. The memory is time-major.

    Raises
    ------
    BundleError
        If `frames` are not T + 1 RGB images.
    """
    if frames.shape[0] != clip.frames + 1 or frames.shape[-1:] != (3,) or frames.dtype != np.uint8:
        raise BundleError(
            f"a golden clip needs ({clip.frames + 1}, H, W, 3) uint8 frames, the clip's and the one before it; "
            f"found {frames.shape} of {frames.dtype}."
        )
    working = [geometry.working_frame(image) for image in frames]
    tensors: dict[Stream, NDArray[np.float32]] = {}
    for spec in inputs:
        if spec.stream == "rgb":
            tensors["rgb"] = _network_clip(working[1:], spec)
        elif flow is not None:
            tensors["flow"] = _network_clip(flow, spec)
        elif estimator is not None:
            tensors["flow"] = _network_clip(working_flow(working, flow_spec.encoding, estimator), spec)
    return tensors


def working_flow(
    working: Sequence[NDArray[np.uint8]], encoding: FlowEncoding, estimator: FlowEstimator
) -> list[NDArray[np.float32]]:
    """Return the quantised flow into every working frame but the first, each (height, width, 2) float32, px."""
    greys = [grey_frame(image) for image in working]
    return [encoding.quantise(estimator.flow(a, b)) for a, b in pairwise(greys)]


def _network_clip(
    images: Sequence[NDArray[np.uint8]] | Sequence[NDArray[np.float32]], spec: StreamInput
) -> NDArray[np.float32]:
    slots: NDArray[np.float32] = np.empty((len(images), spec.channels, spec.crop, spec.crop), dtype=np.float32)
    for index, slot in enumerate(slots):
        spec.network_frame(images[index], slot)
    clip: NDArray[np.float32] = slots.transpose(1, 0, 2, 3)
    return clip
