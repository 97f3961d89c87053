"""Video of what a daemon saw, beside its log: off, continuous, sampled, or around bouts."""

from toolkit.cage.recording.choice import Choice
from toolkit.cage.recording.recorder import Recorder
from toolkit.cage.recording.segment import Origin, find_frame, origin_of, read_segment, segments
from toolkit.cage.recording.table import RecordingTable

__all__ = ["Choice", "Origin", "Recorder", "RecordingTable", "find_frame", "origin_of", "read_segment", "segments"]
