"""A planted secret is in nothing that a real run leaves or says."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cage.conftest import WriteCages
from tests.cage.test_supervisor import ENGINE, Running
from toolkit.cage.config_file import load_cages
from toolkit.cli import app
from toolkit.errors import ConfigError

TOKEN = "planted-token-9f2c61d0a7"
PASSWORD = "planted-password-5e81"
BROKER_PASSWORD = "planted-broker-77ac41"
CAMERA_PASSWORD = "planted-camera-0d92e6"


def ask(port: int, path: str, token: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return f"{response.status} {response.headers}{response.read().decode()}"
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def said(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "toolkit.cli", "cage", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout


def test_the_token_of_the_page_and_the_broker_s_password(write_cages: WriteCages) -> None:
    """The broker is not there, so that whatever is said of it is said."""
    ports = {cage: free_port() for cage in ("a1", "a2")}
    sections = "".join(f'[cages.{cage}.health]\nlisten = "127.0.0.1:{port}"\n' for cage, port in ports.items())
    more = (
        f'{ENGINE}[defaults.health]\ntoken_file = "page.token"\n{sections}[defaults.mqtt]\nhost = "127.0.0.1"\n'
        f'port = {free_port()}\nusername = "lab"\npassword_file = "broker.password"\n'
    )
    path = write_cages(["a1", "a2"], more, pace="real-time", loop=True)
    folder = path.parent
    secrets = {folder / "page.token": TOKEN, folder / "broker.password": BROKER_PASSWORD}
    for secret, text in secrets.items():
        secret.write_text(text + "\n")
        secret.chmod(0o600)
    told = []
    with Running(path) as running:
        told += running.hear("READY=1")
        for port in ports.values():
            answers = {page: ask(port, page, TOKEN) for page in ("/healthz", "/metrics", "/state", "/none")}
            assert answers["/state"].startswith("200")
            told += [*answers.values(), ask(port, "/state", TOKEN[:-1]), ask(port, f"/{TOKEN[::-1]}", "")]
        told.append(said("status", str(path)))
        running.process.terminate()
        told.append(running.process.communicate(timeout=60)[0])
    told += [said("check", str(path)), said("status", str(path)), said("install", str(path), "--dry-run")]
    assert "token in" in "".join(told)
    assert "what each cage costs" in "".join(told)
    assert "mqtt" in "".join(told)
    assert [text for text in told if TOKEN in text or BROKER_PASSWORD in text] == []
    left = {file for file in folder.rglob("*") if file.is_file()}
    # Logs, with what SQLite keeps beside them, statuses, and the journal.
    assert {"errors", "status.json"} <= {file.name for file in left}
    assert any(file.suffix == ".sqlite" for file in left)
    for secret, text in secrets.items():
        assert [file for file in left if text.encode() in file.read_bytes()] == [secret]


def test_a_camera_s_password(tmp_path: Path) -> None:
    """Of a camera that is not there: asked for by a check, and by a daemon that cannot start."""
    secret = tmp_path / "camera.secret"
    secret.write_text(f"mouse:{CAMERA_PASSWORD}\n")
    secret.chmod(0o600)
    path = tmp_path / "a1.toml"
    path.write_text(
        '[cage]\nname = "a1"\nbundle = "none"\n[log]\nfolder = "logs"\n[camera]\n'
        f'rtsp = "rtsp://127.0.0.1:{free_port()}/1"\nrtsp_secret_file = "camera.secret"\n'
    )
    told = []
    for command in ("check", "run", "status", "install"):
        more = ["--dry-run"] if command == "install" else []
        result = CliRunner().invoke(app, ["cage", command, str(path), *more])
        told.append(result.output + str(result.exception))
    assert "failed" in told[0]
    assert [text for text in told if CAMERA_PASSWORD in text] == []
    left = [file for file in tmp_path.rglob("*") if file.is_file() and CAMERA_PASSWORD.encode() in file.read_bytes()]
    assert left == [secret]


@pytest.mark.parametrize(
    "address", ["rtsp://cam:{}@10.0.0.9/main", "rtsp://:{}@10.0.0.9", "mqtts://a%40b:{}@broker:8883", "//u:{}@h/x"]
)
def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path, address: str) -> None:
    path = tmp_path / "a1.toml"
    source = address.format(PASSWORD)
    path.write_text(f'[cage]\nname = "a1"\nbundle = "b"\n[camera]\ndevice = "{source}"\n[log]\nfolder = "logs"\n')
    with pytest.raises(ConfigError, match=r"camera\.device: an address with a password") as caught:
        load_cages(path)
    assert PASSWORD not in str(caught.value)
    for command in ("check", "run", "status", "install"):
        result = CliRunner().invoke(app, ["cage", command, str(path)])
        assert isinstance(result.exception, ConfigError)
        assert PASSWORD not in result.output + str(result.exception)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a1.toml"]
    path.write_text(path.read_text().replace(source, "rtsp://10.0.0.9:554/main@2"))
    assert load_cages(path)["a1"].camera.device == "rtsp://10.0.0.9:554/main@2"
