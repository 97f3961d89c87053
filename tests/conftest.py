"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

WriteVideo = Callable[..., Path]


@pytest.fixture(scope="session")
def real_footage() -> Path:
    """Return the folder of real footage, which lies beside the checkout on the project's machines, or skip."""
    folder = Path(os.environ.get("TOOLKIT_FOOTAGE", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the real footage, which is not part of the project (set TOOLKIT_FOOTAGE)")
    return folder


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Return a function that encodes frames with PyAV alone, none of the product's code, and returns the path.

    ``times`` gives each frame's presentation time in units of 1 / (1000 fps); default: constant rate.
    """

    def write(
        name: str,
        frames: NDArray[np.uint8] | int = 40,
        *,
        fps: int = 30,
        size: tuple[int, int] = (64, 48),
        times: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        if isinstance(frames, int):
            frames = numbered_frames(frames, size)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "1", "bf": "2"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv444p"
            stream.codec_context.time_base = Fraction(1, 1000 * fps)
            for index, image in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts = times[index] if times is not None else 1000 * index
                picture.time_base = Fraction(1, 1000 * fps)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


def numbered_frames(count: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """Return (count, H, W, 3) uint8 frames whose mean grey tells their number: 3 levels a frame, modulo 80."""
    width, height = size
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    frames += (10 + 3 * (np.arange(count) % 80)).astype(np.uint8)[:, None, None, None]
    return frames
