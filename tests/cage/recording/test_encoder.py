"""Which encoder is taken: what FFmpeg lists and the machine lacks, or what keeps pictures back, is passed over."""

from __future__ import annotations

import pytest

from toolkit.cage.recording import encoder
from toolkit.cage.recording.encoder import HARDWARE, choose_encoder
from toolkit.errors import CameraError


def test_the_first_that_works() -> None:
    told: list[str] = []
    name = choose_encoder("auto", 64, 48, 30.0, told.append)
    # Every hardware encoder that was passed over is named with its reason, unless one works here.
    assert (name in HARDWARE and not told) or (name == "libx264" and all(one in told[0] for one in HARDWARE))


def test_one_that_ffmpeg_does_not_have() -> None:
    with pytest.raises(CameraError, match=r"no H.264 encoder works \(h264_nvmpi: .+\)\. Expected one of"):
        choose_encoder("h264_nvmpi", 64, 48, 30.0, lambda _: None)


def test_one_that_keeps_pictures_back_to_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_options", lambda name, quality: {"preset": "medium"})
    with pytest.raises(CameraError, match="libx264: does not give a packet for every picture at once"):
        choose_encoder("libx264", 64, 48, 30.0, lambda _: None)


def test_one_whose_key_frames_lack_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        encoder, "_options", lambda name, quality: {"tune": "zerolatency", "x264-params": "repeat-headers=0"}
    )
    with pytest.raises(CameraError, match="libx264: does not give key frames with headers"):
        choose_encoder("libx264", 64, 48, 30.0, lambda _: None)
