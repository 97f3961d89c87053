"""The synthetic home cage: videos of a rendered mouse whose behaviour is known in every frame."""

from toolkit.synth.dataset import SyntheticVideo, write_dataset
from toolkit.synth.fault import FAULT_KINDS, FaultKind, ViewFault
from toolkit.synth.scene import Appearance, Camera, Pose, SceneState

__all__ = [
    "FAULT_KINDS",
    "Appearance",
    "Camera",
    "FaultKind",
    "Pose",
    "SceneState",
    "SyntheticVideo",
    "ViewFault",
    "write_dataset",
]
