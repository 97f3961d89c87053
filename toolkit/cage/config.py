"""What can be configured about a cage: tables of keys, each with its bounds, its default and what it means.

The file that holds them is read by `toolkit.cage.config_file` and written by `toolkit.cage.config_template`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from toolkit.behaviour_log import Retention
from toolkit.bouts import DecisionTable
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.config_fields import STRICT, PathBesideFile
from toolkit.cage.mqtt.table import MqttTable
from toolkit.cage.recording.table import RecordingTable
from toolkit.engine.select import EngineChoice
from toolkit.flow import FlowChoice
from toolkit.frames import NS_PER_S
from toolkit.view import ViewTable


class CageTable(BaseModel):
    """The cage and the networks that watch it."""

    model_config = STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)
    """Name of the cage: letters, digits, - and _; part of its log's file names."""
    bundle: PathBesideFile
    """Folder of the model bundle that `toolkit export` wrote."""
    stride: int = Field(default=1, ge=1, le=300)
    """Classify every n-th frame, at the networks' frame rate."""
    max_stride: int = Field(default=8, ge=1, le=300)
    """Largest stride that an overloaded daemon may go to before it drops frames; 8 at 30 frames per second: 0.27 s."""
    min_coverage: float = Field(default=0.9, ge=0, le=1)
    """Share of the time that must be observed: `toolkit cage check` refuses a machine too slow for it; 0: none is."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """Rows whose most probable behaviour is less probable than this are uncertain and have no label; 0: off."""


class LogTable(BaseModel):
    """Where the behaviour log goes."""

    model_config = STRICT

    folder: PathBesideFile
    """Folder of behaviour logs; the cage's own folder is made in it."""
    flush_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds between commits: what a power loss may cost."""
    level: Literal["frames", "bouts"] = "frames"
    """"frames" keeps a row per classified frame, "bouts" only bouts and a summary of every second."""
    unsynchronised: Literal["pending", "accept"] = "pending"
    """Rows while the clock is unsynchronised: "pending" keeps them apart until it is, "accept" dates them anyway."""
    unwritable_s: float = Field(default=600.0, ge=0, le=7200)
    """Seconds of rows that memory holds while the log cannot be written (a full disk); later ones are lost, said so."""
    keep_days: int = Field(default=0, ge=0, le=36_500)
    """Whole days of log before today that are kept; older files are removed. 0: all are."""
    min_free_gb: float = Field(default=0.0, ge=0)
    """Free space of the log's disk, GB, below which the oldest days are removed, however young. 0: none are."""
    keep_unexported: bool = False
    """Whether days that were not exported stay in any case."""

    @property
    def retention(self) -> Retention:
        """How long days are kept."""
        return Retention(self.keep_days or None, round(self.min_free_gb * 1e9), self.keep_unexported)


class EngineTable(BaseModel):
    """What runs the networks and the flow."""

    model_config = STRICT

    kind: EngineChoice = "auto"
    """Engine: "auto" takes "tensorrt" where it can run, else the faster of "openvino" and "onnxruntime" here."""
    stale: Literal["rebuild", "refuse"] = "rebuild"
    """What is done at the start about an engine that is missing, or not of this bundle, version and device."""
    on_failure: Literal["fall-back", "stop"] = "fall-back"
    """After a second failure in ten minutes: "fall-back" to the next engine that runs here, or "stop" with an error."""
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

    model_config = STRICT

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

    model_config = STRICT

    cage: CageTable
    camera: CameraTable
    log: LogTable
    engine: EngineTable = EngineTable()
    health: HealthTable = HealthTable()
    view: ViewTable = ViewTable()
    decision: DecisionTable = DecisionTable()
    recording: RecordingTable = RecordingTable()
    mqtt: MqttTable = MqttTable()

    def row_interval_ns(self, fps: float) -> int:
        """Return the time that a row of the log stands for, of networks that see `fps` frames per second."""
        return round(self.cage.stride * NS_PER_S / fps)

    def snapshot(self) -> str:
        """Return the resolved configuration as JSON with sorted keys, as the log keeps it."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def sha256(self) -> str:
        """Return the snapshot's hash."""
        return hashlib.sha256(self.snapshot().encode()).hexdigest()
