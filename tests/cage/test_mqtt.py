"""Bouts on a real broker: each at least once, none before it is in the log, none lost to kills or absent brokers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.behaviour_log.sessions import DAY_NS, NS
from tests.behaviour_log.test_bout_feed import write_bouts
from tests.cage.mqtt_broker import PASSWORD, Broker, Listener, wait_for
from tests.cage.run_published import changing_parts, published
from toolkit.behaviour_log import BehaviourLog, read_log
from toolkit.cage.check import check
from toolkit.cage.daemon import run
from toolkit.cage.health import STATUS, ailments
from toolkit.cage.metrics import metrics
from toolkit.cage.mqtt import MqttTable, Publisher
from toolkit.cage.mqtt.position import Position, read_position, write_position
from toolkit.errors import ConfigError, MissingDependency

ROOT = Path(__file__).parents[2]

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto") is None or shutil.which("mosquitto_passwd") is None, reason="needs mosquitto"
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    found = Broker(folder)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def cage(tmp_path: Path) -> Path:
    """Return a folder with the password's file."""
    folder = tmp_path / "cage"
    folder.mkdir()
    password(folder, PASSWORD)
    return folder


def password(folder: Path, text: str) -> None:
    (folder / "password").write_text(text + "\n")
    (folder / "password").chmod(0o600)


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "log" / "a1" / STATUS).read_text())
    return values


def expected(log: BehaviourLog) -> list[tuple[str, str, int, int, int]]:
    """Return the bouts of a log: id, behaviour, beginning, end and rows, with the session they began in."""
    sessions = [(one.start_ns, one.uuid) for one in log.provenance]
    return [
        (
            f"{max(one for one in sessions if one[0] <= bout.start_ns)[1]}:{bout.start_ns}",
            log.ethogram.names[bout.behaviour],
            bout.start_ns,
            bout.stop_ns,
            bout.frames,
        )
        for bout in log.bouts
    ]


def received(bouts: list[dict[str, Any]]) -> list[tuple[str, str, int, int, int]]:
    """Return what came, without repetitions."""
    return list(
        dict.fromkeys((one["id"], one["behaviour"], one["start_ns"], one["stop_ns"], one["rows"]) for one in bouts)
    )


@needs_mosquitto
def test_every_bout_once_it_has_ended(cage: Path, broker: Broker) -> None:
    listener = Listener(broker)
    run(published(cage, broker.port), stop=threading.Event(), parts=changing_parts(92))
    log = read_log(cage / "log")
    assert len(log.bouts) == 19
    listener.wait(lambda: listener.texts("toolkit/a1/availability") == ["online", "offline"], "online, then offline")
    bouts = listener.bouts()
    assert received(bouts) == expected(log)
    assert len(bouts) == 19, "nothing is repeated without need"
    first = bouts[0]
    assert first["start"] == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first["start_ns"] // NS)) + (
        f".{first['start_ns'] % NS // 1_000_000:03d}Z"
    )
    assert first["duration_s"] == pytest.approx(5 / 30, abs=1e-6)
    # softmax of one 4 among seven 0.
    assert first["probability"] == pytest.approx(54.598 / (54.598 + 7), abs=1e-3)
    assert (first["bundle_sha256"], first["session"]) == ("b" * 64, log.provenance[0].uuid)
    told = [json.loads(text) for text in listener.texts("toolkit/a1/state")]
    # The broker may be reached before the first frame.
    states = [state for state in told if (state["state"], state["well"]) != ("starting", False)]
    assert (states[0]["state"], states[0]["well"]) == ("running", True)
    assert (states[-1]["state"], states[-1]["rows"]) == ("stopped", 92)
    listener.close()
    # What is retained greets whoever comes late.
    late = Listener(broker, "late")
    late.wait(lambda: len(late.messages) == 2, "two retained messages")
    assert {(topic, retained) for topic, _, retained in late.messages} == {
        ("toolkit/a1/availability", True),
        ("toolkit/a1/state", True),
    }
    late.close()
    families = text_string_to_metric_families(metrics(status(cage), well=True, temperatures_c={}))
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert samples["toolkit_cage_mqtt_sent_total"] == 19
    assert samples["toolkit_cage_mqtt_queued"] == 0
    assert samples["toolkit_cage_mqtt_dropped_total"] == 0
    assert "toolkit_cage_mqtt_connected" in samples


class Daemon:
    """A daemon in a process of its own."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        with (folder / "journal.txt").open("ab") as journal:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cage.run_published", str(folder), str(broker.port)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=journal,
                text=True,
            )

    def watch(self, rows: int) -> None:
        """Wait until so many rows are in the log."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if int(line) >= rows:
                return
        raise AssertionError("the daemon ended")

    def end(self, *, kill: bool) -> None:
        """End it, by SIGKILL or SIGTERM."""
        (self._process.kill if kill else self._process.terminate)()
        self._process.communicate(timeout=30)


def test_an_end_that_comes_during_a_step_is_told_by_another(cage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = published(cage, 1).mqtt
    publisher = Publisher(
        table, "a1", cage, 0, status=lambda: ({}, []), synchronised=lambda: True, warn=lambda _text: None
    )
    states: list[bool] = []

    def step(self: Publisher) -> None:
        states.append(self._ending)
        self._ending = True
        self._wake.set()

    publisher._sent_ns = publisher._final_ns
    monkeypatch.setattr(Publisher, "_step", step)
    publisher._run()
    assert states == [False, True]


@pytest.mark.slow
@needs_mosquitto
def test_kills_and_a_broker_that_goes_away(cage: Path, broker: Broker) -> None:
    """Three daemons, two of them killed, one with no broker at all; the broker is stopped twice."""
    listener = Listener(broker)
    first = Daemon(cage, broker)
    listener.wait(lambda: len(listener.bouts()) > 5, "bouts of the first daemon")
    broker.stop()
    before = len(listener.bouts())
    first.watch(120)
    broker.start()
    listener.wait(lambda: len(listener.bouts()) > before + 5, "bouts after the broker came back")
    first.end(kill=True)
    listener.wait(lambda: listener.texts("toolkit/a1/availability")[-1] == "offline", "the last will")
    broker.stop()
    second = Daemon(cage, broker)
    second.watch(60)
    second.end(kill=True)
    broker.start()
    third = Daemon(cage, broker)
    third.watch(60)
    third.end(kill=False)
    log = read_log(cage / "log")
    assert len(log.provenance) == 3
    assert len(log.bouts) > 50
    wanted = expected(log)
    listener.wait(lambda: len(received(listener.bouts())) >= len(wanted), "every bout")
    assert received(listener.bouts()) == wanted, "in the log's order, as the log has them"
    found = read_position(cage / "log" / "a1")
    assert found is not None
    assert (found.until_ns, found.dropped) == (log.bouts[-1].start_ns, 0)
    listener.close()
    assert_planted_nowhere(cage, PASSWORD)
    assert "event=warning" in (cage / "journal.txt").read_text(), "the broker's absence is told"


@needs_mosquitto
def test_what_was_on_the_way_when_both_died(cage: Path, broker: Broker) -> None:
    """The broker hangs and is killed before it answers, and so is the daemon: what was sent is sent again."""
    before = Listener(broker)
    daemon = Daemon(cage, broker)
    before.wait(lambda: len(before.bouts()) > 5, "bouts")
    broker.hang()
    answered = len(before.bouts())
    daemon.watch(120)
    daemon.end(kill=True)
    broker.kill()
    before.close()
    broker.start()
    after = Listener(broker, "after")
    run(published(cage, broker.port), stop=threading.Event(), parts=changing_parts(30))
    wanted = expected(read_log(cage / "log"))
    assert len(wanted) > answered + 8
    after.wait(lambda: after.bouts()[-1:] != [] and after.bouts()[-1]["id"] == wanted[-1][0], "the last bout")
    assert received(before.bouts() + after.bouts()) == wanted
    after.close()


def assert_planted_nowhere(folder: Path, secret: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "password"]
    assert any(path.suffix == ".sqlite" for path in files)
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


@needs_mosquitto
def test_a_wrong_password_is_told_and_is_not_the_log_s_fault(
    cage: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    password(cage, "wr0ng-pl4nted")
    run(published(cage, broker.port), stop=threading.Event(), parts=changing_parts(60))
    assert len(read_log(cage / "log").time_ns) == 60
    found = status(cage)
    assert found["mqtt"]["connected"] is False
    assert "refuses the connection: Not authorized" in found["mqtt"]["fault"]
    assert found["mqtt"]["queued"] == 12
    late = {**found, "state": "running", "mqtt": {**found["mqtt"], "down_s": 61.0}}
    assert ailments(late, 0.0) == [f"mqtt, 12 bouts wait: {found['mqtt']['fault']}"]
    assert any("refuses the connection" in message for message in caplog.messages)
    assert not any("pl4nted" in message for message in caplog.messages)
    assert_planted_nowhere(cage, "wr0ng-pl4nted")
    checked = [one for one in check(published(cage, broker.port)) if one.subject == "mqtt"]
    assert [(one.ok, one.text.partition(": ")[2][:14]) for one in checked] == [(False, "Not authorized")]
    # Once it is right, nothing is missing.
    password(cage, PASSWORD)
    (found_well,) = (one for one in check(published(cage, broker.port)) if one.subject == "mqtt")
    assert (found_well.ok, "in the clear" in found_well.text) == (True, True)
    listener = Listener(broker)
    run(published(cage, broker.port), stop=threading.Event(), parts=changing_parts(30))
    wanted = expected(read_log(cage / "log"))
    listener.wait(lambda: len(listener.bouts()) >= len(wanted), "every bout")
    assert received(listener.bouts()) == wanted
    listener.close()


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
# paho-mqtt leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_tls_and_who_the_broker_is(tmp_path: Path, cage: Path) -> None:
    folder = tmp_path / "secure"
    folder.mkdir()
    broker = Broker(folder, tls=True)
    broker.start()
    try:
        secure = {"tls": True, "ca_file": broker.certificate}
        run(published(cage, broker.port, **secure), stop=threading.Event(), parts=changing_parts(40))
        assert (status(cage)["mqtt"]["sent"], status(cage)["mqtt"]["fault"]) == (8, None)
        # The system's certificates do not vouch for it.
        run(published(cage, broker.port, tls=True), stop=threading.Event(), parts=changing_parts(40))
        assert "certificate verify failed" in status(cage)["mqtt"]["fault"]
    finally:
        broker.stop()


@pytest.mark.parametrize(("synchronised", "dropped"), [(True, 4), (False, 0), (None, 0)])
def test_what_grew_too_old_is_dropped_and_counted(tmp_path: Path, synchronised: bool | None, dropped: int) -> None:
    """Ten days old, a day old, and a broker that is not there."""
    now_ns = time.time_ns()
    write_bouts(tmp_path, now_ns - 10 * DAY_NS, [0, 1, 0, 1])
    write_bouts(tmp_path, now_ns - DAY_NS, [0, 1])
    folder = tmp_path / "a1"
    write_position(folder, Position(now_ns - 11 * DAY_NS))
    told: list[str] = []
    with Publisher(
        MqttTable(host="127.0.0.1", port=9),
        "a1",
        folder,
        now_ns,
        status=lambda: ({"state": "running"}, ()),
        synchronised=lambda: synchronised,
        warn=told.append,
    ) as publisher:
        wait_for(lambda: publisher.state.queued > 0, "a first count")
        assert (publisher.state.queued, publisher.state.dropped) == (6 - dropped, dropped)
    assert any("4 bouts are older than keep_days = 7" in line for line in told) == bool(dropped)


def test_faults_of_the_table(cage: Path) -> None:
    for table, message in (
        ({"topic_prefix": "lab/+"}, "expected levels such as"),
        ({"topic_prefix": "/lab"}, "expected levels such as"),
        ({"password_file": "p"}, "without username"),
        ({"ca_file": "c"}, "tls is not"),
    ):
        with pytest.raises(ValueError, match=message):
            MqttTable.model_validate({"host": "h", **table})
    (cage / "password").chmod(0o644)
    with pytest.raises(ConfigError, match="can be used by every user"):
        run(published(cage, 9), stop=threading.Event(), parts=changing_parts(5))
    (cage / "password").chmod(0o600)
    (cage / "password").write_text(f"{PASSWORD}\nsecond line\n")
    with pytest.raises(ConfigError, match="one line") as caught:
        run(published(cage, 9), stop=threading.Event(), parts=changing_parts(5))
    assert PASSWORD not in str(caught.value)
    password(cage, PASSWORD)
    with pytest.raises(ConfigError, match=r"ca_file: .*none.pem cannot be used"):
        run(published(cage, 9, tls=True, ca_file=cage / "none.pem"), stop=threading.Event(), parts=changing_parts(5))


def test_without_the_extra(cage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(MissingDependency, match=r"pip install 'toolkit\[mqtt\]'"):
        run(published(cage, 9), stop=threading.Event(), parts=changing_parts(5))
