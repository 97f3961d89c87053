"""What several cages of one machine may not share, and how they share what they must: processes and cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from toolkit.cage.camera_table import CameraTable
from toolkit.cage.config import CageConfig

_EYE = {"device", "csi", "rtsp", "pipeline", "roi"}
"""Keys of a camera that say which part of which picture it sees; two cages may play one file."""


def clashes(cages: Mapping[str, CageConfig]) -> Iterator[tuple[str, str]]:
    """Yield the name of a cage that wants what one before it has, and what that is."""
    for place, (name, config) in enumerate(cages.items()):
        for before in list(cages.values())[:place]:
            if _eye(config.camera) is not None and _eye(config.camera) == _eye(before.camera):
                yield name, f"has the camera of cage {before.cage.name}. Give every cage its own"
            if _meet(config.health.address, before.health.address):
                yield (
                    name,
                    f"its health page listens where that of cage {before.cage.name} does: {config.health.listen}. Give "
                    "every cage a port of its own",
                )
    folded: dict[str, str] = {}
    for name in cages:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            yield name, f"differs from cage {other} in case alone, which some disks do not tell apart. Rename one"


def processes(cages: Mapping[str, CageConfig]) -> list[tuple[str, ...]]:
    """Return the cages that each process watches: one, or those with `batch_cages` and one bundle and engine."""
    groups: dict[object, list[str]] = {}
    for name, config in cages.items():
        alike = (config.cage.bundle, config.engine) if config.engine.batch_cages else name
        groups.setdefault(alike, []).append(name)
    return [tuple(names) for names in groups.values()]


def with_shared_cores(cages: Mapping[str, CageConfig]) -> dict[str, CageConfig]:
    """Return several cages with each automatic number of threads made a process's share of the physical cores.

    Left alone, every process would start as many threads as there are cores. One cage is left alone.
    """
    if len(cages) < 2:
        return dict(cages)
    share = max(1, physical_cores() // len(processes(cages)))

    def sharing(config: CageConfig) -> CageConfig:
        if config.engine.threads:
            return config
        return config.model_copy(update={"engine": config.engine.model_copy(update={"threads": share})})

    return {name: sharing(config) for name, config in cages.items()}


def physical_cores(cpus: Sequence[int] | None = None, folder: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return how many physical cores this process may use; processors whose siblings the kernel hides count as cores.

    Parameters
    ----------
    cpus
        Numbers of the processors; default: those that this process may run on.
    """
    cores = set()
    for cpu in sorted(os.sched_getaffinity(0)) if cpus is None else cpus:
        siblings = str(cpu)
        with suppress(OSError):
            siblings = (folder / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
        cores.add(siblings)
    return max(1, len(cores))


def _eye(camera: CameraTable) -> object:
    values = camera.model_dump(include=_EYE, exclude_none=True)
    device = values.get("device")
    if device is not None and device.startswith("/"):
        # Two names of one device: /dev/video0 and its link in /dev/v4l/by-id.
        values["device"] = os.path.realpath(device)
    elif device is not None and device.isdigit():
        values["device"] = f"/dev/video{int(device)}"
    return values if values.keys() - {"roi"} else None


def _meet(one: tuple[str, int] | None, other: tuple[str, int] | None) -> bool:
    if one is None or other is None or one[1] != other[1]:
        return False
    hosts = ip_address(one[0]), ip_address(other[0])
    return hosts[0] == hosts[1] or any(host.is_unspecified for host in hosts)
