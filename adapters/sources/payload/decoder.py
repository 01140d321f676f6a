"""Gateway messages -> one batch and the refusals. Pure: bytes in, columns out, no clock.

The registry is applied here: names become stable point ids, values the canonical unit, gauges
behind transformers get their ratio. Whatever cannot be used is refused with a reason in words,
and only it: the other readings of the same message are kept. Nothing raises, whatever the bytes:
a message at which this program itself fails is refused too, or its sender would send it for ever.

Speed comes from deciding once: a row's device, serial and list of quantities (a gateway sends
the same ones for years) are looked up as one key, whose plan holds the ids and factors ready.
All messages of a call become one set of columns; what needs a second look (units, flags, numbers
that mean "no value") is remembered by position and done on the finished columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from adapters.sources.payload.clocks import DAY, Clocks, in_milliseconds, remark
from adapters.sources.payload.columns import SAMPLE_BYTES, Columns, Notes, Plan, flagged
from adapters.sources.payload.formats import PER_SECOND, Format
from adapters.sources.payload.ids import Id, id_in
from adapters.sources.payload.known import Known
from adapters.sources.payload.mappings import load_formats
from adapters.sources.payload.own import read
from adapters.sources.payload.plan import NEWEST, OLDEST, Planner
from adapters.sources.payload.receipts import Receipt, older
from adapters.sources.payload.remarks import ahead, implausible
from adapters.sources.payload.shape import (
    REMARK,
    OversizeError,
    Reader,
    Row,
    UnreadableError,
)
from adapters.sources.payload.unpack import MOST_BYTES, MOST_ITEMS, unpack
from collector.model import Batch, Reason, Refusal, concat
from collector.normalise import AHEAD_MS, parse_time
from collector.profile import Profile
from collector.registry import Device, Identify, PointTable, Registry

Message = tuple[str, bytes, int]
"""Topic, payload, receipt (UTC ms)."""

_PLANS: Final = 100_000
_FAULTY_PLANS: Final = 1_000
_LONGEST_KEY: Final = 4096
_PLAN_BYTES: Final = 64 << 20
_TOPICS: Final = 10_000
_TIMES: Final = 200
_KIND: Final = "mqtt-json"
_LONGEST_NAME: Final = 128
"""Of a gateway that nobody registered; a longer one is not kept for a replay."""
MOST_DAYS: Final = 36_525
"""The longest retention that can be set, and so none at all."""
_FEWER: Final = "let the gateway send fewer readings in each"
_OFFSET: Final = re.compile(r"(?:Z|z|[+-]\d\d(?::?\d\d)*)$", re.ASCII)
_UNREAD: Final = -(2**62)  # before any device's service: such a row is looked at in full


@dataclass(frozen=True, slots=True)
class Decoded:
    """``batch``: all usable rows, one segment per message that has any. ``refusals``: one per
    message, reason and device. ``backfill``: every segment is late data. ``receipts``: for each
    message, in order, what its sender is to be told once batch and refusals are safe."""

    batch: Batch
    refusals: list[Refusal]
    backfill: bool
    receipts: list[Receipt] = field(default_factory=list)


class PayloadDecoder:
    """Decodes the messages of one source under one registry revision. One thread at a time.

    ``identify`` gives origin ids (``Journal.origin_ids``); readings come from ``gateway:ID``,
    and what no known gateway sent from ``source`` (``mqtt:main``), so that nobody can fill the
    dictionary with invented names. ``late_after_ms``: a message whose newest reading is older
    than this at receipt is late data, whatever its flag says. ``formats``: of other makers,
    by name; the shipped ones unless given. ``max_bytes``: of one message, unpacked.
    ``retention_days``: what is older at receipt is refused, because the archive would delete it.
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
        formats: Mapping[str, Format] | None = None,
        max_bytes: int = MOST_BYTES,
        retention_days: int = MOST_DAYS,
        clocks: Clocks | None = None,
    ) -> None:
        self.clocks = clocks or Clocks()
        """What is wrong with the gateways' clocks."""
        self._most = max_bytes
        self._plain = min(max_bytes, MOST_ITEMS)  # so many bytes need no second look
        self._table = table
        self._planner = Planner(registry, table, profiles)
        self._late_after = late_after_ms
        self._days = retention_days
        gateways = list(registry.gateways.values())
        origins = identify([source, *(f"gateway:{gateway.id}" for gateway in gateways)])
        self.origin = int(origins[0])
        """The source's own origin id."""
        formats = load_formats() if formats is None else formats
        brought: dict[str, list[Device]] = {}
        for device in registry.devices.values():
            brought.setdefault(device.gateway, []).append(device)
        self._gateways = {
            gateway.id: Known(
                gateway,
                registry.sites[gateway.site].zone,
                int(origin),
                brought.get(gateway.id, []),
                formats,
                self.clocks.of(gateway.id),
            )
            for gateway, origin in zip(gateways, origins[1:], strict=True)
        }
        self._topics: dict[str, Known] = {}
        self._plans = self._faulty_plans = self._plan_bytes = 0

    def decode_many(self, messages: Sequence[Message], form: str = "", unit: str = "") -> Decoded:
        """All of ``messages`` in order. Any cutting of a sequence of messages into calls gives
        the same rows and refusals in the same order.

        ``form``: their format, where it is not what the registry says of their gateway; ``unit``:
        of the timestamps of line protocol (``s``, ``ms``, ``us``, ``ns``), where it is not
        nanoseconds.
        """
        try:
            return self._decode(messages, form, unit)
        except Exception as bug:  # noqa: BLE001 a bug at one message must not stop the others
            if len(messages) == 1:
                failed = self._failed(messages[0], bug, _base(form, unit))
                return Decoded(Batch.empty(), [failed], False, [Receipt.of_refusal(failed)])
        parts = [self.decode_many([message], form, unit) for message in messages]
        brought = [part for part in parts if len(part.batch)]
        return Decoded(
            concat([part.batch for part in brought]),
            [refusal for part in parts for refusal in part.refusals],
            bool(brought) and all(part.backfill for part in brought),
            [receipt for part in parts for receipt in part.receipts],
        )

    def _decode(self, messages: Sequence[Message], form: str, unit: str) -> Decoded:
        columns = Columns()
        values = columns.values
        refusals: list[Refusal] = []
        receipts: list[Receipt] = []
        for topic, payload, received in messages:
            known = self._topics.get(topic) or self._gateway(topic)
            before = len(values)
            notes: Notes | None
            if isinstance(known, str):
                (notes, own), origin = self._unknown(known, topic, payload), self.origin
            else:
                reader = known.reader(form, unit) if form else known.read
                notes, own = self._message(known, reader, payload, received, columns)
                origin = known.origin
            if notes is None:
                receipts.append(Receipt(len(values) - before, (), own))
            else:
                kind = _kind(known, _base(form, unit))
                refusals.extend(notes.refusals(received, origin, kind, payload))
                told = sorted(notes.remarks)
                receipts.append(Receipt(len(values) - before, notes.refused(), own, tuple(told)))
        late = bool(columns.backfill) and all(columns.backfill)
        batch = columns.batch()
        told_of = implausible(batch, self._table, columns.plans) if len(batch) else {}
        if told_of:
            stored = [number for number, one in enumerate(receipts) if one.stored]
            for segment, told in told_of.items():
                receipt = receipts[stored[segment]]
                remarks = (*receipt.remarks, *told)
                receipts[stored[segment]] = replace(receipt, remarks=remarks)
        return Decoded(batch, refusals, late, receipts)

    def _failed(self, message: Message, bug: Exception, base: str) -> Refusal:
        topic, payload, received = message
        known = self._gateway(topic)
        origin = self.origin if isinstance(known, str) else known.origin
        told = f"the program failed on this message: {bug!r:.200}"
        sample = payload[:SAMPLE_BYTES]
        kind = _kind(known, base)
        return Refusal(received, origin, Reason.PROGRAM_FAULT, told, 1, kind, sample)

    def knows(self, topic: str) -> bool:
        """Whether it is a gateway of the registry that speaks on this topic."""
        return topic in self._topics or not isinstance(self._gateway(topic), str)

    def too_large(self, topic: str, head: bytes, size: int, received: int) -> Refusal:
        """The refusal of a message that was too large to be taken in whole."""
        known = self._gateway(topic)
        origin = self.origin if isinstance(known, str) else known.origin
        told = f"the message has {size:,} bytes; {_FEWER}"
        sample = head[:SAMPLE_BYTES]
        return Refusal(received, origin, Reason.TOO_LARGE, told, 1, _kind(known), sample)

    def _message(
        self, known: Known, reader: Reader, payload: bytes, received: int, columns: Columns
    ) -> tuple[Notes | None, Id]:
        """Append the rows of one message; what of it is refused, if anything, and its own id."""
        try:
            if payload[:1] != b"{" or len(payload) > self._plain:
                payload = unpack(payload, self._most)
            message, damages, numbers = reader(payload, received)
        except UnreadableError as fault:
            return _whole(fault), _id_of(fault, payload) if reader is read else None
        notes: Notes | None = None
        if damages or not message.readings:
            notes = Notes.of_damages(damages, len(message.readings))
        first = len(columns.times)
        plans, take, times = known.plans, columns.values.extend, columns.times
        oldest = received - self._days * DAY
        for number, row in enumerate(message.readings):
            # The usual row in as few steps as can be; anything else is looked at in _row.
            plan = plans.get((row.device, row.serial, *row.values))
            time = row.time
            if isinstance(time, str):
                time = known.times.get(time, _UNREAD)
            if (
                plan is None
                or not plan.start <= time < plan.end
                or time < oldest
                or plan.refused
                or row.units
                or row.flags
            ):
                at = number if numbers is None else numbers[number]
                notes = self._row(known, row, at, received, columns, notes, message.backfill)
                continue
            columns.plans.append(plan)
            times.append(time)
            take(row.values.values())
        if len(times) > first:
            newest = max(times[first:])
            late = newest < received - self._late_after
            columns.close(known.origin, received, message.backfill or late)
            if not message.backfill:
                known.clock.saw(received, newest)
            if newest > received + AHEAD_MS:
                notes = notes or Notes()
                local = known.clock.local
                notes.remark(ahead(columns.plans[first:], times[first:], received, local))
        if known.clock.steadily and not message.backfill:
            notes = notes or Notes()
            notes.remark(known.clock.steadily)
        return notes, message.id

    def _row(
        self,
        known: Known,
        row: Row,
        number: int,
        received: int,
        columns: Columns,
        notes: Notes | None,
        backfill: bool,
    ) -> Notes | None:
        """Append one row that has something about it, or note why not."""
        values, units, flags = row.values, row.units, row.flags
        for quantity in flags or ():  # a flag without a value is a reading without a value
            values.setdefault(quantity, None)
        key: tuple[object, ...] = (row.device, row.serial, *values)
        if units:
            key = (tuple(units.items()), key)
        plan = known.plans.get(key) or self._plan(known, row, key)
        time, fault, unit = _read_time(row, known, received)
        if unit:
            notes = notes or Notes()
            notes.remark(remark(unit))
        if plan.refused:
            notes = notes or Notes()
            for reason, detail, count in plan.refused:
                notes.add(reason, row.device, detail, count, number)
        if not plan.count:
            return notes
        if plan.remarks:
            notes = notes or Notes()
            for told in plan.remarks:
                notes.remark(told)
        if fault or not plan.start <= time < plan.end:
            notes = notes or Notes()
            why = (Reason.BAD_TIME, row.device, fault) if fault else _bad_time(row, plan, time)
            notes.add(*why, plan.count, number)
            return notes
        if time < received - self._days * DAY:
            notes = notes or Notes()
            told = f"{row.device} measured at {_moment(time)}, {older(self._days)}"
            notes.add(Reason.BAD_TIME, row.device, told, plan.count, number)
            if not backfill:
                known.clock.saw(received, time)  # it may be the clock that is so far back
            return notes
        if flags:
            columns.flags.extend(flagged(len(columns.values), plan, values, flags))
        columns.plans.append(plan)
        columns.times.append(time)
        if plan.kept is None:
            columns.values.extend(values.values())
        else:
            given = list(values.values())
            columns.values.extend([given[position] for position in plan.kept])
        return notes

    def _gateway(self, topic: str) -> Known | str:
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

    def _unknown(self, gateway: str, topic: str, payload: bytes) -> tuple[Notes, Id]:
        """Why nothing of a message is taken that no known gateway sent, and its own id."""
        notes = Notes()
        try:
            message, damages, _ = read(unpack(payload, self._most))
            own = message.id
            count = sum(len(row.values) for row in message.readings)
            count += sum(damage.readings for damage in damages)
            also = [damage.detail for damage in damages if damage.reason == REMARK]
        except UnreadableError as fault:
            own, count, also = _id_of(fault, payload), 1, list(fault.also)
        for told in also:
            notes.remark(told)
        if not gateway:
            told = f"topic {topic!r:.120} is not meterwatch/v1/GATEWAY/readings"
            notes.add(Reason.PAYLOAD, "", told, 1)
            return notes, own
        told = f"no gateway {gateway!r:.80} in the registry: add it to its site's file"
        notes.add(Reason.UNKNOWN_GATEWAY, "", told, max(count, 1))
        return notes, own

    # Plans: made once per device, serial, units and list of quantities.

    def _plan(self, known: Known, row: Row, key: tuple[object, ...]) -> Plan:
        plan = self._planner.make(
            known.gateway.site, known.gateway.id, row, known.hints, known.names
        )
        if plan.refused:
            # Names that nobody registered are the sender's to invent: keep few, and short ones.
            if self._faulty_plans < _FAULTY_PLANS and len(repr(key)) < _LONGEST_KEY:
                self._faulty_plans += 1
                known.plans[key] = plan
            return plan
        if self._plans >= _PLANS or self._plan_bytes >= _PLAN_BYTES:
            for other in self._gateways.values():
                other.plans.clear()
            self._plans = self._faulty_plans = self._plan_bytes = 0
        self._plans += 1
        # A serial number that nobody registered may be of any length, and units of any number.
        self._plan_bytes += len(repr(key))
        known.plans[key] = plan
        return plan


def _kind(known: Known | str, base: str = _KIND) -> str:
    """Which decoder can read it again; behind a colon the gateway, where no origin tells it:
    once it is in the registry, what it sent before can be replayed."""
    if not isinstance(known, str) or not 0 < len(known) <= _LONGEST_NAME:
        return base
    return f"{base}:{known}"


def _base(form: str, unit: str) -> str:
    """How a refusal's kind names a format that did not come from the registry."""
    return _KIND if not form else f"{form}.{unit}" if unit else form


def form_of(kind: str) -> tuple[str, str] | None:
    """``form`` and ``unit`` for ``decode_many``, by a refusal's ``kind``; None for what this
    decoder did not refuse."""
    base = kind.partition(":")[0]
    if base == _KIND:
        return "", ""
    form, _, unit = base.partition(".")
    return (form, unit) if form in load_formats() and unit in ("", *PER_SECOND) else None


def _whole(fault: UnreadableError) -> Notes:
    """Why nothing of a message can be read."""
    if isinstance(fault, OversizeError):
        return Notes.of(Reason.TOO_LARGE, f"{fault}; {_FEWER}", 1)
    notes = Notes.of(Reason.PAYLOAD, str(fault), 1)
    for also in fault.also:
        notes.remark(also)
    return notes


def _id_of(fault: UnreadableError, payload: bytes) -> Id:
    """The own id of a message that cannot be used."""
    return id_in(payload) if fault.own is None else fault.own


def _read_time(row: Row, known: Known, received: int) -> tuple[int, str, str]:
    """The row's time, or what is wrong with it, and the unit in which it came where that was not
    milliseconds."""
    written = row.time
    if isinstance(written, str):
        try:
            time = parse_time(written, known.zone)
        except ValueError as fault:
            return 0, str(fault), ""
        known.clock.local = "" if _OFFSET.search(written) else known.zone
        if len(known.times) >= _TIMES:
            known.times.clear()
        known.times[written] = time
        if time < OLDEST:
            known.clock.saw(received, time)
        return time, "", ""
    time, unit = in_milliseconds(written, received)
    if unit:
        known.clock.saw_unit(received, unit)
    elif 0 <= time < OLDEST:
        known.clock.saw(received, time)
        if time * 1000 <= received:  # or it looks like seconds of the future, which is told below
            return 0, _of_1970(written), ""
    try:
        return parse_time(time, known.zone), "", unit
    except ValueError as fault:
        return 0, str(fault), ""


def _of_1970(written: int) -> str:
    if written * 1000 < OLDEST:
        return f"time {written} is of 1970: has the gateway's clock lost its time?"
    return (
        f"time {written} is of 1970, and as seconds of {_moment(written * 1000)[:10]}: older "
        "readings send in milliseconds, or has the gateway's clock lost its time?"
    )


def _bad_time(row: Row, plan: Plan, time: int) -> tuple[str, str, str]:
    """Reason, device and detail of a time at which the device cannot have measured."""
    if not OLDEST <= time < NEWEST:
        told = f"time {row.time!r:.60} is before the year 2000 or after 9999"
        return Reason.BAD_TIME, row.device, told
    side = "before its service began" if time < plan.start else "after its service ended"
    told = f"{row.device} measured at {_moment(time)}, {side} by the registry"
    return Reason.NOT_IN_SERVICE, row.device, told


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="seconds")
