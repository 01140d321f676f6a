"""What a month of pushing costs on a link that is paid by the byte, for each way of writing it.

Twenty meters, eight quantities each, every quarter of an hour: 460,800 readings a month. The bytes
of messages are counted, of messages made of plausible values (registers that grow by hundredths,
gauges that wander); what carries them is computed, from constants that stand below: MQTT 3.1.1 at
QoS 1 over TLS 1.3 over TCP over IPv4, both directions, one connection a day. No packet is lost, and
no acknowledgement is saved by being sent along with data: a real link needs somewhat more and
somewhat less.

Prints one JSON line for each form and batch, and one for each keepalive.

    python -m bench.link
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

DAYS: Final = 30
METERS: Final = 20
TICKS: Final = 96
"""Of a day."""
QUANTITIES: Final = (
    "energy.active.import", "energy.reactive.import", "power.active", "power.factor",
    "voltage.l1", "voltage.l2", "voltage.l3", "current.l1",
)  # fmt: skip
TOPIC: Final = "meterwatch/v1/gw-north-hill/readings"

IP_TCP: Final = 20 + 20 + 12
"""Headers of IPv4 and TCP, with timestamps: of every segment."""
SEGMENT: Final = 1360
"""Bytes of TLS in a segment: an MTU of 1412, as mobile networks have."""
TLS_RECORD: Final = 5 + 1 + 16
TLS_LARGEST: Final = 16384
CONNECT: Final = 6_000
"""One connection: TCP, TLS with a chain of two certificates, CONNECT, CONNACK."""

Reading = tuple[str, int, list[float]]
"""Device, time, a value for each quantity."""


def month(days: int = DAYS) -> list[list[Reading]]:
    """All readings, in ticks."""
    rng = random.Random(7)
    state = [
        [rng.randint(10**6, 10**8), rng.randint(10**5, 10**7), 8000, 950, 2310, 2305, 2298, 12000]
        for _ in range(METERS)
    ]
    digits = (100, 100, 100, 1000, 10, 10, 10, 100)
    ticks = []
    start = 1_793_462_400_000  # 2026-11-01 in China
    for tick in range(days * TICKS):
        rows: list[Reading] = []
        for number, held in enumerate(state):
            held[0] += rng.randint(1000, 3000)
            held[1] += rng.randint(100, 900)
            for at, width in ((2, 400), (3, 8), (4, 9), (5, 9), (6, 9), (7, 500)):
                held[at] = max(1, held[at] + rng.randint(-width, width))
            held[3] = min(held[3], 1000)
            values = [whole / by for whole, by in zip(held, digits, strict=True)]
            rows.append((f"meter-{number + 1:02}", start + 900_000 * tick, values))
        ticks.append(rows)
    return ticks


def readings(rows: Sequence[Reading]) -> bytes:
    """The long form."""
    told = [
        {"device": device, "time": time, "values": dict(zip(QUANTITIES, values, strict=True))}
        for device, time, values in rows
    ]
    return _json({"readings": told})


def tables(rows: Sequence[Reading]) -> bytes:
    """The compact form: a table of each time or one of each device, whichever are fewer."""
    by_time: dict[int, list[Reading]] = {}
    by_device: dict[str, list[Reading]] = {}
    for row in rows:
        by_device.setdefault(row[0], []).append(row)
        by_time.setdefault(row[1], []).append(row)
    told: list[dict[str, Any]]
    if len(by_time) <= len(by_device):
        columns = ["device", *QUANTITIES]
        told = [
            {"time": time, "columns": columns, "rows": [[name, *values] for name, _, values in of]}
            for time, of in by_time.items()
        ]
    else:
        columns = ["time", *QUANTITIES]
        told = [
            {
                "device": name,
                "columns": columns,
                "rows": [[time, *values] for _, time, values in of],
            }
            for name, of in by_device.items()
        ]
    return _json({"tables": told})


def lines(rows: Sequence[Reading]) -> bytes:
    """InfluxDB line protocol with timestamps in milliseconds."""
    told = []
    for device, time, values in rows:
        fields = ",".join(f"{q}={v}" for q, v in zip(QUANTITIES, values, strict=True))
        told.append(f"m,device={device} {fields} {time}")
    return "\n".join(told).encode()


def _json(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


FORMS: Final[dict[str, Callable[[Sequence[Reading]], bytes]]] = {
    "readings": readings,
    "tables": tables,
    "line-protocol": lines,
}


def meter_by_meter(ticks: list[list[Reading]]) -> Iterator[list[Reading]]:
    """A message for each meter and tick."""
    for rows in ticks:
        for row in rows:
            yield [row]


def every(span: int) -> Callable[[list[list[Reading]]], Iterator[list[Reading]]]:
    """A message with all meters of ``span`` ticks."""

    def cut(ticks: list[list[Reading]]) -> Iterator[list[Reading]]:
        for at in range(0, len(ticks), span):
            yield [row for rows in ticks[at : at + span] for row in rows]

    return cut


BATCHES: Final = {
    "each meter, 15 min": meter_by_meter,
    "all meters, 15 min": every(1),
    "all meters, 1 h": every(4),
    "all meters, 6 h": every(24),
}


def carried(payload: int) -> int:
    """Bytes on the wire for one message of so many bytes, with its acknowledgement."""
    rest = 2 + len(TOPIC) + 2 + payload
    publish = 1 + (1 if rest < 2**7 else 2 if rest < 2**14 else 3) + rest
    return sent(publish) + sent(4) + 2 * IP_TCP  # PUBACK, and TCP's acknowledgement of each


def sent(size: int) -> int:
    """Bytes on the wire for so many bytes of MQTT in one direction."""
    size += TLS_RECORD * -(-size // TLS_LARGEST)
    return size + IP_TCP * -(-size // SEGMENT)


def keepalive(seconds: int, pushes_s: int) -> int:
    """Bytes of a month's PINGREQ and PINGRESP. A client pings after so long without sending."""
    if seconds >= pushes_s:
        return 0
    idle = -(-pushes_s // seconds) - 1  # within each pause
    return DAYS * 86_400 // pushes_s * idle * (2 * sent(2) + IP_TCP)


def main() -> None:
    ticks = month()
    count = DAYS * TICKS * METERS * len(QUANTITIES)
    for form, write in FORMS.items():
        for packed in (False, True):
            for batch, cut in BATCHES.items():
                sizes = [
                    len(gzip.compress(raw, mtime=0)) if packed else len(raw)
                    for raw in map(write, cut(ticks))
                ]
                wire = sum(map(carried, sizes)) + DAYS * CONNECT
                figures = {
                    "bench": "link",
                    "form": form,
                    "gzip": packed,
                    "batch": batch,
                    "messages": len(sizes),
                    "payload_bytes_per_reading": round(sum(sizes) / count, 2),
                    "payload_mb_month": round(sum(sizes) / 1e6, 2),
                    "wire_mb_month": round(wire / 1e6, 2),
                }
                print(json.dumps(figures), flush=True)
    for seconds in (30, 60, 120, 300, 600, 900):
        cost = keepalive(seconds, 900)
        told = {"bench": "link", "keepalive_s": seconds, "wire_mb_month": round(cost / 1e6, 2)}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
