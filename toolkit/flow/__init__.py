"""TV-L1 optical flow from each frame's predecessor to itself."""

from toolkit.flow.contract import PARAMETER_SETS, FlowEstimator, FlowParameters, close_flow
from toolkit.flow.encoding import FlowEncoding
from toolkit.flow.opencv import OpenCvFlow
from toolkit.flow.select import FlowChoice, open_flow

__all__ = [
    "PARAMETER_SETS",
    "FlowChoice",
    "FlowEncoding",
    "FlowEstimator",
    "FlowParameters",
    "OpenCvFlow",
    "close_flow",
    "open_flow",
]
