"""A cage's bouts and state on an MQTT broker."""

from toolkit.cage.mqtt.publisher import Publisher
from toolkit.cage.mqtt.table import MqttTable

__all__ = ["MqttTable", "Publisher"]
