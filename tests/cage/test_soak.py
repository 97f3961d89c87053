"""The soak that `make soak` runs, over 20,000 frames, and that it would find what it looks for."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benches.soak import Result, SoakCamera, soak
from toolkit.frames import Frame

ROOT = Path(__file__).parents[2]

STEADY = Result(
    frames=1000,
    rows=1000,
    days=3,
    wall_s=1.0,
    unaccounted_s=0.0,
    before=(100e6, 10, 2),
    after=(101e6, 10, 2),
    median_s=1e-3,
    p999_s=2e-3,
    bytes_per_row=30.0,
    bytes_per_day=78e6,
)


@pytest.mark.slow
def test_a_daemon_of_many_midnights_does_not_grow() -> None:
    # A process of its own: what other tests left in this one would hide a leak.
    command = [sys.executable, "-m", "benches.soak", "--frames", "20000", "--days", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    frames, rows, days = re.findall(r"day files +(\d+), (\d+), (\d+)", done.stdout)[0]
    assert (frames, rows) == ("20000", "20000")
    assert int(days) >= 3
    # By hand: eight probabilities, and the six bytes or more that SQLite takes for a time of the day.
    assert float(re.findall(r"([0-9.]+) bytes a row", done.stdout)[0]) > 8 + 6


def test_what_leaks_with_every_frame_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = SoakCamera.frames
    leaked = []

    def leaking(camera: SoakCamera, stop: threading.Event) -> Iterator[Frame]:
        for frame in taken(camera, stop):
            leaked.append(bytearray(b"x" * 200_000))
            if frame.index % 100 == 0:
                leaked.append((tmp_path / f"{frame.index}").open("w"))
            yield frame

    monkeypatch.setattr(SoakCamera, "frames", leaking)
    try:
        faults = soak(1_000, 1.0, tmp_path).faults()
    finally:
        for thing in leaked:
            if not isinstance(thing, bytearray):
                thing.close()
    assert [fault.split()[0] for fault in faults] == ["memory", "open"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rows": 999}, "1000 frames, but 999 rows"),
        ({"unaccounted_s": 0.5}, "0.500 s of the log"),
        ({"after": (102.1e6, 10, 2)}, "memory grew by 2.10%; at most 2%"),
        ({"after": (101e6, 11, 2)}, "open files: 10, then 11"),
        ({"after": (101e6, 10, 3)}, "threads: 2, then 3"),
        ({"bytes_per_day": 80.1e6}, "80.1 MB a day; at most 80"),
    ],
)
def test_what_is_outside_its_limit_is_named(changes: dict[str, object], fault: str) -> None:
    assert STEADY.faults() == []
    (found,) = replace(STEADY, **changes).faults()  # type: ignore[arg-type]
    assert found.startswith(fault)
