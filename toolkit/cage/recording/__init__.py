"""Video of what a daemon saw, beside its log: off, continuous, sampled, or around bouts."""

from toolkit.cage.recording.choice import Choice
from toolkit.cage.recording.recorder import Recorder
from toolkit.cage.recording.segment import Origin, origin_of, picture_at, read_segment, segments, time_ns_of
from toolkit.cage.recording.table import RecordingTable

__all__ = [
    "Choice",
    "Origin",
    "Recorder",
    "RecordingTable",
    "origin_of",
    "picture_at",
    "read_segment",
    "segments",
    "time_ns_of",
]
