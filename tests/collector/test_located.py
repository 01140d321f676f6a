"""Each key path of a TOML document is on the line where a reader would look for it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.located import Located, Path, parse


def test_tables_arrays_and_values_are_found() -> None:
    text = """
top = 1
[site]
id = "print"
dotted.key = 2
"quoted.key" = 3
'literal.key' = 4
"esc\\u0061ped" = 5
inline = { a = 1, b = { c = 2 } }
list = [
    "x",  # a comment, with ] and "
    [1, 2],
    { d = 3 },
]
when = 2025-01-01 08:00:00
[[device]]
id = "one"
[[device.channel]]
name = "a"
[[device.channel]]
name = "b"
[device.more]
k = 1
[[device]]
id = "two"
[[device.channel]]
name = "c"
"""
    located = parse(text, "f.toml")
    for path, line in {
        ("top",): 2,
        ("site",): 3,
        ("site", "id"): 4,
        ("site", "dotted", "key"): 5,
        ("site", "quoted.key"): 6,
        ("site", "literal.key"): 7,
        ("site", "escaped"): 8,
        ("site", "inline", "b", "c"): 9,
        ("site", "list"): 10,
        ("site", "list", 0): 11,
        ("site", "list", 1, 1): 12,
        ("site", "list", 2, "d"): 13,
        ("site", "when"): 15,
        ("device",): 16,
        ("device", 0, "id"): 17,
        ("device", 0, "channel", 1): 20,
        ("device", 0, "channel", 1, "name"): 21,
        ("device", 0, "more", "k"): 23,
        ("device", 1): 24,
        ("device", 1, "id"): 25,
        ("device", 1, "channel", 0, "name"): 27,
    }.items():
        assert located.line(*path) == line, path
    assert _paths(located.data) <= set(located.lines)


def test_strings_that_look_like_tables_mislead_nobody() -> None:
    text = 'a = """\n[no]\nb = 1\n\\""" and """""\nc = \'\'\'\n[[no]]\n\'\'\'\'\nd = 1\r\ne = 2\r\n'
    located = parse(text, "f.toml")
    assert located.data["a"].endswith('""')
    assert {key: located.line(key) for key in located.data} == {"a": 1, "c": 5, "d": 8, "e": 9}


def test_what_is_not_there_is_where_its_parent_is() -> None:
    located = parse("\n[site]\nid = 1\n", "f.toml")
    assert located.line("site", "name") == 2
    assert located.line("site", "id", "deeper") == 3
    assert located.line("nowhere") == 0
    assert located.line() == 0


@pytest.mark.parametrize(
    ("text", "line", "what", "todo"),
    [
        ("\ufeff[site]\n", 1, "begins with a byte order mark", "UTF-8 without BOM"),
        ('a = "“x”"\nb = “x”\n', 2, "it has “", 'write " in its place'),
        ('a ＝ "x"\n', 1, "it has ＝", "write = in its place"),
        ("【site】\n", 1, "it has 【", "write [ in its place"),
        ('a = "“x”"\na = "“x”"\n', 2, "cannot overwrite", "each key once"),
        ("[device]\na = 1\n[device]\n", 3, "[device] stands twice", "write [[device]] for each"),
        ("[device]\na = 1\n[[device]]\n", 3, "[device] stands twice", "write [[device]] for each"),
    ],
)
def test_what_people_type_for_toml_is_named(text: str, line: int, what: str, todo: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.toml")
    (fault,) = caught.value.faults
    assert fault.line == line
    assert what in fault.what
    assert todo in fault.todo


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \nc = 3\n", 2),
        ("a = 1\n\na = 2\n", 3),
        ("[site]\nid = 'x'\n[site]\n", 3),
        ("a = 1\nb = [1,\n\n", 2),
        ('a = 1\nb = "never closed\n', 2),
        ("a = 2025-13-01\n", 1),
        ("a = " + "9" * 5000, 0),
        ("a = " + "[" * 5000, 0),
        ("a = 1\nb = 9223372036854775808\n", 2),
        ("a = [1,\n {b = 0x" + "f" * 5000 + "}]", 2),
        ("\0", 1),
    ],
)
def test_bad_syntax_is_one_fault_on_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.toml")
    (fault,) = caught.value.faults
    assert fault.file == "f.toml"
    assert fault.line == line
    assert "(at " not in fault.what
    assert fault.todo


@given(st.text(alphabet="ab=[]{}\"'\\\n\r\t #.,0123-T:_é", max_size=60))
def test_any_text_is_located_or_refused(text: str) -> None:
    try:
        located = parse(text, "f.toml")
    except ConfigurationError:
        return
    assert located.data == tomllib.loads(text)
    assert _paths(located.data) <= set(located.lines)


KEYS = st.text(alphabet='ab.-é"\\ ', min_size=1, max_size=4)
SCALARS = st.one_of(
    st.integers(-9, 9),
    st.booleans(),
    st.text(alphabet="a[]{}#\"'\\\n,=", max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


@given(
    st.dictionaries(KEYS, st.one_of(TABLES, st.lists(TABLES, min_size=1, max_size=3)), max_size=4)
)
def test_each_key_of_a_generated_document_is_on_its_line(document: dict[str, Any]) -> None:
    text, expected = _written(document)
    located = parse(text, "f.toml")
    assert located.data == document
    for path, line in expected.items():
        assert located.line(*path) == line
    assert _paths(located.data) <= set(located.lines)


def _written(document: dict[str, Any]) -> tuple[str, dict[Path, int]]:
    """TOML for ``document`` (tables and arrays of tables), and the line of each of its keys."""
    lines: list[str] = []
    at: dict[Path, int] = {}
    for key, value in document.items():
        many = isinstance(value, list)
        for index, row in enumerate(value if many else [value]):
            path: Path = (key, index) if many else (key,)
            lines.append(f"[[{_text(key)}]]" if many else f"[{_text(key)}]  # {key!r}")
            at[path] = len(lines)
            for name, inner in row.items():
                lines.extend(["", "# [no] = { }"])
                lines.append(f"{_text(name)} = {_value(inner)}")
                at[(*path, name)] = len(lines)
    return "\n".join(lines), at


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return str(value)


def _paths(data: Any, path: Path = ()) -> set[Path]:
    found: set[Path] = {path} if path else set()
    rows = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in rows:
        found |= {(*path, key)}
        if isinstance(value, dict | list):
            found |= _paths(value, (*path, key))
    return found


def test_located_is_a_value() -> None:
    assert parse("a = 1", "f") == Located("f", {"a": 1}, {("a",): 1})
