"""A Modbus device, read with one profile or another.

Only asks (functions 1 to 4). A device that minds the holes in a map is read without them, and
what it refuses is left out and told.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.codec import decode_one
from adapters.sources.modbus.identity import block as place_of
from adapters.sources.modbus.identity import told_serial
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block, Plan, plan
from adapters.sources.polling import Failure, What
from collector.profile import Profile, Register
from collector.quantities import quantities
from collector.registry import Device
from meterwatch.commissioning.contact.ports import Ending, Identified, Trouble
from meterwatch.commissioning.plausible import Value
from meterwatch.commissioning.word_orders import reordered

_ENDINGS = {What.CONNECT: Ending.UNREACHED, What.SILENT: Ending.SILENT}


def trouble(failure: Failure) -> Trouble:
    """``failure`` as a probe sees it: only silence and no connection end it."""
    return Trouble(_ENDINGS.get(failure.what, Ending.BROKEN), str(failure))


class ModbusContact:
    """One unit on a bus; ``link`` is shared where a search has opened it."""

    protocol = "modbus"

    def __init__(self, url: str, unit: int, link: Link) -> None:
        self.url = url
        self._unit = unit
        self._link = link

    async def open(self) -> Trouble | None:
        failure = None if self._link.connected else await self._link.connect()
        return None if failure is None else Trouble(Ending.UNREACHED, failure.detail)

    def reading(self, profile: Profile) -> ModbusReading:
        return ModbusReading(self._link, self._unit, profile)

    async def identify(self, profile: Profile) -> Identified:
        """Serial number and ratios, each asked for by itself."""
        known = profile.identity
        answers: dict[Block, bytes] = {}
        for one in (known.serial, known.voltage_ratio, known.current_ratio):
            if one is not None and self._link.connected:
                answer = await self._link.read(self._unit, place_of(one))
                if isinstance(answer, bytes):
                    answers[place_of(one)] = answer

        def ratio(one: Register | None) -> float:
            raw = answers.get(place_of(one)) if one is not None else None
            if one is None or raw is None:
                return math.nan
            number = decode_one(one, struct.unpack(f">{len(raw) // 2}H", raw))
            found = number * one.scale + one.offset
            return found if found > 0 else math.nan

        serial = told_serial(known.serial, answers) if known.serial is not None else ""
        return Identified(serial, ratio(known.voltage_ratio), ratio(known.current_ratio))

    def close(self) -> None:
        self._link.close()


def contact(url: str, patience: float) -> ModbusContact:
    """The device at ``url``. Raises ``AddressError``."""
    address = parse_connection(url)
    return ModbusContact(url, address.unit, Link(address.bus, patience))


@dataclass(frozen=True, slots=True)
class Image:
    """Registers as they came, and what they are under the profile or a turned one."""

    data: bytes
    reading: ModbusReading

    def values(self, turn: str = "ABCD") -> tuple[Value, ...]:
        return self.reading.decoded(self.data, turn) if self.data else ()


class ModbusReading:
    """``refused`` says what was left out, in the device's words: blocks, so that ``lacking`` names
    nothing."""

    lacking = ()

    def __init__(self, link: Link, unit: int, profile: Profile) -> None:
        self.profile = profile
        self.refused: tuple[str, ...] = ()
        self._link = link
        self._unit = unit
        self._strict = False
        self._without: tuple[Block, ...] = ()
        self._plan: Plan | None = None
        self._newest = b""

    async def read(self) -> Image | Trouble:
        """Ask for everything once."""
        failure = await self._read()
        return Image(self._newest, self) if failure is None else trouble(failure)

    async def _read(self) -> Failure | None:
        if self._plan is not None:
            image, refused, failure = await self._ask(self._plan)
            if failure is None and not refused:
                self._newest = image
            return failure
        made = self._planned(self.profile)
        image, refused, failure = await self._ask(made)
        if refused and failure is None:  # a strict device may only mind the holes
            self._strict = True
            image, refused, failure = await self._ask(self._planned(self.profile))
            self._without = tuple(refused)
            made = self._planned(self.profile)
        self.refused = tuple(refused.values())
        if failure is None:
            self._plan, self._newest = made, image
        return failure

    def decoded(self, image: bytes, turn: str) -> tuple[Value, ...]:
        """What ``image`` holds, as the meter shows it, before any ratio."""
        profile = reordered(self.profile, turn)
        made = self._planned(profile)
        values, qualities = made.decode(image)
        names = [profile.registers[n].quantity for n in made.points.tolist()]
        return tuple(
            Value(name, value, quantities()[name].unit, quality)
            for name, value, quality in zip(names, values.tolist(), qualities.tolist(), strict=True)
        )

    def _planned(self, profile: Profile) -> Plan:
        device = Device("probe", "device", "place", profile.name)
        ids = {f"probe/place/{row.quantity}/raw": n for n, row in enumerate(profile.registers)}
        return plan(device, profile, ids, strict=self._strict, without=self._without)

    async def _ask(self, wanted: Plan) -> tuple[bytes, dict[Block, str], Failure | None]:
        """The image, what was refused and why, and what ended the reading before its time."""
        image = b""
        refused: dict[Block, str] = {}
        for block in wanted.blocks:
            if not self._link.connected:
                failure = await self._link.connect()
                if failure is not None:
                    return image, refused, failure
            answer = await self._link.read(self._unit, block)
            if isinstance(answer, bytes):
                image += answer
            elif answer.what in {What.NO_SUCH, What.REFUSED}:
                refused[block] = str(answer)
            else:
                return image, refused, answer
        return image, refused, None
