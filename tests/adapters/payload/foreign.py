"""What gateways send in other makers' formats, decoded, for tests of them."""

from __future__ import annotations

import json
import math
from typing import Any

from adapters.sources.payload import Decoded, PayloadDecoder, load_formats, parse_formats
from tests.adapters.payload import decoded as own_form
from tests.adapters.payload.pushed import METER, T0, Fleet, topic

fleet = Fleet()
ENERGY, POWER, VOLTAGE = (
    f"main/{name}" for name in ("energy.active.import", "power.active", "voltage.l1")
)


def decode(form: str, *told: Any, gateway: str = "gw-print", own: str = "") -> Decoded:
    """``told`` in format ``form``; ``own``: the text of a mapping file of that name."""
    decoder = fleet.decoder
    if own:
        decoder = PayloadDecoder(
            fleet.registry,
            fleet.table,
            fleet.origins.ids,
            source="mqtt:main",
            late_after_ms=600_000,
            profiles={METER.name: METER},
            formats=parse_formats({f"mappings/{form}.toml": own}, load_formats()),
        )
    payloads = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in told]
    return decoder.decode_many([(topic(gateway), raw, T0 + 1000) for raw in payloads], form)


def rows(decoded: Decoded) -> list[tuple[str, int, float | None, int]]:
    """Place and quantity, time since ``T0``, value (none for NaN), quality."""
    return [
        (name, time - T0, None if math.isnan(value) else value, quality)
        for name, time, value, quality in own_form.rows(decoded)
    ]
