"""`toolkit flow show` and the option --flow, as a user types them."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from tests.train.conftest import BEHAVIOURS, write_squares
from toolkit.annotations import load_dataset
from toolkit.cli import app
from toolkit.errors import ConfigError, VideoError
from toolkit.flow import select
from toolkit.train.config import train_config
from toolkit.train.dataset import prepare_dataset

COMMON = ["--flow", "opencv", "--flow-parameters", "fast"]


@pytest.fixture
def moving(write_video: WriteVideo) -> Path:
    """Return a video of a texture that moves 2 px to the right per frame."""
    texture = cv2.GaussianBlur(np.random.default_rng(1).standard_normal((60, 120)), (0, 0), 2)
    texture = np.clip(128 + texture * 250, 0, 255).astype(np.uint8)
    frames = [np.repeat(texture[:, 30 - 2 * i : 110 - 2 * i, None], 3, axis=2) for i in range(4)]
    return write_video("moving.mp4", np.stack(frames))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_picture_of_one_frame(moving: Path, tmp_path: Path) -> None:
    said = run("flow", "show", moving, "--out", tmp_path / "f.png", "--frame", 2, "--max-px", 2, *COMMON)
    assert "opencv-" in said
    picture = cv2.imread(str(tmp_path / "f.png"))
    assert picture is not None
    # 80 x 60 px, four times enlarged: the frame, then its flow, red for motion to the right (BGR here).
    blue, green, red = np.median(picture[60:200, 8 + 320 + 8 + 60 : 8 + 320 + 8 + 260].reshape(-1, 3), axis=0)
    assert red > 240
    assert max(blue, green) < 60


def test_a_video(moving: Path, tmp_path: Path) -> None:
    run("flow", "show", moving, "--out", tmp_path / "f.mp4", "--working-size", "64x48", *COMMON)
    with av.open(str(tmp_path / "f.mp4")) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == 30
    assert len(frames) == 3
    assert frames[0].width > 2 * 320


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--out", "f.gif"], ConfigError, r"--out: expected \.png, \.mp4; found '\.gif'"),
        (["--out", "f.png", "--flow", "gpu"], ConfigError, "--flow: expected auto, cuda, cpu, opencv; found 'gpu'"),
        (["--out", "f.png", "--working-size", "9x9"], ConfigError, "expected sides of 16 to 4096 px, found 9 x 9"),
        (["--out", "f.png", "--frame", "4", *COMMON], VideoError, "has 4 frames, numbered from 0"),
    ],
)
def test_mistakes(moving: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run("flow", "show", moving, *arguments)


def test_training_says_that_flow_will_be_slow(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from toolkit.cli.training_options import training_settings
    from toolkit.errors import FlowError

    def fail(_parameters: object) -> None:
        raise FlowError("fast CPU flow was not built.")

    names = (
        "config",
        "preset",
        "architecture",
        "epochs",
        "batch",
        "seed",
        "flow_parameters",
        "stream",
        "fps",
        "aspect",
    )
    options = dict.fromkeys((*names, "working_size", "roi", "flow", "head", "pretrained"))
    monkeypatch.setattr(select, "CpuFlow", fail)
    assert training_settings(options).flow_by == "auto"
    assert "warning: flow: OpenCV's TV-L1 runs" in capfd.readouterr().err
    assert training_settings(options | {"flow": "opencv"}).flow_by == "opencv"
    assert capfd.readouterr().err == ""


def test_extracted_flow_is_what_training_uses(tmp_path: Path) -> None:
    write_squares(tmp_path / "data", 2)
    command = ["flow", "extract", str(tmp_path / "data"), "--flow-parameters", "fast", "--working-size", "64x48"]
    command += ["--behaviours", ",".join(BEHAVIOURS)]
    first = CliRunner().invoke(app, [*command, "--fps", "15", "--workers", "1"])
    assert first.exit_code == 0, first.output
    assert "2 of 2 videos" in first.output
    stores = list((tmp_path / "data").rglob("*.store"))
    assert len(stores) == 2
    # Two videos of four bouts of 36 frames at 30 frames per second.
    per_hour = sum(store.stat().st_size for store in stores) / (2 * 4 * 36 / 30) * 3600
    assert f"{per_hour / 1e9:.2f} GB per hour of video" in first.output
    again = CliRunner().invoke(app, [*command, "--fps", "15"])
    assert "all 2 videos were prepared before" in again.output
    settings = {"flow": "fast", "geometry": {"width": 64, "height": 48, "fps": 15}, "architecture": "r2plus1d-small"}
    data = prepare_dataset(load_dataset(tmp_path / "data", behaviours=BEHAVIOURS), train_config(settings), workers=0)
    assert data.preparation.computed == 0
    other = CliRunner().invoke(app, [*command, "--fps", "30", "--workers", "1"])
    assert "2 of 2 videos" in other.output
