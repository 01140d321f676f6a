"""The registry goes out as a spreadsheet and comes back the same, whatever is in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from collector.states import STATES
from meterwatch.registry.cells import shown, understood
from meterwatch.registry.columns import SHEETS
from meterwatch.registry.exchange import export_registry, import_registry
from meterwatch.registry.layout import workbook
from meterwatch.registry.texts import literal
from tests.meterwatch import workbooks
from tests.meterwatch.workbooks import Desk, small
from tests.programs import ROOT

desk = workbooks.desk


def test_a_workbook_becomes_the_registry_that_it_says(desk: Desk) -> None:
    assert desk.takes(workbook(small()))[-1].startswith("1 files written")
    found = desk.registry()
    assert found.sites["mill"].name_zh == "面粉厂"
    assert found.devices["mill/m1"].serial == "00170"
    assert found.devices["mill/m1"].ratio == 40
    start = datetime(2025, 12, 31, 16, tzinfo=UTC).timestamp() * 1000
    assert found.devices["mill/m1"].start == start  # the first of January in Shanghai
    assert found.places["mill/stack"].outlet


ids = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from("号厂（）=#, "),
    min_size=1,
    max_size=12,
).filter(lambda text: text == text.strip() and "\x7f" not in text)
codes = st.text("AB01-号", min_size=1, max_size=8)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2098, 1, 1)).map(  # noqa: DTZ001 a zone's own
    lambda at: at.replace(microsecond=0)
)
ratios = st.sampled_from([1, 1.5, 40, 100.0, 0.1])
amounts = st.floats(1e-3, 1e9) | st.integers(1, 10**9)
PUSHED = ["energy.active.import", "energy.active.export", "power.active", "voc.nmhc.concentration"]


def some(draw: st.DrawFn, **given: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Some of these keys."""
    return {key: draw(one) for key, one in given.items() if draw(st.booleans())}


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, str]:
    """Sound registry files of up to three sites, as a person might write them."""
    files = {}
    sites = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    for number, site in enumerate(sites):
        head = {
            "id": site,
            "name": draw(names),
            "county": "620502",
            "industry": "C2319",
            **some(
                draw,
                name_zh=names,
                permit=codes,
                permitted_t=st.dictionaries(names, st.floats(0, 1e6), max_size=2),
                zone=st.sampled_from(["Asia/Urumqi", "Asia/Shanghai", "Europe/Berlin"]),
            ),
        }
        tables: list[tuple[str, dict[str, Any]]] = [("line", {"id": "a-line", "name": "x"})]
        tables += [
            ("treatment", {"id": "rto", **some(draw, name=names, serves=st.just("a-line"))})
            for _ in range(draw(st.integers(0, 1)))
        ]
        gateway = f"gw{number}"
        formats = st.sampled_from(["neuron", "meterwatch", "acme-2"])
        tables.append(("gateway", {"id": gateway, **some(draw, name=names, format=formats)}))
        for place in draw(st.lists(ids, max_size=3, unique=True)):
            tables += _place(draw, site, place, gateway)
        lines = ["[site]", *(f"{key} = {literal(one)}" for key, one in head.items())]
        for table, entry in tables:
            lines.append(f"[[{table}]]")
            lines += [f"{key} = {literal(one)}" for key, one in entry.items()]
        files[f"{site}.toml"] = "\n".join(lines)
    return files


def _place(
    draw: st.DrawFn, site: str, place: str, gateway: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    states = st.dictionaries(moments.map(datetime.isoformat), st.sampled_from(STATES), min_size=1)
    old = draw(st.booleans())
    former = {PUSHED[0]: [f"{site}/was-{place}/{PUSHED[0]}/raw"]}
    yield (
        "place",
        {
            "id": place,
            **some(
                draw,
                name=names,
                name_zh=names,
                outlet=st.booleans(),
                line=st.just("a-line"),
                permit_no=codes,
                state=st.sampled_from(STATES) | states,
            ),
            **({"formerly": former} if old else {}),
        },
    )
    change = draw(moments)
    before = {"to": change, "last_register": {PUSHED[0]: draw(amounts)}}
    after = {"from": change, "first_register": {PUSHED[0]: draw(amounts), PUSHED[1]: 0}}
    halves = [before, after] if draw(st.booleans()) else [{}]
    for number, half in enumerate(halves):
        yield (
            "device",
            {
                "id": f"{place}-{number}",
                "place": place,
                "profile": "push",
                "gateway": gateway,
                "quantities": PUSHED,
                **half,
                **some(
                    draw,
                    serial=st.just(f"{site}-{place}-00{number}"),
                    voltage_ratio=ratios,
                    current_ratio=ratios,
                    interval=st.sampled_from(["10s", "1m", "0.5h"]),
                    no_value=st.lists(amounts, max_size=3),
                    max_rate=amounts | st.fixed_dictionaries({PUSHED[1]: amounts}),
                ),
            },
        )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a workbook costs too much to shrink
)
@given(fleets())
def test_what_goes_out_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    one, other = (Desk(tmp_path_factory.mktemp("desk")) for _ in range(2))
    (one.folder / "registry").mkdir(parents=True)
    for name, text in files.items():
        (one.folder / "registry" / name).write_text(text, encoding="utf-8")
    meant = one.registry()
    export_registry(one.folder, one.path, overwrite=False)
    import_registry(other.folder, one.path, overwrite=False)
    assert other.registry() == meant
    said = import_registry(one.folder, one.path, overwrite=False)
    assert said[-1] == "nothing to change: the registry says the same"
    export_registry(other.folder, other.path, overwrite=False)
    import_registry(one.folder, other.path, overwrite=False)
    assert one.registry() == meant


@given(st.dictionaries(names, st.floats(0, 1e6), max_size=2))
@example({"[": 1.0})
@example({"{x}": 1.0, "y": 2.0})
@example({"[a = 1]": 1.0})
def test_a_cell_says_what_it_was_made_of(shares: dict[str, float]) -> None:
    (column,) = [
        column for sheet in SHEETS for column in sheet.columns if column.key == "permitted_t"
    ]
    assert (understood(column, shown(column.kind, shares)) or {}) == shares


def test_the_shipped_example_goes_out_and_comes_back(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "example", desk.folder)
    meant = desk.registry()
    export_registry(desk.folder, desk.path, overwrite=False)
    other = Desk(tmp_path / "other")
    import_registry(other.folder, desk.path, overwrite=False)
    assert other.registry() == meant
