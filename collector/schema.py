"""How readings, warnings, books and the program's own state are named in external databases.

The one place for these names: the encoder that writes them, the dashboards that ask for them and
the queries that verify them all look here. ``docs/schema.md`` says the same to people. Pure data.

A *row* of an external database is measurement, tags, fields and a time. A quantity becomes a
field of its group's measurement; everything else is a :class:`Statement`. Every field is a
float, so that no database ever sees two types of one field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from collector.quantities import quantities

QUALITY: Final = "quality"
BOOKS: Final = "books"
COMPLETENESS: Final = "completeness"
ALERTS: Final = "alerts"
ALERT_EVENTS: Final = "alert_events"
REFUSED: Final = "refused"
SITE_INFO: Final = "site_info"
PLACE_INFO: Final = "place_info"
PIPELINE: Final = "pipeline"
PIPELINE_FOLD: Final = "pipeline_fold"

UNKNOWN_COUNTY: Final = "unknown"
"""County of a point whose site the registry does not have (any more): tags are never empty."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Shape of one measurement. ``texts``: string fields in InfluxDB, labels in VictoriaMetrics
    (which has no strings); their values follow from the tags, so that they add no series."""

    name: str
    tags: tuple[str, ...]
    fields: tuple[str, ...]
    texts: tuple[str, ...] = ()


_SUBJECT: Final = ("county", "level", "place", "rule", "site", "subject")

STATEMENTS: Final[Mapping[str, Measurement]] = {
    one.name: one
    for one in (
        Measurement(QUALITY, ("county", "place", "quantity", "site", "statistic"),
                    ("code", "value")),
        Measurement(BOOKS, ("county", "place", "quantity", "site", "span"),
                    ("amount", "measured", "estimated")),
        Measurement(COMPLETENESS, ("county", "place", "site"),
                    ("expected", "valid", "invalid", "share")),
        Measurement(ALERTS, _SUBJECT, ("firing", "value", "worst")),
        Measurement(ALERT_EVENTS, _SUBJECT, ("state", "value"),
                    ("title_zh", "title_en")),
        Measurement(REFUSED, ("origin", "reason"), ("times", "readings")),
        Measurement(SITE_INFO, ("county", "industry", "site"), ("places",),
                    ("label_zh", "label_en")),
        Measurement(PLACE_INFO, ("county", "outlet", "place", "site"), ("interval",),
                    ("label_zh", "label_en")),
        Measurement(PIPELINE, ("instance",),
                    ("journal_bytes", "journal_max_bytes", "readings", "refused",
                     "sources_up", "sources_down", "open_alerts")),
        Measurement(PIPELINE_FOLD, ("fold", "instance"), ("lag_entries", "behind_ms", "healthy")),
    )
}  # fmt: skip
READING_TAGS: Final = ("county", "place", "site", "statistic")
SPANS: Final = ("15m", "1h", "1d")
"""Of ``books``: quarter-hours, hours and days in the site's time zone."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One row that is no reading. ``tags`` and ``texts`` by the names of its measurement (none
    empty), ``fields`` finite, ``time`` UTC milliseconds. ``revision``: how often what is said of
    this time was said differently before; a database that cannot replace a value keeps all."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, float]
    time: int
    texts: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0


@cache
def names_of(quantity: str) -> tuple[str, str]:
    """Measurement and field of a quantity: its group, and its name without the group's, dots as
    underscores (``voc.nmhc.rate`` -> ``voc``, ``nmhc_rate``). ``KeyError`` for no quantity."""
    group = quantities()[quantity].group
    return group, quantity.removeprefix(f"{group}.").replace(".", "_")


def metric_of(measurement: str, field_name: str) -> str:
    """The name that VictoriaMetrics makes of a field: ``voc_nmhc_rate``."""
    return f"{measurement}_{field_name}"


def label_of(name: str, identifier: str) -> str:
    """The text of a label: ``Boiler house [boiler-1]``; see :data:`LABEL_PATTERN`."""
    return f"{name} [{identifier}]"


LABEL_PATTERN: Final = r"^(?<text>.*) \[(?<value>[^\]]*)\]$"
"""Parts a label into what people see and the id, in the form that Grafana's variables take."""
