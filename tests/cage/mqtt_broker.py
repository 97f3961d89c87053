"""A real mosquitto on a free port, which can be stopped and started, and who listens to it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

USER, PASSWORD = "cage", "pl4nted-S3cret-0f-the-broker"


class Broker:
    """Mosquitto with one user; what it must keep it keeps in `folder`."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self._folder = folder
        self.certificate = folder / "broker.pem"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", passwords, USER, PASSWORD], check=True, capture_output=True)
        secure = ""
        if tls:
            _certify(self.certificate, folder / "broker.key")
            secure = f"certfile {self.certificate}\nkeyfile {folder / 'broker.key'}\n"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n{secure}"
            f"persistence true\npersistence_location {folder}/\nmax_queued_messages 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(self._settings)], stdout=log, stderr=log)
        wait_for(self._listens, "mosquitto listens")

    def stop(self) -> None:
        """End it as a service manager would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def hang(self) -> None:
        """Let it take what the kernel takes for it, and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, so that it forgets what it has not written."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
        self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mosquitto.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _certify(certificate: Path, key: Path) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )


class Listener:
    """A consumer with a session of its own, so that the broker keeps for it what it misses."""

    def __init__(self, broker: Broker, name: str = "listener") -> None:
        self.messages: list[tuple[str, str, bool]] = []
        """Topic, text, and whether it was retained."""
        self._changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.username_pw_set(USER, PASSWORD)
        self._client.reconnect_delay_set(1, 1)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def _take(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, message.payload.decode(), message.retain))
            self._changed.notify_all()

    def texts(self, topic: str) -> list[str]:
        """Return what came on a topic, oldest first."""
        with self._changed:
            return [text for found, text, _ in self.messages if found == topic]

    def bouts(self) -> list[dict[str, Any]]:
        """Return the bouts that came, repetitions included."""
        return [json.loads(text) for text in self.texts("toolkit/a1/bout")]

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Wait until something came."""
        with self._changed:
            assert self._changed.wait_for(until, timeout=30), (what, self.messages[-3:])

    def close(self) -> None:
        """Go away for good."""
        self._client.disconnect()
        self._client.loop_stop()


def wait_for(done: Callable[[], bool], what: str, most_s: float = 30.0) -> None:
    """Wait for something that has no event."""
    end_s = time.monotonic() + most_s
    while not done():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)
