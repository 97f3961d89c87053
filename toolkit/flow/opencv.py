"""TV-L1 by OpenCV's contrib module: the reference that every other implementation is compared with."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import MissingDependency
from toolkit.flow.contract import FlowParameters, check_pair


class OpenCvFlow:
    """`FlowEstimator` by ``cv2.optflow.DualTVL1OpticalFlow``.

    Raises
    ------
    MissingDependency
        If this OpenCV was built without the contrib modules.
    """

    def __init__(self, parameters: FlowParameters) -> None:
        if not hasattr(cv2, "optflow"):
            raise MissingDependency(
                f"TV-L1 needs OpenCV's contrib modules, and OpenCV {cv2.__version__} here has none. "
                "Remove opencv-python and install opencv-contrib-python: the two overwrite one another."
            )
        self._parameters = parameters
        create = cv2.optflow.DualTVL1OpticalFlow_create  # type: ignore[attr-defined, unused-ignore]
        self._algorithm = create(
            tau=parameters.tau,
            lambda_=parameters.lambda_,
            theta=parameters.theta,
            nscales=parameters.scales,
            warps=parameters.warps,
            epsilon=parameters.epsilon,
            innnerIterations=parameters.inner_iterations,
            outerIterations=parameters.outer_iterations,
            scaleStep=parameters.scale_step,
            gamma=parameters.gamma,
            medianFiltering=parameters.median,
            useInitialFlow=False,
        )

    @property
    def parameters(self) -> FlowParameters:
        """The parameter set it runs."""
        return self._parameters

    @property
    def implementation(self) -> str:
        """``opencv-`` and OpenCV's version."""
        return f"opencv-{cv2.__version__}"

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate (H, W, 2) float32 flow in px per frame; see `FlowEstimator.flow`."""
        check_pair(previous, current)
        flow: NDArray[np.float32] = self._algorithm.calc(previous, current, None)
        return flow
