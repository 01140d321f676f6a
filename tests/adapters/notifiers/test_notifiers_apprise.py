"""What is apprise's own: robots that refuse with HTTP 200, secrets, addresses that cannot work."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from adapters.notifiers.apprise import AppriseNotifier
from collector.errors import ConfigurationError, RejectedError, TemporaryError
from collector.ports import Notice
from tests.http_server import Answer, HttpServer
from tests.servers import free_port

NOTICE = Notice("MW-ABC", 2, "【较重】预警", "编号：MW-ABC")
TOKEN = "a1b2c3d4" * 8
KEY = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"


def robot(kind: str, server: HttpServer) -> AppriseNotifier:
    urls = {"dingtalk": f"dingtalk://{TOKEN}", "wecom": f"wecombot://{KEY}"}
    return AppriseNotifier("ops", urls[kind], timeout=0.5, origin=server.url)


@pytest.mark.parametrize(
    ("kind", "code", "wait"),
    [
        ("dingtalk", 130101, 60),
        ("wecom", 45009, 60),
        ("dingtalk", 310000, 300),
        ("wecom", 93000, 300),
    ],
)
def test_a_robots_refusal_with_http_200_is_a_failure(kind: str, code: int, wait: float) -> None:
    with HttpServer() as server:
        server.answer = Answer(
            200, json.dumps({"errcode": code, "errmsg": "keywords not in content"})
        )
        with pytest.raises(TemporaryError, match=f"{code}.*keywords") as caught:
            robot(kind, server).send(NOTICE)
    assert caught.value.retry_after == wait


def test_a_robot_that_refuses_the_text_rejects_it() -> None:
    with HttpServer() as server:
        server.answer = Answer(
            200, json.dumps({"errcode": 45002, "errmsg": "content size out of limit"})
        )
        with pytest.raises(RejectedError, match="45002"):
            robot("wecom", server).send(NOTICE)


def test_a_login_page_instead_of_a_robot_is_a_failure() -> None:
    with HttpServer() as server:
        server.answer = Answer(200, "<html>please log in to the hotel's network</html>")
        with pytest.raises(TemporaryError):
            robot("dingtalk", server).send(NOTICE)


def test_the_vendors_path_and_token_are_kept_when_the_host_is_replaced() -> None:
    with HttpServer() as server:
        server.answer = Answer(200, '{"errcode": 0}')
        robot("dingtalk", server).send(NOTICE)
        robot("wecom", server).send(NOTICE)
    assert [one.path for one in server.requests] == [
        f"/robot/send?access_token={TOKEN}",
        f"/cgi-bin/webhook/send?key={KEY}",
    ]


def test_no_secret_is_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "apprise", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, name)
    said: list[str] = []
    with HttpServer() as server:
        host = f"127.0.0.1:{server.port}"
        closed = f"http://127.0.0.1:{free_port()}"
        for one, own in (
            (robot("dingtalk", server), TOKEN),
            (robot("wecom", server), KEY),
            (AppriseNotifier("w", f"json://user:geheim99@{host}/{KEY}", timeout=0.5), "geheim99"),
            (AppriseNotifier("x", f"dingtalk://{TOKEN}", timeout=0.5, origin=closed), TOKEN),
        ):
            server.answer = Answer(500, f"cannot take {own}")
            with pytest.raises(TemporaryError) as caught:
                one.send(NOTICE)
            said.append(str(caught.value))
        for bad in (f"wecombot://{KEY}!!/?x=geheim99", f"nonsense://{TOKEN}", TOKEN):
            with pytest.raises(ConfigurationError) as refused:
                AppriseNotifier("y", bad)
            said.append(str(refused.value))
    heard = "\n".join([*said, caplog.text])
    for secret in (TOKEN, KEY, "geheim99"):
        assert secret not in heard
    assert heard.count("cannot take ***") == 3
    logging.getLogger("urllib3.connectionpool").debug("another's exchange")
    assert "another's exchange" in caplog.text


def test_an_origin_for_a_service_that_has_none_is_a_fault() -> None:
    with pytest.raises(ConfigurationError, match="origin"):
        AppriseNotifier("ops", "mailto://user:pass@example.com", origin="http://127.0.0.1:1")


def test_a_mail_that_cannot_leave_says_why_without_the_password() -> None:
    url = (
        f"mailto://user:geheim99@127.0.0.1:{free_port()}"
        "?from=a@example.com&to=a@example.com&mode=insecure"
    )
    with pytest.raises(TemporaryError) as caught:
        AppriseNotifier("mail", url, timeout=0.5).send(NOTICE)
    assert "geheim99" not in str(caught.value)
    assert "mail" in str(caught.value).lower()


def test_notifiers_in_several_threads_hear_only_their_own_answers() -> None:
    found: dict[str, str] = {}
    start = threading.Barrier(2)

    def send(name: str, server: HttpServer) -> None:
        notifier = robot("dingtalk", server)
        start.wait()
        try:
            for _ in range(20):
                notifier.send(NOTICE)
            found[name] = "sent"
        except TemporaryError as failure:
            found[name] = str(failure)

    with HttpServer() as good, HttpServer() as bad:
        good.answer = Answer(200, '{"errcode": 0}')
        bad.answer = Answer(200, '{"errcode": -1}')
        threads = [
            threading.Thread(target=send, args=pair) for pair in (("good", good), ("bad", bad))
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert found["good"] == "sent"
    assert "-1" in found["bad"]
