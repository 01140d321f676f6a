"""What a listening source tells people and dashboards: numbers for everything, and a line of log
for each distinct trouble, never for each request. Any thread."""

from __future__ import annotations

import re
import time
from typing import Final

from adapters.sources.inlet.mistaken import no_handshake
from collector.telemetry import Telemetry

_AGAIN_S: Final = 3600.0
_SAID: Final = 4
"""So many different things are said of one trouble to one in that time."""
_NUMBERS: Final = re.compile(r"\d+")
_NAMED: Final = 20
"""Of one trouble so many are named in that time: a flood comes from a thousand addresses."""


class Report:
    """Log lines and metrics of one source; their names begin with ``kind``."""

    def __init__(self, kind: str, name: str, telemetry: Telemetry) -> None:
        self._kind, self._name, self._telemetry = kind, name, telemetry
        self._state: tuple[bool, str] | None = None
        self._told: dict[str, dict[str, dict[str, float]]] = {}
        """When, by event, whom it concerns, and what was said."""

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
        """Once an hour for each event, whom it concerns and what is said of it but for its numbers;
        not of everybody, and not everything: who tries one thing after the other is to see each."""
        now = time.monotonic()
        told = self._told.setdefault(event, {})
        if len(told) >= _NAMED:
            for other in [other for other, mine in told.items() if _old(mine, now)]:
                del told[other]
        mine = told.get(who, {})
        if _old(mine, now):
            mine = {}
        said = _NUMBERS.sub("", str(fields.get("message", "")))
        if now - mine.get(said, -_AGAIN_S) < _AGAIN_S or len(mine) >= _SAID:
            return
        if who not in told and len(told) >= _NAMED:
            return
        told[who] = mine | {said: now}
        self._telemetry.event(event, level="warning", source=self._name, who=who, **fields)


def _old(told: dict[str, float], now: float) -> bool:
    """Nothing of it was said within the hour."""
    return all(now - at >= _AGAIN_S for at in told.values())
