"""What a decoder knows of one gateway, and the readers of its messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from adapters.sources.payload.clocks import Clock
from adapters.sources.payload.columns import Plan
from adapters.sources.payload.foreign import ForeignReader
from adapters.sources.payload.formats import LINE_PROTOCOL, OWN, Format
from adapters.sources.payload.line_protocol import LineReader
from adapters.sources.payload.own import read
from adapters.sources.payload.plan import Hints
from adapters.sources.payload.shape import Read, Reader, UnreadableError
from collector.registry import Device, Gateway


class Known:
    """A gateway of the registry: its site, its zone, its origin, its format, its plans."""

    def __init__(
        self,
        gateway: Gateway,
        zone: str,
        origin: int,
        devices: Sequence[Device],
        formats: Mapping[str, Format],
        clock: Clock,
    ) -> None:
        self.gateway = gateway
        self.clock = clock
        self.zone = zone
        self.origin = origin
        self.plans: dict[tuple[object, ...], Plan] = {}
        self.hints = Hints()
        self.times: dict[str, int] = {}
        """Time texts read lately: the rows of a message mostly share one."""
        self._devices, self._formats = devices, formats
        self._readers: dict[tuple[str, str], Reader] = {}
        self.names: tuple[str, ...] = ()
        """By which its formats call quantities."""
        self.read = self.reader(gateway.format, "")

    def reader(self, form: str, unit: str) -> Reader:
        """Reads its messages in this format; ``unit``: of times, where it is not the format's."""
        if form == OWN:
            return read
        reader = self._readers.get((form, unit))
        if reader is None:
            found = self._formats.get(form)
            if found is None:
                return partial(_no_format, form)
            self.names += tuple(found.tags)
            if found.syntax == LINE_PROTOCOL:
                reader = LineReader(found, self._devices, self.zone, unit, self.clock.saw).read
            else:
                reader = ForeignReader(found, self._devices, self.zone, self.clock.saw).read
            self._readers[form, unit] = reader
        return reader


def _no_format(form: str, payload: bytes, received: int) -> Read:  # noqa: ARG001 - a reader
    raise UnreadableError(f"there is no format {form!r:.80}")
