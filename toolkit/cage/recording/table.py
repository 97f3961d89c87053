"""The `[recording]` table of a cage's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from toolkit.cage.config_fields import STRICT, PathBesideFile

EncoderChoice = Literal["auto", "h264_nvmpi", "h264_v4l2m2m", "h264_nvenc", "libx264"]


class RecordingTable(BaseModel):
    """Video of what the daemon saw, H.264 beside the log. Off unless a mode is chosen."""

    model_config = STRICT

    mode: Literal["off", "continuous", "sampled", "bouts"] = "off"
    """What is kept: "off" nothing, "continuous" everything, "sampled" fixed times, "bouts" chosen behaviours."""
    folder: PathBesideFile | None = None
    """Folder of recordings; the cage's own folder is made in it. Better on another disk than the log."""
    encoder: EncoderChoice = "auto"
    """H.264 encoder: "auto" takes hardware that this machine has, else libx264 on the CPU."""
    quality: int = Field(default=23, ge=1, le=51)
    """Constant quality as H.264 counts it: 18 is hard to tell from the camera's, 28 is small."""
    segment_s: float = Field(default=600.0, ge=1, le=3600)
    """Seconds after which a new file is begun."""
    sample_s: float = Field(default=10.0, gt=0)
    """Of "sampled": seconds that are kept, from the beginning of every `every_s`."""
    every_s: float = Field(default=600.0, gt=0, le=86400)
    """Of "sampled": seconds from one sample's beginning to the next, counted from midnight UTC."""
    behaviours: tuple[str, ...] = ()
    """Of "bouts": the behaviours whose bouts are kept."""
    least_s: float = Field(default=0.5, ge=0, le=60)
    """Of "bouts": seconds that a behaviour must last to be kept."""
    before_s: float = Field(default=3.0, ge=0, le=60)
    """Of "bouts": seconds kept before a bout."""
    after_s: float = Field(default=3.0, ge=0, le=600)
    """Of "bouts": seconds kept after a bout."""
    keep_days: float = Field(default=30.0, gt=0)
    """Days after which a file is removed."""
    max_gb: float = Field(default=100.0, gt=0)
    """Gigabytes that this cage's recordings may take; the oldest are removed first."""
    min_free_gb: float = Field(default=5.0, ge=0)
    """Gigabytes that stay free on the disk: the oldest recordings are removed, then recording pauses."""
    queue_frames: int = Field(default=32, ge=1, le=1024)
    """Frames that wait for the encoder at most; beyond, frames are dropped from the recording, never from the log."""

    @model_validator(mode="after")
    def _is_complete(self) -> RecordingTable:
        if self.mode != "off" and self.folder is None:
            raise ValueError(f'folder is missing. Expected the folder of recordings, as mode is "{self.mode}"')
        if self.mode == "bouts" and not self.behaviours:
            raise ValueError('behaviours is empty. Expected the behaviours to keep, as mode is "bouts"')
        if self.mode == "sampled" and self.sample_s >= self.every_s:
            raise ValueError(
                f"sample_s is {self.sample_s:g}. Expected less than every_s ({self.every_s:g}); all of the time is "
                'mode = "continuous"'
            )
        return self
