"""systemd units for cages: a template and a drop-in for each cage, or one service that watches all of a file.

The template fences the daemon in. What stays open, and why, is said in the comments of the unit itself.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.cage.config import CageConfig
from toolkit.errors import InputError, MissingDependency
from toolkit.files import atomic_write

UNIT_FOLDER = Path("/etc/systemd/system")

TEMPLATE = "toolkit-cage@.service"
TOGETHER = "toolkit-cages.service"
"""Runs `toolkit cage run FILE --all`."""

_TEMPLATE = """\
# Written by `toolkit cage install`. Not yet verified on a Jetson.
# What is particular (configuration, folders, cameras) is in {drop_in}.

[Unit]
Description={description}
Documentation=man:systemd.service(5)
After=network-online.target time-sync.target nvargus-daemon.service
Wants=network-online.target
# Five starts in ten minutes, then it stays down until `systemctl reset-failed` and `systemctl start`.
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} cage run ${{TOOLKIT_CAGE_CONFIG}} {which}
# Until the first rows are in the log; a build of engines asks for more time as it goes on.
TimeoutStartSec=300
# Pinged only by {pinged}.
WatchdogSec=60
TimeoutStopSec=30
Restart=on-failure
RestartSec=10

User={user}
SupplementaryGroups={groups}
UMask=0022
CacheDirectory={cache}
# CUDA, PyCUDA and OpenCV compile at run time and keep what they compiled.
Environment=HOME=%C/{cache} XDG_CACHE_HOME=%C/{cache} TMPDIR=%C/{cache}
Environment=CUDA_CACHE_PATH=%C/{cache}/cuda PYTHONUNBUFFERED=1

MemoryMax=75%
TasksMax={tasks}
LimitNOFILE=4096
LimitCORE=0
OOMPolicy=stop

# The system is read-only; the drop-in opens log folders and bundles.
ProtectSystem=strict
ProtectHome=read-only
# PrivateTmp stays off: nvargus-daemon serves CSI cameras on the socket /tmp/argus_socket.
PrivateTmp=no
# The GPU: discrete (nvidia*) and Jetson's (nvhost*, nvgpu*, nvmap). A node that is absent is passed over.
DevicePolicy=closed
{devices}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectProc=invisible
# ProtectClock stays off: it denies the reading of whether the clock is synchronised, too. Without capabilities nothing
# can set the clock.
ProtectClock=no
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
# MemoryDenyWriteExecute stays off: CUDA and OpenVINO write code and run it.
MemoryDenyWriteExecute=no
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service adjtimex clock_adjtime clock_adjtime64
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_GPU_DEVICES = (
    *("char-nvidia*", "char-nvhost*", "char-nvgpu*", "char-nvmap", "char-drm"),
    *("/dev/nvmap", "/dev/nvsciipc", "/dev/host1x-fence"),
)

_GROUPS = "video render"

_TASKS = 512
"""Threads and processes of a cage."""

_DROP_IN = """\
# Written by `toolkit cage install` for {names}.

[Service]
Environment={environment}
{more}"""


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file of the service manager's."""

    path: Path
    text: str


def unit_files(
    config: CageConfig, config_path: Path, *, user: str, folder: Path = UNIT_FOLDER, program: Path | None = None
) -> list[UnitFile]:
    """Return the template unit and the drop-in of one cage, a service of its own; writes nothing.

    Parameters
    ----------
    config, config_path
        The cage's configuration, checked, and the file that it was read from.
    user
        The user that daemons run as; must exist when they start.
    folder
        Where systemd looks for units.
    program
        The ``toolkit`` command; default: the one beside this Python.

    Raises
    ------
    InputError
        If the user's name or a path cannot stand in a unit.
    MissingDependency
        If there is no ``toolkit`` command.
    """
    instance = TEMPLATE.replace("@", f"@{config.cage.name}")
    template = _unit(
        description="Behaviour log of cage %i",
        drop_in=f"{TEMPLATE.replace('@', '@NAME')}.d/cage.conf",
        which="--cage %i",
        pinged="frames that were processed and by silence that was recorded",
        cache="toolkit-cage/%i",
        tasks=_TASKS,
        user=user,
        program=program,
    )
    return [
        UnitFile(folder / TEMPLATE, template),
        UnitFile(folder / f"{instance}.d" / "cage.conf", _drop_in([config], config_path)),
    ]


def unit_files_together(
    configs: Sequence[CageConfig],
    config_path: Path,
    *,
    user: str,
    folder: Path = UNIT_FOLDER,
    program: Path | None = None,
) -> list[UnitFile]:
    """Return the unit and the drop-in of one service that watches all cages of a file; see `unit_files`."""
    unit = _unit(
        description="Behaviour logs of several cages",
        drop_in=f"{TOGETHER}.d/cages.conf",
        which="--all",
        pinged="the supervisor's loop; each cage's process has a watchdog of the supervisor's",
        cache=TOGETHER.removesuffix(".service"),
        tasks=_TASKS * len(configs),
        user=user,
        program=program,
    )
    return [
        UnitFile(folder / TOGETHER, unit),
        UnitFile(folder / f"{TOGETHER}.d" / "cages.conf", _drop_in(configs, config_path)),
    ]


def _unit(*, user: str, program: Path | None, **particulars: str | int) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user):
        raise InputError(f"--user: expected a user's name, e.g. toolkit; found {user!r}.")
    if user == "root":
        raise InputError("--user: expected a user without rights over the system, found root. Make one with useradd.")
    return _TEMPLATE.format(
        program=_quoted(program or _program()).replace("$", "$$"),
        user=user,
        groups=_GROUPS,
        devices="\n".join(f"DeviceAllow={device} rw" for device in _GPU_DEVICES),
        **particulars,
    )


def install_units(files: list[UnitFile], *, overwrite: bool) -> list[Path]:
    """Write unit files and return those that were not there already as they are.

    Raises
    ------
    InputError
        If a file is there with another text and `overwrite` is false (then none is written), or it cannot be written.
    """
    try:
        wanted = [file for file in files if not file.path.exists() or file.path.read_text() != file.text]
        different = [str(file.path) for file in wanted if file.path.exists()]
        if different and not overwrite:
            raise InputError(
                f"{', '.join(different)}: exists with another text. Compare with --dry-run, and pass --overwrite to "
                "replace it. Changes of your own belong in a second file beside cage.conf."
            )
        for file in wanted:
            with atomic_write(file.path) as beside:
                beside.write_text(file.text)
    except OSError as error:
        raise InputError(
            f"units cannot be written ({error}). Expected a folder that this user may write to. Run it as root, or "
            "pass --unit-dir and copy the files."
        ) from error
    return [file.path for file in wanted]


def commands_to_enable(
    configs: Sequence[CageConfig], *, user: str, folder: Path = UNIT_FOLDER, together: bool = False
) -> list[str]:
    """Return the shell commands that remain to be typed for these cages, each a service or all of them one."""
    places = [
        place for config in configs for place in (config.log.folder.resolve() / config.cage.name, *_recordings(config))
    ]
    folders = [shlex.quote(str(place)) for place in places]
    groups = ",".join(_GROUPS.split())
    services = [TEMPLATE.removesuffix(".service") + config.cage.name for config in configs]
    if together:
        services = [TOGETHER.removesuffix(".service")]
    written = shlex.quote(str(folder)) + ("/toolkit-cages.*" if together else "/toolkit-cage@*")
    copy = [] if folder == UNIT_FOLDER else [f"sudo cp -r {written} {UNIT_FOLDER}/"]
    return [
        *copy,
        f"id {user} || sudo useradd --system --shell /usr/sbin/nologin --groups {groups} {user}",
        f"sudo install -d -o {user} {' '.join(folders)}",
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {' '.join(services)}",
        f"journalctl -f {' '.join(f'-u {service}' for service in services)}",
    ]


def _recordings(config: CageConfig) -> list[Path]:
    table = config.recording
    return [] if table.mode == "off" or table.folder is None else [table.folder.resolve() / config.cage.name]


def _drop_in(configs: Sequence[CageConfig], config_path: Path) -> str:
    names = ("cage " if len(configs) == 1 else "cages ") + ", ".join(config.cage.name for config in configs)
    more = [f"ReadWritePaths={_quoted(config.log.folder.resolve() / config.cage.name)}" for config in configs]
    building = [config.cage.bundle.resolve().parent for config in configs if config.engine.stale == "rebuild"]
    if building:
        more += [
            '# Engines are built beside the bundle; with [engine] stale = "refuse" it can be read-only.',
            *(f"ReadWritePaths={_quoted(f'-{parent}')}" for parent in dict.fromkeys(building)),
        ]
    more += [f"ReadWritePaths={_quoted(place)}" for config in configs for place in _recordings(config)]
    if any(map(_opens_cameras, configs)):
        more += [
            "# Cameras and encoders. Not only these cameras: the kernel filters by numbers, and one that is plugged in",
            "# again has another.",
            "DeviceAllow=char-video4linux rw",
        ]
    return _DROP_IN.format(
        names=names,
        environment=_quoted(f"TOOLKIT_CAGE_CONFIG={config_path.resolve()}"),
        more="".join(f"{line}\n" for line in more),
    )


def _opens_cameras(config: CageConfig) -> bool:
    camera = config.camera
    return camera.device is not None or camera.pipeline is not None or config.recording.mode != "off"


def _quoted(value: Path | str) -> str:
    """Return a value as systemd.syntax(7) and its % specifiers want it."""
    text = str(value)
    if not text.isprintable():
        raise InputError(f"{text!r}: expected a path of printable characters. Rename it.")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;#]", text) else escaped


def _program() -> Path:
    beside = Path(sys.executable).with_name("toolkit")
    found = str(beside) if beside.exists() else shutil.which("toolkit")
    if found is None:
        raise MissingDependency("the toolkit command was not found. Install the package, e.g. pip install toolkit.")
    return Path(found)
