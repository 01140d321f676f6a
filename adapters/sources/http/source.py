"""HTTP(S): gateways' requests into the journal.

Promises: a request is answered as stored only after the journal has synced it, or the reason of
its refusal; whatever ends in between, the sender has it still. What is in memory is bounded, and
one gateway's part of it. The thread, the port and the end are those of every listener
(``inlet/source.py``).
"""

from __future__ import annotations

import asyncio

from adapters.sources.http.app import application
from adapters.sources.http.report import Report
from adapters.sources.http.server import Server
from adapters.sources.http.settings import HttpSettings
from adapters.sources.http.taking import Service
from adapters.sources.inlet.desk import Desk
from adapters.sources.inlet.source import InletSource
from adapters.sources.payload import PayloadDecoder
from collector.ports import Clock, Credentials
from collector.telemetry import Telemetry


class HttpSource(InletSource):
    """A ``Source``."""

    def __init__(
        self,
        settings: HttpSettings,
        decoder: PayloadDecoder,
        credentials: Credentials,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """Raises ``ConfigurationError`` when a certificate file cannot be used."""
        name = f"http:{settings.name}"
        self._settings, self._credentials = settings, credentials
        self._report = Report(name, telemetry)
        super().__init__(name, settings, "http/1.1", decoder, clock, self._report)

    def _server(self, desk: Desk) -> Server:
        service = Service(
            self._settings,
            self._credentials,
            desk,
            self._room,
            self._report,
            asyncio.get_running_loop().time,
        )
        return Server(application(service), service, self._certificates)
