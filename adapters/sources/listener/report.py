"""What the MQTT listener tells people and dashboards, beside what every listener tells."""

from __future__ import annotations

from adapters.sources.inlet import report
from collector.telemetry import Telemetry


class Report(report.Report):
    """Log lines and metrics of one source. Any thread."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        super().__init__("listener", name, telemetry)

    def message(self, qos: int) -> None:
        self._telemetry.count("listener_messages", source=self._name, qos=str(qos))

    def paused(self, limit: str, gateway: str) -> None:
        """A gateway is not read for a while, because it sent more of ``limit`` than its share."""
        told = "it is read as slowly as its share allows; nothing of it is lost"
        self.refused(f"paused-{limit}", gateway, told)

    def no_reply(self) -> None:
        """A reply was not sent: the client does not fetch what it has."""
        self._telemetry.count("listener_replies_dropped", source=self._name)
