"""Strategies of what a gateway may send: JSON of any form, and messages that are nearly right."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.adapters.payload.pushed import PUSHED, T0, topic

names = st.sampled_from(
    ["readings", "tables", "columns", "rows", "device", "time", "values", "units", "flags",
     "serial", "backfill", "id", "main-meter", "power.active", "W", "N", ""]
)  # fmt: skip
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | names | st.text(max_size=5)
    | st.just(T0)
)  # fmt: skip
anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)


def plain(value: Any) -> bytes:
    """``value`` as JSON."""
    return json.dumps(value).encode()


_values = st.dictionaries(
    st.sampled_from([*PUSHED, "nonsense"]),
    st.none() | st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-5, 5),
    max_size=4,
)
_rows = st.fixed_dictionaries(
    {
        "device": st.sampled_from(["main-meter", "behind", "old", "young", "polled", "nobody"]),
        "time": st.integers(T0 - 5, T0 + 5) | st.sampled_from(["2026-11-22T08:00:00", "x"]),
        "values": _values,
    },
    optional={
        "serial": st.sampled_from(["21030001", "1", 21030001]),
        "units": st.just({"power.active": "W"}),
        "flags": st.dictionaries(st.sampled_from(PUSHED), st.sampled_from("NDx"), max_size=2),
    },
)
_payloads = st.builds(
    lambda told, late: json.dumps({"readings": told, "backfill": late}).encode(),
    st.lists(_rows, max_size=4),
    st.booleans(),
) | st.binary(max_size=20)
deliveries = st.lists(
    st.tuples(
        st.sampled_from([topic(), topic("gw-mill"), topic("gw-none")]),
        _payloads,
        st.integers(T0, T0 + 10),
    ),
    max_size=8,
)
"""Topic, payload and receipt of messages that come together."""
