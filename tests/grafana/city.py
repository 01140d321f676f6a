"""A small city as rows of ``docs/schema.md``, written to real servers as line protocol.

Two sites in two counties: a printing plant with an outlet and a treatment unit, and a hospital.
``statements(end)`` and ``readings(end)`` are what the program would have written up to ``end``
(ms): readings of every quantity for a day, books for three days with corrections, warnings that
fired, ended and are still open. Written by hand after the schema, so that the dashboards and the
projection are judged by the same page.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping

from collector import schema
from collector.quantities import Quantity, quantities
from collector.schema import Statement
from tests.databases import Database, InfluxDb, VictoriaMetrics

MINUTE, QUARTER, HOUR, DAY = 60_000, 900_000, 3_600_000, 86_400_000
ZONE = 8 * HOUR
"""Of the sites: China standard time."""

SITES = {
    "print": ("620502", "C2319", "陇南路印刷厂", "Longnan Road Printing"),
    "hospital": ("620503", "Q8411", "秦州医院", "Qinzhou Hospital"),
}
PLACES = {
    ("print", "main"): ("no", "总进线", "Main supply"),
    ("print", "rto"): ("no", "治理设施配电", "Oxidiser supply"),
    ("print", "stack"): ("yes", "废气排放口 DA001", "Exhaust outlet DA001"),
    ("hospital", "main"): ("no", "总进线", "Main supply"),
}
DAY_AMOUNTS = {("print", "main"): 2400.0, ("print", "rto"): 480.0, ("hospital", "main"): 960.0}
"""kWh each day, before corrections."""
CORRECTED = 2500.0
"""kWh of yesterday at ``print/main``, after late data."""
NMHC, PEAK, PEAK_AGE = 40.0, 130.0, 2 * HOUR
"""mg/m3 as a rule, and once, so long before the end."""
READ_EVERY = 5 * MINUTE

Line = tuple[str, Mapping[str, str], Mapping[str, float], Mapping[str, str], int]
"""Measurement, tags, fields, texts, time."""


def county(site: str) -> str:
    return SITES[site][0]


def today(end: int) -> int:
    """When the sites' day began."""
    return (end + ZONE) // DAY * DAY - ZONE


def readings(end: int) -> Iterator[Line]:
    """A day of every quantity at each place that could measure it, plus an hour's mean that no
    dashboard may mix with the readings."""
    first = (end - DAY) // READ_EVERY * READ_EVERY
    peak = (end - PEAK_AGE) // READ_EVERY * READ_EVERY
    for site, place in PLACES:
        tags = {"county": county(site), "place": place, "site": site, "statistic": "raw"}
        rows = [row for row in quantities().values() if _measured(row, place)]
        for group in sorted({row.group for row in rows}):
            for time in range(first, end + 1, READ_EVERY):
                fields = {
                    schema.names_of(row.name)[1]: _value(row, time - first)
                    for row in rows
                    if row.group == group
                }
                if time == peak and "nmhc_concentration" in fields:
                    fields["nmhc_concentration"] = PEAK
                yield group, tags, fields, {}, time
    tags = {"county": "620502", "place": "stack", "site": "print", "statistic": "avg-1h"}
    for time in range(first, end + 1, READ_EVERY):
        yield "voc", tags, {"nmhc_concentration": 9999.0}, {}, time


def _measured(row: Quantity, place: str) -> bool:
    electric = row.group == "electricity"
    return not electric if place == "stack" else electric


def _value(row: Quantity, age: int) -> float:
    if row.name == "voc.nmhc.concentration":
        return NMHC
    if row.kind == "counter":
        return 1000.0 + age / HOUR
    if row.kind == "state":
        return 1.0
    return {"V": 221.0, "Hz": 50.0, "kW": 100.0, "A": 30.0}.get(row.unit, 0.9)


def statements(end: int) -> Iterator[Statement]:
    """Everything that is no reading, in the order in which it would be written."""
    yield from _registry(end)
    yield from _books(end)
    yield from _completeness(end)
    yield from _warnings(end)
    yield from _quality(end)
    yield from _program(end)


def _registry(end: int) -> Iterator[Statement]:
    for time in range(end - DAY, end + 1, 10 * MINUTE):
        for site, (code, industry, zh, en) in SITES.items():
            tags = {"county": code, "industry": industry, "site": site}
            count = sum(1 for owner, _ in PLACES if owner == site)
            labels = {"label_zh": schema.label_of(zh, site), "label_en": schema.label_of(en, site)}
            yield Statement(schema.SITE_INFO, tags, {"places": count}, time, labels)
        for (site, place), (outlet, zh, en) in PLACES.items():
            tags = {"county": county(site), "outlet": outlet, "place": place, "site": site}
            texts = {"label_zh": schema.label_of(zh, place), "label_en": schema.label_of(en, place)}
            yield Statement(schema.PLACE_INFO, tags, {"interval": 300}, time, texts)


def _books(end: int) -> Iterator[Statement]:
    """Closed spans of the three days before today and of today; yesterday's day of
    ``print/main`` and its last quarter twice, and the day before's ``voc.nmhc.mass``."""
    begin = today(end) - 3 * DAY
    for (site, place), amount in DAY_AMOUNTS.items():
        tags = {"county": county(site), "place": place, "quantity": "energy.active.import",
                "site": site}  # fmt: skip
        yield from _spans(tags, amount, begin, end)
    mass = {"county": "620502", "place": "stack", "quantity": "voc.nmhc.mass", "site": "print"}
    yield from _spans(mass, 24.0, begin, end)
    for quantity in ("gas.volume", "water.volume", "heat.energy"):
        yield from _spans({"county": "620503", "place": "main", "quantity": quantity,
                           "site": "hospital"}, 48.0, begin, end)  # fmt: skip
    main = {"county": "620502", "place": "main", "quantity": "energy.active.import",
            "site": "print"}  # fmt: skip
    yesterday = today(end) - DAY
    for revision, amount in ((1, 2450.0), (2, CORRECTED)):
        fields = {"amount": amount, "measured": 0.9, "estimated": 0.1}
        yield Statement(schema.BOOKS, {**main, "span": "1d"}, fields, yesterday, revision=revision)


def _spans(tags: Mapping[str, str], amount: float, begin: int, end: int) -> Iterator[Statement]:
    for span, length in (("15m", QUARTER), ("1h", HOUR), ("1d", DAY)):
        fields = {"amount": amount * length / DAY, "measured": 1.0, "estimated": 0.0}
        for time in range(begin, end - length + 1, length):
            yield Statement(schema.BOOKS, {**tags, "span": span}, fields, time)


def _completeness(end: int) -> Iterator[Statement]:
    """Twelve expected each hour; the hospital's last hour came late and was corrected."""
    last = end // HOUR * HOUR - HOUR
    for site, place in PLACES:
        tags = {"county": county(site), "place": place, "site": site}
        for time in range(last - 47 * HOUR, last + 1, HOUR):
            valid = 6 if site == "hospital" else 12
            fields = {"expected": 12.0, "valid": valid, "invalid": 0.0, "share": valid / 12}
            yield Statement(schema.COMPLETENESS, tags, fields, time)
            if site == "hospital":
                fields = {"expected": 12.0, "valid": 9.0, "invalid": 3.0, "share": 0.75}
                yield Statement(schema.COMPLETENESS, tags, fields, time, revision=1)


def _warnings(end: int) -> Iterator[Statement]:
    """One that is over, one of each level that is open, one of them about a gateway."""
    stack = ("print", "stack")
    main = ("hospital", "main")
    yield from _warning("nmhc-outlet-printing", "orange", stack, end - 5 * HOUR, end - 4 * HOUR)
    yield from _warning("nmhc-outlet-general", "red", stack, end - HOUR, None, end)
    yield from _warning("gateway-silent", "orange", ("-", "-"), end - HOUR // 2, None, end)
    yield from _warning("voltage-high", "yellow", main, end - 2 * HOUR, None, end)
    yield from _warning("power-factor-low", "blue", main, end - 3 * HOUR, None, end)


def _warning(
    rule: str, level: str, where: tuple[str, str], fired: int, over: int | None, end: int = 0
) -> Iterator[Statement]:
    site, place = where
    known = site in SITES
    subject = f"{site}/{place}/voc.nmhc.concentration/raw" if known else "gateway:gw-1"
    tags = {
        "county": county(site) if known else "-",
        "level": level,
        "place": place,
        "rule": rule,
        "site": site,
        "subject": subject,
    }
    texts = {"title_zh": f"{rule} 预警", "title_en": f"{rule} warning"}
    fields = {"value": 125.0, "worst": 130.0}
    yield Statement(schema.ALERT_EVENTS, tags, {"state": 1, "value": 125.0}, fired, texts)
    minutes = range(fired // MINUTE * MINUTE + MINUTE, (over or end) + 1, MINUTE)
    for time in minutes:
        yield Statement(schema.ALERTS, tags, {"firing": 1, **fields}, time)
    if over is not None:
        yield Statement(schema.ALERT_EVENTS, tags, {"state": 0, "value": 50.0}, over, texts)
        yield Statement(schema.ALERTS, tags, {"firing": 0, **fields}, minutes[-1] + MINUTE)


def _quality(end: int) -> Iterator[Statement]:
    """A calibration of half an hour, an impossible value, and substituted ones."""
    tags = {"county": "620502", "place": "stack", "quantity": "voc.nmhc.concentration",
            "site": "print", "statistic": "raw"}  # fmt: skip
    for minute in range(30):
        fields = {"code": 120.0, "value": 0.5}
        yield Statement(schema.QUALITY, tags, fields, end - 3 * HOUR + minute * MINUTE)
    yield Statement(schema.QUALITY, tags, {"code": 180.0, "value": -200.0}, end - 2 * HOUR)
    for minute in range(5):
        yield Statement(schema.QUALITY, tags, {"code": 30.0}, end - HOUR + minute * MINUTE)


def _program(end: int) -> Iterator[Statement]:
    """Ten readings a second, two refused each minute for an unknown device."""
    for minute, time in enumerate(range((end - DAY) // MINUTE * MINUTE, end + 1, MINUTE)):
        tags = {"instance": "centre"}
        fields = {"journal_bytes": 4e6, "journal_max_bytes": 1e9, "readings": 600.0 * minute,
                  "refused": 2.0 * minute, "sources_up": 3, "sources_down": 1,
                  "open_alerts": 2}  # fmt: skip
        yield Statement(schema.PIPELINE, tags, fields, time)
        for fold in ("archive", "account", "judge", "project-vm"):
            state = {"lag_entries": 3, "behind_ms": 250, "healthy": float(fold != "judge")}
            yield Statement(schema.PIPELINE_FOLD, {**tags, "fold": fold}, state, time)
        refused = {"origin": "gateway:gw-1", "reason": "unknown-device"}
        yield Statement(schema.REFUSED, refused, {"times": minute, "readings": 2 * minute}, time)


def fill(database: Database, end: int) -> None:
    """Write the whole city up to ``end``; visible to queries on return."""
    influx = isinstance(database, InfluxDb)
    rows: Iterable[Line] = (
        (one.measurement, one.tags, one.fields, one.texts,
         one.time if influx else one.time + one.revision)
        for one in statements(end)
    )  # fmt: skip
    lines = [_line(row, influx) for source in (readings(end), rows) for row in source]
    path = "/write?db=meterwatch&precision=ms" if influx else "/api/v2/write?precision=ms"
    for at in range(0, len(lines), 20_000):
        body = gzip.compress("\n".join(lines[at : at + 20_000]).encode(), 1)
        status, answer = database.request("POST", path, body, {"Content-Encoding": "gzip"})
        assert status == 204, answer
    if isinstance(database, VictoriaMetrics):
        database.flush()


def _line(row: Line, influx: bool) -> str:
    measurement, tags, fields, texts, time = row
    labels = dict(tags) if influx else {**tags, **texts}
    keys = "".join(f",{key}={_escaped(value)}" for key, value in sorted(labels.items()))
    values = [f"{key}={float(value)!r}" for key, value in fields.items()]
    if influx:
        values += [f'{key}="{value}"' for key, value in texts.items()]
    return f"{measurement}{keys} {','.join(values)} {time}"


def _escaped(value: str) -> str:
    return value.replace(" ", "\\ ").replace(",", "\\,").replace("=", "\\=")
