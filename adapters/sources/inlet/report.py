"""What a listening source tells people and dashboards: numbers for everything, and a line of log
for each distinct trouble, never for each request. Any thread."""

from __future__ import annotations

import time
from typing import Final

from adapters.sources.inlet.mistaken import no_handshake
from collector.telemetry import Telemetry

_AGAIN_S: Final = 3600.0
_NAMED: Final = 20
"""Of one trouble so many are named in that time: a flood comes from a thousand addresses."""


class Report:
    """Log lines and metrics of one source; their names begin with ``kind``."""

    def __init__(self, kind: str, name: str, telemetry: Telemetry) -> None:
        self._kind, self._name, self._telemetry = kind, name, telemetry
        self._state: tuple[bool, str] | None = None
        self._told: dict[str, dict[str, float]] = {}

    def state(self, up: bool, reason: str) -> bool:
        """The source listens, or does not and why; whether that is news."""
        if (up, reason) == self._state:
            return False
        self._state = (up, reason)
        event, level = ("source-up", "info") if up else ("source-down", "warning")
        self._telemetry.event(event, level=level, source=self._name, reason=reason)
        self._telemetry.gauge("source_up", float(up), source=self._name)
        return True

    def refused(self, limit: str, who: str, message: str, **fields: object) -> None:
        """Something stood in the way: ``limit`` says what, in a word; ``who``: gateway or
        address."""
        self._telemetry.count(f"{self._kind}_refused", source=self._name, limit=limit)
        self._trouble(f"{self._kind}-{limit}", who, message=message, **fields)

    def late(self) -> None:
        """One of many refusals of the same client is told late."""
        self._telemetry.count(f"{self._kind}_told_late", source=self._name)

    def turned_away(self, limit: str, address: str) -> None:
        """A connection was not let in."""
        self.refused(limit, address, "too many connections")

    def no_handshake(self, failed: BaseException, address: str) -> None:
        self.refused("tls", address, no_handshake(failed))

    def certificate(self, fault: str) -> None:
        """A renewed certificate is in use, or cannot be (``fault``)."""
        if fault:
            event = "renewed certificate cannot be used, the old one stays in use"
            self._telemetry.event(event, level="error", source=self._name, fault=fault)
        else:
            self._telemetry.event("renewed certificate is in use", source=self._name)

    def plain(self, address: str) -> None:
        self._telemetry.event(
            "tokens and readings come unencrypted",
            level="warning",
            source=self._name,
            listen=address,
            todo="give cert_file and key_file, or listen on 127.0.0.1 behind a proxy with TLS",
        )

    def bug(self, fault: BaseException) -> None:
        event = f"{self._kind}-failed"
        self._telemetry.event(event, level="error", source=self._name, exc_info=fault)

    def connections(self, count: int) -> None:
        self._telemetry.gauge(f"{self._kind}_connections", count, source=self._name)

    def under_way(self, size: int) -> None:
        self._telemetry.gauge(f"{self._kind}_bytes_under_way", size, source=self._name)

    def synced(self, messages: int, readings: int, seconds: float) -> None:
        """A batch is safe, so long after its first message was here whole."""
        kind, name = self._kind, self._name
        self._telemetry.count(f"{kind}_stored_messages", messages, source=name)
        self._telemetry.count(f"{kind}_readings", readings, source=name)
        self._telemetry.observe(f"{kind}_receipt_to_sync_seconds", seconds, source=name)

    def _trouble(self, event: str, who: str, **fields: object) -> None:
        """Once an hour for each event and whom it concerns, and not of everybody."""
        now = time.monotonic()
        told = self._told.setdefault(event, {})
        if len(told) >= _NAMED:
            for other in [other for other, at in told.items() if now - at >= _AGAIN_S]:
                del told[other]
        if now - told.get(who, -_AGAIN_S) < _AGAIN_S or len(told) >= _NAMED:
            return
        told[who] = now
        self._telemetry.event(event, level="warning", source=self._name, who=who, **fields)
