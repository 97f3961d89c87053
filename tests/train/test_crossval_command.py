"""`toolkit crossval` of two architectures: both are cross-validated, then compared and fused, and nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.test_distributed import toml_of
from toolkit.annotations import AnnotatedDataset
from toolkit.train.config import TrainConfig
from toolkit.train.predictions import load_folds

NAMES = ("r2plus1d-small", "i3d")


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_two_architectures_are_compared_and_their_four_networks_fused(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    short = config.model_copy(update={"clips_per_epoch": 12, "evaluation_stride": 12, "validation_stride": 24})
    (tmp_path / "settings.toml").write_text(toml_of(short))
    command = [
        *(str(Path(sys.executable).with_name("toolkit")), "crossval", str(squares.root), "--config", "settings.toml"),
        *("--behaviours", ",".join(squares.ethogram.names), "--architecture", ",".join(NAMES), "--out", "cv"),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert ran.returncode == 0, ran.stderr
    content = json.loads((tmp_path / "cv" / "report.json").read_text())
    (comparison,) = content["comparisons"]
    assert comparison["names"] == list(NAMES)
    folds = [load_folds(tmp_path / "cv" / name) for name in NAMES]
    right = frames = 0
    for one, other in zip(*folds, strict=True):
        weights = list(comparison["weights"][one.group].values())
        for video, same in zip(one.held_out, other.held_out, strict=True):
            networks = [*video.logits.values(), *same.logits.values()]
            fused = sum(weight * logits for weight, logits in zip(weights, networks, strict=True))
            right += int((np.argmax(fused, axis=1) == video.labels).sum())
            frames += len(video.labels)
    assert comparison["frames"] == frames
    assert comparison["accuracy"]["fused"] == pytest.approx(right / frames)
    for name in NAMES:
        own = json.loads((tmp_path / "cv" / name / "report.json").read_text())
        assert content["evaluations"][name]["accuracy"] == own["accuracy"]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv").glob("*/folds/*/*/last.pt")}
    assert len(written) == len(NAMES) * 3 * 2
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_mtime_ns == at for path, at in written.items())
