"""Any mutation of sound registry files is read or refused; nothing else is raised."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.registry import table
from collector.registry_text import parse_registry, read_registry
from tests.collector.fleet import PROFILES, texts

SOUND = {name: tomllib.loads(text) for name, text in texts("fleet").items()}
JUNK = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=6),
    st.datetimes(),
    st.dates(),
    st.lists(st.integers() | st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
    st.sampled_from(["meter", "push", "gw-print", "main", "s/p/power.active/raw", "10s"]),
)


@given(st.data())
def test_any_mutation_is_read_or_refused(data: st.DataObject) -> None:
    files = json.loads(json.dumps(SOUND, default=lambda date: {"$date": date.isoformat()}))
    for _ in range(data.draw(st.integers(1, 4))):
        spots = [spot for file in files.values() for spot in _spots(file)]
        if not spots:
            break
        container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
        junk = data.draw(JUNK)
        if junk is None:
            del container[key]
        else:
            container[key] = junk
    written = {name: _toml(file) for name, file in files.items()}
    registry, found = read_registry(written, PROFILES)
    for fault in found:
        assert fault.what
        assert 0 <= fault.line <= written[fault.file].count("\n") + 1
    if not found:
        table(registry, lambda names: np.arange(len(names), dtype=np.int32))


def test_the_mutations_begin_at_something_sound() -> None:
    parse_registry({name: _toml(file) for name, file in SOUND.items()}, PROFILES)


def _spots(node: Any) -> Any:
    for key in list(node if isinstance(node, dict) else range(len(node))):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _spots(node[key])


def _toml(file: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {_value(value)}\n" for key, value in file.items())


def _value(value: Any) -> str:
    if isinstance(value, dict) and "$date" in value:
        return str(value["$date"])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
