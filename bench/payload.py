"""What it costs to decode what gateways push, by itself: no broker, no journal, one thread.

Messages of 50 readings as the other benches send them (five devices, ten quantities each), 512 of
them a call. Prints one JSON line for each form: CPU microseconds for each reading, the best of
several rounds.

    python -m bench.payload
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from adapters.sources.payload import Message, PayloadDecoder
from bench.plan import Plan
from collector.registry import table
from collector.registry_text import parse_registry
from meterwatch.decode import Numbering
from meterwatch.fleet import profiles_of

_CALL: Final = 512
_ROUNDS: Final = 15
_T0: Final = 1_795_305_600_000


def decoder(plan: Plan) -> PayloadDecoder:
    """A decoder that knows all devices of ``plan``."""
    profiles = profiles_of(Path())
    registry = parse_registry(plan.registry(), profiles)
    return PayloadDecoder(
        registry,
        table(registry, Numbering()),
        Numbering(),
        source="mqtt:bench",
        late_after_ms=600_000,
        profiles=profiles,
    )


def pushed(plan: Plan) -> list[Message]:
    """One call's messages in our own form."""
    slots = plan.points // plan.per_message
    return [
        (
            f"meterwatch/v1/{plan.gateway(n % slots)}/readings",
            plan.payload(n % slots, n % plan.variants, high=False).replace(
                b"1000000000000", str(_T0 + n).encode()
            ),
            _T0 + n + 100,
        )
        for n in range(_CALL)
    ]


def measure(
    form: str, made: PayloadDecoder, messages: Sequence[Message], foreign: str = ""
) -> None:
    """Print what ``messages`` cost."""
    took = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        decoded = made.decode_many(messages, foreign)
        took.append(time.process_time() - begun)
        if decoded.refusals:
            raise RuntimeError(decoded.refusals[0].detail)
    readings = len(decoded.batch)
    size = sum(len(payload) for _, payload, _ in messages)
    figures = {
        "bench": "payload",
        "form": form,
        "readings": readings,
        "bytes_per_reading": round(size / readings, 1),
        "cpu_us_per_reading": round(min(took) / readings * 1e6, 3),
    }
    print(json.dumps(figures), flush=True)


def rewritten(
    messages: Sequence[Message], write: Callable[[list[dict[str, Any]]], Iterable[bytes]]
) -> list[Message]:
    """``messages`` in another form: ``write`` makes of the readings of one what says the same."""
    return [
        (topic, made, received)
        for topic, payload, received in messages
        for made in write(json.loads(payload)["readings"])
    ]


def _dump(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def _tables(rows: list[dict[str, Any]]) -> Iterable[bytes]:
    columns = ["device", "time", *rows[0]["values"]]
    cells = [[row["device"], row["time"], *row["values"].values()] for row in rows]
    yield _dump({"tables": [{"columns": columns, "rows": cells}]})


def _neuron(rows: list[dict[str, Any]]) -> Iterable[bytes]:
    for row in rows:
        told = {"node": row["device"], "group": "g", "timestamp": row["time"]}
        yield _dump(told | {"values": row["values"], "errors": {}, "metas": {}})


def _thingsboard(rows: list[dict[str, Any]]) -> Iterable[bytes]:
    yield _dump({row["device"]: [{"ts": row["time"], "values": row["values"]}] for row in rows})


def _lines(rows: list[dict[str, Any]]) -> Iterable[bytes]:
    yield "\n".join(
        f"m,device={row['device']} "
        + ",".join(f"{name}={value}" for name, value in row["values"].items())
        + f" {row['time']}000000"
        for row in rows
    ).encode()


def main() -> None:
    plan = Plan()
    made, messages = decoder(plan), pushed(plan)
    measure("meterwatch", made, messages)
    packed = [(topic, gzip.compress(payload), at) for topic, payload, at in messages]
    measure("meterwatch, gzip", made, packed)
    measure("tables", made, rewritten(messages, _tables))
    measure("neuron", made, rewritten(messages, _neuron), "neuron")
    measure("thingsboard", made, rewritten(messages, _thingsboard), "thingsboard")
    measure("line-protocol", made, rewritten(messages, _lines), "line-protocol")


if __name__ == "__main__":
    main()
