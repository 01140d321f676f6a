"""``meterwatch decode``: what a payload would become, without a broker or a running program."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.sources.payload import PayloadDecoder, remedy
from collector.errors import ConfigurationError, Fault
from collector.model import Ids, Quality
from collector.normalise import normalise
from collector.registry import Registry, table
from meterwatch.fleet import Fleet, parse, read_files
from meterwatch.refusal_words import refusal

OURS = "mqtt-json"


class Numbering:
    """Ids for names in order of sight: what the journal's dictionary does, for one run. Begins
    with ``names`` by id, as another dictionary gave them ("": a number that was never given)."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._ids = {name: number for number, name in enumerate(names) if name}

    def known(self, names: Iterable[str]) -> list[int]:
        """Ids of those among ``names`` that have one."""
        return [self._ids[name] for name in names if name in self._ids]

    def __call__(self, names: Sequence[str]) -> Ids:
        for name in names:
            if name not in self._ids:
                self._ids[name] = len(self.names)
                self.names.append(name)
        return np.array([self._ids[name] for name in names], np.int32)


def decode_lines(
    kind: str, folder: Path, gateway: str, lines: Iterable[bytes], language: str = "en"
) -> Iterator[dict[str, Any]]:
    """What to print, a JSON line each: of each reading its point, of each refusal its reason under
    ``refused``, of what is to be mended all the same ``remark``. ``kind``: what the registry says
    of the gateway (``mqtt-json``: our own form, unless it names a format), or the name of a
    mapping, shipped or the fleet's own."""
    fleet = parse(read_files(folder))
    kinds = (OURS, *sorted(fleet.formats))
    if kind not in kinds:
        raise ConfigurationError(
            Fault("decode", 0, f'"{kind}" is not known', f"use one of {', '.join(kinds)}")
        )
    gateway = gateway or _only_gateway(fleet.registry)
    entered = fleet.registry.gateways.get(gateway)
    if kind != OURS and entered is not None and entered.format != kind:
        told = f'the registry says format = "{entered.format}" of {gateway}, here it is {kind}'
        yield {"remark": refusal(told, language)}
    points, origins = Numbering(), Numbering()
    decoder = _decoder(fleet, points, origins)
    now = time.time_ns() // 1_000_000
    known = table(fleet.registry, points)
    for line in lines:
        if not line.strip():
            continue
        message = (f"meterwatch/v1/{gateway}/readings", line.strip(), now)
        decoded = decoder.decode_many([message], "" if kind == OURS else kind)
        batch = normalise(decoded.batch, known)
        for row in range(len(batch)):
            value = float(batch.value[row])
            yield {
                "point": points.names[batch.point[row]],
                "time": int(batch.time[row]),
                "value": None if np.isnan(value) else value,
                "quality": Quality(batch.quality[row]).name.lower().replace("_", "-"),
            }
        for found in decoded.refusals:
            yield {
                "refused": found.reason,
                "readings": found.count,
                "detail": refusal(found.detail, language),
                "todo": refusal(remedy(found.reason, found.detail), language),
            }
        for receipt in decoded.receipts:
            yield from ({"remark": refusal(told, language)} for told in receipt.remarks)


def _decoder(fleet: Fleet, points: Numbering, origins: Numbering) -> PayloadDecoder:
    return PayloadDecoder(
        fleet.registry,
        table(fleet.registry, points),
        origins,
        source="mqtt:decode",
        late_after_ms=fleet.settings.program.late_after_ms,
        retention_days=fleet.settings.archive.retention_days,
        profiles=fleet.profiles,
        formats=fleet.formats,
    )


def _only_gateway(registry: Registry) -> str:
    gateways = list(registry.gateways)
    if len(gateways) == 1:
        return gateways[0]
    if not gateways:
        raise ConfigurationError(
            Fault("decode", 0, "the registry has no gateway", "enter one in its site's file")
        )
    raise ConfigurationError(
        Fault(
            "decode",
            0,
            f"the registry has {len(gateways)} gateways ({', '.join(gateways)})",
            f"say which one sent this: --gateway {gateways[0]}",
        )
    )
