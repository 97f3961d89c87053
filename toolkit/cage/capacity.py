"""Whether a machine is fast enough for a cage: measured on the cage's own frames, engines and flow, before it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import chain, cycle, islice

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Bundle
from toolkit.cage.cameras import Camera
from toolkit.cage.config import CageConfig
from toolkit.cage.engines import Engines
from toolkit.cage.pace import Costs, Demand, Forecast, demand_of, forecast
from toolkit.cage.stages import ADMIT, INFER, VIEW, Stages
from toolkit.engine.contract import ClipNetworks
from toolkit.errors import EngineError
from toolkit.view import ViewMonitor

FRAMES = 30
"""Frames that are taken from the camera."""

WAIT_S = 3.0
"""Time for these frames."""

MEASURE_S = 3.0
"""Time that frames and windows are worked on, and the first ones before it that do not count."""

LEAST_ROUNDS = 3


def measure(config: CageConfig, bundle: Bundle, networks: ClipNetworks, images: Sequence[NDArray[np.uint8]]) -> Costs:
    """Return what a frame and a window cost.

    Parameters
    ----------
    networks
        The bundle's, not entered yet.
    images
        (H, W, 3) uint8 RGB frames that follow one another.
    """
    stages = Stages()
    view = ViewMonitor(config.view, bundle.manifest.geometry.roi)
    # There and back again, so that no flow is that of a cut.
    turns = cycle(chain(images, images[-2:0:-1]))
    with Engines(networks, None, "stop", stages, lambda _: None) as engines:

        def work(image: NDArray[np.uint8], time_ns: int, *, first: bool = False) -> None:
            with stages.time(VIEW):
                view.judge(image, time_ns)
            engines.admit(image, first=first)
            engines.infer()

        # Memory is allocated and kernels are loaded by the first frame, and by the first flow, the second one's.
        for number, image in enumerate(islice(turns, 2)):
            work(image, number, first=number == 0)
        before = stages.seconds()
        begun_s, rounds = time.monotonic(), 0
        while rounds < LEAST_ROUNDS or time.monotonic() - begun_s < MEASURE_S:
            rounds += 1
            work(next(turns), 2 + rounds)
        spent_s = {name: (seconds - before[name][1]) / rounds for name, (_, seconds) in stages.seconds().items()}
    return Costs(frame_s=spent_s[VIEW] + spent_s[ADMIT], window_s=spent_s[INFER])


def some_frames(camera: Camera) -> list[NDArray[np.uint8]]:
    """Return the camera's first frames; fewer where it is slow, and none where it delivers none in `WAIT_S`."""
    images: list[NDArray[np.uint8]] = []
    stop = threading.Event()

    def take() -> None:
        for frame in islice(camera.frames(stop), FRAMES):
            images.append(frame.image)

    # A camera that hangs in its driver must not keep the check from ending.
    thread = threading.Thread(target=take, name="camera", daemon=True)
    thread.start()
    thread.join(WAIT_S)
    stop.set()
    return images[:]


def noise(camera: Camera) -> list[NDArray[np.uint8]]:
    """Return frames of the camera's size in which nothing is still, in place of its own."""
    shape = (camera.info.height, camera.info.width, 3)
    return list(np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8))


def told(config: CageConfig, bundle: Bundle, camera: Camera, costs: Costs) -> str:
    """Return in a sentence how the daemon will do.

    Raises
    ------
    EngineError
        If less of the time would be observed than the configuration asks for.
    """
    info = camera.info
    demand = demand_of(config, bundle.manifest, info)
    found = f"{costs.frame_s * 1e3:.1f} ms a frame and {costs.window_s * 1e3:.1f} ms a window"
    if not info.live:
        return f"{found}: {demand.interval_s / costs.at(demand.stride):.1f} times real time; no frame is dropped"
    expected = forecast(costs, demand)
    text = f"{found}: {_regime(expected, demand)}; rows within {expected.latency_s:.1f} s"
    least = config.cage.min_coverage
    if expected.coverage < least:
        raise EngineError(
            f"{text}. Expected at least {least:.0%} of the time observed (cage.min_coverage). Train with the "
            "cheaper `fast` flow or a smaller network, stop what else runs here, take a faster machine, or set less."
        )
    return text


def _regime(expected: Forecast, demand: Demand) -> str:
    if expected.regime == "bursts":
        return (
            f"too slow: {expected.load:.0%} load at stride {expected.stride}, so bursts of {demand.queue_frames:.0f} "
            f"frames or more, and {expected.coverage:.0%} of the time observed"
        )
    classified = "every frame" if expected.stride == 1 else f"one frame in {expected.stride}"
    slowed = " instead of every one" if demand.stride == 1 else f" instead of one in {demand.stride}"
    return f"{expected.load:.0%} load, {classified} classified{slowed if expected.regime == 'stride' else ''}"


def capacity(config: CageConfig, bundle: Bundle, networks: ClipNetworks, camera: Camera) -> str:
    """Measure and tell; see `told`. Takes about `WAIT_S` + `MEASURE_S` and what the engines take to load."""
    images = some_frames(camera)
    costs = measure(config, bundle, networks, images if len(images) > 2 else noise(camera))
    return told(config, bundle, camera, costs) + ("" if len(images) > 2 else " (on noise: the camera gave no frames)")
