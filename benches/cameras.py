"""What live sources cost, and how well their frames are dated: real GStreamer, a real RTSP server on loopback.

The sources take a picture every 1/30 s exactly. Said is, per frame, the CPU time of this process and of its pipeline
(with the drawing and the encoding of its test picture), and how far the distances of frames are off 1/30 s, as dated
and as they arrived.

    python -m benches.cameras --seconds 10
    python -m benches.cameras --seconds 10 --load 4

With ``--load`` as many processes keep the CPU busy. The server's CPU time is not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from tests.cage.test_page import free_port
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import Camera, open_camera
from toolkit.frames import NS_PER_S

SERVER = Path(__file__).parents[1] / "tests" / "cage" / "cameras" / "rtsp_server.py"
SOURCE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate=30/1"
H264 = " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30"


def pipeline(width: int, height: int, more: str = "") -> CameraTable:
    return CameraTable(pipeline=SOURCE.format(width=width, height=height) + more)


@contextmanager
def network_camera(width: int, height: int) -> Iterator[CameraTable]:
    port = str(free_port())
    launch = f"( {SOURCE.format(width=width, height=height)}{H264} ! rtph264pay name=pay0 )"
    command = ["/usr/bin/python3", str(SERVER), port, launch]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield CameraTable(rtsp=f"rtsp://127.0.0.1:{port}/cage")
        finally:
            server.kill()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(name: str, camera: Camera, seconds: float) -> None:
    """Read a camera for so long, after half a second that is not counted, and print one row."""
    count = round(seconds * camera.info.fps)
    dated, arrived = [], []
    stop = threading.Event()
    watched: list[psutil.Process] = []
    begun_s = 0.0
    for frame in camera.frames(stop):
        arrived.append(time.monotonic_ns())
        dated.append(frame.capture_time_ns)
        if frame.index == 15:
            children = [child for child in psutil.Process().children() if child.name().startswith("gst-launch")]
            watched = [psutil.Process(), *children]
            begun_s = cpu_s(watched)
        if frame.index == 15 + count:
            spent_ms = 1000 * (cpu_s(watched) - begun_s) / count
            stop.set()
    off_ms = [np.abs(np.diff(times[15:]) / NS_PER_S - 1 / 30) * 1000 for times in (np.array(dated), np.array(arrived))]
    cells = [f"{np.percentile(off, 50):6.2f} {off.max():7.2f}" for off in off_ms]
    print(f"{name:32s} {spent_ms:7.2f}   {cells[0]}   {cells[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--load", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{'':32s} {'CPU':>7s}   {'dated: median, most':>14s}   {'arrived: median, most':>14s}   (ms)")
    with busy(arguments.load):
        measure("pipeline, raw, 640 x 480", open_camera(pipeline(640, 480)), arguments.seconds)
        measure("pipeline, raw, 1280 x 720", open_camera(pipeline(1280, 720)), arguments.seconds)
        measure(
            "pipeline, H.264, 640 x 480",
            open_camera(pipeline(640, 480, H264 + " ! avdec_h264")),
            arguments.seconds,
        )
        for width, height in ((640, 480), (1280, 720)):
            with network_camera(width, height) as table:
                measure(f"RTSP, H.264, {width} x {height}", open_camera(table), arguments.seconds)


if __name__ == "__main__":
    main()
