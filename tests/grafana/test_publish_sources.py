"""Data sources: made, put right, left to people; secrets sent once and shown never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from grafana.publish import Folder, Wanted, plan
from grafana.publish_client import Address, Server
from grafana.publish_sources import Source, influxdb, victoria_metrics
from grafana.publish_steps import Step, Verdict, carry_out, good
from tests.grafana import contract_server
from tests.grafana.contract_server import GrafanaServer

UID = "meterwatch-victoriametrics"


served = contract_server.served


@pytest.fixture
def publish(served: GrafanaServer) -> Iterator[Callable[..., Step]]:
    """Publish one data source; its step."""
    server = Server(Address(served.url, served.grafana.token("Admin"), timeout=5))

    def one(source: Source, **more: Any) -> Step:
        steps = list(carry_out(plan(server, Wanted([], source=source, **more))))
        return next(step for step in steps if step.kind == "data source")

    yield one
    server.close()


def test_victoria_metrics_is_asked_as_a_prometheus(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    assert publish(victoria_metrics(url="http://vm:8428")).verdict is Verdict.CREATE
    made = served.grafana.sources[UID]
    told = {key: made[key] for key in ("type", "url", "access", "basicAuth", "isDefault")}
    assert told == {
        "type": "prometheus",
        "url": "http://vm:8428",
        "access": "proxy",
        "basicAuth": False,
        "isDefault": False,
    }
    assert made["jsonData"]["httpMode"] == "POST"
    assert publish(victoria_metrics(url="http://vm:8428")).verdict is Verdict.UNCHANGED


@pytest.mark.parametrize(
    ("source", "user", "options", "secrets"),
    [
        (influxdb(version=2, secret="t"), "", {"httpHeaderName1": "Authorization"},
         {"httpHeaderValue1": "Token t"}),
        (influxdb(version=3, secret="t"), "", {"httpHeaderName1": "Authorization"},
         {"httpHeaderValue1": "Token t"}),
        (influxdb(version=1, user="reader", secret="p"), "reader", {}, {"password": "p"}),
        (influxdb(version=1), "", {}, {}),
        (influxdb(), "", {}, {}),
    ],
)  # fmt: skip
def test_influxdb_is_asked_in_influxql(
    served: GrafanaServer,
    publish: Callable[..., Step],
    source: Source,
    user: str,
    options: dict[str, str],
    secrets: dict[str, str],
) -> None:
    publish(source)
    made = served.grafana.sources["meterwatch-influxdb"]
    said = {key: value for key, value in made["jsonData"].items() if "meterwatch" not in key}
    always = {"version": "InfluxQL", "dbName": "meterwatch", "httpMode": "POST"}
    assert said == {**always, **options}
    assert (made["type"], made["user"], made["url"]) == ("influxdb", user, "http://localhost:8086")
    assert served.grafana.secrets["meterwatch-influxdb"] == secrets
    assert publish(source).verdict is Verdict.UNCHANGED


def test_what_is_not_given_stays(served: GrafanaServer, publish: Callable[..., Step]) -> None:
    publish(victoria_metrics(url="http://vm:8428", user="u", secret="s"))
    before = len(served.writes())
    assert publish(victoria_metrics()).verdict is Verdict.UNCHANGED
    assert served.writes()[before:] == []
    assert publish(victoria_metrics(user="v")).verdict is Verdict.UPDATE
    made = served.grafana.sources[UID]
    assert (made["url"], made["basicAuthUser"]) == ("http://vm:8428", "v")


def test_what_is_given_anew_replaces_what_we_published(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    publish(victoria_metrics(url="http://old:8428", user="u", secret="s"))
    step = publish(victoria_metrics(url="http://new:8428"))
    assert (step.verdict, step.why) == (Verdict.UPDATE, "url")
    made = served.grafana.sources[UID]
    assert (made["url"], made["basicAuthUser"]) == ("http://new:8428", "u")
    assert served.grafana.secrets[UID] == {"basicAuthPassword": "s"}


def test_a_change_by_hand_is_told_and_kept(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    publish(victoria_metrics(url="http://vm:8428"))
    served.grafana.sources[UID]["url"] = "http://proxy/vm"
    step = publish(victoria_metrics(url="http://vm:8428"))
    assert (step.verdict, step.why) == (Verdict.KEPT, "changed in Grafana: url")
    assert served.grafana.sources[UID]["url"] == "http://proxy/vm"
    assert publish(victoria_metrics()).verdict is Verdict.UNCHANGED
    assert publish(victoria_metrics(url="http://vm:8428"), overwrite=True).verdict is Verdict.UPDATE
    assert served.grafana.sources[UID]["url"] == "http://vm:8428"


def test_what_people_set_beside_it_is_theirs(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    publish(victoria_metrics(url="http://vm:8428"))
    theirs = served.grafana.sources[UID]
    theirs["name"], theirs["isDefault"] = "能耗", True
    theirs["jsonData"] |= {"timeInterval": "30s", "httpMode": "GET"}
    assert publish(victoria_metrics(url="http://vm:8428")).verdict is Verdict.UNCHANGED
    assert publish(victoria_metrics(url="http://new:8428")).verdict is Verdict.UPDATE
    now = served.grafana.sources[UID]
    assert (now["name"], now["isDefault"], now["url"]) == ("能耗", True, "http://new:8428")
    assert (now["jsonData"]["timeInterval"], now["jsonData"]["httpMode"]) == ("30s", "GET")


def test_a_data_source_of_our_name_is_not_touched(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    theirs = {"name": "meterwatch VictoriaMetrics", "uid": "x7", "type": "prometheus"}
    admin = served.grafana.accounts[served.grafana.token("Admin")]
    served.grafana.create_source(admin, theirs)
    step = publish(victoria_metrics())
    assert step.verdict is Verdict.REFUSED
    assert "(uid x7)" in step.why
    assert list(served.grafana.sources) == ["x7"]


def test_one_with_our_uid_and_another_type_is_told(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    admin = served.grafana.accounts[served.grafana.token("Admin")]
    served.grafana.create_source(admin, {"name": "n", "uid": UID, "type": "loki"})
    assert publish(victoria_metrics()).why == "changed in Grafana: type"


def test_a_provisioned_one_is_left(served: GrafanaServer, publish: Callable[..., Step]) -> None:
    publish(victoria_metrics(url="http://vm:8428"))
    served.grafana.sources[UID]["readOnly"] = True
    assert publish(victoria_metrics(url="http://vm:8428")).verdict is Verdict.UNCHANGED
    step = publish(victoria_metrics(url="http://new:8428"))
    assert (step.verdict, "--no-data-source" in step.todo) == (Verdict.REFUSED, True)


def test_a_secret_is_sent_when_it_is_not_there_or_on_request(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    publish(victoria_metrics())
    step = publish(victoria_metrics(secret="s3cret"))
    assert step.why == "httpHeaderName1, httpHeaderValue1 (secret)"
    assert served.grafana.secrets[UID] == {"httpHeaderValue1": "Bearer s3cret"}
    assert publish(victoria_metrics(secret="another")).verdict is Verdict.UNCHANGED
    step = publish(victoria_metrics(secret="another"), renew=True)
    assert (step.verdict, step.why) == (Verdict.UPDATE, "httpHeaderValue1 (secret)")
    assert served.grafana.secrets[UID] == {"httpHeaderValue1": "Bearer another"}


def test_a_secret_is_shown_nowhere(served: GrafanaServer, publish: Callable[..., Step]) -> None:
    source = influxdb(secret="s3cret")
    step = publish(source)
    shown = (
        f"{step}{step!r}{source!r}{Wanted([], source=source)!r}{Address('http://h', 's3cret')!r}"
    )
    assert "s3cret" not in shown


def test_somebody_saves_the_data_source_meanwhile(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    publish(victoria_metrics(url="http://vm:8428"))
    theirs = served.grafana.sources[UID]
    served.then("PUT /datasources", lambda: theirs.update(version=9))
    step = publish(victoria_metrics(url="http://new:8428"))
    assert (step.verdict, "publish again" in step.todo) == (Verdict.REFUSED, True)
    assert served.grafana.sources[UID]["url"] == "http://vm:8428"


def test_without_its_data_source_no_dashboard_is_written(
    served: GrafanaServer, publish: Callable[..., Step]
) -> None:
    text = '{"uid": "mw-a", "title": "A"}'
    editor = Server(Address(served.url, served.grafana.token("Editor"), timeout=5))
    steps = list(
        carry_out(plan(editor, Wanted([Folder("f", "F", {"a": text})], victoria_metrics())))
    )
    editor.close()
    assert not good(steps)
    assert served.grafana.dashboards == {}
