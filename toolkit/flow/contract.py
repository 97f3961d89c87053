"""TV-L1 optical flow: the parameters and the contract that every implementation meets.

Zach, Pock and Bischof 2007, "A duality based approach for realtime TV-L1 optical flow"; parameter names are those of
OpenCV's DualTVL1OpticalFlow.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from toolkit.errors import FlowError

MIN_SIDE_PX = 16


class FlowParameters(BaseModel):
    """A named set of TV-L1 parameters; defaults are OpenCV's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name of the set, ``paper`` or ``fast``."""
    tau: float = Field(default=0.25, gt=0)
    """Time step of the dual update."""
    lambda_: float = Field(default=0.15, gt=0)
    """Weight of the data term."""
    theta: float = Field(default=0.3, gt=0)
    """Tightness of the coupling between flow and auxiliary flow."""
    scales: int = Field(default=5, ge=1, le=12)
    """Levels of the image pyramid."""
    scale_step: float = Field(default=0.8, gt=0, lt=1)
    """Size of a pyramid level relative to the finer one."""
    warps: int = Field(default=5, ge=1, le=100)
    """Warps of the second image per level."""
    epsilon: float = Field(default=0.01, gt=0)
    """Inner iterations stop when the squared update per pixel falls below epsilon squared."""
    inner_iterations: int = Field(default=30, ge=1, le=10_000)
    """Most inner iterations between two median filters."""
    outer_iterations: int = Field(default=10, ge=1, le=1000)
    """Most rounds of inner iterations per warp."""
    median: int = Field(default=5, ge=1)
    """Side of the median filter, px (1: none)."""
    gamma: float = Field(default=0.0, ge=0)
    """Weight of the illumination term."""


PARAMETER_SETS = {
    "paper": FlowParameters(name="paper"),
    "fast": FlowParameters(name="fast", scales=3, scale_step=0.5, warps=2, inner_iterations=10, outer_iterations=1),
}
"""``paper``: OpenCV's defaults, which Nguyen et al. 2019 used. ``fast``: about six times cheaper."""


class FlowEstimator(Protocol):
    """Computes optical flow between two successive frames."""

    @property
    def parameters(self) -> FlowParameters:
        """The parameter set it runs."""
        ...

    @property
    def implementation(self) -> str:
        """Name and version of the implementation, e.g. ``opencv-5.0.0``; a bundle names the one it was trained on."""
        ...

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate the flow from `previous` to `current`.

        Parameters
        ----------
        previous, current
            (H, W) uint8 grey images of equal size, each side at least 16 px.

        Returns
        -------
        (H, W, 2) float32
            px per frame, x then y. Borrowed: valid until the next call.

        Raises
        ------
        FlowError
            If the images differ in size or type, or are too small.
        """
        ...


def close_flow(estimator: FlowEstimator) -> None:
    """Free what an estimator holds on a device, where it holds anything: one that does has a ``close``.

    A device that is lost has nothing left to free, and its error was said where it was met.
    """
    with suppress(FlowError):
        getattr(estimator, "close", lambda: None)()


def check_pair(previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> None:
    """Raise FlowError unless both are equally large (H, W) uint8 images of at least 16 x 16 px."""
    for image in (previous, current):
        if image.ndim != 2 or image.dtype != np.uint8:
            raise FlowError(f"optical flow needs (H, W) uint8 grey images, found shape {image.shape} of {image.dtype}.")
    if previous.shape != current.shape:
        raise FlowError(
            f"optical flow needs two images of one size, found {previous.shape} and {current.shape} (H, W)."
        )
    if min(previous.shape) < MIN_SIDE_PX:
        raise FlowError(f"optical flow needs at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px, found {previous.shape}.")
