"""What a person sets about one listener of HTTP. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.sources.inlet.settings import MIB, RATES, ListenSettings

__all__ = ["MIB", "RATES", "HttpSettings"]


@dataclass(frozen=True, slots=True)
class HttpSettings(ListenSettings):
    """Seconds: ``head_timeout`` from the first byte of a request (or of a connection) to the end of
    its header; ``keep_alive`` between requests; ``patience`` for which a body may wait for room.
    ``slowest`` bytes a second that a body must come with, on average over ``head_timeout``.
    """

    port: int = 8443
    max_body: int = 4 * MIB
    """Bytes, as sent and unpacked."""
    max_head: int = 8 << 10
    per_gateway: int = 16
    """Requests of one gateway at once."""
    keep_alive: float = 75.0
    slowest: int = 1024
    patience: float = 10.0

    @property
    def largest(self) -> int:
        return self.max_body
