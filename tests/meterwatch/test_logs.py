"""Logs: readable by machine or person, never a secret, never a failure."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from collector.telemetry import Telemetry
from meterwatch import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_hidden", ())
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_json_object_a_line_where_nobody_watches() -> None:
    out = io.StringIO()
    logs.configure(out)
    Telemetry().event("source down", "warning", source="mqtt:main", reason="断线\nagain")
    (line,) = lines(out)
    assert line["event"] == "source down"
    assert line["level"] == "warning"
    assert line["reason"] == "断线\nagain"
    assert line["timestamp"].endswith("Z")


def test_a_person_at_a_terminal_reads_no_json() -> None:
    out = Terminal()
    logs.configure(out)
    Telemetry().event("source down", "warning", source="mqtt:main")
    assert "source down" in out.getvalue()
    assert "{" not in out.getvalue()


def test_levels_below_the_one_asked_for_are_silent() -> None:
    out = io.StringIO()
    logs.configure(out, level="error")
    Telemetry().event("fine")
    Telemetry().event("not fine", "error")
    assert [line["event"] for line in lines(out)] == ["not fine"]


def fail() -> None:
    raise ValueError("https://robot?key=geheim")


@pytest.mark.parametrize("form", [io.StringIO, Terminal])
def test_no_secret_is_written(form: type[io.StringIO]) -> None:
    out = form()
    logs.configure(out)
    logs.hide("hunter2", 'odd"one\\', "ab")
    log = structlog.get_logger("x")
    log.warning("connecting to mqtt://user:geheim@host:1883 with hunter2", password="geheim")
    log.info("deep", settings={"broker": {"Password": "geheim"}, "all": [{"api_token": "geheim"}]})
    log.info("webhook", url="https://x/send?access_token=geheim&x=1")
    log.info("object", value=ValueError('{"password": "geheim"}'), raw=b"token=geheim")
    log.info("about", value='odd"one\\')
    log.info("as a name", user="mw_0123abcd_geheim-x_y")
    try:
        fail()
    except ValueError:
        log.exception("it failed")
    logging.getLogger("paho").error("no answer from %s", "mqtt://user:geheim@h")
    text = out.getvalue()
    assert "ValueError" in text
    assert "no answer from mqtt://***@h" in text
    for secret in ("geheim", "hunter2", "odd"):
        assert secret not in text


def test_bypass_is_a_word_of_the_field_and_no_secret() -> None:
    out = io.StringIO()
    logs.configure(out)
    structlog.get_logger("x").info("treatment", bypass="open", key="print/rto")
    assert lines(out)[0]["bypass"] == "open"


def test_any_value_can_be_logged() -> None:
    out = io.StringIO()
    logs.configure(out)
    structlog.get_logger("x").info("odd", a=b"\xff", b=object, c={1: {2, 3}}, d=float("nan"))
    assert len(out.getvalue().splitlines()) == 1


def test_libraries_speak_in_the_same_form_once() -> None:
    out = io.StringIO()
    logs.configure(out)
    logs.configure(out)
    logging.getLogger("pymodbus").warning("%s is odd", "frame")
    logging.getLogger("pymodbus").info("chatter")
    (bridge,) = [
        one for one in logging.getLogger().handlers if type(one).__module__ == "meterwatch.logs"
    ]
    bridge.emit(logging.LogRecord("pymodbus", logging.ERROR, "", 0, "%d is wrong", ("x",), None))
    first, second = lines(out)
    assert first["event"] == "frame is odd"
    assert first["library"] == "pymodbus"
    assert second["event"] == "%d is wrong"


def test_a_reader_that_went_away_is_no_reason_to_stop() -> None:
    out = io.StringIO()
    logs.configure(out)
    out.close()
    Telemetry().event("still here")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(KeyError):
        logs.configure(io.StringIO(), level="loud")


def test_of_two_secrets_that_begin_alike_no_rest_is_shown() -> None:
    out = io.StringIO()
    logs.configure(out)
    logs.hide("correct", "correct-horse-battery")
    Telemetry().event("said", text="it is correct-horse-battery")
    assert lines(out)[0]["text"] == f"it is {logs.HIDDEN}"


def test_secrets_may_become_known_while_others_log() -> None:
    out = io.StringIO()
    logs.configure(out)
    telemetry = Telemetry()
    logs.hide(*(f"secret-{number}" for number in range(500)))
    failed: list[BaseException] = []

    def talk() -> None:
        try:
            for _ in range(200):
                telemetry.event("said")
        except BaseException as fault:  # noqa: BLE001 - shown by the assertion below
            failed.append(fault)

    talker = threading.Thread(target=talk)
    talker.start()
    number = 500
    while talker.is_alive():
        logs.hide(f"secret-{number}")
        number += 1
    talker.join()
    assert failed == []
    assert len(lines(out)) == 200
