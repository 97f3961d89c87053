"""The synthetic home cage: videos of a rendered mouse whose behaviour is known in every frame."""

from toolkit.synth.dataset import SyntheticVideo, write_dataset
from toolkit.synth.scene import Appearance, Camera, Pose, SceneState

__all__ = ["Appearance", "Camera", "Pose", "SceneState", "SyntheticVideo", "write_dataset"]
