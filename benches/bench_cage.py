"""What is ours in a cage's loop: everything but flow and networks, frame by frame, and one commit of the log.

And what it spares: a naive loop decodes, resizes and flows all frames of every window anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.behaviour_log.sessions import session
from tests.bundles import RecordingBackend, manifest
from tests.cage.parts import FreeBackend, FreeFlow
from toolkit.behaviour_log import LogWriter, Quality, Reason
from toolkit.bundle import Bundle, FlowSpec, Manifest
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run
from toolkit.cage.watch import Parts
from toolkit.engine.contract import Backend
from toolkit.engine.golden import golden_inputs
from toolkit.engine.host import HostNetworks
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.flow import PARAMETER_SETS, FlowEncoding
from toolkit.flow.select import best_cpu_flow
from toolkit.frames import NS_PER_S, Frame, read_frames
from toolkit.pipeline import Pipeline
from toolkit.preprocess import Stream, WorkingGeometry, flow_input, rgb_input
from toolkit.synth import SyntheticVideo
from toolkit.synth.render import Renderer

FRAMES = 600


class MemoryCamera:
    """Delivers noise from memory as fast as it is taken, timed at 30 frames per second."""

    info = CameraInfo("memory", 320, 240, 30.0, live=False, frames=FRAMES, hole=Reason.CAMERA_LOST)

    def __init__(self) -> None:
        self._images = np.random.default_rng(0).integers(0, 256, (16, 240, 320, 3), dtype=np.uint8)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        start_ns = time.monotonic_ns()
        for index in range(FRAMES):
            if stop.is_set():
                return
            yield Frame(index, start_ns + index * NS_PER_S // 30, self._images[index % 16])


@pytest.mark.benchmark(group=f"cage loop, {FRAMES} frames of 320 x 240, free networks and free flow")
@pytest.mark.parametrize(("resize", "crop"), [(255, 224), (128, 112), (64, 56)])
def bench_cage_loop(benchmark: BenchmarkFixture, tmp_path: Path, resize: int, crop: int) -> None:
    spec = manifest(geometry=WorkingGeometry(), inputs=(rgb_input(resize, crop), flow_input(resize, crop)))
    runs = iter(range(1000))

    def watch() -> None:
        folder = tmp_path / str(next(runs))
        config = CageConfig.model_validate(
            {
                "cage": {"name": "a", "bundle": "b"},
                "camera": {"video": "v"},
                "log": {"folder": folder},
                # Noise is no cage; what this costs is measured by itself (bench_view.py).
                "view": {"checks": ()},
            }
        )
        backends = {"rgb": FreeBackend(), "flow": FreeBackend()}
        parts = Parts(Bundle(tmp_path, spec, "f" * 64), MemoryCamera(), HostNetworks(spec, FreeFlow(), backends))
        summary = run(config, stop=threading.Event(), parts=parts)
        assert summary.rows == FRAMES

    benchmark.pedantic(watch, rounds=5, warmup_rounds=1)
    benchmark.extra_info["ms_per_frame"] = 1000 * benchmark.stats.stats.median / FRAMES
    print(f"\nours per frame at {crop} px: {benchmark.extra_info['ms_per_frame']:.2f} ms")


@pytest.mark.benchmark(group="behaviour log, one commit of 60 rows")
def bench_log_commit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    probabilities = np.full(3, 1 / 3, dtype=np.float32)
    with LogWriter(tmp_path, "a", session()) as log:
        index = 0

        def two_seconds() -> None:
            nonlocal index
            for _ in range(60):
                log.row(index, index * 10_000_000, probabilities, 0, Quality(0))
                index += 1
            log.flush()

        benchmark.pedantic(two_seconds, rounds=30, warmup_rounds=2)
        log.close("stopped")


NAIVE_FRAMES = 24
NAIVE_CENTRE = 12
"""A window in the middle of the video, whose clip repeats no frame."""


@pytest.fixture(scope="module")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of a walking mouse, 320 x 240, of key frames alone: the naive loop seeks in it at no cost."""
    video = SyntheticVideo(seed=3, duration_s=20.0, size=(320, 240))
    walk = int(np.flatnonzero(video.labels == 7)[20])
    renderer = Renderer(video.appearance, (320, 240), 3)
    path = tmp_path_factory.mktemp("walking") / "walking.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "20", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(NAIVE_FRAMES):
            picture = av.VideoFrame.from_ndarray(renderer.render(video.state(walk + index)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def walking_manifest(resize: int, crop: int) -> Manifest:
    flow = PARAMETER_SETS["paper"]
    implementation = best_cpu_flow(flow).implementation
    return manifest(
        geometry=WorkingGeometry(),
        inputs=(rgb_input(resize, crop), flow_input(resize, crop)),
        flow=FlowSpec(parameters=flow, implementation=implementation, encoding=FlowEncoding()),
    )


def our_loop(video: Path, spec: Manifest, backends: Mapping[Stream, Backend]) -> int:
    """Classify every frame of a video by the pipeline, and return how many windows that were."""
    networks = HostNetworks(spec, best_cpu_flow(spec.flow.parameters), backends)
    pipeline = Pipeline(spec, networks, source_fps=30.0)
    centres = sum(len(pipeline.push(frame)) for frame in read_frames(video))
    return centres + len(pipeline.end_segment())


def naive_window(video: Path, spec: Manifest, backends: Mapping[Stream, Backend], centre: int) -> None:
    """Classify one frame with nothing kept from the window before: seek, decode, resize and flow all its frames."""
    first = centre - spec.clip.before - 1
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        container.seek(round(Fraction(first, 30) / stream.time_base), stream=stream)
        decoded = container.decode(stream)
        frames = np.stack([next(decoded).to_ndarray(format="rgb24") for _ in range(spec.clip.frames + 1)])
    estimator = best_cpu_flow(spec.flow.parameters)
    inputs = golden_inputs(frames, spec.geometry, spec.inputs, spec.flow, estimator, spec.clip)
    for name, clip in inputs.items():
        backends[name].infer(np.ascontiguousarray(clip)[np.newaxis])


@pytest.mark.benchmark(
    group=f"cage, stride 1, {NAIVE_FRAMES} windows of 320 x 240, one thread, real flow; naive: every window anew"
)
@pytest.mark.parametrize("network", ["free, I3D's sizes", "r2plus1d-small"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def bench_naive_loop(benchmark: BenchmarkFixture, tmp_path: Path, walking: Path, network: str) -> None:
    spec = walking_manifest(255, 224) if network.startswith("free") else walking_manifest(64, 56)
    same_clips(walking, spec)
    naive_s: list[float] = []
    with ExitStack() as stack:
        backends: dict[Stream, Backend] = {
            stream: stack.enter_context(backend) for stream, backend in networks_of(network, spec, tmp_path).items()
        }

        def naive() -> None:
            begun_s = time.perf_counter()
            naive_window(walking, spec, backends, NAIVE_CENTRE)
            naive_s.append(time.perf_counter() - begun_s)

        # In turn with ours, so that whatever else the machine does falls on both.
        benchmark.pedantic(our_loop, args=(walking, spec, backends), setup=naive, rounds=3)
    ours_ms = 1000 * benchmark.stats.stats.median / NAIVE_FRAMES
    naive_ms = 1000 * float(np.median(naive_s))
    benchmark.extra_info["ours_ms_per_window"] = round(ours_ms, 2)
    benchmark.extra_info["naive_ms_per_window"] = round(naive_ms, 1)
    benchmark.extra_info["times_naive"] = round(naive_ms / ours_ms, 1)
    print(f"\n{network}: {ours_ms:.1f} ms a window, naive {naive_ms:.0f} ms: {naive_ms / ours_ms:.1f} times")


def networks_of(network: str, spec: Manifest, folder: Path) -> dict[Stream, Backend]:
    """Return a backend per stream: free ones, or the network with random weights."""
    if network.startswith("free"):
        return {stream: FreeBackend() for stream in spec.streams}
    import torch

    from toolkit.train.export import export_onnx
    from toolkit.train.networks import build_network

    backends: dict[Stream, Backend] = {}
    for stream in spec.inputs:
        torch.manual_seed(0)
        graph = folder / f"{stream.stream}.onnx"
        export_onnx(build_network(network, channels=stream.channels, classes=8).eval(), stream, 16, graph)
        backends[stream.stream] = OnnxRuntimeBackend(graph, threads=1)
    return backends


def same_clips(video: Path, spec: Manifest) -> None:
    """Assert that both loops show the networks the same clips."""
    ours: dict[Stream, Backend] = {stream: RecordingBackend() for stream in spec.streams}
    naive: dict[Stream, Backend] = {stream: RecordingBackend() for stream in spec.streams}
    assert our_loop(video, spec, ours) == NAIVE_FRAMES
    naive_window(video, spec, naive, NAIVE_CENTRE)
    for stream in spec.streams:
        assert np.array_equal(ours[stream].clips[NAIVE_CENTRE], naive[stream].clips[0])  # type: ignore[attr-defined]
