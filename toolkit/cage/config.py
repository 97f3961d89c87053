"""What can be configured about a cage: tables of keys, each with its bounds, its default and what it means.

The file that holds them is read by `toolkit.cage.config_file` and written by `toolkit.cage.config_template`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from toolkit.engine.select import EngineChoice
from toolkit.flow import FlowChoice
from toolkit.view import ViewTable


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: no such user's home. Write the path in full") from None
    return path if folder is None else Path(os.path.normpath(folder / path))


PathBesideFile = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; a relative one counts from the folder of the configuration file."""


# The docstring under each field is also its comment in the file that `toolkit cage init` writes.
_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CageTable(BaseModel):
    """The cage and the networks that watch it."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)
    """Name of the cage: letters, digits, - and _; part of its log's file names."""
    bundle: PathBesideFile
    """Folder of the model bundle that `toolkit export` wrote."""
    stride: int = Field(default=1, ge=1, le=300)
    """Classify every n-th frame, at the networks' frame rate."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """Rows whose most probable behaviour is less probable than this are uncertain and have no label; 0: off."""


class CameraTable(BaseModel):
    """Where frames come from: a device, or a video file that stands in for one."""

    model_config = _STRICT

    video: PathBesideFile | None = None
    """Video file that stands in for a camera."""
    device: str | None = None
    """Camera for OpenCV, e.g. "/dev/v4l/by-id/usb-...-index0" (stable over reboots, unlike /dev/video0)."""
    pace: Literal["real-time", "fast"] = "real-time"
    """Of a video file: "real-time" delivers like a camera, "fast" as fast as frames are processed, dropping none."""
    loop: bool = False
    """Start a video file again at its end, for ever."""
    queue_frames: int = Field(default=64, ge=1, le=4096)
    """Frames that wait to be processed at most; also the least length of a burst when the daemon cannot keep up."""
    stall_s: float = Field(default=20.0, gt=0, le=600)
    """Seconds without a frame after which a device is closed and opened again. A video file never is."""
    retry_s: float = Field(default=1.0, gt=0, le=600)
    """Seconds before a device is opened again; doubled at each failure, shortened at random by up to a half."""
    retry_max_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest time between two attempts; a camera that is away is asked for ever."""
    max_restarts: int = Field(default=30, ge=0, le=10_000)
    """Restarts in ten minutes after which the camera is given up: the daemon stays, and says so."""

    @model_validator(mode="after")
    def _is_one_source(self) -> CameraTable:
        if (self.video is None) == (self.device is None):
            found = "neither" if self.video is None else "both"
            raise ValueError(f"expected either video or device, found {found}")
        return self


class LogTable(BaseModel):
    """Where the behaviour log goes."""

    model_config = _STRICT

    folder: PathBesideFile
    """Folder of behaviour logs; the cage's own folder is made in it."""
    flush_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds between commits: what a power loss may cost."""


class EngineTable(BaseModel):
    """What runs the networks and the flow."""

    model_config = _STRICT

    kind: EngineChoice = "auto"
    """Engine: "auto" takes "tensorrt" where it can run, else the faster of "openvino" and "onnxruntime" here."""
    stale: Literal["rebuild", "refuse"] = "rebuild"
    """What is done at the start about an engine that is missing, or not of this bundle, version and device."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads of an inference on the CPU; 0: the physical cores, shared by the processes of this file's cages."""
    flow: FlowChoice = "auto"
    """Flow: "auto" takes CUDA where it can run, else our CPU code ("cpu"), else OpenCV's ("opencv")."""
    flow_threads: int = Field(default=0, ge=0, le=256)
    """Threads of OpenCV's flow; 0: OpenCV decides. Ours takes one."""
    batch_cages: bool = False
    """Let the cages of this file that share bundle and engine run in one process, on one set of engines."""


class HealthTable(BaseModel):
    """The page that tells how the daemon does, over HTTP. Off unless it has an address."""

    model_config = _STRICT

    listen: str | None = None
    """Address and port, e.g. "127.0.0.1:9464"; every cage of a machine needs a port of its own."""
    token_file: PathBesideFile | None = None
    """File whose only line readers must show as "Authorization: Bearer ..."; needed unless listen is a loopback."""

    @property
    def address(self) -> tuple[str, int] | None:
        """The address to listen on, and its port."""
        return None if self.listen is None else _address(self.listen)

    @model_validator(mode="after")
    def _is_closed_to_strangers(self) -> HealthTable:
        if self.listen is None:
            return self
        host, _ = _address(self.listen)
        if self.token_file is None and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(
                f"{self.listen} can be reached from other machines, and anybody there could read it. Set token_file, "
                "or listen on 127.0.0.1"
            )
        return self


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if not 1 <= int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise ValueError(f'listen: expected an IP address and a port, "127.0.0.1:9464"; found {listen!r}') from None
    return host, int(port)


class CageConfig(BaseModel):
    """One cage's whole configuration."""

    model_config = _STRICT

    cage: CageTable
    camera: CameraTable
    log: LogTable
    engine: EngineTable = EngineTable()
    health: HealthTable = HealthTable()
    view: ViewTable = ViewTable()

    def snapshot(self) -> str:
        """Return the resolved configuration as JSON with sorted keys, as the log keeps it."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def sha256(self) -> str:
        """Return the snapshot's hash."""
        return hashlib.sha256(self.snapshot().encode()).hexdigest()
