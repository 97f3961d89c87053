"""A bundle with engines, made once, and files of several cages on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import WriteVideo

WriteCages = Callable[..., Path]


@pytest.fixture(scope="session")
def built_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny bundle with its engines for ONNX Runtime and OpenVINO beside it; not to be changed."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    from tests.engine.tiny import write_tiny_bundle
    from toolkit.engine.build import build_engines

    bundle = write_tiny_bundle(tmp_path_factory.mktemp("many") / "tiny")
    for engine in ("onnxruntime", "openvino"):
        build_engines(bundle, engine=engine)
    return bundle.path


@pytest.fixture
def write_cages(tmp_path: Path, built_bundle: Path, write_video: WriteVideo) -> WriteCages:
    """Return a function that writes a file of cages, each with a video of its own, and returns its path."""

    def write(
        names: Sequence[str], more: str = "", *, frames: int = 60, pace: str = "fast", loop: bool = False
    ) -> Path:
        sections = []
        for seed, name in enumerate(names):
            coarse = np.random.default_rng(seed).integers(0, 255, (24, 2 * frames, 3), dtype=np.uint8)
            texture = cv2.resize(coarse, (4 * frames + 64, 48), interpolation=cv2.INTER_CUBIC)
            step = seed + 1
            write_video(
                f"{name}.mp4", np.stack([texture[:, (step * n) % (4 * frames) :][:, :64] for n in range(frames)])
            )
            sections.append(f'[cages.{name}.camera]\nvideo = "{name}.mp4"\n')
        text = (
            f'[defaults.cage]\nbundle = "{built_bundle}"\n[defaults.log]\nfolder = "logs"\nflush_s = 0.2\n'
            f'[defaults.camera]\npace = "{pace}"\nloop = {str(loop).lower()}\n[defaults.view]\nchecks = []\n{more}'
        )
        path = tmp_path / "cages.toml"
        path.write_text("\n".join([text, *sections]))
        return path

    return write
