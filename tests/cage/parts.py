"""Daemons whose networks and flow cost nothing or a chosen time, and cameras that follow a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from tests.bundles import manifest
from toolkit.behaviour_log import Reason
from toolkit.bundle import Bundle
from toolkit.cage.cameras import Camera, CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks
from toolkit.errors import CameraError
from toolkit.flow import PARAMETER_SETS, FlowParameters
from toolkit.frames import NS_PER_S, Frame


class FreeBackend:
    """A network that costs nothing and always says the same."""

    identity = "free/cpu/fp32"

    def __init__(self, logits: Sequence[float] = (0, 0, 0, 0, 0, 0, 2, 0)) -> None:
        self._logits = np.array([logits], dtype=np.float32)

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._logits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class FreeFlow:
    """A flow that costs `cost_s` and is always zero."""

    parameters: FlowParameters = PARAMETER_SETS["fast"]
    implementation = "free"

    def __init__(self, cost_s: float = 0.0) -> None:
        self._cost_s = cost_s
        self._flow: NDArray[np.float32] | None = None

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._cost_s:
            time.sleep(self._cost_s)
        if self._flow is None:
            self._flow = np.zeros((*previous.shape, 2), dtype=np.float32)
        return self._flow


class ScriptedCamera:
    """Delivers bursts of frames: how many, and the seconds of silence after each; may fail at the end."""

    def __init__(
        self,
        script: Sequence[tuple[int, float]],
        *,
        fps: float = 30.0,
        size: tuple[int, int] = (64, 48),
        fail: str = "",
    ) -> None:
        self._script = script
        self._fail = fail
        self._image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        self.info = CameraInfo("scripted", size[0], size[1], fps, live=True, frames=None, hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        index = 0
        begin_ns = time.monotonic_ns()
        for count, silence_s in self._script:
            for _ in range(count):
                due_ns = begin_ns + round(index * NS_PER_S / self.info.fps)
                if stop.wait(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S)):
                    return
                yield Frame(index, due_ns, self._image)
                index += 1
            begin_ns += round(silence_s * NS_PER_S)
        if self._fail:
            raise CameraError(self._fail)


class RecoveringCamera:
    """A camera that is opened again and again: its frames at each opening, and what happens after them.

    "fails" raises, "stalls" waits until it is closed, "hangs" never comes back, "ends" ends. An opening beyond the
    last one fails without a frame.
    """

    def __init__(self, openings: Sequence[tuple[int, str]], *, fps: float = 30.0) -> None:
        self._openings = openings
        self.opened = 0
        self.closed = threading.Event()
        """Ends what hangs."""
        self.image = np.zeros((48, 64, 3), dtype=np.uint8)
        self.info = CameraInfo(
            "recovering", 64, 48, fps, live=True, frames=None, hole=Reason.CAMERA_LOST, recovers=True
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        self.opened += 1
        count, after = (0, "fails") if self.opened > len(self._openings) else self._openings[self.opened - 1]
        begin_ns = time.monotonic_ns()
        for index in range(count):
            # Dated as due, not as late as a busy machine makes it.
            due_ns = begin_ns + round((index + 1) * NS_PER_S / self.info.fps)
            if stop.wait(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S)):
                return
            yield Frame(index, due_ns, self.image)
        if after == "fails":
            raise CameraError(f"camera recovering: failure {self.opened}")
        if after == "stalls":
            stop.wait()
        if after == "hangs":
            self.closed.wait()
            yield Frame(count, time.monotonic_ns(), self.image)


def parts(camera: Camera, *, logits: Sequence[float] | None = None, flow_s: float = 0.0, **changes: Any) -> Parts:
    """Return a daemon's parts around the test bundle, which exists in memory only."""
    described = manifest(**changes)
    backends = {stream: FreeBackend(*([logits] if logits else [])) for stream in described.streams}
    return Parts(Bundle(Path("none"), described, "b" * 64), camera, HostNetworks(described, FreeFlow(flow_s), backends))


def config(folder: Path, **tables: Mapping[str, Any]) -> CageConfig:
    """Return a configuration whose log is in `folder` and whose video is never opened; its clock is believed."""
    values: dict[str, dict[str, Any]] = {
        "cage": {"name": "a1", "bundle": "bundle"},
        "camera": {"video": "none.mp4"},
        "log": {"folder": folder / "log", "flush_s": 0.2, "unsynchronised": "accept"},
        "view": {"checks": ()},
    }
    for table, changes in tables.items():
        values[table] = {**values.get(table, {}), **changes}
    return CageConfig.model_validate(values)
