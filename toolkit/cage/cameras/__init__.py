"""Where a cage's frames come from: small sources behind one contract."""

from toolkit.cage.cameras.contract import Camera, CameraInfo
from toolkit.cage.cameras.device import DeviceCamera
from toolkit.cage.cameras.gstreamer import GStreamerCamera
from toolkit.cage.cameras.opening import open_camera
from toolkit.cage.cameras.placement import PlacedCamera
from toolkit.cage.cameras.rtsp import RtspCamera
from toolkit.cage.cameras.segments import SegmentsCamera
from toolkit.cage.cameras.sensor_clock import SensorClock
from toolkit.cage.cameras.video import VideoFileCamera

__all__ = [
    "Camera",
    "CameraInfo",
    "DeviceCamera",
    "GStreamerCamera",
    "PlacedCamera",
    "RtspCamera",
    "SegmentsCamera",
    "SensorClock",
    "VideoFileCamera",
    "open_camera",
]
