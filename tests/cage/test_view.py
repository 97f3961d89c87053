"""Silence is not rest: a network that always says "rest", before cameras that cannot show it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cage.parts import config, parts
from toolkit.behaviour_log import BehaviourLog, Reason, read_log
from toolkit.cage.cameras import Camera, CameraInfo, VideoFileCamera
from toolkit.cage.daemon import run
from toolkit.frames import NS_PER_S, Frame, read_frames
from toolkit.preprocess import WorkingGeometry
from toolkit.synth import FaultKind, SyntheticVideo, ViewFault
from toolkit.synth.fault import with_faults
from toolkit.synth.scene import COATS
from toolkit.view import CHECKS, ViewMonitor, ViewTable

FPS = 30
FRAMES = 300
START, STOP = 90, 240
"""Frames of the fault: 3 s to 8 s of a video of 10 s."""
RECOVER = round(0.5 * FPS)
REST = 6
CLIP_AFTER = 7

REASONS: dict[FaultKind, Reason] = {
    "freeze": Reason.FROZEN,
    "dark": Reason.DARK,
    "saturate": Reason.SATURATED,
    "blur": Reason.BLURRED,
    "shift": Reason.SHIFTED,
    "obstruct": Reason.OBSTRUCTED,
}


@pytest.fixture(scope="module")
def clean() -> list[NDArray[np.uint8]]:
    return list(islice(SyntheticVideo(1, 20.0, strain="black").frames(), FRAMES))


def encoded(path: Path, frames: Iterator[NDArray[np.uint8]]) -> Path:
    """Write a video as a network camera would: H.264 with B-frames, at x264's default quality."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


class MemoryCamera:
    """Delivers frames from memory, as fast as they are taken."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = images
        self.info = CameraInfo("memory", 320, 240, FPS, live=False, frames=len(images), hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        begun_ns = time.monotonic_ns()
        for index, image in enumerate(self._images):
            yield Frame(index, begun_ns + index * NS_PER_S // FPS, image)


def watched(folder: Path, camera: Camera, checks: Sequence[str] = CHECKS, stride: int = 1) -> BehaviourLog:
    daemon = parts(camera, geometry=WorkingGeometry())
    settings = config(folder, view={"checks": checks}, cage={"stride": stride})
    run(settings, stop=threading.Event(), parts=daemon)
    log = read_log(folder / "log" / "a1")
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    return log


def assert_fault_is_unobserved(log: BehaviourLog, reason: Reason, *, rows_before: range) -> None:
    rows = log.source_index
    assert set(log.label.tolist()) == {REST}
    assert not ((rows >= START) & (rows < STOP)).any()
    before = rows[rows < START]
    assert before.tolist() == list(range(len(before)))
    assert len(before) in rows_before
    after = rows[rows >= STOP]
    assert STOP + RECOVER <= after[0] <= STOP + RECOVER + 5
    assert after.tolist() == list(range(after[0], FRAMES))
    (gap,) = log.unobserved
    begun_ns = int(log.time_ns[0])
    assert gap.reason is reason
    assert (gap.start_ns - begun_ns) / NS_PER_S == pytest.approx(START / FPS, abs=0.4)
    assert (gap.stop_ns - begun_ns) / NS_PER_S == pytest.approx(STOP / FPS, abs=0.8)
    assert sum(bout.stop_ns - bout.start_ns for bout in log.bouts) == log.duration_ns.sum()


@pytest.mark.parametrize("kind", REASONS)
def test_a_fault_of_an_encoded_view_gives_no_rest(
    tmp_path: Path, clean: list[NDArray[np.uint8]], kind: FaultKind
) -> None:
    faulty = with_faults(clean, [ViewFault(kind, START / FPS, STOP / FPS)], FPS, seed=1)
    camera = VideoFileCamera(encoded(tmp_path / "mouse.mp4", faulty), realtime=False)
    log = watched(tmp_path, camera)
    # The clip of frame t ends at t + 7. Only a freeze is known too late to end the segment before it, and an encoder
    # goes on changing a frozen picture for some frames.
    fewest = START - CLIP_AFTER if kind == "freeze" else START
    assert_fault_is_unobserved(log, REASONS[kind], rows_before=range(fewest, START + 1))


def test_a_camera_that_repeats_its_last_frame(tmp_path: Path, clean: list[NDArray[np.uint8]]) -> None:
    frozen = list(with_faults(clean, [ViewFault("freeze", START / FPS, STOP / FPS)], FPS, seed=1))
    log = watched(tmp_path, MemoryCamera(frozen))
    # Frame 89 is the last new one; clips up to that of frame 82 hold no repetition.
    assert_fault_is_unobserved(log, Reason.FROZEN, rows_before=range(START - CLIP_AFTER, START - CLIP_AFTER + 1))


def test_a_freeze_at_a_stride(tmp_path: Path, clean: list[NDArray[np.uint8]]) -> None:
    frozen = list(with_faults(clean, [ViewFault("freeze", START / FPS, STOP / FPS)], FPS, seed=1))
    rows = watched(tmp_path, MemoryCamera(frozen), stride=3).source_index
    assert rows[rows < STOP].tolist() == list(range(0, START - CLIP_AFTER, 3))
    assert (np.diff(rows[rows >= STOP]) == 3).all()


def test_a_short_repetition_only_delays_its_rows(tmp_path: Path, clean: list[NDArray[np.uint8]]) -> None:
    stalled = list(with_faults(clean[:150], [ViewFault("freeze", 2.0, 4.0)], FPS, seed=1))
    log = watched(tmp_path, MemoryCamera(stalled))
    assert log.source_index.tolist() == list(range(150))
    assert log.unobserved == ()


def test_without_its_check_a_dark_cage_rests(tmp_path: Path, clean: list[NDArray[np.uint8]]) -> None:
    dark = with_faults(clean, [ViewFault("dark", START / FPS, STOP / FPS)], FPS, seed=1)
    log = watched(tmp_path, MemoryCamera(list(dark)), checks=())
    assert len(log.time_ns) == FRAMES


def alarms(frames: Iterator[NDArray[np.uint8]]) -> dict[Reason | None, int]:
    monitor, found = ViewMonitor(ViewTable()), dict[Reason | None, int]()
    for index, image in enumerate(frames):
        reason = monitor.judge(image, index * NS_PER_S // FPS).reason
        found[reason] = found.get(reason, 0) + 1
    return found


@pytest.mark.parametrize("strain", COATS)
def test_no_false_alarm_in_a_good_cage(strain: str) -> None:
    """Whatever the mouse does, sleep included, and whatever its coat: every behaviour is in 20 s."""
    video = SyntheticVideo(11, 20.0, strain=strain)
    assert REST in video.labels
    assert alarms(video.frames()) == {None: len(video)}


@pytest.mark.parametrize(
    "name",
    [
        "homecage/mit_side_view.mp4",
        "homecage/video0_drink_002.mp4",
        "homecage/video5_groom_163.mpg",
        "openfield/m3v1.mp4",
    ],
)
def test_no_false_alarm_in_real_footage(real_footage: Path, name: str) -> None:
    frames = islice(read_frames(real_footage / name), 600)
    assert set(alarms(frame.image for frame in frames)) == {None}
