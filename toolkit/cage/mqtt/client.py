"""A connection to a broker: how it is made from a configuration, and whether it can be had."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.cage.mqtt.table import MqttTable
from toolkit.cage.secret import read_secret
from toolkit.errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PROBE_S = 5.0


def new_client(table: MqttTable, client_id: str, warn: Callable[[str], None]) -> Client:
    """Return a client that is set up and not connected.

    Parameters
    ----------
    client_id
        By which the broker knows it; two with the same one throw each other out.
    warn
        Told if the password is not protected on its way.

    Raises
    ------
    ConfigError, MissingDependency
        If the password's or the certificates' file cannot be used, or paho-mqtt is not installed.
    """
    try:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingDependency(
            "mqtt: paho-mqtt is not installed. Install it: pip install 'toolkit[mqtt]', or remove [mqtt] host."
        ) from error
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    if table.username is not None:
        password = None
        if table.password_file is not None:
            password = read_secret("mqtt.password_file", table.password_file, "one line, the password")
        client.username_pw_set(table.username, password)
    if table.tls:
        try:
            client.tls_set(None if table.ca_file is None else str(table.ca_file))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"mqtt.ca_file: {table.ca_file} cannot be used ({error}). Expected certificates in PEM format."
            ) from error
    elif table.password_file is not None:
        warn(f"mqtt: the password goes to {table.broker} in the clear. Set [mqtt] tls = true")
    return client


def refusal(table: MqttTable, reason: Any) -> str | None:
    """Return what a broker's answer to a connection says against it; None where it is made."""
    return f"{table.broker} refuses the connection: {reason}" if reason.is_failure else None


def failure(table: MqttTable) -> str:
    """Return why no connection came about; for `on_connect_fail`.

    paho-mqtt calls that while it handles what went wrong, and does not pass it on.
    """
    return f"{table.broker} cannot be reached ({sys.exc_info()[1] or 'no connection'})"


def check_broker(table: MqttTable, cage: str) -> str:
    """Connect once, under a name of its own, and return what there is to say.

    Raises
    ------
    ConfigError
        If there is no connection within `PROBE_S`.
    """
    notes: list[str] = []
    faults: list[str | None] = []
    answered = threading.Event()
    client = new_client(table, f"{table.topic_prefix}/{cage}/check", notes.append)

    def take(fault: str | None) -> None:
        faults.append(fault)
        answered.set()

    client.on_connect = lambda _client, _data, _flags, reason, _properties: take(refusal(table, reason))
    client.on_connect_fail = lambda _client, _data: take(failure(table))
    client.connect_async(str(table.host), table.port)
    client.loop_start()
    answered.wait(PROBE_S)
    client.disconnect()
    client.loop_stop()
    fault = faults[0] if faults else f"{table.broker} does not answer within {PROBE_S:g} s"
    if fault is not None:
        raise ConfigError(f"{fault}. Expected an MQTT broker that lets this cage in. Bouts would wait in the log.")
    return "; ".join([f"{table.broker}, topics {table.topic_prefix}/{cage}/...", *notes])
