"""A [camera] table names one source, nothing that this source ignores, and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.cage.camera_table import SOURCES, CameraTable
from toolkit.cage.config_file import load_config
from toolkit.cage.config_template import write_config
from toolkit.errors import ConfigError

EXAMPLES: dict[str, Any] = {
    "video": "mouse.mp4",
    "segments": "rec/*.mp4",
    "device": "/dev/v4l/by-id/usb-a1-index0",
    "csi": 0,
    "rtsp": "rtsp://10.0.0.5/stream1",
    "pipeline": "v4l2src ! jpegdec",
}


def fault(folder: Path, camera: str) -> str:
    """Return what is said of a table; of several lines, all but the first."""
    path = folder / "a1.toml"
    path.write_text(f'[cage]\nname = "a1"\nbundle = "b"\n[log]\nfolder = "logs"\n[camera]\n{camera}\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value).split("\n", 1)[-1]


def test_every_source_alone() -> None:
    assert set(EXAMPLES) == set(SOURCES)
    for key, value in EXAMPLES.items():
        table = CameraTable(**{key: value})
        assert [source for source in SOURCES if getattr(table, source) is not None] == [key]


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ("", "expected one of video, segments, device, csi, rtsp, pipeline; found none"),
        ('csi = 0\nrtsp = "rtsp://a/b"', "found csi and rtsp"),
        (
            'rtsp = "rtsp://a/b"\nexposure_ms = 5\nauto_exposure = false',
            "nothing that rtsp takes; expected with device, csi",
        ),
        (
            'video = "a.mp4"\nrtsp_transport = "tcp"',
            "rtsp_transport: nothing that video takes; expected with rtsp only",
        ),
        (
            'segments = "rec"\nloop = true\npace = "fast"',
            "loop, pace: nothing that segments takes; expected with video only",
        ),
        ("csi = 0\nwidth = 640", "expected width and height together"),
        ("csi = 0\nexposure_ms = 5", "exposure_ms needs auto_exposure = false"),
        ("csi = 0\nroi = [0, 0, 8, 100]", r"roi: expected x, y >= 0 and width, height >= 16 px, found [0, 0, 8, 100]"),
        ("csi = 0\nrotate = 45", "rotate: Input should be 0, 90, 180 or 270, found 45"),
        ("csi = 0\nqueue_frame = 3", "camera.queue_frame: unknown key; did you mean queue_frames?"),
        ('device = "x"\npixel_format = "MJPEG"', "pixel_format: String should match"),
    ],
)
def test_what_cannot_be(tmp_path: Path, camera: str, expected: str) -> None:
    assert expected in fault(tmp_path, camera)


@pytest.mark.parametrize(
    "camera",
    [
        'rtsp = "rtsp://mouse:hunter2@10.0.0.5/1"',
        'rtsp = "rtsp://hunter2@10.0.0.5/1"',
        'rtsp = "rtsp://mouse:hunter2@10.0.0.5/a b"',
        'rtsp = "http://mouse:hunter2@10.0.0.5/"',
        'pipeline = "rtspsrc location=rtsp://mouse:hunter2@10.0.0.5/1 ! decodebin"',
        'pipeline = "rtspsrc location=rtsp://10.0.0.5/1 user-id=mouse user-pw=hunter2 ! decodebin"',
    ],
)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, camera: str) -> None:
    text = fault(tmp_path, camera)
    assert "rtsp_secret_file" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("source", SOURCES)
def test_a_written_table_is_explained_and_can_be_uncommented(tmp_path: Path, source: str) -> None:
    path = tmp_path / "a1.toml"
    value = EXAMPLES[source]
    given = tmp_path / value if source in ("video", "segments") else value
    write_config(path, name="a1", bundle=tmp_path, log_dir=tmp_path, **{source: given})
    table = load_config(path).camera
    assert getattr(table, source) == given
    text = path.read_text()
    for key in CameraTable.model_fields:
        assert f"\n{key} = " in text or f"\n# {key} = " in text
    # What a user gets who takes the comment sign away.
    if source == "device":
        for key in ("width", "height", "fps", "exposure_ms", "auto_exposure", "gain", "roi", "pixel_format"):
            text = text.replace(f"\n# {key} = ", f"\n{key} = ")
        path.write_text(text)
        table = load_config(path).camera
        assert (table.width, table.auto_exposure, table.pixel_format) == (640, False, "MJPG")
