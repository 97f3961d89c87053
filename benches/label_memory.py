"""Does labelling grow with a video's length? A video played N times over, labelled by the command, its memory watched.

Everything that is written along the way is on: smoothing, bouts, the overlay, and Parquet in row groups.

    python -m benches.label_memory VIDEO --bundle BUNDLE --times 20

Resident memory is sampled ten times a second; printed is the largest of each tenth of the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import psutil

_MIB = 1 << 20


def looped(video: Path, out: Path, times: int) -> Path:
    """Write a video that shows `video` so many times, without encoding it anew."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        origin = 0
        for _ in range(times):
            source.seek(0)
            end = 0
            for packet in source.demux(video=0):
                if packet.dts is None or packet.pts is None:
                    continue
                end = max(end, packet.pts + (packet.duration or 0))
                packet.pts, packet.dts, packet.stream = packet.pts + origin, packet.dts + origin, stream
                target.mux(packet)
            origin += end
    return out


def watch(command: list[str]) -> tuple[list[int], float]:
    """Run a command and return its resident bytes, ten samples a second, and the seconds it took."""
    started = time.perf_counter()
    samples = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            samples.append(seen.memory_info().rss)
            time.sleep(0.1)
        if process.returncode:
            sys.exit(process.returncode)
    return samples, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    label = [sys.executable, "-c", "from toolkit.cli import main; main()", "label"]
    with tempfile.TemporaryDirectory() as folder:
        video = looped(options.video, Path(folder) / "long.mp4", options.times)
        how = ["--bundle", str(options.bundle), "--format", "parquet", "--overlay", "--smooth", "1"]
        samples, elapsed_s = watch([*label, str(video), *how])
        made = json.loads((Path(folder) / "long.labels.json").read_text())
    tenths = [max(samples[len(samples) * i // 10 : len(samples) * (i + 1) // 10]) / _MIB for i in range(10)]
    print(f"{made['frames']} frames, {made['rows']} rows, {elapsed_s:.0f} s, unlabelled {made['unlabelled']}")
    print("largest resident MiB in each tenth: " + " ".join(f"{tenth:.0f}" for tenth in tenths))
    # The first row group of Parquet loads and fills what the later ones use again.
    print(f"last tenth against the sixth: {100 * (tenths[9] / tenths[5] - 1):+.1f} %")


if __name__ == "__main__":
    main()
