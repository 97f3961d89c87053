"""What an engine was made from and for, in a JSON file beside it: the reason that a stale engine never runs.

Engines live in ``BUNDLE.engines/`` beside the bundle, one folder per runtime and precision, and are never shipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.bundle import Bundle
from toolkit.engine.verification import ParityReport
from toolkit.errors import EngineError, EngineMismatch
from toolkit.files import sha256_of_file
from toolkit.preprocess import Stream

SCHEMA_VERSION = 1

RuntimeName = Literal["tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
Precision = Literal["fp32", "fp16"]


class EngineIdentity(BaseModel):
    """Everything that must be equal for an engine to give the right answer here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle_sha256: str
    """`Bundle.sha256`."""
    onnx_sha256: str
    """Hash of the graph that the engine was built from."""
    runtime: RuntimeName
    runtime_version: str
    device: str
    """GPU's name, or ``cpu`` and the machine's architecture."""
    compute_capability: str | None
    """Such as ``8.7``; None on a CPU."""
    precision: Precision


class Sidecar(BaseModel):
    """Content of ``STREAM.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    stream: Stream
    bundle_name: str
    identity: EngineIdentity
    input_shape: tuple[int, int, int, int]
    """(T, C, H, W) of one clip, as the graph takes it."""
    max_batch: int | None = Field(ge=1)
    """Most clips in one inference; None for any number."""
    plan_sha256: str | None
    """Hash of ``STREAM.plan``; None on a CPU, which runs the bundle's own graph."""
    build_s: float = Field(ge=0)
    """Time that building took, s."""
    built_utc: str
    """ISO 8601."""
    toolkit_version: str
    parity: ParityReport | None
    """What verification measured; None for an engine built for another machine, which cannot run here."""

    @property
    def verified(self) -> bool:
        """Whether the engine ran the golden sample within the bundle's limits."""
        return self.parity is not None


def engines_folder(bundle: Bundle) -> Path:
    """Return the folder of all engines of a bundle, ``BUNDLE.engines`` beside it."""
    path = bundle.path.resolve()
    return path.with_name(f"{path.name}.engines")


def engine_set(bundle: Bundle, runtime: RuntimeName, precision: Precision, target: str | None = None) -> Path:
    """Return the folder of the engines of one runtime and precision; `target` names another machine's."""
    return engines_folder(bundle) / "-".join(filter(None, (runtime, precision, target)))


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises
    ------
    EngineError
        If it is absent or damaged.
    EngineMismatch
        If another toolkit wrote it in another schema.
    """
    try:
        sidecar = Sidecar.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}). Run: toolkit build-engine") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise EngineError(f"{path}: not an engine's sidecar ({faults}). Run: toolkit build-engine") from error
    if sidecar.schema_version != SCHEMA_VERSION:
        raise EngineMismatch(
            f"{path}: sidecar schema {sidecar.schema_version}, this toolkit reads {SCHEMA_VERSION}. "
            "Run: toolkit build-engine"
        )
    return sidecar


def identity_faults(path: Path, sidecar: Sidecar, here: EngineIdentity) -> list[str]:
    """Return why the engine of `sidecar` was not made for exactly this bundle and this machine; empty if it was.

    Every differing field is named. A plan whose bytes changed since it was verified counts as one.
    """
    made = sidecar.identity
    faults = [
        f"{field.replace('_', ' ')}: made for {getattr(made, field)}, found here {getattr(here, field)}"
        for field in EngineIdentity.model_fields
        if getattr(made, field) != getattr(here, field)
    ]
    if sidecar.plan_sha256 is not None:
        plan = path.with_suffix(".plan")
        found = sha256_of_file(plan) if plan.is_file() else "no file"
        if found != sidecar.plan_sha256:
            faults.append(f"plan: built with SHA-256 {sidecar.plan_sha256}, found here {found}")
    if not sidecar.verified:
        faults.append("verification: built for another machine and never run, found here no measured parity")
    return faults


def check_identity(path: Path, sidecar: Sidecar, here: EngineIdentity, bundle: Bundle) -> None:
    """Raise EngineMismatch with every fault that `identity_faults` finds."""
    if faults := identity_faults(path, sidecar, here):
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise EngineMismatch(
            f"{path.with_suffix('')}: this engine is not for here:\n{lines}\nRun: toolkit build-engine {bundle.path}"
        )
