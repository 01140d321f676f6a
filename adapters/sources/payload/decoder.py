"""Gateway messages -> one batch and the refusals. Pure: bytes in, columns out, no clock.

The registry is applied here: names become stable point ids, values the canonical unit, gauges
behind transformers get their ratio. Whatever cannot be used is refused with a reason in words,
and only it: the other readings of the same message are kept. Nothing raises, whatever the bytes.

Speed comes from deciding once: a row's device, serial and list of quantities (a gateway sends
the same ones for years) are looked up as one key, whose plan holds the ids and factors ready.
All messages of a call become one set of columns; what needs a second look (units, flags, numbers
that mean "no value") is remembered by position and done on the finished columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from adapters.sources.payload.columns import SAMPLE_BYTES, Columns, Notes, Plan, flagged
from adapters.sources.payload.plan import Planner
from adapters.sources.payload.shape import Row, UnreadableError, read
from collector.model import Batch, Reason, Refusal
from collector.profile import Profile
from collector.registry import Gateway, Identify, PointTable, Registry

Message = tuple[str, bytes, int]
"""Topic, payload, receipt (UTC ms)."""

_OLDEST: Final = 946_684_800_000  # 2000-01-01; before it a number was not milliseconds
_NEWEST: Final = 253_402_300_800_000  # the year 10000; beyond it a number was not milliseconds
_PLANS: Final = 100_000
_FAULTY_PLANS: Final = 1_000
_LONGEST_KEY: Final = 4096
_TOPICS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """``batch``: all usable rows, one segment per message that has any. ``refusals``: one per
    message, reason and device. ``backfill``: every segment is late data."""

    batch: Batch
    refusals: list[Refusal]
    backfill: bool


class _Known:
    """A gateway of the registry: its site, its zone, its origin, its plans."""

    def __init__(self, gateway: Gateway, zone: ZoneInfo, origin: int) -> None:
        self.gateway = gateway
        self.zone = zone
        self.origin = origin
        self.plans: dict[tuple[object, ...], Plan] = {}


class PayloadDecoder:
    """Decodes the messages of one source under one registry revision. One thread at a time.

    ``identify`` gives origin ids (``Journal.origin_ids``); readings come from ``gateway:ID``,
    and what no known gateway sent from ``source`` (``mqtt:main``), so that nobody can fill the
    dictionary with invented names. ``late_after_ms``: a message whose newest reading is older
    than this at receipt is late data, whatever its flag says.
    """

    def __init__(
        self,
        registry: Registry,
        table: PointTable,
        identify: Identify,
        *,
        source: str,
        late_after_ms: int,
        profiles: Mapping[str, Profile],
    ) -> None:
        self._planner = Planner(registry, table, profiles)
        self._late_after = late_after_ms
        gateways = list(registry.gateways.values())
        origins = identify([source, *(f"gateway:{gateway.id}" for gateway in gateways)])
        self.origin = int(origins[0])
        """The source's own origin id."""
        self._gateways = {
            gateway.id: _Known(gateway, ZoneInfo(registry.sites[gateway.site].zone), int(origin))
            for gateway, origin in zip(gateways, origins[1:], strict=True)
        }
        self._topics: dict[str, _Known] = {}
        self._plans = self._faulty_plans = 0

    def decode_many(self, messages: Sequence[Message]) -> Decoded:
        """All of ``messages`` in order. Any cutting of a sequence of messages into calls gives
        the same rows and refusals in the same order."""
        columns = Columns()
        refusals: list[Refusal] = []
        times: dict[tuple[str, int], int | None] = {}
        for topic, payload, received in messages:
            known = self._topics.get(topic) or self._gateway(topic)
            note = Notes()
            if isinstance(known, str):
                self._refuse_all(known, topic, payload, note)
                refusals.extend(note.refusals(received, self.origin, payload))
                continue
            try:
                message, damages = read(payload)
            except UnreadableError as fault:
                note.add(Reason.PAYLOAD, "", str(fault), 1)
            else:
                for damage in damages:
                    note.damage(damage)
                if not message.readings and not damages:
                    note.add(Reason.PAYLOAD, "", "the message holds no readings", 0)
                newest = self._rows(known, message.readings, columns, note, times)
                late = newest < received - self._late_after
                columns.close(known.origin, received, message.backfill or late)
            if note:
                refusals.extend(note.refusals(received, known.origin, payload))
        return Decoded(columns.batch(), refusals, bool(columns.backfill) and all(columns.backfill))

    def too_large(self, topic: str, head: bytes, size: int, received: int) -> Refusal:
        """The refusal of a message that was too large to be taken in whole."""
        known = self._gateway(topic)
        origin = self.origin if isinstance(known, str) else known.origin
        told = f"the message has {size:,} bytes; let the gateway send fewer readings in each"
        return Refusal(
            received, origin, Reason.TOO_LARGE, told, 1, "mqtt-json", head[:SAMPLE_BYTES]
        )

    def _rows(
        self,
        known: _Known,
        rows: list[Row],
        columns: Columns,
        note: Notes,
        times: dict[tuple[str, int], int | None],
    ) -> int:
        """Append what is usable of ``rows``; the newest time among it (or the far past)."""
        newest = -(2**62)
        values = columns.values
        plans = known.plans
        for row in rows:
            flags = row.flags
            if flags:
                for quantity in flags:  # a flag without a value is a reading without a value
                    row.values.setdefault(quantity, None)
            given = row.values
            units = row.units
            key = (row.device, row.serial, tuple(units.items()) if units else None, *given)
            plan = plans.get(key) or self._plan(known, row, key)
            told = row.time
            if isinstance(told, int):
                time: int | None = told
            elif (told, known.origin) in times:
                time = times[told, known.origin]
            else:
                time = times[told, known.origin] = _parse_time(told, known.zone)
            if plan.refused:
                for reason, detail, count in plan.refused:
                    note.add(reason, row.device, detail, count)
                if not plan.count:
                    continue
            if time is None or not _OLDEST <= time < _NEWEST:
                note.add(Reason.BAD_TIME, row.device, _time_detail(told), plan.count)
                continue
            if not plan.start <= time < plan.end:
                note.add(Reason.NOT_IN_SERVICE, row.device, _service_detail(plan, time), plan.count)
                continue
            newest = max(newest, time)
            at = len(values)
            if plan.kept is None:
                values.extend(given.values())
            else:
                all_values = list(given.values())
                values.extend([all_values[position] for position in plan.kept])
            columns.ids.append(plan.ids)
            columns.counts.append(plan.count)
            columns.times.append(time)
            if plan.factors is not None or plan.no_value:
                columns.special.append((at, plan))
            if flags:
                columns.flags.extend(flagged(at, plan, given, flags))
        return newest

    def _gateway(self, topic: str) -> _Known | str:
        """Who speaks on this topic, or why nobody known does."""
        parts = topic.split("/")
        if len(parts) < 3 or parts[-1] != "readings" or parts[-3] != "v1":
            return ""
        known = self._gateways.get(parts[-2])
        if known is None:
            return parts[-2]
        if len(self._topics) >= _TOPICS:  # a wildcard may let a gateway vary what lies before
            self._topics.clear()
        self._topics[topic] = known
        return known

    def _refuse_all(self, gateway: str, topic: str, payload: bytes, note: Notes) -> None:
        if not gateway:
            told = f"topic {topic!r:.120} is not meterwatch/v1/GATEWAY/readings"
            note.add(Reason.PAYLOAD, "", told, 1)
            return
        try:
            message, damages = read(payload)
            count = sum(len(row.values) for row in message.readings)
            count += sum(damage.readings for damage in damages)
        except UnreadableError:
            count = 1
        told = f"no gateway {gateway!r:.80} in the registry: add it to its site's file"
        note.add(Reason.UNKNOWN_GATEWAY, "", told, max(count, 1))

    # Plans: made once per device, serial, units and list of quantities.

    def _plan(self, known: _Known, row: Row, key: tuple[object, ...]) -> Plan:
        plan = self._planner.make(known.gateway.site, known.gateway.id, row)
        if plan.refused:
            # Names that nobody registered are the sender's to invent: keep few, and short ones.
            if self._faulty_plans < _FAULTY_PLANS and len(repr(key)) < _LONGEST_KEY:
                self._faulty_plans += 1
                known.plans[key] = plan
            return plan
        if self._plans >= _PLANS:
            for other in self._gateways.values():
                other.plans.clear()
            self._plans = self._faulty_plans = 0
        self._plans += 1
        known.plans[key] = plan
        return plan


def _parse_time(text: str, zone: ZoneInfo) -> int | None:
    """ISO 8601 as UTC milliseconds; without an offset it is local time of the site."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _time_detail(time: int | str) -> str:
    if isinstance(time, str):
        return f"time {time!r:.60} is not ISO 8601, as 2026-11-22T08:00:00+08:00"
    hint = "; are these seconds? Milliseconds are wanted" if 0 < time < _OLDEST else ""
    return f"time {time!r:.40} is not in milliseconds since 1970{hint}"


def _service_detail(plan: Plan, time: int) -> str:
    when = datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="seconds")
    if time < plan.start:
        return f"measured at {when}, before the device's service began by the registry"
    return f"measured at {when}, after the device's service ended by the registry"
