"""How cages do, from what their daemons wrote beside their logs: no daemon has to be asked, or to be alive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit.cage.config_file import load_cages
from toolkit.cage.health import STATUS, ailments, free_bytes
from toolkit.errors import InputError


@dataclass(frozen=True)
class CageStatus:
    """One cage as its daemon left it."""

    cage: str
    folder: Path
    """Its log folder."""
    age_s: float | None
    """Seconds since the daemon wrote it; None where no daemon ever did."""
    values: dict[str, Any]
    """As `toolkit.cage.health.Health.status` gives it; empty where no daemon ever wrote one."""
    ailments: tuple[str, ...]
    """Why the cage is not watched as it should be; empty where all is well."""
    free_bytes: int | None
    """Free space of the log's disk, now."""


def cage_statuses(paths: Sequence[Path], now: datetime | None = None) -> list[CageStatus]:
    """Return the status of each cage, in the order given.

    Parameters
    ----------
    paths
        Cages' TOML files, cages' log folders, or folders of them.
    now
        The present, with its time zone; default: the system's.

    Raises
    ------
    ConfigError
        If a TOML file cannot be used.
    InputError
        If a folder holds no cage's status.
    """
    now = now or datetime.now(timezone.utc)
    return [_read(name, folder, now) for path in paths for name, folder in _cages(path)]


def _cages(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [(name, config.log.folder / name) for name, config in load_cages(path).items()]
    if (path / STATUS).is_file():
        return [(path.resolve().name, path)]
    found = [(file.parent.name, file.parent) for file in sorted(path.glob(f"*/{STATUS}"))]
    if not found:
        raise InputError(
            f"{path}: no cage's status here. Expected a cage's TOML file, its log folder, or a folder of log folders "
            "that `toolkit cage run` wrote to."
        )
    return found


def _read(name: str, folder: Path, now: datetime) -> CageStatus:
    path = folder / STATUS
    free = free_bytes(folder)
    if not path.exists():
        return CageStatus(name, folder, None, {}, ("never started: no status beside its log",), free)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        age_s = (now - datetime.fromisoformat(values["updated_utc"])).total_seconds()
        reasons = ailments(values, age_s)
        name = str(values["cage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{path} cannot be read ({type(error).__name__}: {error}). Expected a daemon's status; restart it"
        return CageStatus(name, folder, None, {}, (reason,), free)
    return CageStatus(name, folder, age_s, values, tuple(reasons), free)
