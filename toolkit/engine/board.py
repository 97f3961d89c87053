"""What a board says of itself under /sys and /proc: model, power rails, temperatures, clocks.

Plain files, read without any library, so that a Jetson is measured without NVML or tegrastats. A file that is absent
or that the kernel refuses to read (the sensor of a unit that is switched off) is left out. Every reader takes the root
of the file system, so that a made-up board can stand in for a real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")

INA3221_CHANNELS = (1, 2, 3)
"""The chip's inputs. Its further hwmon numbers are shunt voltages and sums, which are no rails."""

_GPU_CLOCK = re.compile(r"gpu|ga10b|gv11b|gb10b")


def board_model(root: Path = ROOT) -> str | None:
    """Return a board's name, e.g. ``NVIDIA Jetson Orin Nano Developer Kit``, or else the processor's."""
    model = _text(root / "proc/device-tree/model")
    if model:
        return model.rstrip("\0")
    named = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo") or "", flags=re.M)
    return named[1].strip() if named else None


def jetson_release(root: Path = ROOT) -> str | None:
    """Return a Jetson's L4T release, e.g. ``R36.4.3``, or None elsewhere."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release") or "")
    return f"R{found[1]}.{found[2]}" if found else None


def power_mode(root: Path = ROOT) -> str | None:
    """Return a Jetson's power mode as nvpmodel keeps it, e.g. ``pmode:0002``, or None elsewhere."""
    return _text(root / "var/lib/nvpmodel/status")


def temperatures_c(root: Path = ROOT) -> dict[str, float]:
    """Return the temperature of every thermal zone that can be read, degrees Celsius."""
    return {
        kind: value / 1000
        for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        if (kind := _text(zone / "type")) and (value := _number(zone / "temp")) is not None
    }


def power_w(root: Path = ROOT) -> dict[str, float]:
    """Return the power of every rail that an INA3221 measures, W; on a Jetson VDD_IN is the whole module's."""
    return {
        rail: millivolts * milliamperes / 1e6
        for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if _text(chip / "name") == "ina3221"
        for channel in INA3221_CHANNELS
        if (rail := _text(chip / f"in{channel}_label"))
        and (millivolts := _number(chip / f"in{channel}_input")) is not None
        and (milliamperes := _number(chip / f"curr{channel}_input")) is not None
    }


def clocks_mhz(root: Path = ROOT) -> dict[str, float]:
    """Return the present clock of every group of cores, and of the GPU where it is listed, MHz."""
    clocks = {}
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        kilohertz = _number(policy / "scaling_cur_freq")
        if kilohertz is not None:
            clocks[f"cpu {policy.name}"] = kilohertz / 1000
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        hertz = _number(device / "cur_freq")
        if _GPU_CLOCK.search(device.name) and hertz is not None:
            clocks[device.name] = hertz / 1e6
    return clocks


def board_readings(root: Path = ROOT) -> Iterator[tuple[str, float]]:
    """Yield everything above as (name with its unit, value), e.g. ``power VDD_IN, W``."""
    for rail, watts in power_w(root).items():
        yield f"power {rail}, W", watts
    for zone, degrees in temperatures_c(root).items():
        yield f"temperature {zone}, °C", degrees
    for clock, megahertz in clocks_mhz(root).items():
        yield f"clock {clock}, MHz", megahertz


def peak_memory_mib(root: Path = ROOT) -> float | None:
    """Return the most physical memory that this process has held, MiB (VmHWM of proc(5))."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", _text(root / "proc/self/status") or "", flags=re.M)
    return int(found[1]) / 1024 if found else None


def memory_gib(root: Path = ROOT) -> float | None:
    """Return the machine's memory, GiB."""
    found = re.search(r"^MemTotal:\s*(\d+) kB$", _text(root / "proc/meminfo") or "", flags=re.M)
    return int(found[1]) / 2**20 if found else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None
