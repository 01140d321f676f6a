"""Every way in which Grafana can be out of reach or say no, and what a person is told then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collector.errors import ConfigurationError, TemporaryError
from grafana.publish_client import Address, RefusedError, Server
from tests.grafana import contract_server
from tests.grafana.contract_server import Answer, GrafanaServer
from tests.servers import Certificates, free_port

HTML = {"Content-Type": "text/html; charset=utf-8"}


served = contract_server.served


def reach(url: str, token: str = "glsa_secret", **more: Any) -> Server:
    return Server(Address(url, token, timeout=5, **more))


def refused(server: Server) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        server.organisation()
    assert "glsa_" not in str(caught.value)
    return caught.value


def test_an_answer(served: GrafanaServer) -> None:
    server = reach(served.url, served.grafana.token("Viewer"))
    assert server.version() == "12.4.0"
    assert server.organisation() == "Main Org."


def test_nobody_listens() -> None:
    with pytest.raises(
        TemporaryError, match=r"not reached: .*Connection refused.* -> is it running"
    ):
        reach(f"http://127.0.0.1:{free_port()}").version()


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(TemporaryError, match=r"not reached: .*resolve"):
        reach("http://grafana.invalid:3000", clear_text=True).version()


def test_a_connection_that_breaks(served: GrafanaServer) -> None:
    served.then("GET /health", Answer(drop=True))
    with pytest.raises(TemporaryError, match="not reached"):
        reach(served.url).version()


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("grafana.example:3000", "no address of a Grafana"),
        ("ftp://grafana.example", "no address of a Grafana"),
        ("http://", "no address of a Grafana"),
        ("http://h:99999", "no address"),
        ("http://[::1", "no address"),
        ("http://h/?verify=false", "something behind its path"),
        ("http://admin:hunter2@h", "holds a user or a password"),
    ],
)
def test_an_address_that_cannot_be_meant(url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        reach(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "/grafana", "/a/b"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_grafana_below_a_path(prefix: str, slash: str) -> None:
    with GrafanaServer(prefix=prefix) as served:
        server = reach(served.url + slash, served.grafana.token("Viewer"))
        assert server.organisation() == "Main Org."


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>Sign in</html>", HTML),
        Answer(200, "{}", {"Content-Type": "application/json"}),
        Answer(200, "not json", {"Content-Type": "application/json"}),
        Answer(404, "<html>nginx</html>", HTML),
    ],
    ids=["a login page", "another program's JSON", "no JSON", "no such path"],
)
def test_something_else_is_at_the_address(served: GrafanaServer, answer: Answer) -> None:
    served.then("GET /health", answer)
    with pytest.raises(RefusedError) as caught:
        reach(served.url).version()
    assert "--url as in the browser's address line" in caught.value.todo


def test_a_page_in_the_place_of_an_answer(served: GrafanaServer) -> None:
    served.then("GET /org", Answer(200, "<html>Sign in</html>", HTML))
    assert "answered with a page" in refused(reach(served.url)).what


def test_grafanas_own_database_is_down(served: GrafanaServer) -> None:
    served.database = "failing"
    with pytest.raises(TemporaryError, match="own database is failing"):
        reach(served.url).version()


def test_a_version_that_is_not_told_to_strangers(served: GrafanaServer) -> None:
    served.version = None
    assert reach(served.url).version() == ""


def test_a_wrong_token(served: GrafanaServer) -> None:
    error = refused(reach(served.url, "glsa_wrong"))
    assert error.status == 401
    assert error.what == "could not name the organisation: Invalid API key (401)"
    assert "new token" in error.todo


def test_a_missing_permission_is_named(served: GrafanaServer) -> None:
    server = reach(served.url, served.grafana.token("Viewer", "orgs:read"))
    assert "the permission orgs:read;" in refused(server).todo


def test_a_redirect_is_told_and_takes_no_token_along(served: GrafanaServer) -> None:
    with GrafanaServer() as elsewhere:
        target = f"{elsewhere.url}/api/org"
        served.then("GET /org", Answer(302, "", {"Location": target}))
        assert f"it sends to {target}" in refused(reach(served.url)).what
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_on_the_other_side_is_temporary(served: GrafanaServer, status: int) -> None:
    served.then("GET /org", Answer(status, "<html>trouble</html>", HTML))
    with pytest.raises(TemporaryError, match=f"Grafana said {status}: .*try again"):
        reach(served.url).organisation()


@pytest.mark.parametrize(
    ("status", "body", "todo"),
    [
        (400, '{"message": "Cannot save provisioned dashboard"}', "provisioning file"),
        (400, '{"message": "bad request data"}', "Grafana's log"),
        (403, '{"message": "Cannot update read-only data source"}', "provisioning file"),
        (403, '{"message": "Access denied"}', "give the token's service account the permission"),
        (404, '{"message": "Annotation not found"}', "is gone"),
        (406, '{"message": "dashboard api version not supported"}', "Grafana's log"),
        (409, '{"message": "data source with the same name already exists"}', "rename"),
        (409, '{"message": "already been updated by someone else"}', "publish again"),
        (412, '{"message": "x", "status": "version-mismatch"}', "publish again"),
        (412, '{"message": "x", "status": "name-exists"}', "rename"),
        (412, '{"message": "x", "status": "plugin-dashboard"}', "plugin"),
    ],
)
def test_each_refusal_says_what_to_do(
    served: GrafanaServer, status: int, body: str, todo: str
) -> None:
    served.then("GET /org", Answer(status, body, {"Content-Type": "application/json"}))
    error = refused(reach(served.url))
    assert error.status == status
    assert f"({status})" in error.what
    assert todo in error.todo


def test_tls(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "tls")
    with GrafanaServer(certificates=certificates) as served:
        token = served.grafana.token("Viewer")
        known = reach(served.url, token, ca_file=str(certificates.ca))
        assert known.organisation() == "Main Org."
        stranger = refused(reach(served.url, token))
        assert "certificate is not trusted" in stranger.what
        assert "verif" in stranger.what
        assert "--ca-file" in stranger.todo
    assert [one.path for one in served.requests] == ["/org"]
