"""What every notifier promises, on each form of it, against a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from adapters.notifiers.apprise import AppriseNotifier
from collector.errors import RejectedError, TemporaryError
from collector.ports import Notice, Notifier
from tests.http_server import Answer, HttpServer, Request
from tests.servers import free_port

NOTICE = Notice("MW-ABC", 4, "【紧急】预警：超过限值", "数值：128.4 mg/m³\n编号：MW-ABC")


@dataclass(frozen=True)
class Form:
    """One form of notifier: how it is made for a server's address, how its text is read back,
    and with what the other side says yes."""

    make: Callable[[str], Notifier]
    text: Callable[[Request], str]
    yes: Answer


def _webhook(url: str) -> Notifier:
    return AppriseNotifier("ops", url.replace("http", "json", 1) + "/hook", timeout=0.5)


def _webhook_text(request: Request) -> str:
    told = request.json()
    return f"{told['title']}\n{told['message']}"


def _robot(address: str) -> Callable[[str], Notifier]:
    return lambda url: AppriseNotifier("ops", address, timeout=0.5, origin=url)


_FINE = Answer(body=json.dumps({"errcode": 0, "errmsg": "ok"}))
_FEISHU_FINE = Answer(body=json.dumps({"code": 0, "msg": "success", "data": {}}))
FORMS = {
    "webhook": Form(_webhook, _webhook_text, Answer()),
    "dingtalk": Form(
        _robot("dingtalk://" + "a1b2c3d4" * 8),
        lambda request: str(request.json()["text"]["content"]),
        _FINE,
    ),
    "dingtalk-signed": Form(
        _robot("dingtalk://SEC" + "e5f6" * 10 + "@" + "a1b2c3d4" * 8),
        lambda request: str(request.json()["text"]["content"]),
        _FINE,
    ),
    "wecom": Form(
        _robot("wecombot://693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"),
        lambda request: str(request.json()["text"]["content"]),
        _FINE,
    ),
    "feishu": Form(
        _robot("feishu://d6f0-4a1b-90aa"),
        lambda request: str(request.json()["content"]["text"]),
        _FEISHU_FINE,
    ),
    "lark": Form(
        _robot("lark://d6f0-4a1b-90aa"),
        lambda request: str(request.json()),
        _FEISHU_FINE,
    ),
}


@pytest.fixture(params=FORMS, ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


@pytest.fixture
def server(form: Form) -> Iterator[HttpServer]:
    with HttpServer() as server:
        server.answer = form.yes
        yield server


def test_what_was_sent_is_what_arrives_once(form: Form, server: HttpServer) -> None:
    form.make(server.url).send(NOTICE)
    (request,) = server.requests
    text = form.text(request)
    for line in (NOTICE.title, *NOTICE.body.splitlines()):
        assert line in text


def test_the_same_notice_can_be_sent_again(form: Form, server: HttpServer) -> None:
    notifier = form.make(server.url)
    notifier.send(NOTICE)
    notifier.send(NOTICE)
    first, second = server.requests
    assert form.text(first) == form.text(second)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_server_is_temporary(form: Form, server: HttpServer, status: int) -> None:
    server.answer = Answer(status, "try later", {"Retry-After": "17"})
    with pytest.raises(TemporaryError) as caught:
        form.make(server.url).send(NOTICE)
    assert caught.value.retry_after == 17
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_channel_that_a_person_must_mend_is_temporary_and_waits_long(
    form: Form, server: HttpServer, status: int
) -> None:
    server.answer = Answer(status, "no", {"Location": "/elsewhere"})
    with pytest.raises(TemporaryError) as caught:
        form.make(server.url).send(NOTICE)
    assert caught.value.retry_after >= 60


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_notice_that_is_refused_as_such_is_rejected(
    form: Form, server: HttpServer, status: int
) -> None:
    server.answer = Answer(status, "too odd")
    with pytest.raises(RejectedError, match="too odd"):
        form.make(server.url).send(NOTICE)


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(drop=True)], ids=["hang", "drop"])
def test_no_answer_is_temporary(form: Form, server: HttpServer, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(TemporaryError):
        form.make(server.url).send(NOTICE)


def test_nobody_there_is_temporary(form: Form) -> None:
    with pytest.raises(TemporaryError):
        form.make(f"http://127.0.0.1:{free_port()}").send(NOTICE)


def test_it_works_again_after_a_failure(form: Form, server: HttpServer) -> None:
    server.then(Answer(500), Answer(400))
    notifier = form.make(server.url)
    with pytest.raises(TemporaryError):
        notifier.send(NOTICE)
    with pytest.raises(RejectedError):
        notifier.send(NOTICE)
    notifier.send(NOTICE)
