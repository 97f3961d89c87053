"""Labels for recorded video: every frame through the cage's own pipeline, to tables and a video for review."""

from toolkit.labelling.jobs import Progress, VideoResult, label_videos
from toolkit.labelling.options import FORMATS, LabelOptions
from toolkit.labelling.outputs import Outputs, plan_outputs
from toolkit.labelling.provenance import LabelProvenance, read_provenance
from toolkit.labelling.video import LabelSummary, label_video

__all__ = [
    "FORMATS",
    "LabelOptions",
    "LabelProvenance",
    "LabelSummary",
    "Outputs",
    "Progress",
    "VideoResult",
    "label_video",
    "label_videos",
    "plan_outputs",
    "read_provenance",
]
