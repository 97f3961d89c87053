"""A file of several cages: defaults, what each cage changes, all faults at once, and nothing that two would share."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.cage.config_file import load_cages, load_config
from toolkit.cage.config_template import write_cages
from toolkit.cage.sharing import physical_cores, processes
from toolkit.errors import ConfigError

MANY = """
[defaults.cage]
bundle = "../bundle"
min_confidence = 0.5

[defaults.log]
folder = "logs"

[defaults.camera]
queue_frames = 100

[cages.a1.camera]
device = "/dev/v4l/by-id/usb-1"

[cages.a2.camera]
device = "/dev/v4l/by-id/usb-2"
queue_frames = 32

[cages.a2.cage]
stride = 2

[cages.b-1]
camera = { video = "b.mp4" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lab" / "cages.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_cages(path)
    head, *lines = str(caught.value).splitlines()
    assert head == f"{path} cannot be used:"
    return [line.removeprefix("  - ") for line in lines]


def test_a_cage_has_the_defaults_and_what_is_its_own(tmp_path: Path) -> None:
    cages = load_cages(written(tmp_path, MANY))
    assert list(cages) == ["a1", "a2", "b-1"]
    assert [config.cage.name for config in cages.values()] == ["a1", "a2", "b-1"]
    assert [config.cage.stride for config in cages.values()] == [1, 2, 1]
    assert [config.cage.min_confidence for config in cages.values()] == [0.5, 0.5, 0.5]
    assert [config.camera.queue_frames for config in cages.values()] == [100, 32, 100]
    assert {config.cage.bundle for config in cages.values()} == {tmp_path / "bundle"}
    assert cages["b-1"].camera.video == tmp_path / "lab" / "b.mp4"


def test_what_is_logged_is_the_cage_s_alone(tmp_path: Path) -> None:
    """The snapshot is that of the same cage in a file of its own, but for its share of the cores."""
    alone = written(
        tmp_path,
        '[cage]\nname = "a2"\nbundle = "../bundle"\nmin_confidence = 0.5\nstride = 2\n[log]\nfolder = "logs"\n'
        '[camera]\ndevice = "/dev/v4l/by-id/usb-2"\nqueue_frames = 32\n[engine]\nthreads = 3\n',
    )
    single = load_config(alone)
    many = load_config(written(tmp_path, MANY + "[defaults.engine]\nthreads = 3\n"), "a2")
    assert many.snapshot() == single.snapshot()
    assert many.sha256() == single.sha256()


def test_which_cage_must_be_said_where_there_are_several(tmp_path: Path) -> None:
    path = written(tmp_path, MANY)
    with pytest.raises(ConfigError, match=r"3 cages: a1, a2, b-1\. Say which one: --cage a1"):
        load_config(path)
    with pytest.raises(ConfigError, match="no cage b1; did you mean b-1"):
        load_config(path, "b1")
    one = written(tmp_path, MANY.split("[cages.a2.camera]", maxsplit=1)[0])
    assert load_config(one).cage.name == "a1"


def test_every_fault_of_every_cage_is_said_once_with_its_line(tmp_path: Path) -> None:
    text = """
[defaults.cage]
bundle = "b"
strid = 2
[defaults.log]
folder = "logs"
flush_s = "often"
[cages.a1.camera]
video = "a.mp4"
pace = "slow"
[cages.a2]
[cages."a 3".camera]
video = "a.mp4"
[cages.a4.cage]
name = "a4"
[cages.a4.camera]
vidio = "a.mp4"
[camera]
loop = true
"""
    path = written(tmp_path, text)
    found = faults(path)
    expected = [
        f"{path}:4: defaults.cage.strid: unknown key; did you mean stride?",
        f"{path}:7: defaults.log.flush_s: Input should be a valid number",
        f"{path}:10: cages.a1.camera.pace: Input should be 'real-time' or 'fast', found 'slow'",
        f"{path}:11: cages.a2.camera: is missing",
        f"{path}:12: cages.a 3.cage.name: String should match pattern",
        f"{path}:15: cages.a4.cage.name: a cage's name is its section's",
        f"{path}:17: cages.a4.camera.vidio: unknown key; did you mean video?",
        f"{path}:18: camera: a file has one cage",
    ]
    for start in expected:
        assert sum(line.startswith(start) for line in found) == 1, (start, found)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("usb-2", "usb-1"), "cages.a2: has the camera of cage a1"),
        (
            ('"b.mp4" }', '"b.mp4" }\n[defaults.health]\nlisten = "127.0.0.1:9464"'),
            "cages.b-1: its health page",
        ),
        (("cages.a2", "cages.A1"), "cages.A1: differs from cage a1 in case alone"),
    ],
)
def test_what_two_cages_cannot_share(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    assert any(words in line for line in faults(written(tmp_path, MANY.replace(*change))))


def test_two_names_of_one_device(tmp_path: Path) -> None:
    link = tmp_path / "usb-9"
    link.symlink_to("/dev/video3")
    text = MANY.replace("/dev/v4l/by-id/usb-1", str(link)).replace("/dev/v4l/by-id/usb-2", "3")
    assert len(faults(written(tmp_path, text))) == 1


def test_an_address_for_all_meets_every_other_of_its_port(tmp_path: Path) -> None:
    text = MANY + '[cages.a1.health]\nlisten = "0.0.0.0:9464"\ntoken_file = "t"\n[cages.a2.health]\nlisten = '
    assert len(faults(written(tmp_path, text + '"127.0.0.1:9464"\n'))) == 1
    assert len(load_cages(written(tmp_path, text + '"127.0.0.1:9465"\n'))) == 3


@pytest.mark.parametrize(
    "text",
    ["[defaults.cage]\nbundle = 'b'\n", "cages = 3\n", "[cages]\n", "[cages]\na1 = 3\n", "defaults = 1\n[cages.a]\n"],
)
def test_sections_that_are_none(tmp_path: Path, text: str) -> None:
    assert any("expected" in line for line in faults(written(tmp_path, text)))


def test_the_cores_are_shared_by_processes(tmp_path: Path) -> None:
    cores = physical_cores()
    separate = load_cages(written(tmp_path, MANY))
    assert processes(separate) == [("a1",), ("a2",), ("b-1",)]
    assert {config.engine.threads for config in separate.values()} == {max(1, cores // 3)}
    batched = load_cages(written(tmp_path, MANY + "[defaults.engine]\nbatch_cages = true\n"))
    assert processes(batched) == [("a1", "a2", "b-1")]
    assert {config.engine.threads for config in batched.values()} == {cores}
    text = MANY + '[defaults.engine]\nbatch_cages = true\n[cages.a2.engine]\nkind = "onnxruntime"\nthreads = 7\n'
    mixed = load_cages(written(tmp_path, text))
    assert processes(mixed) == [("a1", "b-1"), ("a2",)]
    assert [config.engine.threads for config in mixed.values()] == [max(1, cores // 2), 7, max(1, cores // 2)]


def test_siblings_are_one_core(tmp_path: Path) -> None:
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(siblings + "\n")
    assert physical_cores([0, 1, 2, 3], tmp_path) == 2
    assert physical_cores([0, 2], tmp_path) == 1
    assert physical_cores([0, 1, 2, 3], tmp_path / "absent") == 4


def test_a_written_file_of_several_is_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "cages.toml"
    write_cages(path, names=["a1", "b-2"], bundle=tmp_path / "b", log_dir=tmp_path / "logs", device="/dev/cages/{cage}")
    cages = load_cages(path)
    assert {name: config.camera.device for name, config in cages.items()} == {
        "a1": "/dev/cages/a1",
        "b-2": "/dev/cages/b-2",
    }
    assert cages["a1"].cage.bundle == tmp_path / "b"
    text = path.read_text()
    assert "[defaults.engine]\n# Engine:" in text
    assert "# batch_cages = false\n" in text
    changed = text.replace("# batch_cages = false", "batch_cages = true")
    assert all(config.engine.batch_cages for config in load_cages(written(tmp_path, changed)).values())


@pytest.mark.parametrize(
    ("names", "device", "words"),
    [
        (["a1", "a2"], "/dev/video0", "expected {cage}"),
        (["a1", "a1"], "/dev/{cage}", "different names"),
        (["a1", "a b"], "/dev/{cage}", "should match pattern"),
    ],
)
def test_several_that_cannot_be_written(tmp_path: Path, names: list[str], device: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        write_cages(tmp_path / "c.toml", names=names, bundle=tmp_path, log_dir=tmp_path, device=device)
    assert list(tmp_path.iterdir()) == []
