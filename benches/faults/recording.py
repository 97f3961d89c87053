"""The disk of the recording is full, and then is not: the recording pauses and goes on, and the log never notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benches.faults.disk import small_disk
from benches.faults.outcome import NotRun, Outcome, broken_account, broken_order
from tests.behaviour_log.test_unwritable import Disk
from tests.cage.parts import ScriptedCamera, config, parts
from toolkit.behaviour_log import read_log
from toolkit.cage.daemon import run
from toolkit.cage.recording import read_segment, segments
from toolkit.frames import NS_PER_S, Frame

FULL_AT, FREE_AT, FRAMES = 90, 270, 600


class FillingCamera(ScriptedCamera):
    """Frames of noise, during some of which a disk is full."""

    def __init__(self, disk: Disk) -> None:
        super().__init__([(FRAMES, 0.0)])
        self._disk = disk
        self._noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for frame in super().frames(stop):
            if frame.index == FULL_AT:
                self._disk.fill()
            elif frame.index == FREE_AT:
                self._disk.free()
            yield Frame(frame.index, frame.capture_time_ns, self._noise[frame.index % 8])


def fill_the_recording_s_disk(folder: Path) -> Outcome | NotRun:
    """Record 20 s on a disk of 8 MB that is full for six of them, the log on another.

    `recovery_s` is from the disk's being free again to the next recorded picture.
    """
    name = "recording: its disk is full"
    try:
        with small_disk(folder / "disk", "8m") as place, pytest.MonkeyPatch.context() as patched:
            # It looks again every ten seconds: here sooner, to see it go on.
            patched.setattr("toolkit.cage.recording.recorder.LOOK_S", 1.0)
            table = {"mode": "continuous", "folder": place / "video", "min_free_gb": 0.0, "segment_s": 1.0}
            camera = FillingCamera(Disk(place))
            summary = run(config(folder, recording=table), stop=threading.Event(), parts=parts(camera))
            pictures = [time_ns for _, path in segments(place / "video" / "a1") for time_ns, _ in read_segment(path)]
    except PermissionError as error:
        return NotRun(name, str(error))
    log = read_log(folder / "log")
    faults = broken_account(folder / "log" / "a1") + broken_order(log)
    times = log.time_ns.tolist()
    after = [time_ns for time_ns in pictures if time_ns > times[FREE_AT]]
    if len(pictures) > FRAMES - (FREE_AT - FULL_AT) // 2:
        faults.append("almost everything was recorded: this shows nothing")
    recovery_s = (after[0] - times[FREE_AT]) / NS_PER_S if after else float("inf")
    return Outcome(name, 1, FRAMES - len(times), summary.rows - len(times), recovery_s, tuple(faults))
