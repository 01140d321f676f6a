"""The simulated park: three plants, their meters and gateways, and a minute in which much fails.

``Park`` is the truth: what every device would show at any moment, and which devices, gateways
and serial numbers are out of order. It opens nothing; the sockets are opened around it (see
``meterwatch.simulator.opening``). The fleet folder that describes the park to meterwatch is
data beside this file, in ``park/``; the park itself is built from that same folder, so that the
two cannot disagree.
"""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from adapters.profiles import load_profiles
from collector.ports import Clock
from collector.profile import canonical
from meterwatch.simulator.curves import DAY, HOUR, MONDAY, WEEK
from meterwatch.simulator.meters import Meter, Trouble
from meterwatch.simulator.plants import PLANTS, Plant

SETTINGS: Final = "meterwatch.toml"


def template() -> dict[str, str]:
    """The park's fleet folder: relative path -> text, with names in braces still to be filled."""
    root = resources.files("meterwatch.simulator").joinpath("park")
    files = {SETTINGS: root.joinpath(SETTINGS).read_text(encoding="utf-8")}
    for folder in ("registry", "rules"):
        for file in sorted(root.joinpath(folder).iterdir(), key=lambda entry: entry.name):
            files[f"{folder}/{file.name}"] = file.read_text(encoding="utf-8")
    return files


@dataclass(frozen=True, slots=True)
class Fitted:
    """A device as the template describes it. ``bus`` is the name in braces that stands for its
    port; ``gateway`` is set instead for one that is pushed, with the ``quantities`` it brings.
    ``serial`` is what the registry believes; ``ratio`` that of its current transformers."""

    site: str
    id: str
    place: str
    profile: str
    serial: str
    ratio: float
    scheme: str
    bus: str
    unit: int
    gateway: str
    quantities: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.site}/{self.id}"


def fitted() -> list[Fitted]:
    """Every device of the park, in the order of the files."""
    devices: list[Fitted] = []
    for path, text in template().items():
        if path.startswith("registry/"):
            site = tomllib.loads(text)
            devices += [_fitted(site["site"]["id"], device) for device in site["device"]]
    return devices


def _fitted(site: str, device: dict[str, Any]) -> Fitted:
    scheme, _, rest = device.get("connection", "").partition("://")
    address, _, unit = rest.partition("?unit=")
    return Fitted(
        site=site,
        id=device["id"],
        place=device["place"],
        profile=device["profile"],
        serial=device["serial"],
        ratio=float(device.get("current_ratio", 1)),
        scheme=scheme,
        bus=address.partition("{")[2].rstrip("}"),
        unit=int(unit or 0),
        gateway=device.get("gateway", ""),
        quantities=tuple(device.get("quantities", ())),
    )


class Park:
    """The state of the park. Times are UTC ms of ``clock``; nothing here waits.

    ``hour``: let the plants live through that hour of a Tuesday, whatever the clock says, so
    that a demo at night finds the presses at work. Without it they keep the clock's time of day.
    """

    def __init__(self, clock: Clock, seed: int = 1, *, hour: float | None = None) -> None:
        self.clock = clock
        self.seed = seed
        self.opened = clock.now()
        self.devices: Mapping[str, Fitted] = {device.key: device for device in fitted()}
        self._ahead = 0
        if hour is not None:
            week = (self.opened - MONDAY) // WEEK
            self._ahead = MONDAY + week * WEEK + DAY + round(hour * HOUR) - self.opened
        self.plants: Mapping[str, Plant] = {
            site: build(self.opened + self._ahead, zlib.crc32(site.encode(), seed))
            for site, build in PLANTS.items()
        }
        self.meters: Mapping[str, Meter] = {
            key: self._meter(device) for key, device in self.devices.items() if device.bus
        }
        """The slaves that are polled, by ``site/device``."""
        self._silent: set[str] = set()
        self._serials: dict[str, str] = {}

    # what there is to see

    def value(self, site: str, device: str, quantity: str, t: int) -> float:
        """What ``device`` would show for ``quantity`` at ``t`` if it were asked: primary, in the
        quantity's canonical unit. KeyError: it has no such quantity."""
        place = self.devices[f"{site}/{device}"].place
        return self.plants[site].places[place][quantity](t + self._ahead)

    def quantities(self, site: str, device: str) -> list[str]:
        """What could be asked of ``device``."""
        found = self.devices[f"{site}/{device}"]
        return list(found.quantities or self.plants[site].places[found.place])

    def online(self, gateway: str) -> bool:
        return gateway not in self._silent

    def serial(self, device: str) -> str:
        """The serial number that ``site/device`` really has."""
        return self._serials.get(device, self.devices[device].serial)

    # what can be done to it, from now on

    def turn(self, site: str, setting: str, value: float) -> None:
        """Turn a setting of a plant: ``press-1``, ``rto``, ``boiler-1-air`` (1 normal, 0 off)."""
        self.plants[site].settings[setting].turn(self.clock.now() + self._ahead, value)

    def kill(self, device: str) -> None:
        """``site/device`` does not answer any more."""
        self.meters[device].trouble = Trouble.DEAD

    def revive(self, device: str) -> None:
        self.meters[device].trouble = None

    def silence(self, gateway: str) -> None:
        """The gateway loses its network; it keeps what it reads."""
        self._silent.add(gateway)

    def unsilence(self, gateway: str) -> None:
        self._silent.discard(gateway)

    def exchange(self, device: str, serial: str | None) -> None:
        """Another meter hangs there now, with this serial number; None: the old one again."""
        if serial is None:
            self._serials.pop(device, None)
        else:
            self._serials[self.devices[device].key] = serial

    def reset(self, site: str, device: str, quantity: str) -> None:
        """The device's counter starts again from zero."""
        place = self.devices[f"{site}/{device}"].place
        self.plants[site].counters[place, quantity].reset(self.clock.now() + self._ahead)

    def _meter(self, device: Fitted) -> Meter:
        """A slave that shows what a meter behind ``device.ratio`` shows of its place."""
        profile = load_profiles()[device.profile]
        secondary = {
            register.quantity
            for register in profile.registers
            if register.ratio and canonical(register).counter
        }

        def values(now: int) -> dict[str, float]:
            shown = {
                register.quantity: self.value(device.site, device.id, register.quantity, now)
                for register in profile.registers
            }
            return {
                quantity: value / device.ratio if quantity in secondary else value
                for quantity, value in shown.items()
            }

        return Meter(
            unit=device.unit,
            profile=profile,
            values=values,
            ratio=device.ratio,
            current_ratio=device.ratio,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens in the park, ``offset`` seconds after it opened; ``zh`` and ``en``
    say it to whoever watches; ``expect`` names the rules of ``park/rules`` that should fire."""

    offset: float
    id: str
    zh: str
    en: str
    act: Callable[[Park], None]
    expect: tuple[str, ...] = ()


def script(seconds: float = 60.0) -> list[Event]:
    """The demo's minute, or the same course in ``seconds``, in order of time.

    Everything that goes wrong is mended again with a tenth of the time to spare. Rules need
    about nine seconds to notice a silence, so under 30 s not every warning fires.
    """
    course: Sequence[Event] = (
        Event(
            6,
            "treatment-loses-power",
            "印刷厂：废气治理设施（RTO）断电，印刷机仍在运行",
            "Printing: the exhaust treatment (RTO) loses power while the presses run",
            lambda park: park.turn("print", "rto", 0),
            ("park-treatment-power", "park-nmhc"),
        ),
        Event(
            10,
            "slave-dies",
            "水泥站：2号球磨机电表不再应答（同一总线上还有三块表）",
            "Cement: the meter of ball mill 2 stops answering, on a bus with three others",
            lambda park: park.kill("cement/mill-2-meter"),
            ("park-meter-silent",),
        ),
        Event(
            14,
            "gateway-goes-silent",
            "医院：锅炉房网关掉线，读数留在网关里",
            "Hospital: the boiler house gateway drops out and keeps its readings",
            lambda park: park.silence("gw-hospital"),
            ("park-gateway-silent",),
        ),
        Event(
            17,
            "boiler-short-of-air",
            "医院：1号锅炉缺氧燃烧，此时无人看得到",
            "Hospital: boiler 1 burns short of air, and nobody can see it",
            lambda park: park.turn("hospital", "boiler-1-air", 0.2),
            ("park-boiler-air",),
        ),
        Event(
            21,
            "counter-resets",
            "医院：洗衣房电表断电重启，底数归零",
            "Hospital: the laundry's meter restarts and counts from zero",
            lambda park: park.reset("hospital", "laundry-meter", "energy.active.import"),
        ),
        Event(
            24,
            "boiler-has-air",
            "医院：1号锅炉恢复正常",
            "Hospital: boiler 1 is back to normal",
            lambda park: park.turn("hospital", "boiler-1-air", 1),
        ),
        Event(
            26,
            "treatment-has-power",
            "印刷厂：治理设施恢复供电",
            "Printing: the exhaust treatment has power again",
            lambda park: park.turn("print", "rto", 1),
        ),
        Event(
            30,
            "meter-exchanged",
            "水泥站：有人换了水表，台账没有改",
            "Cement: somebody exchanged the water meter and told nobody",
            lambda park: park.exchange("cement/water-meter", "W2611907"),
        ),
        Event(
            34,
            "gateway-returns",
            "医院：锅炉房网关恢复，补传掉线期间的读数",
            "Hospital: the boiler house gateway is back and sends what it kept",
            lambda park: park.unsilence("gw-hospital"),
        ),
        Event(
            38,
            "slave-answers",
            "水泥站：2号球磨机电表恢复应答",
            "Cement: the meter of ball mill 2 answers again",
            lambda park: park.revive("cement/mill-2-meter"),
        ),
        Event(
            45,
            "meter-put-back",
            "水泥站：装回原来的水表",
            "Cement: the right water meter is back",
            lambda park: park.exchange("cement/water-meter", None),
        ),
    )
    pace = seconds / 60.0
    return [
        Event(e.offset * pace, e.id, e.zh, e.en, e.act, e.expect)
        for e in sorted(course, key=lambda event: event.offset)
    ]
