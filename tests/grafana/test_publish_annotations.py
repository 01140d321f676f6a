"""Warnings as annotations: each once, ended when it is over, none of anybody else's touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import grafana.publish as publishing
import grafana.publish_client as client
from collector.alerts import CLOSED, RESOLVED, Alert
from grafana.publish import Wanted, plan
from grafana.publish_annotations import note_of
from grafana.publish_client import Address, Server
from grafana.publish_steps import Step, Verdict, carry_out, good
from tests.grafana import contract_server
from tests.grafana.contract_server import GrafanaServer

NOON = 1_763_800_000_000
ALERT = Alert(
    id="3acfa0f61c0e0a4d2b7f",
    rule="nmhc-outlet-general",
    kind="limit",
    level=4,
    subject="north-hill/stack-1/voc.nmhc.concentration/raw",
    site="north-hill",
    place="stack-1",
    started=NOON - 300_000,
    fired=NOON,
    value=131.0,
    worst=150.0,
)


served = contract_server.served


Publish = Callable[..., list[Step]]


@pytest.fixture
def publish(served: GrafanaServer) -> Iterator[Publish]:
    """Publish warnings; the steps about them."""
    server = Server(Address(served.url, served.grafana.token("Editor"), timeout=5))

    def one(*alerts: Alert) -> list[Step]:
        notes = [note_of(alert, "NMHC above the limit", "en") for alert in alerts]
        steps = list(carry_out(plan(server, Wanted([], notes=notes))))
        assert good(steps)
        return steps

    yield one
    server.close()


def test_a_warning_in_force_is_a_point(served: GrafanaServer, publish: Publish) -> None:
    (step,) = publish(ALERT)
    assert step.verdict is Verdict.CREATE
    (made,) = served.grafana.annotations.values()
    assert (made["time"], made["timeEnd"], made["dashboardId"]) == (NOON, NOON, 0)
    assert made["text"] == f"urgent · NMHC above the limit\n{ALERT.subject}"
    assert made["tags"] == [
        "meterwatch",
        "meterwatch-id:3acfa0f61c0e0a4d2b7f",
        "level:red",
        "rule:nmhc-outlet-general",
        "site:north-hill",
        "place:stack-1",
    ]


def test_publishing_again_writes_nothing_while_it_only_gets_worse(
    served: GrafanaServer, publish: Publish
) -> None:
    publish(ALERT)
    before = len(served.writes())
    (step,) = publish(replace(ALERT, worst=900.0, steps=7))
    assert (step.verdict, step.name) == (Verdict.UNCHANGED, "1")
    assert served.writes()[before:] == []


@pytest.mark.parametrize("state", [RESOLVED, CLOSED])
def test_its_end_is_put_in(served: GrafanaServer, publish: Publish, state: str) -> None:
    publish(ALERT)
    over = replace(ALERT, state=state, resolved=NOON + 60_000)
    (step,) = publish(over)
    assert step.verdict is Verdict.UPDATE
    (made,) = served.grafana.annotations.values()
    assert (made["time"], made["timeEnd"]) == (NOON, NOON + 60_000)
    assert publish(over)[0].verdict is Verdict.UNCHANGED


def test_others_annotations_are_left(served: GrafanaServer, publish: Publish) -> None:
    admin = served.grafana.accounts[served.grafana.token("Admin")]
    theirs = {"time": NOON, "text": "stack test", "tags": ["meterwatch", "rule:x"]}
    served.grafana.add_annotation(admin, theirs)
    before = dict(served.grafana.annotations)
    publish(ALERT)
    assert before.items() <= served.grafana.annotations.items()


def test_a_warning_of_no_site_and_one_of_a_very_long_place(
    served: GrafanaServer, publish: Publish
) -> None:
    rule = replace(ALERT, id="b", site="", place="", subject="rule:x")
    long = replace(ALERT, id="c", place="p" * 101)
    publish(rule, long)
    tags = [one["tags"] for one in served.grafana.annotations.values()]
    assert tags[0] == ["meterwatch", "meterwatch-id:b", "level:red", "rule:nmhc-outlet-general"]
    assert [tag for tag in tags[1] if tag.startswith("place:")] == []
    assert [step.verdict for step in publish(rule, long)] == [Verdict.UNCHANGED]


def test_the_words_are_chinese_too() -> None:
    assert note_of(ALERT, "排放口非甲烷总烃超标", "zh").text.startswith("紧急 · 排放口")


def test_more_than_one_answer_holds_are_all_found(
    served: GrafanaServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (client, publishing):
        monkeypatch.setattr(module, "ANNOTATIONS_READ", 30)
    alerts = [replace(ALERT, id=f"id{number}", fired=NOON + number) for number in range(40)]
    publish(*alerts)
    before = len(served.writes())
    assert [step.name for step in publish(*alerts)] == ["40"]
    assert served.writes()[before:] == []


def test_the_window_is_bounded_by_the_warnings(served: GrafanaServer, publish: Publish) -> None:
    publish(ALERT, replace(ALERT, id="b", fired=NOON + 1000, resolved=NOON + 9000))
    (asked,) = [one for one in served.requests if one.path == "/annotations" and not one.writes]
    assert asked.query["from"] == [str(NOON)]
    assert asked.query["to"] == [str(NOON + 9000)]
    assert asked.query["tags"] == ["meterwatch"]
