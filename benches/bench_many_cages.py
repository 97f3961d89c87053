"""What sharing engines brings: N cages in one process with `batch_cages`, against a process each, in one run.

``python -m benches.bench_many_cages [--cages 3] [--frames 240]``

Both forms play the same videos as fast as they are processed, after a short run that loads everything; in turn, so that
what else the machine does falls on both. Processor time and memory are the kernel's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from toolkit.cage.sharing import physical_cores

SIZE = (160, 120)
WARM_FRAMES = 30


def write_video(path: Path, frames: int, seed: int) -> None:
    """Write a texture that moves."""
    coarse = np.random.default_rng(seed).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (2 * SIZE[0], SIZE[1]), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(frames):
            left = (2 + seed) * index % SIZE[0]
            image = np.ascontiguousarray(texture[:, left : left + SIZE[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_bundle(path: Path, network: str) -> None:
    """Export a network with random weights, and build its engines."""
    import torch

    from tests.engine.tiny import moving_frames, tiny_manifest
    from toolkit.clips import ClipGeometry
    from toolkit.engine.build import build_engines
    from toolkit.flow import PARAMETER_SETS, OpenCvFlow
    from toolkit.preprocess import WorkingGeometry, flow_input, rgb_input
    from toolkit.train.export import GoldenFrames
    from toolkit.train.export import write_bundle as write
    from toolkit.train.networks import build_network

    torch.manual_seed(0)
    changes = {
        "clip": ClipGeometry(),
        "geometry": WorkingGeometry(width=SIZE[0], height=SIZE[1]),
        "inputs": (rgb_input(64, 56), flow_input(64, 56)),
    }
    bundle = write(
        path,
        networks={
            "rgb": build_network(network, channels=3, classes=8).eval(),
            "flow": build_network(network, channels=2, classes=8).eval(),
        },
        manifest=tiny_manifest() | changes,
        golden=[GoldenFrames(3, moving_frames(17, shift_px=2))],
        estimator=OpenCvFlow(PARAMETER_SETS["fast"]),
    )
    for engine in ("onnxruntime", "openvino"):
        build_engines(bundle, engine=engine)


def write_configuration(folder: Path, cages: int, engine: str, *, batch: bool, video: str) -> Path:
    """Write a file of cages; threads are what a user gets who sets none."""
    path = folder / f"{video}-{engine}-{batch}.toml"
    sections = "".join(f'[cages.c{n}.camera]\nvideo = "{video}{n}.mp4"\npace = "fast"\n' for n in range(cages))
    path.write_text(
        f'[defaults.cage]\nbundle = "bundle"\n[defaults.log]\nfolder = "logs"\n[defaults.view]\nchecks = []\n'
        f'[defaults.engine]\nkind = "{engine}"\nbatch_cages = {str(batch).lower()}\n{sections}'
    )
    return path


def work(warm: Path, measured: Path, names: list[str]) -> None:
    """Watch cages in this process, and print what it took."""
    from toolkit.cage.batching import run_together
    from toolkit.cage.config_file import load_cages
    from toolkit.cage.costs import usage_of
    from toolkit.cage.daemon import run

    def watch(path: Path) -> int:
        # Of the whole file, since its cages share the cores.
        cages = {name: config for name, config in load_cages(path).items() if name in names}
        if len(cages) == 1:
            return run(next(iter(cages.values())), stop=threading.Event()).rows
        outcome = run_together(cages, stop=threading.Event())
        batches.update({stream: clips / runs for stream, (runs, clips) in outcome.inferences.items()})
        return sum(summary.rows for summary in outcome.summaries.values())

    batches: dict[str, float] = {}
    watch(warm)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    rows = watch(measured)
    process = int(Path("/proc/self").resolve().name)
    used = usage_of(process)
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    pss_kb = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    print(
        json.dumps(
            {
                "rows": rows,
                "cpu_s": time.process_time() - cpu_s,
                "wall_s": time.monotonic() - wall_s,
                "resident_mb": used.resident_bytes / 1e6 if used else 0.0,
                "proportional_mb": pss_kb / 1e3,
                "at_once": batches.get("rgb", 1.0),
            }
        )
    )


def measured(folder: Path, cages: int, engine: str, *, batch: bool) -> dict[str, float]:
    """Run one process or one for each cage at once, and return the sums over them (of wall time the longest)."""
    warm, path = (write_configuration(folder, cages, engine, batch=batch, video=video) for video in ("warm", "video"))
    names = [f"c{cage}" for cage in range(cages)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benches.bench_many_cages", "--work", str(warm), str(path), *group],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for group in ([names] if batch else [[name] for name in names])
    ]
    told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    sums = {key: sum(one[key] for one in told) for key in ("rows", "cpu_s", "resident_mb", "proportional_mb")}
    return sums | {"wall_s": max(one["wall_s"] for one in told), "at_once": told[0]["at_once"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cages", type=int, default=3)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--network", default="r2plus1d-small")
    parser.add_argument("--work", nargs="+", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(Path(given.work[0]), Path(given.work[1]), given.work[2:])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bundle(folder / "bundle", given.network)
        for cage in range(given.cages):
            write_video(folder / f"warm{cage}.mp4", WARM_FRAMES, cage)
            write_video(folder / f"video{cage}.mp4", given.frames, cage)
        print(f"{given.cages} cages, {given.frames} frames each, {given.network}, {physical_cores()} cores")
        for engine in ("onnxruntime", "openvino"):
            for _ in range(given.rounds):
                apart, together = (measured(folder, given.cages, engine, batch=batch) for batch in (False, True))
                for form, found in (("a process each", apart), ("batch_cages", together)):
                    cpu_ms = 1000 * found["cpu_s"] / found["rows"]
                    print(
                        f"{engine:12} {form:15} {cpu_ms:6.1f} ms of processor per row, "
                        f"{found['rows'] / found['wall_s']:6.1f} rows/s, {found['resident_mb']:5.0f} MB resident, "
                        f"{found['proportional_mb']:5.0f} MB proportional, {found['at_once']:.2f} clips at once"
                    )
                print(
                    f"{engine:12} batch / apart   processor {together['cpu_s'] / apart['cpu_s']:.2f}, rows/s "
                    f"{apart['wall_s'] / together['wall_s']:.2f}, memory "
                    f"{together['proportional_mb'] / apart['proportional_mb']:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
