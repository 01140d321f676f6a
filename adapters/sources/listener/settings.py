"""What a person sets about one listener of MQTT. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.sources.inlet.settings import MIB, ListenSettings


@dataclass(frozen=True, slots=True)
class ListenerSettings(ListenSettings):
    """Seconds: ``head_timeout`` until CONNECT is here; ``silence`` after which a client is given up
    that wants no keepalive, or a longer one. ``slowest``: bytes a second that a message must come
    with, on average over ``head_timeout``.
    """

    port: int = 8883
    max_message: int = 1 * MIB
    """Bytes of one message, as sent."""
    max_head: int = 16 << 10
    """Bytes of CONNECT, before anybody has shown who it is."""
    per_gateway: int = 4
    """Connections of one gateway."""
    window: int = 64
    """Messages of one connection that are not synced yet; beyond them it is not read."""
    silence: float = 3600.0
    slowest: int = 256

    @property
    def largest(self) -> int:
        return self.max_message
