"""The ``[camera]`` table: one source of frames, this cage's part of its picture, and when it is opened again."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from toolkit.cage.config_fields import STRICT, PathBesideFile

SOURCES = ("video", "segments", "device", "csi", "rtsp", "pipeline")
"""Keys of which a table has exactly one."""

_FORMAT = ("width", "height", "fps")
_EXPOSURE = ("exposure_ms", "gain", "auto_exposure")

_KEYS_OF = {
    "video": ("pace", "loop"),
    "segments": (),
    "device": (*_FORMAT, *_EXPOSURE, "pixel_format"),
    "csi": (*_FORMAT, *_EXPOSURE),
    "rtsp": ("fps", "rtsp_transport", "rtsp_secret_file"),
    "pipeline": ("fps",),
}
"""Keys that mean something to some sources only; to any other they would be a wish that nobody reads."""

_CREDENTIALS = re.compile(r"://[^/\s\"']*@|\buser-(?:id|pw)=")


class CameraTable(BaseModel):
    """Where frames come from: one of video, segments, device, csi, rtsp and pipeline."""

    model_config = STRICT

    video: PathBesideFile | None = None
    """Video file that stands in for a camera; its frames are dated by now."""
    segments: PathBesideFile | None = None
    """Recorded video files, a folder or a pattern like "rec/*.mp4", dated by their names: ...20270115T100000Z...mp4."""
    device: str | None = None
    """V4L2 camera, e.g. "/dev/v4l/by-id/usb-...-index0" (stable over reboots, unlike /dev/video0)."""
    csi: int | None = Field(default=None, ge=0, le=15, examples=[0])
    """CSI camera of a Jetson: its sensor-id for GStreamer's nvarguscamerasrc."""
    rtsp: str | None = None
    """Network camera, e.g. "rtsp://10.0.0.5/stream1", without user and password (rtsp_secret_file)."""
    pipeline: str | None = Field(default=None, pattern=r"\S")
    """Live GStreamer pipeline as gst-launch-1.0 takes it, up to a raw picture: "v4l2src ! jpegdec"."""
    rtsp_secret_file: PathBesideFile | None = None
    """File whose only line is user:password for the network camera; not readable by everybody."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """How a network camera sends: "tcp" loses no packet, "udp" may."""
    roi: tuple[int, int, int, int] | None = Field(default=None, examples=[[0, 0, 640, 480]])
    """This cage's part of the picture, [x, y, width, height] in px of the source, before it is turned."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees by which the picture is turned clockwise."""
    width: int | None = Field(default=None, ge=16, le=16384, examples=[640])
    """Picture's width that a device or CSI camera is set to, px."""
    height: int | None = Field(default=None, ge=16, le=16384, examples=[480])
    """Picture's height that a device or CSI camera is set to, px."""
    fps: float | None = Field(default=None, gt=0, le=1000, examples=[30.0])
    """Frame rate that a device or CSI camera is set to; of a stream or pipeline, the one that it does not tell."""
    pixel_format: str | None = Field(default=None, pattern=r"^[\x20-\x7e]{4}$", examples=["MJPG"])
    """Pixel format that a device is set to, four characters: "YUYV", "MJPG", "GREY", "Y16 "."""
    exposure_ms: float | None = Field(default=None, gt=0, le=1000, examples=[10.0])
    """Exposure time that a device or CSI camera is set to; needs auto_exposure = false."""
    gain: float | None = Field(default=None, ge=0, examples=[1.0])
    """Gain that a device (in its driver's unit) or CSI camera (factor) is set to."""
    auto_exposure: bool | None = Field(default=None, examples=[False])
    """Whether the camera chooses its exposure, which changes the picture with the light; default: as it is."""
    pace: Literal["real-time", "fast"] = "real-time"
    """Of a video file: "real-time" delivers like a camera, "fast" as fast as frames are processed, dropping none."""
    loop: bool = False
    """Start a video file again at its end, for ever."""
    queue_frames: int = Field(default=64, ge=17, le=4096)
    """Frames that wait at most, a clip's 16 and one more at least; also the least burst of a daemon that drops some."""
    stall_s: float = Field(default=20.0, gt=0, le=600)
    """Seconds without a frame after which a camera is closed and opened again. A video file never is."""
    retry_s: float = Field(default=1.0, gt=0, le=600)
    """Seconds before a camera is opened again; doubled at each failure, shortened at random by up to a half."""
    retry_max_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest time between two attempts; a camera that is away is asked for ever."""
    max_restarts: int = Field(default=30, ge=0, le=10_000)
    """Restarts in ten minutes after which the camera is given up: the daemon stays, and says so."""

    @model_validator(mode="after")
    def _is_one_source(self) -> CameraTable:
        found = [key for key in SOURCES if getattr(self, key) is not None]
        if len(found) != 1:
            raise ValueError(f"expected one of {', '.join(SOURCES)}; found {' and '.join(found) or 'none'}")
        only_for_others = {key for keys in _KEYS_OF.values() for key in keys} - set(_KEYS_OF[found[0]])
        if idle := sorted(only_for_others & self.model_fields_set):
            takers = [source for source, keys in _KEYS_OF.items() if idle[0] in keys]
            raise ValueError(
                f"{', '.join(idle)}: nothing that {found[0]} takes; expected with {', '.join(takers)} only. Remove it"
            )
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> CameraTable:
        # The message must not repeat the value: it would be in the journal.
        if self.rtsp is not None and not re.fullmatch(r"rtsps?://[^\s@]+", self.rtsp):
            raise ValueError(
                "rtsp: expected rtsp://HOST/PATH or rtsps://HOST/PATH, without user and password. Put those into a "
                "file, one line user:password, chmod 640, and name it as rtsp_secret_file"
            )
        if self.pipeline is not None and _CREDENTIALS.search(self.pipeline):
            raise ValueError(
                "pipeline: expected no user or password: every log keeps the configuration. "
                "Use rtsp with rtsp_secret_file"
            )
        return self

    @model_validator(mode="after")
    def _is_possible(self) -> CameraTable:
        if self.roi is not None and (min(self.roi) < 0 or min(self.roi[2:]) < 16):
            raise ValueError(f"roi: expected x, y >= 0 and width, height >= 16 px, found {list(self.roi)}")
        if (self.width is None) != (self.height is None):
            raise ValueError("expected width and height together, found one of them")
        if self.exposure_ms is not None and self.auto_exposure is not False:
            raise ValueError("exposure_ms needs auto_exposure = false: a camera that chooses its exposure ignores it")
        return self
