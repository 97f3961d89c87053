"""The capture thread never waits; what it drops is one stretch, and what it takes is a burst."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cage.parts import ScriptedCamera
from tests.conftest import WriteVideo
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import DeviceCamera, VideoFileCamera, open_camera
from toolkit.cage.capture import CaptureThread, FrameQueue
from toolkit.errors import CameraError, VideoError
from toolkit.frames import NS_PER_S, Frame

IMAGE = np.zeros((2, 2, 3), dtype=np.uint8)


def test_a_full_queue_drops_until_it_is_empty() -> None:
    queue = FrameQueue(3)
    for index in range(8):
        queue.offer(Frame(index, index, IMAGE))
    assert (queue.captured, queue.dropped, len(queue), queue.overloaded) == (8, 5, 3, True)
    taken = [queue.take(0.0) for _ in range(2)]
    queue.offer(Frame(8, 8, IMAGE))
    taken.append(queue.take(0.0))
    assert not queue.overloaded
    for index in range(9, 11):
        queue.offer(Frame(index, index, IMAGE))
    taken += [queue.take(0.0) for _ in range(3)]
    assert [(d.frame.index, d.dropped) if d else None for d in taken] == [(0, 0), (1, 0), (2, 0), (9, 6), (10, 0), None]
    assert (queue.captured, queue.dropped) == (11, 6)


def test_a_slow_consumer_does_not_slow_the_camera() -> None:
    """40 frames at 100 a second take 0.4 s, though nobody takes one."""
    with CaptureThread(ScriptedCamera([(40, 0.0)], fps=100.0), queue_frames=5) as capture:
        began = time.monotonic()
        while capture.queue.captured < 40:
            assert time.monotonic() - began < 5
            time.sleep(0.01)
        assert capture.queue.dropped == 35


def test_a_recording_waits_for_room(write_video: WriteVideo) -> None:
    camera = VideoFileCamera(write_video("a.mp4", 30), realtime=False)
    with CaptureThread(camera, queue_frames=2) as capture:
        indices = []
        for delivery in capture.deliveries(threading.Event(), 0.1):
            assert delivery is not None
            indices.append(delivery.frame.index)
            time.sleep(0.002)
    assert indices == list(range(30))
    assert capture.queue.dropped == 0


def test_a_video_is_paced_and_dated_like_a_camera(write_video: WriteVideo) -> None:
    camera = VideoFileCamera(write_video("a.mp4", 16), realtime=True)
    began_ns = time.monotonic_ns()
    frames, arrivals = [], []
    for frame in camera.frames(threading.Event()):
        frames.append(frame)
        arrivals.append(time.monotonic_ns())
    assert (camera.info.frames, camera.info.fps, camera.info.live) == (16, 30.0, True)
    relative = [frame.capture_time_ns - frames[0].capture_time_ns for frame in frames]
    assert relative == [pytest.approx(index * NS_PER_S / 30, abs=2) for index in range(16)]
    assert began_ns <= frames[0].capture_time_ns <= arrivals[0]
    late = [arrival - frame.capture_time_ns for arrival, frame in zip(arrivals, frames, strict=True)]
    assert min(late) >= 0


def test_a_loop_leaves_a_gap_that_no_clip_crosses(write_video: WriteVideo) -> None:
    camera = VideoFileCamera(write_video("a.mp4", 3), realtime=False, loop=True)
    stop = threading.Event()
    frames = []
    for frame in camera.frames(stop):
        frames.append(frame)
        if len(frames) == 7:
            stop.set()
    assert [frame.index for frame in frames] == list(range(7))
    times = [round((frame.capture_time_ns - frames[0].capture_time_ns) * 30 / NS_PER_S) for frame in frames]
    assert times == [0, 1, 2, 4, 5, 6, 8]
    assert camera.info.frames is None


def test_what_a_camera_raises_arrives_after_its_frames() -> None:
    with CaptureThread(ScriptedCamera([(5, 0.0)], fps=1000.0, fail="unplugged"), queue_frames=10) as capture:
        deliveries = capture.deliveries(threading.Event(), 0.1)
        indices = [next(deliveries) for _ in range(5)]
        assert [delivery.frame.index for delivery in indices if delivery] == [0, 1, 2, 3, 4]
        with pytest.raises(CameraError, match="unplugged"):
            list(deliveries)


def test_silence_is_told() -> None:
    with CaptureThread(ScriptedCamera([(1, 0.3), (1, 0.0)]), queue_frames=10) as capture:
        kinds = ["frame" if d else "nothing" for d in capture.deliveries(threading.Event(), 0.1)]
    assert kinds[0] == kinds[-1] == "frame"
    assert 1 <= kinds.count("nothing") <= 4


def test_cameras_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"camera /dev/no-such-camera: cannot be opened.*plugged in"):
        DeviceCamera(CameraTable(device="/dev/no-such-camera"))
    with pytest.raises(VideoError, match="no such video file"):
        open_camera(CameraTable(video=tmp_path / "absent.mp4"))
