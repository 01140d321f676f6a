"""MQTT without a broker between: gateways connect to us and publish.

Promises: a PUBACK is sent only after the journal has synced what the message brought, or the
reason of its refusal: it is our word, not a broker's. A gateway that floods is slowed down alone.
What is in memory is bounded, and one gateway's part of it. Nothing is passed on to anybody: there
are no subscriptions but one to the gateway's own replies, no retained messages, no wills, and a
session ends with its connection.

The thread, the port and the end are those of every listener (``inlet/source.py``).
"""

from __future__ import annotations

from adapters.sources.inlet.desk import Desk
from adapters.sources.inlet.source import InletSource
from adapters.sources.listener.report import Report
from adapters.sources.listener.server import Server
from adapters.sources.listener.settings import ListenerSettings
from adapters.sources.payload import PayloadDecoder
from collector.ports import Clock, Credentials
from collector.telemetry import Telemetry


class ListenerSource(InletSource):
    """A ``Source``."""

    def __init__(
        self,
        settings: ListenerSettings,
        decoder: PayloadDecoder,
        credentials: Credentials,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """Raises ``ConfigurationError`` when a certificate file cannot be used."""
        name = f"mqtt-listener:{settings.name}"
        self._settings, self._credentials = settings, credentials
        self._report = Report(name, telemetry)
        super().__init__(name, settings, "mqtt", decoder, clock, self._report)

    def _server(self, desk: Desk) -> Server:
        return Server(
            self._settings,
            self._certificates,
            self._credentials,
            desk,
            self._room,
            self._report,
        )
