"""Over HTTP a sender is told, after the sync, exactly what became of what it sent."""

from __future__ import annotations

import gzip
import json
import threading

import pytest

from collector.model import Reason
from collector.ports import Urgency
from meterwatch.refusal_words import refusal
from tests.adapters.http.http_served import READINGS, WRITE, Answer, Served, Wire, head
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic
from tests.intakes import CollectingIntake

pytestmark = pytest.mark.timeout(60)
GZIP = {"Content_Encoding": "gzip"}


def told(answer: Answer) -> tuple[int, str, str]:
    """Status, code and message of a fault, whose form is always the same."""
    body = answer.json()
    assert body["code"], body
    assert body["message"], body
    assert isinstance(body["reasons"], list), body
    assert answer.headers["content-type"] == "application/json"
    return answer.status, body["code"], body["message"]


def test_what_is_stored_is_what_mqtt_would_have_stored() -> None:
    body = message(row(), row("stack", values={"voc.nmhc.concentration": 3.5}), row("nobody"))
    fleet = Fleet(source="http:main")
    expected = fleet.decoder.decode_many([(topic(), body, T0)])
    with CollectingIntake() as intake, Served(intake, fleet.decoder) as served:
        answer = served.post(body)
        assert answer.status == 200
        assert answer.json()["stored"] == 4
        assert [part["reason"] for part in answer.json()["refused"]] == [Reason.UNKNOWN_DEVICE]
        assert answer.json()["refused"][0]["rows"] == [2]
        rows = list(
            zip(expected.batch.point, expected.batch.time, expected.batch.value, strict=True)
        )
        assert [found[:3] for found in intake.rows()] == rows
        assert intake.refusals() == expected.refusals
        assert set(intake.batch().segments.origin.tolist()) == {fleet.origin("gateway:gw-print")}


def test_nothing_is_answered_before_the_sync() -> None:
    with CollectingIntake(held=True) as intake, Served(intake) as served, Wire(served) as wire:
        body = message(row())
        wire.send(head(Content_Length=len(body)).encode() + body)
        intake.wait_until(lambda i: i.unsynced() == 3)
        for _ in range(3):  # whatever was ready to be said has been said
            assert served.ask("GET", "/healthz").status == 200
        assert not wire.readable(0)
        intake.release()
        assert wire.answer().status == 200


def test_readings_on_which_the_program_failed_are_not_called_stored() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        intake.aside = "the program failed on these readings: KeyError(7)"
        answer = served.post(message(row(), row("nobody"), id=5))
        assert (answer.status, answer.json()["stored"], answer.json()["id"]) == (422, 0, 5)
        assert [(part["reason"], part["count"]) for part in answer.json()["reasons"]] == [
            (Reason.UNKNOWN_DEVICE, 3),
            (Reason.PROGRAM_FAULT, 3),
        ]
        line = served.post(f"m,device=main-meter power.active=1 {T0 * 10**6}".encode(), WRITE)
        assert told(line)[0] == 400
        assert "KeyError(7)" in told(line)[2]
        nothing = served.post(b"{")
        assert [part["reason"] for part in nothing.json()["reasons"]] == [Reason.PAYLOAD]
        intake.aside = ""
        assert served.post(message(row())).json()["stored"] == 3


def test_refusals_alone_wait_for_the_sync_too() -> None:
    with CollectingIntake(held=True) as intake, Served(intake) as served, Wire(served) as wire:
        wire.send(head(Content_Length=1) + "{")
        intake.wait_until(lambda i: len(i.refusals()) == 1)
        for _ in range(3):  # whatever was ready to be said has been said
            assert served.ask("GET", "/healthz").status == 200
        assert not wire.readable(0)
        intake.release()
        assert wire.answer().status == 400


def test_requests_that_come_at_once_are_one_delivery_and_answered_each_for_itself() -> None:
    bodies = [message(row(time=T0 + n), *([row("nobody")] * (n % 2))) for n in range(12)]
    with CollectingIntake(held=True) as intake, Served(intake) as served:
        wires = [Wire(served) for _ in bodies]
        for wire, body in zip(wires, bodies, strict=True):
            wire.send(head(Content_Length=len(body)).encode() + body)
        intake.wait_until(lambda i: i.unsynced() == 3 * len(bodies))
        assert len([d for d in intake.deliveries if d.batch is not None]) < len(bodies)
        intake.release()
        for n, wire in enumerate(wires):
            answer = wire.answer()
            assert (answer.status, len(answer.json()["refused"])) == (200, n % 2)
            wire.socket.close()


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "reason"),
    [
        (b"{", {}, 400, "invalid", Reason.PAYLOAD),
        (b"", {}, 400, "invalid", Reason.PAYLOAD),
        (b'{"readings":[]}', {}, 400, "invalid", Reason.PAYLOAD),
        (b"[]", {}, 400, "invalid", Reason.PAYLOAD),
        (message(row("nobody")), {}, 422, "unprocessable entity", Reason.UNKNOWN_DEVICE),
        (message(row(serial="x")), {}, 422, "unprocessable entity", Reason.WRONG_SERIAL),
        (b"plain", GZIP, 400, "invalid", Reason.PAYLOAD),
        (gzip.compress(message(row()))[:-3], GZIP, 400, "invalid", Reason.PAYLOAD),
        (b" " * (1 << 20), {}, 413, "request too large", Reason.TOO_LARGE),
        (gzip.compress(b" " * (1 << 22)), GZIP, 413, "request too large", Reason.TOO_LARGE),
    ],
)
def test_what_cannot_be_used_is_refused_in_words_and_kept(
    body: bytes, headers: dict[str, str], status: int, code: str, reason: str
) -> None:
    with CollectingIntake() as intake, Served(intake, settings={"max_body": 1 << 19}) as served:
        answer = served.post(body, **headers)
        assert told(answer)[:2] == (status, code)
        assert [part["reason"] for part in answer.json()["reasons"]] == [reason]
        (kept,) = intake.refusals()
        assert (kept.reason, kept.origin) == (
            reason,
            Fleet(source="http:main").origin("gateway:gw-print"),
        )
        assert intake.count() == 0
        assert served.post(message(row())).status == 200


def test_what_else_is_to_be_mended_of_a_refused_body_stands_beside_its_reasons() -> None:
    unit = "its times are seconds where milliseconds are meant: they were taken as such"
    with CollectingIntake() as intake, Served(intake) as served:
        body = served.post(message(row("x", time=T0 // 1000), id=7)).json()
        assert [part["reason"] for part in body["reasons"]] == [Reason.UNKNOWN_DEVICE]
        assert (body["id"], body["stored"], body["remarks"]) == (7, 0, [unit])
        long, cut = message(row("x"), id="y" * 99), b'{"id": "%s", "readings": 7}' % (b"y" * 99)
        for gateway, sent in (("gw-print", long), ("gw-gone", long), ("gw-gone", cut)):
            (told,) = served.post(sent, gateway=gateway).json()["remarks"]
            assert told.startswith('"id" has 99 characters')
        lines = f"m,device=main-meter power.active=1 {T0 + 3_600_000}\nm,device=x a=1 {T0}"
        body = served.post(lines.encode(), f"{WRITE}?precision=ms").json()
        assert (body["stored"], len(body["reasons"]), len(body["remarks"])) == (1, 1, 1)
        assert "remarks" not in served.post(message(row("x"))).json(), "nothing else"


@pytest.mark.parametrize(
    ("said", "told_to"),
    [
        (None, "send the header Authorization: Bearer TOKEN, with the gateway's token"),
        ("token-of-gw-print", "write Authorization: Bearer TOKEN"),
        ("Basic eDp5", "write Authorization: Bearer TOKEN, not Basic with user and password"),
        ("Bearer ", "nothing stands behind Bearer: write Authorization: Bearer TOKEN"),
        ('Bearer "token-of-gw-print"', "send the token without quotes"),
        ("Token $TOKEN", "the shell did not put the token in"),
        ("Bearer nobody", "this token is not known: check it, or have a new one made"),
    ],
)
def test_a_good_token_in_a_wrong_header_is_not_called_unknown(
    said: str | None, told_to: str
) -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        for path in (READINGS, WRITE):
            answer = served.ask("POST", path, b"{", {"Authorization": said} if said else {})
            assert told(answer)[:2] == (401, "unauthorized")
            assert told_to in told(answer)[2]
            assert "token-of" not in told(answer)[2]
            assert answer.headers["www-authenticate"] == 'Bearer realm="meterwatch"'


def test_a_body_that_turns_out_too_large_while_it_comes_is_refused_with_its_beginning() -> None:
    with CollectingIntake() as intake, Served(intake, settings={"max_body": 4096}) as served:
        with Wire(served) as wire:
            wire.send(head(Transfer_Encoding="chunked"))
            for _ in range(5):
                wire.send(b"400\r\n" + b"[" * 1024 + b"\r\n")
            status, _, why = told(wire.answer())
            assert status == 413
            assert ", 4,096 are the most" in why
        assert intake.refusals()[0].sample.startswith(b"[[[")
        assert " 5,000 bytes, 4,096 are the most" in told(served.post(b"[" * 5000))[2]


def test_a_body_in_chunks_and_one_that_was_asked_for_are_taken() -> None:
    body = message(row())
    with CollectingIntake() as intake, Served(intake) as served, Wire(served) as wire:
        wire.send(head(Transfer_Encoding="chunked"))
        for at in range(0, len(body), 7):
            part = body[at : at + 7]
            wire.send(b"%x\r\n%s\r\n" % (len(part), part))
        wire.send(b"0\r\n\r\n")
        assert wire.answer().status == 200
        wire.send(head(Content_Length=len(body), Expect="100-continue"))
        assert wire.answer().status == 100
        wire.send(body)
        assert wire.answer().status == 200
        assert intake.count() == 6


def test_who_has_no_token_is_refused_before_the_body() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        for scheme, status in (
            ("Bearer token-of-gw-print", 200),
            ("bearer  token-of-gw-print", 200),
            ("Token token-of-gw-print", 200),
            ("Basic token-of-gw-print", 401),
            ("token-of-gw-print", 401),
            ("Bearer nobody", 401),
            ("Bearer ", 401),
            ("Bearer \u00fc\u00ff", 401),
        ):
            answer = served.post(message(row()), gateway="", Authorization=scheme)
            assert answer.status == status, scheme
        answer = served.post(message(row()), gateway="")
        assert told(answer)[:2] == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert intake.count() == 9
        with Wire(served) as wire:
            wire.send(head(token="", Content_Length=1 << 18, Expect="100-continue"))
            assert wire.answer().status == 401  # not 100: the body is not wanted


def test_a_gateway_that_no_site_has_is_told_so_and_what_it_sent_can_be_replayed() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        answer = served.post(message(row()), gateway="gw-gone")
        assert told(answer)[:2] == (403, "forbidden")
        (kept,) = intake.refusals()
        assert (kept.reason, kept.kind) == (Reason.UNKNOWN_GATEWAY, "mqtt-json:gw-gone")
        assert kept.sample == message(row())


def test_a_gateway_speaks_for_its_own_devices_only() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        assert served.post(message(row("stack")), gateway="gw-mill").status == 422
        assert served.post(message(row()), gateway="gw-mill").status == 200
        assert {point for point, *_ in intake.rows()} == {
            Fleet().point(f"mill/main/{q}")
            for q in ("energy.active.import", "power.active", "voltage.l1")
        }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Encoding": "br"}, 415),
        ({"Content_Encoding": "gzip, gzip"}, 415),
        ({"Content_Encoding": "identity"}, 200),
    ],
)
def test_other_forms_are_named(headers: dict[str, str], status: int) -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        assert served.post(message(row()), **headers).status == status
        assert bool(intake.count()) == (status == 200)


def test_without_a_length_there_is_no_body() -> None:
    with CollectingIntake() as intake, Served(intake) as served, Wire(served) as wire:
        wire.send(head())
        assert told(wire.answer())[:2] == (411, "length required")


def test_other_paths_and_methods_are_json_faults_too() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        assert told(served.ask("GET", "/"))[:2] == (404, "not found")
        for path in ("/v1/readings/", "/v1/reading", "/write?db=x"):
            status, _, why = told(served.ask("POST", path, message(row())))
            assert status == 404
            assert why.endswith("POST /v1/readings, or line protocol to /api/v2/write")
        answer = served.ask("GET", READINGS)
        assert told(answer)[:2] == (405, "method not allowed")
        assert answer.headers["allow"] == "POST"
        assert told(served.ask("DELETE", "/healthz"))[0] == 405


def test_what_clients_of_influxdb_look_at_is_there() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        assert served.ask("GET", "/ping").status == 204
        assert served.ask("HEAD", "/ping").headers["x-influxdb-version"]
        assert served.ask("GET", "/health").json()["status"] == "pass"
        assert served.ask("GET", "/healthz").json()["status"] == "ok"
        assert served.ask("GET", "/openapi.json").json()["openapi"].startswith("3.")


def test_a_full_disk_is_said_before_the_body_and_late_data_first() -> None:
    late = message(row(time=T0 - 3_600_000))
    with CollectingIntake() as intake, Served(intake) as served:
        intake.refuse_below(Urgency.PUSH)
        answer = served.post(late)
        assert told(answer)[:2] == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert served.post(message(row())).status == 200
        intake.refuse_below(Urgency.POLL)
        with Wire(served) as wire:
            # How the disk stands is looked at now and then: the first may still be let in.
            while True:
                wire.send(head(Content_Length=1, Expect="100-continue"))
                answer = wire.answer()
                if answer.status != 100:
                    break
                wire.send("{")
                assert wire.answer().status == 503
            assert told(answer)[0] == 503
        assert served.ask("GET", "/healthz").status == 503
        assert intake.count() == 3


def test_when_the_disk_is_nearly_full_late_requests_do_not_take_live_ones_with_them() -> None:
    with CollectingIntake(held=True) as intake, Served(intake) as served:
        intake.refuse_below(Urgency.PUSH)
        found: dict[str, int] = {}

        def send(name: str, body: bytes) -> None:
            found[name] = served.post(body).status

        sent = [
            threading.Thread(target=send, args=(f"{kind}-{n}", message(row(time=time + n))))
            for n in range(8)
            for kind, time in (("late", T0 - 3_600_000), ("live", T0 - 10))
        ]
        for thread in sent:
            thread.start()
        intake.wait_until(lambda i: i.count() == 3 * 8)
        intake.release()
        for thread in sent:
            thread.join()
        assert found == {
            f"{kind}-{n}": status
            for n in range(8)
            for kind, status in (("late", 503), ("live", 200))
        }


def test_a_new_registry_is_used_from_the_next_request_on() -> None:
    with CollectingIntake() as intake, Served(intake) as served, Wire(served) as wire:
        body = message(row("nobody"))
        request = head(Content_Length=len(body)).encode() + body
        wire.send(request)
        assert wire.answer().status == 422
        known = Fleet(source="http:main").registry.devices["print/main-meter"]
        import dataclasses

        more = [
            *Fleet().registry.devices.values(),
            dataclasses.replace(known, id="nobody", serial=""),
        ]
        served.source.update(Fleet(more, source="http:main").decoder)
        wire.send(request)
        assert wire.answer().status == 200


def test_requests_are_counted_by_answer_and_trouble_is_logged_once() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        for _ in range(3):
            served.post(message(row()))
            served.post(message(row()), gateway="nobody")
        assert served.count("http_requests", code="200") == 3
        assert served.count("http_requests", code="401") == 3
        assert served.count("http_refused", limit="unauthorized") == 3
        assert served.count("http_readings") == 9


def test_an_id_comes_back() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        body = json.dumps({"id": "m-7", "readings": [row()]}).encode()
        assert served.post(body).json()["id"] == "m-7"


def test_the_write_api_has_its_own_faults() -> None:
    with CollectingIntake() as intake, Served(intake) as served:
        line = f"m,device=main-meter power.active=1 {T0}".encode()
        status, code, why = told(served.post(line, f"{WRITE}?precision=min"))
        assert (status, code) == (400, "invalid")
        assert why == "unreadable-payload: precision 'min': one of ns, us, ms, s"
        (kept,) = intake.refusals()
        assert (kept.reason, kept.sample) == (Reason.PAYLOAD, line), "its client throws it away"
        assert refusal(kept.detail, "zh") == "precision 'min'：应为 ns, us, ms, s 之一"
        assert told(served.post(b"x", f"{WRITE}?precision=s", gateway="nobody"))[0] == 401
