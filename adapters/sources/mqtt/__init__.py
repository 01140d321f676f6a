"""MQTT 3.1.1 and 5: gateways' messages from a broker. See docs/gateway-protocol.md."""

from adapters.sources.mqtt.settings import TOPIC, MqttSettings
from adapters.sources.mqtt.source import MqttSource

__all__ = ["TOPIC", "MqttSettings", "MqttSource"]
