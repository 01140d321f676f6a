"""What the HTTP source tells people and dashboards, beside what every listener tells."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.sources.http.protocol import Phase
from adapters.sources.inlet import report
from collector.telemetry import Telemetry


class Report(report.Report):
    """Log lines and metrics of one source. Any thread."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        super().__init__("http", name, telemetry)

    def answered(self, status: int, why: str, who: str, message: str = "") -> None:
        """One request. ``why``: what stood in its way, in a word; ``who``: gateway or address."""
        self._telemetry.count("http_requests", source=self._name, code=str(status))
        if why:
            self.refused(why, who, message, status=status)

    def remarked(self, gateway: str, remarks: Sequence[str]) -> None:
        """A gateway should mend this although it is stored, and its client tells nobody."""
        self._trouble("http-remarks", gateway, message="; ".join(remarks))

    def slow(self, phase: Phase, address: str) -> None:
        """A connection was ended for its slowness."""
        self.refused("slow", address, phase.value)
