"""The recorder by itself: what it keeps, and that it drops rather than waits."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.cage.recording.coded import coded, number_of
from toolkit.cage.recording import Choice, Origin, Recorder, RecordingTable, picture_at, read_segment, segments
from toolkit.frames import NS_PER_S, Frame

FPS = 30
NOON_NS = 1_800_014_400 * NS_PER_S
"""12:00:00 UTC on 2027-01-15."""


def table(folder: Path, **changes: Any) -> RecordingTable:
    values = {"mode": "continuous", "folder": folder, "min_free_gb": 0.0, "queue_frames": 1024, **changes}
    return RecordingTable.model_validate(values)


def recorder(
    settings: RecordingTable,
    *,
    size: tuple[int, int] = (64, 48),
    warnings: list[str] | None = None,
    begin_ns: int = NOON_NS,
) -> Recorder:
    told = [] if warnings is None else warnings
    return Recorder(
        settings,
        Origin("a1", "a session", 0),
        Choice(settings, frozen_s=1.0),
        size=size,
        fps=FPS,
        utc_offset_ns=lambda: begin_ns,
        synchronised=lambda: True,
        warn=told.append,
    )


def time_of(number: int) -> int:
    return round(number * NS_PER_S / FPS)


def feed(into: Recorder, numbers: range) -> None:
    for number in numbers:
        into.frame(Frame(number, time_of(number), coded(number)))


def kept(folder: Path, begin_ns: int = NOON_NS) -> list[list[int]]:
    """Return the numbers in each file, and see that each picture's time is right."""
    files = []
    for _, path in segments(folder / "a1"):
        numbers = []
        for time_ns, image in read_segment(path):
            number = number_of(image)
            assert time_ns == (begin_ns + time_of(number)) // 1000 * 1000
            numbers.append(number)
        files.append(numbers)
    return files


def wait_for(done: Callable[[], bool], what: str) -> None:
    """Wait for something in the recorder's thread that has no event."""
    deadline_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


def wait_until_encoded(into: Recorder, frames: int) -> None:
    """Wait until so many frames went through, written or not."""
    wait_for(lambda: into.state.encoded >= frames, f"{frames} frames encoded")


def test_bouts_with_the_time_around_them(tmp_path: Path) -> None:
    """Walk from 10 s to 11 s and from 25 s to 26 s, a flicker of walk at 15 s; rows come 2 s late."""
    settings = table(tmp_path, mode="bouts", behaviours=("walk",), before_s=2.0, after_s=1.0, least_s=0.5)
    walking = {*range(300, 330), 450, *range(750, 780)}
    with recorder(settings) as into:
        for number in range(960):
            if number < 900:
                feed(into, range(number, number + 1))
            if number % 60 == 59:
                wait_until_encoded(into, min(number + 1, 900))
            if number >= 60:
                row = number - 60
                into.row(time_of(row), NS_PER_S // FPS, "walk" if row in walking else "rest")
    files = kept(tmp_path)
    assert len(files) == 2
    for numbers, first, last in zip(files, (240, 690), (359, 809), strict=True):
        # Whole groups of a second: what was asked for, and less than a second more at either end.
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert first - FPS < numbers[0] <= first
        assert last <= numbers[-1] < last + FPS


def test_rows_that_come_farther_apart_are_still_one_bout(tmp_path: Path) -> None:
    """Every frame has a row, then every third, then every frame again: 0.3 s of each, where a bout needs 0.6 s."""
    choice = Choice(table(tmp_path, mode="bouts", behaviours=("walk",), before_s=0.0, after_s=0.0, least_s=0.6), 1.0)
    frame_ns = NS_PER_S // FPS
    for number in [*range(9), *range(9, 18, 3), *range(18, 27)]:
        choice.row(number * frame_ns, frame_ns * (3 if 9 <= number < 18 else 1), "walk")
    assert choice.keeps(0, 1)
    assert choice.keeps(26 * frame_ns, 27 * frame_ns)
    assert not choice.keeps(27 * frame_ns, 28 * frame_ns)
    # Rows as far apart as two of every third frame's are two bouts, each too short.
    apart = Choice(table(tmp_path, mode="bouts", behaviours=("walk",), before_s=0.0, after_s=0.0, least_s=0.3), 1.0)
    for number in (0, 3, 9, 12):
        apart.row(number * frame_ns, 3 * frame_ns, "walk")
    assert not apart.keeps(0, 15 * frame_ns)


def test_rows_without_a_date_have_no_recording(tmp_path: Path) -> None:
    with recorder(table(tmp_path), begin_ns=0) as into:
        feed(into, range(40))
        wait_for(lambda: into.state.state == "undated", "the first frame")
    assert (into.state.frames, segments(tmp_path / "a1")) == (0, [])


def test_colours(tmp_path: Path) -> None:
    """Red, green, blue and grey come back within the codec's error, from the file and from its PNG."""
    colours = np.array([[200, 30, 30], [30, 180, 40], [40, 50, 190], [128, 128, 128]], dtype=np.uint8)
    image = np.repeat(colours, 16, axis=0)[np.newaxis].repeat(48, axis=0)
    with recorder(table(tmp_path)) as into:
        into.frame(Frame(0, time_of(0), image))
    found = picture_at(tmp_path / "a1", NOON_NS)
    assert found is not None
    assert found.utc == "2027-01-15T12:00:00.000000Z"
    found.save(tmp_path / "seen.png")
    with av.open(str(tmp_path / "seen.png")) as png:
        (decoded,) = png.decode(video=0)
        again = decoded.to_ndarray(format="rgb24")
    for seen in (found.image, again):
        middles = seen[24, [8, 24, 40, 56]].astype(int)
        assert np.abs(middles - colours).max() <= 8


def test_fixed_times(tmp_path: Path) -> None:
    """The first second of every five."""
    with recorder(table(tmp_path, mode="sampled", sample_s=1.0, every_s=5.0)) as into:
        feed(into, range(330))
    assert kept(tmp_path) == [list(range(start, start + 30)) for start in (0, 150, 300)]


def test_a_file_ends_at_midnight(tmp_path: Path) -> None:
    begin_ns = NOON_NS + 12 * 3600 * NS_PER_S - time_of(45)
    with recorder(table(tmp_path), begin_ns=begin_ns) as into:
        feed(into, range(85))
    assert kept(tmp_path, begin_ns) == [list(range(45)), list(range(45, 85))]
    (_, before), (_, after) = segments(tmp_path / "a1")
    assert (before.parent.name, before.name) == ("2027-01-15", "a1_20270115T235958.500Z.mp4")
    assert (after.parent.name, after.name) == ("2027-01-16", "a1_20270116T000000.000Z.mp4")


def test_a_slow_encoder_costs_pictures_of_the_recording_alone(tmp_path: Path) -> None:
    """Large pictures of noise, as fast as they can be handed over, and a queue of two."""
    told: list[str] = []
    noise = np.random.default_rng(0).integers(0, 256, (720, 960, 3), dtype=np.uint8)
    with recorder(table(tmp_path, queue_frames=2), size=(960, 720), warnings=told) as into:
        for number in range(60):
            into.frame(Frame(number, time_of(number), noise))
            if number == 30:
                wait_until_encoded(into, 2)
    state = into.state
    assert state.dropped > 20
    assert state.frames + state.dropped == 60
    ((_, path),) = segments(tmp_path / "a1")
    assert sum(1 for _ in read_segment(path)) == state.frames


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    told: list[str] = []
    rng = np.random.default_rng(0)
    with small_disk(tmp_path / "disk") as disk, recorder(table(disk), warnings=told) as into:
        for number in range(900):
            into.frame(Frame(number, time_of(number), rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
        wait_for(lambda: into.state.fault is not None, "a fault")
        assert into.state.fault is not None
        assert "No space left" in into.state.fault
        assert into.state.state == "paused"
    assert sum("recording paused" in line for line in told) == 1
