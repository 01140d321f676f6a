"""Which protocol reads which URL: the one place where commissioning names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.connections import check_connection
from collector.errors import ConfigurationError, Fault
from meterwatch.commissioning.contact import dlt645, dlt645_search, modbus, modbus_search
from meterwatch.commissioning.contact.ports import Clock, Contact, Search, Wanted


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a protocol may need beside a URL: the ``zone`` in which its meters' clocks are set."""

    zone: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Speaker:
    """How a protocol makes a contact (of URL and seconds for an answer) and a search (None: its
    own seconds)."""

    contact: Callable[[str, float, Surroundings], Contact]
    search: Callable[[str, Wanted, float | None, Surroundings], Search]


_MODBUS: Final = Speaker(
    lambda url, patience, _: modbus.contact(url, patience),
    lambda url, wanted, patience, _: modbus_search.search(url, wanted, patience),
)
_DLT645: Final = Speaker(
    lambda url, patience, at: dlt645.contact(url, patience, zone=at.zone, clock=at.clock),
    lambda url, wanted, patience, at: dlt645_search.search(
        url, wanted, patience, zone=at.zone, clock=at.clock
    ),
)
SPEAKERS: Final[Mapping[str, Speaker]] = {
    "modbus+tcp": _MODBUS,
    "modbus+rtu-tcp": _MODBUS,
    "modbus+serial": _MODBUS,
    "dlt645+tcp": _DLT645,
    "dlt645+serial": _DLT645,
    "dlt645+listen": _DLT645,
}


def contact_at(url: str, patience: float, around: Surroundings) -> Contact:
    """The device at ``url``. Raises ``ConfigurationError``."""
    speaker = _speaker(url)
    try:
        return speaker.contact(url, patience, around)
    except ValueError as error:
        raise ConfigurationError(Fault("URL", 0, str(error))) from error


def search_at(url: str, wanted: Wanted, patience: float | None, around: Surroundings) -> Search:
    """A search on the line of ``url``. Raises ``ConfigurationError``."""
    speaker = _speaker(url)
    try:
        return speaker.search(url, wanted, patience, around)
    except ValueError as error:
        raise ConfigurationError(Fault("URL", 0, str(error))) from error


def _speaker(url: str) -> Speaker:
    found = SPEAKERS.get(url.partition(":")[0])
    if found is None:
        wrong = check_connection(url).wrong[0]
        raise ConfigurationError(Fault("URL", 0, wrong.what, wrong.todo))
    return found
