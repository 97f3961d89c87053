"""A configuration is accepted as a whole, or every fault in it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.cage.config_file import load_config
from toolkit.cage.config_template import write_config
from toolkit.errors import ConfigError

GOOD = """
[cage]
name = "a1"
bundle = "../bundle"

[camera]
video = "mouse.mp4"

[log]
folder = "/var/log/cages"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lab" / "cage.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_relative_paths_count_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, GOOD)
    monkeypatch.chdir(path.parent)
    for name in (path, Path("cage.toml")):
        config = load_config(name)
        assert config.cage.bundle == tmp_path / "bundle"
        assert config.camera.video == tmp_path / "lab" / "mouse.mp4"
        assert config.log.folder == Path("/var/log/cages")
    assert config.cage.stride == 1
    assert config.engine.kind == "auto"


def test_the_hash_is_of_what_was_meant_not_of_how_it_was_written(tmp_path: Path) -> None:
    first = load_config(written(tmp_path, GOOD))
    second = load_config(written(tmp_path, "# a comment\n" + GOOD + "flush_s = 2\n"))
    third = load_config(written(tmp_path, GOOD + "flush_s = 3.0\n"))
    assert first.sha256() == second.sha256() != third.sha256()


def test_every_fault_is_said_with_its_line(tmp_path: Path) -> None:
    text = """
[cage]
name = "a 1"
strid = 2
[camera]
video = "a.mp4"
device = "/dev/video0"
[log]
flush_s = "often"
[engin]
kind = "auto"
[engine]
qqq = 1
"""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} cannot be used:"
    expected = {
        f"{path}:3: cage.name: String should match pattern",
        f"{path}:2: cage.bundle: is missing",
        f"{path}:4: cage.strid: unknown key; did you mean stride?",
        f"{path}:5: camera: expected one of video, segments, device, csi, rtsp, pipeline; found video and device",
        f"{path}:8: log.folder: is missing",
        f"{path}:9: log.flush_s: Input should be a valid number",
        f"{path}:10: engin: unknown table; did you mean engine?",
        f"{path}:13: engine.qqq: unknown key; known: kind, stale, on_failure, threads, flow, flow_threads",
    }
    for start in expected:
        assert sum(line.startswith(f"  - {start}") for line in lines) == 1, (start, lines)
    assert len(lines) == 1 + len(expected)
    assert "found 'often'" in str(caught.value)


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)cage: is missing.*camera: is missing.*log: is missing"):
        load_config(written(tmp_path, ""))


def test_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not TOML: .*line 3"):
        load_config(written(tmp_path, "[cage]\n\nname = a1\n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_a_written_configuration_is_what_it_was_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("cages/a1.toml")
    write_config(path, name="a1", bundle=Path("bundle"), log_dir=Path("cages/logs"), video=Path("mouse.mp4"))
    config = load_config(path)
    assert config.cage.bundle == tmp_path / "bundle"
    assert config.log.folder == tmp_path / "cages" / "logs"
    assert config.camera.video == tmp_path / "mouse.mp4"
    text = path.read_text()
    assert 'folder = "logs"\n' in text
    assert "# stride = 1\n" in text
    assert "# Folder of the model bundle" in text
    assert "[decision]\n" in text
    assert '# filter = "off"\n' in text
    named = text.replace("# min_bout_s = 0.3", "min_bout_s = {rest = 2.0}").replace(
        '# filter = "off"', 'filter = "hysteresis"'
    )
    assert load_config(written(tmp_path, named)).decision.min_bout_s == {"rest": 2.0}
    assert load_config(written(tmp_path, text.replace("# stride = 1", "stride = 1"))).cage.stride == 1


def test_a_configuration_is_never_overwritten_nor_left_half(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(ConfigError, match="already exists"):
        write_config(path, name="a1", bundle=tmp_path, log_dir=tmp_path, device="/dev/video0")
    other = path.with_name("b1.toml")
    with pytest.raises(ConfigError, match=rf"{other}.*(?s:.*)found none"):
        write_config(other, name="a1", bundle=tmp_path, log_dir=tmp_path)
    assert [file.name for file in path.parent.iterdir()] == ["cage.toml"]
