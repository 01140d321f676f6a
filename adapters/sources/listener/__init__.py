"""MQTT without a broker: gateways connect to us, to publish. See docs/gateway-protocol.md."""

from adapters.sources.inlet.limits import Rates
from adapters.sources.listener.settings import ListenerSettings
from adapters.sources.listener.source import ListenerSource

__all__ = ["ListenerSettings", "ListenerSource", "Rates"]
