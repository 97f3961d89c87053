"""Windows overlap by 15 of 16 frames, and nothing before the networks is done twice for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.bundles import DifferenceFlow, RecordingBackend, manifest
from toolkit.engine.host import HostNetworks
from toolkit.frames import NS_PER_S, Frame
from toolkit.pipeline import Pipeline
from toolkit.preprocess import StreamInput, WorkingGeometry

FRAMES = 40


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each step runs."""
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counting)

    count(WorkingGeometry, "working_frame")
    count(StreamInput, "network_frame")
    count(DifferenceFlow, "flow")
    return counts


@pytest.mark.parametrize("stride", [1, 4])
def test_a_frame_is_scaled_and_flowed_once_whatever_the_stride(counted: Counter[str], stride: int) -> None:
    backends = {"rgb": RecordingBackend(), "flow": RecordingBackend()}
    spec = manifest()
    pipeline = Pipeline(spec, HostNetworks(spec, DifferenceFlow(), backends), source_fps=30.0, stride=stride)
    windows = 0
    for index in range(FRAMES):
        image = np.full((48, 64, 3), index, dtype=np.uint8)
        windows += len(pipeline.push(Frame(index, index * NS_PER_S // 30, image)))
    windows += len(pipeline.end_segment())
    assert windows == FRAMES // stride
    # Two streams; the first frame, which has no predecessor, is scaled as no motion.
    assert counted == {"working_frame": FRAMES, "network_frame": 2 * FRAMES, "flow": FRAMES - 1}
