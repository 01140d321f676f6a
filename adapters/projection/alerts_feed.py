"""``alert_events`` and ``alerts``: what the judge said, and what is open each minute.

Promises. Events: one row for each transition to firing and for each end, none left out, however
long the database was away; the row of an end is later than that of its beginning. Minutes: only
the present one is told, so that a day at high speed does not become a day of rows; of one subject
of a rule there is one row in it: open, or over since the last minute that was told. Of more than
``MOST`` open alerts the most severe are told, and telemetry says how many are not
(``alerts_not_projected``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapters.projection.feeds import MINUTE_MS, NONE, Known, Opened, State, numbers
from adapters.state.alerts import AlertsReader
from collector.alerts import CLOSED, FIRING, RESOLVED, Alert, Level, Transition
from collector.schema import ALERT_EVENTS, ALERTS, Statement
from collector.telemetry import Telemetry

MOST: Final = 5_000


class EventsFeed:
    """``alert_events``. The state is the number of the last transition told."""

    def __init__(self, path: Path, known: Known, telemetry: Telemetry | None) -> None:
        self._alerts = Opened(path, AlertsReader, telemetry)
        self._known = known

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:  # noqa: ARG002 at any time
        found = self._alerts.ask(lambda alerts: self._said(alerts, state.get("number", 0), room))
        if found is None:
            return [], state
        rows, number = found
        return rows, {"number": number}

    def _said(self, alerts: AlertsReader, after: int, room: int) -> tuple[list[Statement], int]:
        with alerts.moment():
            newest = alerts.newest()
            if newest < after:
                after = 0  # a file begun anew: all of its transitions are news
            said = alerts.said((FIRING, RESOLVED, CLOSED), after, room)
        number = said[-1][0] if len(said) >= room else newest
        return [self._event(transition, alert) for _, transition, alert in said], number

    def _event(self, transition: Transition, alert: Alert | None) -> Statement:
        data = transition.data
        fires = transition.to_state == FIRING
        time = transition.time
        if not fires:
            time = max(time, int(data.get("fired", time)) + 1)
        title, title_zh = data.get("title"), data.get("title_zh")
        rule = str(data.get("rule", NONE))
        texts = {"title_zh": title_zh or title or rule, "title_en": title or title_zh or rule}
        fields = numbers(state=fires, value=data.get("value"))
        tags = _tags(self._known, transition, alert)
        return Statement(ALERT_EVENTS, tags, fields, time, texts)

    def close(self) -> None:
        self._alerts.close()


class AlertsFeed:
    """``alerts``. The state is the minute told last, the ids of what was told as open in it, and
    the number of the last end told. What ends is found by both: a judge that begins again from an
    earlier moment may reopen an alert for a while and not say again that it is over, and a minute
    may have been told of which no state was kept."""

    def __init__(self, path: Path, known: Known, telemetry: Telemetry | None) -> None:
        self._alerts = Opened(path, AlertsReader, telemetry)
        self._known = known
        self._telemetry = telemetry

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:
        minute = now // MINUTE_MS
        if state.get("minute") == minute:
            return [], state
        found = self._alerts.ask(lambda alerts: self._minute(alerts, state, room))
        if found is None:
            return [], state
        told, number = found
        rows: dict[tuple[str, ...], Statement] = {}
        for alert in told:  # those open come last, and stand before what is over
            row = self._row(alert, minute * MINUTE_MS)
            rows[tuple(row.tags.values())] = row
        opened = [alert.id for alert in told if alert.state == FIRING]
        return list(rows.values()), {"minute": minute, "number": number, "open": opened}

    def _minute(self, alerts: AlertsReader, state: State, room: int) -> tuple[list[Alert], int]:
        """What ended since the minute told last, then what is open; and the new number."""
        with alerts.moment():
            newest = alerts.newest()
            after = min(state.get("number", newest), newest)
            ended = alerts.said((RESOLVED, CLOSED), after, room)
            number = ended[-1][0] if len(ended) >= room else newest
            firing = alerts.firing(MOST)
            ids = {transition.alert for _, transition, _ in ended}.union(state.get("open", ()))
            gone = alerts.named(sorted(ids.difference(alert.id for alert in firing)))
            left_out = alerts.counts().get(FIRING, 0) - len(firing)
        if self._telemetry is not None:
            self._telemetry.gauge("alerts_not_projected", left_out)
        over = [alert for alert in gone if alert.state != FIRING]
        return sorted(over, key=lambda alert: alert.fired) + firing, number

    def _row(self, alert: Alert, time: int) -> Statement:
        fields = numbers(firing=alert.state == FIRING, value=alert.value, worst=alert.worst)
        return Statement(ALERTS, _tags_of(self._known, alert), fields, time)

    def close(self) -> None:
        self._alerts.close()


def _tags(known: Known, transition: Transition, alert: Alert | None) -> Mapping[str, str]:
    """As its alert is tagged while open: what is said at its end may know less of its place."""
    if alert is not None:
        return _tags_of(known, alert)
    data = transition.data
    keys = ("rule", "subject", "site", "place")
    return _tagged(known, transition.level, *(str(data.get(key, "")) for key in keys))


def _tags_of(known: Known, alert: Alert) -> Mapping[str, str]:
    return _tagged(known, alert.level, alert.rule, alert.subject, alert.site, alert.place)


def _tagged(
    known: Known, level: int, rule: str, subject: str, site: str, place: str
) -> Mapping[str, str]:
    return {
        "county": known.county(site) if site else NONE,
        "level": Level(level).word,
        "place": place.rpartition("/")[2] or NONE,
        "rule": rule or NONE,
        "site": site or NONE,
        "subject": subject or NONE,
    }
