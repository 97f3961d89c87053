"""From the configuration's ``[camera]`` table to a camera."""

from __future__ import annotations

from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras.contract import Camera
from toolkit.cage.cameras.device import DeviceCamera
from toolkit.cage.cameras.gstreamer import GStreamerCamera, csi_camera
from toolkit.cage.cameras.placement import PlacedCamera
from toolkit.cage.cameras.rtsp import RtspCamera
from toolkit.cage.cameras.segments import SegmentsCamera
from toolkit.cage.cameras.video import VideoFileCamera


def open_camera(table: CameraTable) -> Camera:
    """Return the camera that a configuration names, cut and turned as it says.

    Raises
    ------
    CameraError, VideoError, ConfigError, MissingDependency
        If it cannot be opened.
    """
    camera = _source(table)
    return PlacedCamera(camera, table.roi, table.rotate) if table.roi is not None or table.rotate else camera


def _source(table: CameraTable) -> Camera:
    if table.video is not None:
        return VideoFileCamera(table.video, realtime=table.pace == "real-time", loop=table.loop)
    if table.segments is not None:
        return SegmentsCamera(table.segments)
    if table.csi is not None:
        return csi_camera(table)
    if table.rtsp is not None:
        return RtspCamera(table)
    if table.pipeline is not None:
        return GStreamerCamera(f"pipeline {table.pipeline.split()[0]}", table.pipeline, fps=table.fps)
    return DeviceCamera(table)
