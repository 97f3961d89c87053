"""One cage's configuration: a TOML file, checked as a whole, every fault with its key, its line and a suggestion."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from toolkit.behaviour_log import Retention
from toolkit.bouts import DecisionTable
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.config_fields import STRICT, PathBesideFile
from toolkit.cage.mqtt.table import MqttTable
from toolkit.cage.recording.table import RecordingTable
from toolkit.engine.select import EngineChoice
from toolkit.errors import ConfigError, raise_faults
from toolkit.files import atomic_write
from toolkit.flow import FlowChoice
from toolkit.frames import NS_PER_S
from toolkit.view import ViewTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


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
    """Threads of an inference on the CPU; 0: one per physical core."""
    flow: FlowChoice = "auto"
    """Flow: "auto" takes CUDA where it can run, else our CPU code ("cpu"), else OpenCV's ("opencv")."""
    flow_threads: int = Field(default=0, ge=0, le=256)
    """Threads of OpenCV's flow; 0: OpenCV decides. Ours takes one."""


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


def load_config(path: Path) -> CageConfig:
    """Read and check a cage's configuration.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or with every unknown key and wrong value that it holds.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}). Expected a TOML file; `toolkit cage init` writes one."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}. Correct that line; text needs quotes.") from error
    try:
        return CageConfig.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        lines = _lines_of_keys(text)
        faults = [f"{_place(path, fault['loc'], lines)}: {_explain(dict(fault))}" for fault in error.errors()]
        raise_faults(ConfigError, f"{path} cannot be used", faults)
        raise


def write_config(path: Path, *, name: str, bundle: Path, log_dir: Path, **source: Path | str | int | None) -> None:
    """Write a configuration in which every key is explained and defaults are commented out.

    Paths within the file's folder are written relative to it, so that the folder can be moved.

    Parameters
    ----------
    source
        One of `toolkit.cage.camera_table.SOURCES`, under its key; None is as good as absent.

    Raises
    ------
    ConfigError
        If `path` exists or a value is not acceptable.
    """
    if path.exists():
        raise ConfigError(f"{path} already exists. Choose another name, or remove it first.")
    folder = path.resolve().parent
    given: dict[tuple[str, str], str | int] = {
        ("cage", "name"): name,
        ("cage", "bundle"): _portable(bundle, folder),
        ("log", "folder"): _portable(log_dir, folder),
    }
    for key, value in source.items():
        if value is not None:
            given["camera", key] = _portable(value, folder) if isinstance(value, Path) else value
    with atomic_write(path) as beside:
        beside.write_text("\n".join(_template(given)) + "\n", encoding="utf-8")
        try:
            load_config(beside)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(beside), str(path))) from None


def _portable(path: Path, folder: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _template(given: dict[tuple[str, str], str | int]) -> Iterator[str]:
    yield "# One cage. Relative paths count from this file's folder."
    for table, model in _tables().items():
        yield f"\n# {model.__doc__}\n[{table}]"
        for key, field in model.model_fields.items():
            yield f"# {field.description}"
            if (table, key) in given:
                yield f"{key} = {json.dumps(given[table, key], ensure_ascii=False)}"
            elif field.default is None:
                yield f"# {key} = {json.dumps(field.examples[0] if field.examples else '')}"
            else:
                yield f"# {key} = {json.dumps(field.default)}"


def _tables() -> dict[str, type[BaseModel]]:
    return {
        "cage": CageTable,
        "camera": CameraTable,
        "log": LogTable,
        "engine": EngineTable,
        "health": HealthTable,
        "view": ViewTable,
        "decision": DecisionTable,
        "recording": RecordingTable,
        "mqtt": MqttTable,
    }


_HEADER = re.compile(r"^\s*\[\s*([A-Za-z0-9_.\- ]+?)\s*\]")
_KEY = re.compile(r"^\s*(?:\"([^\"]+)\"|'([^']+)'|([A-Za-z0-9_-]+))\s*=")


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every table and key, which `tomllib` does not tell. Inline tables count as their key."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(part.strip() for part in header[1].split("."))
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[1] or key[2] or key[3]), number)
    return lines


def _place(path: Path, location: tuple[int | str, ...], lines: dict[tuple[str, ...], int]) -> str:
    keys = tuple(str(part) for part in location)
    for length in range(len(keys), 0, -1):
        if keys[:length] in lines:
            return f"{path}:{lines[keys[:length]]}: {'.'.join(keys)}"
    return f"{path}: {'.'.join(keys)}"


def _explain(fault: dict[str, Any]) -> str:
    location = tuple(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"unknown {'table' if len(location) == 1 else 'key'}; {advice}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message if fault["type"] == "value_error" else f"{message}, found {fault['input']!r}"


def _known_keys(table: tuple[str, ...]) -> list[str]:
    tables = _tables()
    if not table:
        return list(tables)
    return list(tables[table[0]].model_fields) if table[0] in tables else []
