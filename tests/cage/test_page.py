"""The health page: what it says, whom it tells, and that no client can hold it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import toolkit.cage.page as page_module
from tests.cage.parts import ScriptedCamera, config, parts
from toolkit.behaviour_log import Reason, read_log
from toolkit.bouts import Bout
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run
from toolkit.cage.engines import EngineState
from toolkit.cage.health import SILENT_S, STALE_S, Health
from toolkit.cage.metrics import metrics
from toolkit.cage.page import MOST_CONNECTIONS, MOST_REQUEST_BYTES, HealthPage, open_page
from toolkit.errors import ConfigError
from toolkit.frames import NS_PER_S

TOKEN = "planted-secret-4d1f0c"


def running(**changes: object) -> Health:
    health = Health("a1", "b" * 64, {"rgb": 'x"y\\z'}, state="running", behaviours=("drink", "eat"))
    for name, value in changes.items():
        setattr(health, name, value)
    return health


@contextmanager
def serving(health: Health, folder: Path, token: str | None = None) -> Iterator[HealthPage]:
    with HealthPage(("127.0.0.1", 0), health, folder, token) as page:
        yield page


def ask(page: HealthPage, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(*page.address, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


def raw(page: HealthPage, request: bytes) -> bytes:
    with socket.create_connection(page.address, timeout=20) as client:
        client.sendall(request)
        answer = b""
        while block := client.recv(4096):
            answer += block
        return answer


def test_well_and_not_well(tmp_path: Path) -> None:
    health = running()
    with serving(health, tmp_path) as page:
        assert ask(page, "/healthz") == (200, "text/plain", "ok\n")
        health.unobserved_now = "dark"
        assert ask(page, "/healthz")[::2] == (200, "ok, but nothing is observed now: dark\n")
        assert json.loads(ask(page, "/state")[2])["unobserved_now"] == "dark"
        health.silent_s = SILENT_S + 1
        assert ask(page, "/healthz")[::2] == (503, "no frame from the camera for 21 s\n")
        health.silent_s = 0.0
        health.beat_ns = time.monotonic_ns() - round((STALE_S + 1) * NS_PER_S)
        assert ask(page, "/healthz")[::2] == (503, "stale: the daemon said nothing for 31 s; it hangs or is dead\n")
        health.state = "starting"
        assert ask(page, "/healthz")[::2] == (503, "starting\n")
        health.state, health.error = "failed", "unplugged"
        assert ask(page, "/healthz")[::2] == (503, "failed: unplugged\n")
        assert ask(page, "/")[0] == 404


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    health = running(
        frames_captured=100, frames_dropped=7, frames_processed=93, rows=86, unobserved_s={"overload": 1.5, "dark": 0.0}
    )
    health.stages, health.windows_skipped, health.stride = {"admit": (93, 1.25), "infer": (40, 0.5)}, 53, 3
    health.engine = EngineState(2, "lost")
    health.busy_s, health.clock_step_ns, health.clock_synchronised, health.queue_depth = 2.5, -1_500_000_000, False, 3
    for latency_s in (0.2, 0.3):
        health.latency.add(latency_s)
    with serving(health, tmp_path) as page:
        status, kind, text = ask(page, "/metrics")
        assert ask(page, "/metrics", "HEAD") == (200, kind, "")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (
            sample.name.removeprefix("toolkit_cage_"),
            *(value for key, value in sample.labels.items() if key != "cage"),
        ): (sample.value)
        for family in families.values()
        for sample in family.samples
    }
    assert {sample.labels["cage"] for family in families.values() for sample in family.samples} == {"a1"}
    assert samples["frames_captured_total",] == 100
    assert samples["frames_dropped_total",] == 7
    assert samples["frames_processed_total",] == 93
    assert samples["rows_total",] == 86
    assert samples["unobserved_seconds_total", "overload"] == 1.5
    assert samples["queue_depth",] == 3
    assert samples["clock_offset_seconds",] == -1.5
    assert samples["clock_synchronised",] == 0
    assert samples["healthy",] == 1
    assert samples["stage_seconds_sum", "admit"] == 1.25
    assert samples["stage_seconds_count", "infer"] == 40
    assert (samples["windows_skipped_total",], samples["stride",]) == (53, 3)
    assert (samples["engine_failures_total",], samples["engine_fallen_back",]) == (2, 0)
    assert samples["stage_seconds_sum", "process"] == 2.5
    assert samples["stage_seconds_sum", "frame_to_row"] == pytest.approx(0.5)
    assert samples["stage_seconds_count", "frame_to_row"] == 2
    assert samples["stage_seconds", "frame_to_row", "0.5"] == pytest.approx(0.2, rel=0.06)
    free = os.statvfs(tmp_path)
    assert samples["storage_free_bytes",] == pytest.approx(free.f_bavail * free.f_frsize, rel=0.05)
    assert samples["info", "b" * 64, "running", 'rgb=x"y\\z'] == 1
    assert families["toolkit_cage_frames_captured"].type == "counter"
    assert families["toolkit_cage_stage_seconds"].type == "summary"
    assert "temperature" not in metrics(health.status(tmp_path), well=True, temperatures_c={})
    warm = metrics(health.status(tmp_path), well=False, temperatures_c={"cpu": 45.5})
    assert 'toolkit_cage_temperature_celsius{cage="a1",zone="cpu"} 45.5\n' in warm
    assert 'toolkit_cage_healthy{cage="a1"} 0\n' in warm


def test_the_state(tmp_path: Path) -> None:
    bouts = (Bout(0, 0, 2 * NS_PER_S, 60, 0.75), Bout(1, 2 * NS_PER_S, 3 * NS_PER_S, 30, 0.5))
    with serving(running(behaviour="eat", bouts=bouts), tmp_path) as page:
        state = json.loads(ask(page, "/state")[2])
    assert (state["well"], state["behaviour"], state["reasons"]) == (True, "eat", [])
    assert state["last_bouts"] == [
        {
            "behaviour": "eat",
            "start_utc": "1970-01-01T00:00:02.000+00:00",
            "duration_s": 1.0,
            "frames": 30,
            "mean_probability": 0.5,
        },
        {
            "behaviour": "drink",
            "start_utc": "1970-01-01T00:00:00.000+00:00",
            "duration_s": 2.0,
            "frames": 60,
            "mean_probability": 0.75,
        },
    ]


def test_without_the_token_nothing_is_told(tmp_path: Path) -> None:
    with serving(running(), tmp_path, TOKEN) as page:
        for path in ("/healthz", "/metrics", "/state", "/nowhere"):
            for shown in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": TOKEN},
                {"Authorization": "Bearer ü"},
            ):
                status, _, text = ask(page, path, **shown)
                assert (status, TOKEN in text) == (401, False)
        assert ask(page, "/healthz", Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * MOST_REQUEST_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"a: 1\r\n" * 200 + b"\r\n", 431),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\n", 405),
        (b"DELETE /state HTTP/1.1\r\n\r\n", 405),
        (b"GET /<script> HTTP/9.0\r\n\r\n", 505),
        (b"GET /<script> <script> <script>\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
    ],
)
def test_what_is_not_a_small_get_is_refused(tmp_path: Path, request_: bytes, status: int) -> None:
    with serving(running(), tmp_path) as page:
        answer = raw(page, request_)
        assert answer.split()[1] == str(status).encode(), answer
        assert b"script" not in answer
        assert ask(page, "/healthz")[0] == 200


def test_slow_clients_are_dropped_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "REQUEST_S", 1.0)
    before = threading.active_count()
    with serving(running(), tmp_path) as page, ExitStack() as stack:
        begun_s = time.monotonic()
        clients = [stack.enter_context(socket.create_connection(page.address, timeout=20)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
        time.sleep(0.3)
        assert threading.active_count() - before <= MOST_CONNECTIONS + 1
        # One that sends a little now and then is no better off.
        for _ in range(4):
            time.sleep(0.3)
            try:
                clients[0].sendall(b"a")
            except OSError:
                break
        for client in clients:
            with suppress(ConnectionError):
                assert client.recv(100) == b""
        assert time.monotonic() - begun_s < 10
        assert ask(page, "/healthz")[0] == 200


def test_a_busy_port_is_said(tmp_path: Path) -> None:
    with serving(running(), tmp_path) as page, pytest.raises(ConfigError, match="port of its own"):
        HealthPage(page.address, running(), tmp_path).__enter__()


def test_ipv6_if_there_is_any(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with HealthPage(("::1", 0), running(), tmp_path) as page:
        assert ask(page, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("health", "message"),
    [
        ({"listen": "0.0.0.0:9464"}, "Set token_file"),
        ({"listen": "192.168.1.2:9464"}, "Set token_file"),
        ({"listen": "[::]:9464"}, "Set token_file"),
        ({"listen": "localhost:9464"}, "expected an IP address and a port"),
        ({"listen": "127.0.0.1"}, "expected an IP address and a port"),
        ({"listen": "127.0.0.1:70000"}, "expected an IP address and a port"),
    ],
)
def test_an_address_that_is_refused(tmp_path: Path, health: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(tmp_path, health=health)


def token_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"short\n", 0o600, "holds no "),
        (b"", 0o600, "holds no "),
        (b"planted-secret two words", 0o600, "holds no "),
        (b"planted-secret-\xff\xff\xff\xff", 0o600, "not ASCII"),
        (TOKEN.encode(), 0o644, "chmod 640"),
    ],
)
def test_a_token_that_is_refused_is_not_shown(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    table = config(
        tmp_path, health={"listen": "0.0.0.0:9464", "token_file": token_file(tmp_path, content, mode)}
    ).health
    with pytest.raises(ConfigError, match=message) as caught:
        open_page(table, running(), tmp_path)
    assert "planted" not in str(caught.value)
    assert "short" not in str(caught.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_a_daemon_serves_its_page_and_keeps_its_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    token = token_file(tmp_path, TOKEN.encode() + b"\n")
    port = free_port()
    settings: CageConfig = config(tmp_path, health={"listen": f"127.0.0.1:{port}", "token_file": token})
    stop = threading.Event()
    camera = ScriptedCamera([(60, 0.0), (60, 1000.0)])
    daemon = threading.Thread(target=run, args=(settings,), kwargs={"stop": stop, "parts": parts(camera)})
    daemon.start()
    told = ""
    try:
        state: dict[str, object] = {}
        deadline_s = time.monotonic() + 30
        while not state.get("rows") and time.monotonic() < deadline_s:
            time.sleep(0.1)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/state", headers={"Authorization": f"Bearer {TOKEN}"})
                text = connection.getresponse().read().decode()
            except ConnectionRefusedError:
                continue
            finally:
                connection.close()
            told += text
            state = json.loads(text)
        assert state["well"]
        assert (state["state"], state["behaviour"]) == ("running", "rest")
    finally:
        stop.set()
        daemon.join()
    with socket.socket() as gone:
        assert gone.connect_ex(("127.0.0.1", port)) != 0
    assert TOKEN not in told + settings.snapshot() + "".join(capfd.readouterr())
    written = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"status.json"}
    for path in written:
        assert TOKEN.encode() not in path.read_bytes(), path


def test_the_page_shows_the_bouts_that_the_log_holds(tmp_path: Path) -> None:
    """The daemon's own account of bouts is the writer's: three silences make three bouts."""
    health: list[Health] = []
    original = Health.write

    def keep(self: Health, folder: Path) -> None:
        health.append(self)
        original(self, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Health, "write", keep)
        run(
            config(tmp_path),
            stop=threading.Event(),
            parts=parts(ScriptedCamera([(20, 1.5), (25, 1.5), (30, 0.0)])),
        )
    log = read_log(tmp_path / "log")
    assert health[-1].bouts == log.bouts
    assert [bout.frames for bout in log.bouts] == [20, 25, 30]
    assert log.unobserved_s()[Reason.CAMERA_LOST] > 2
