"""The life of a listener: its port, its certificates, its end, and a journal behind it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.http import HttpSettings, HttpSource
from collector.errors import ConfigurationError
from collector.intake import IntakeLoop
from collector.model import Batch, Refusal, SourceState
from collector.telemetry import Telemetry
from tests.adapters.http.http_served import At, Served, Tokens, Wire, head
from tests.adapters.inlet.papers import Papers
from tests.adapters.payload.pushed import BODY, T0, Fleet, message, row
from tests.intakes import CollectingIntake
from tests.programs import eventually
from tests.servers import free_port

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "tls")


def shown(one: Served) -> int:
    """The serial number of the certificate that a new connection is shown."""
    assert one.trust is not None
    with (
        socket.create_connection(("127.0.0.1", one.port)) as plain,
        one.trust.wrap_socket(plain, server_hostname="localhost") as link,
    ):
        certificate = link.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


# --- TLS ----------------------------------------------------------------------------------------


def test_readings_come_over_tls(papers: Papers) -> None:
    with (
        CollectingIntake() as intake,
        Served(intake, settings=papers.settings(), trust=papers.trust()) as one,
    ):
        with contextlib.closing(one.connect()) as link:
            for _ in range(3):
                assert one.post(BODY, over=link).status == 200
        large = message(*([row()] * 3000))
        assert one.post(large).status == 200
        assert intake.count() == 3 * 3003


def test_a_renewed_certificate_is_shown_without_a_restart(papers: Papers) -> None:
    first = papers.server("localhost")
    with (
        CollectingIntake() as intake,
        Served(intake, settings=papers.settings(), trust=papers.trust()) as one,
        contextlib.closing(one.connect()) as link,
    ):
        assert shown(one) == first
        assert one.post(BODY, over=link).status == 200
        (papers.folder / "server.pem").write_text("half of a cert")
        eventually(lambda: one.source.certificate_fault, "it is told")
        assert shown(one) == first, "the old one stays in use"
        second = papers.server("localhost")
        eventually(lambda: shown(one) == second, "the new one is shown")
        assert not one.source.certificate_fault
        assert one.post(BODY, over=link).status == 200, "open connections stay"


def test_a_client_certificate_is_as_good_as_a_token(papers: Papers) -> None:
    issued = papers.authority.gateway("gw-print", papers.now)
    mine = papers.write("gw-print", issued)
    settings = papers.settings(client_ca_file=papers.ca)
    with CollectingIntake() as intake, Served(intake, settings=settings) as one:
        one.tokens.certificates[issued.der] = "gw-print"
        one.trust = papers.trust(*mine)
        assert one.post(BODY, gateway="").status == 200
        assert one.post(BODY, gateway="gw-print").status == 200
        assert one.post(BODY, gateway="gw-mill").status == 403, "two different ones"
        one.trust = papers.trust()
        assert one.post(BODY, gateway="").status == 401
        assert one.post(BODY, gateway="gw-print").status == 200, "a token does without one"
        assert set(intake.batch().segments.origin.tolist()) == {
            Fleet(source="http:main").origin("gateway:gw-print")
        }


def test_a_certificate_that_ends_opens_nothing_from_the_next_request_on(papers: Papers) -> None:
    issued = papers.authority.gateway("gw-print", papers.now)
    mine = papers.write("gw-print", issued)
    settings = papers.settings(client_ca_file=papers.ca)
    with (
        CollectingIntake() as intake,
        Served(intake, settings=settings, trust=papers.trust(*mine)) as one,
    ):
        one.tokens.certificates[issued.der] = "gw-print"
        with contextlib.closing(one.connect()) as link:
            assert one.post(BODY, gateway="", over=link).status == 200
            one.tokens.certificates[issued.der] = ""
            assert one.post(BODY, gateway="", over=link).status == 401
        assert one.post(BODY, gateway="").status == 401, "nor does a new connection help"


def test_the_name_alone_is_enough_where_that_is_said_but_for_what_has_ended(
    papers: Papers,
) -> None:
    issued = papers.authority.gateway("gw-print", papers.now)
    mine = papers.write("gw-print", issued)
    settings = papers.settings(client_ca_file=papers.ca)
    with CollectingIntake() as intake:
        with Served(intake, settings=settings, trust=papers.trust(*mine)) as one:
            assert one.post(BODY, gateway="").status == 401, "nobody knows this certificate"
        settings["client_names"] = True
        with Served(intake, settings=settings, trust=papers.trust(*mine)) as one:
            assert one.post(BODY, gateway="").status == 200
            assert one.post(BODY, gateway="gw-mill").status == 403
            one.tokens.certificates[issued.der] = ""
            assert one.post(BODY, gateway="").status == 401


def test_a_certificate_of_somebody_else_or_a_revoked_one_is_none(
    papers: Papers, tmp_path: Path
) -> None:
    strange = Papers(tmp_path / "strange")
    theirs = strange.write("gw-print", strange.authority.gateway("gw-print", papers.now))
    issued = papers.authority.gateway("gw-print", papers.now)
    mine = papers.write("gw-print", issued)
    settings = papers.settings(client_ca_file=papers.ca, client_crl_file=papers.crl)
    with CollectingIntake() as intake, Served(intake, settings=settings) as one:
        one.tokens.certificates[issued.der] = "gw-print"
        one.trust = papers.trust(*mine)
        assert one.post(BODY, gateway="").status == 200
        one.trust = papers.trust(*theirs)
        with pytest.raises(OSError):
            one.post(BODY, gateway="")
        Path(papers.crl).write_bytes(
            papers.authority.revoked([(f"{issued.serial:x}", papers.now)], papers.now)
        )
        one.trust = papers.trust(*mine)

        def refused() -> bool:
            try:
                return one.post(BODY, gateway="").status != 200
            except OSError:
                return True

        eventually(refused, "the revoked one is refused")


def test_the_log_says_what_is_wrong_with_a_handshake(papers: Papers) -> None:
    def log_of(client: Callable[[Served], object]) -> str:
        settings = papers.settings(client_ca_file=papers.ca)
        with (
            capture_logs() as logs,
            CollectingIntake() as intake,
            Served(intake, settings=settings) as one,
        ):
            with contextlib.suppress(OSError):
                client(one)
            eventually(lambda: one.count("http_refused", limit="tls"), "it is told")
        (line,) = [line for line in logs if line["event"] == "http-tls"]
        return str(line["message"])

    def plain(one: Served) -> None:
        one.post(BODY)

    def strange(one: Served) -> None:
        one.trust = ssl.create_default_context()
        one.post(BODY)

    def of_another(one: Served) -> None:
        other = Papers(papers.folder / "other")
        issued = other.authority.gateway("gw-print", other.now)
        one.trust = papers.trust(*other.write("gw", issued))
        one.post(BODY)

    assert log_of(plain).startswith("no TLS was spoken")
    assert log_of(strange) == "the client does not know our authority: give it ca.pem"
    assert log_of(of_another).startswith("the client's certificate is not taken: ")


def test_who_does_not_speak_tls_or_says_nothing_is_shown_out(papers: Papers) -> None:
    settings = papers.settings(head_timeout=0.2, per_address=3)
    with (
        CollectingIntake() as intake,
        Served(intake, settings=settings, trust=papers.trust()) as one,
    ):
        with Wire(one) as wire:
            wire.send("GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP" not in wire.closed()
        silent = [Wire(one) for _ in range(3)]
        eventually(lambda: one.source.connections == 3, "they count before their handshake")
        with Wire(one) as fourth:
            assert fourth.closed() == b""
        for wire in silent:
            wire.closed()
            wire.socket.close()
        eventually(lambda: one.source.connections == 0, "they are gone")
        assert one.post(BODY).status == 200


@pytest.mark.parametrize("file", ["cert_file", "key_file", "client_ca_file"])
def test_a_file_that_cannot_be_used_is_a_fault_at_start(papers: Papers, file: str) -> None:
    settings = papers.settings() | {file: str(papers.folder / "nothing.pem")}
    fleet = Fleet(source="http:main")
    with pytest.raises(ConfigurationError):
        HttpSource(HttpSettings("main", **settings), fleet.decoder, Tokens(), At(), Telemetry())


# --- its port and its end -------------------------------------------------------------------


def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    port = free_port()
    with CollectingIntake() as intake:
        other = socket.create_server(("127.0.0.1", port))

        def give_back() -> None:
            intake.wait_until(lambda i: bool(i.states()))
            other.close()

        thread = threading.Thread(target=give_back)
        thread.start()
        with Served(intake, port=port) as one:
            thread.join()
            assert one.post(BODY).status == 200
            (down, up) = intake.states()
            assert (down.up, up.up) == (False, True)
            assert str(port) in down.reason
            assert down.origin == up.origin == Fleet(source="http:main").origin("http:main")


def test_a_stop_answers_what_is_under_way_and_takes_nothing_more() -> None:
    with CollectingIntake(held=True) as intake, Served(intake) as one:
        with Wire(one) as busy, Wire(one) as idle, Wire(one) as late:
            for wire in (busy, idle):
                wire.send(head(Content_Length=len(BODY)).encode() + BODY)
            intake.wait_until(lambda i: i.unsynced() == 6)
            intake.release()
            assert idle.answer().status == 200
            assert busy.answer().status == 200
            intake.hold()
            busy.send(head(Content_Length=len(BODY)).encode() + BODY)
            late.send(head(Content_Length=len(BODY)))
            intake.wait_until(lambda i: i.unsynced() == 3)
            one.begin_stop()
            assert idle.closed() == b""
            late.send(BODY)
            intake.wait_until(lambda i: i.unsynced() == 6)  # it had been let in before
            intake.release()
            assert busy.answer().status == 200
            assert busy.closed() == b""
            assert late.answer().status == 200
        one.stop()
        with pytest.raises(OSError):
            one.connect().request("GET", "/healthz")


def test_a_stop_does_not_wait_for_ever() -> None:
    with CollectingIntake(held=True) as intake, Served(intake, settings={"finish": 0.1}) as one:
        with Wire(one) as wire:
            wire.send(head(Content_Length=len(BODY)).encode() + BODY)
            intake.wait_until(lambda i: i.unsynced() == 3)
            one.stop()
            assert b"200" not in wire.closed()
        intake.release()


# --- a real journal ---------------------------------------------------------------------------


@contextlib.contextmanager
def journalled(folder: Path, fleet: Fleet) -> Iterator[IntakeLoop]:
    telemetry = Telemetry()
    journal = SqliteJournal(folder / "journal.db", telemetry)
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    intake.start()
    try:
        yield intake
    finally:
        intake.stop()
        journal.close()


def kept(folder: Path) -> tuple[set[tuple[int, int]], list[Refusal], list[SourceState]]:
    """(point, time) of every reading, and the refusals and states, in a journal."""
    journal = SqliteJournal(folder / "journal.db", Telemetry())
    try:
        entries = [entry for _, entry in journal.read(0, 1 << 30)]
    finally:
        journal.close()
    readings = {
        pair
        for entry in entries
        if isinstance(entry, Batch)
        for pair in zip(entry.point.tolist(), entry.time.tolist(), strict=True)
    }
    return (
        readings,
        [entry for entry in entries if isinstance(entry, Refusal)],
        [entry for entry in entries if isinstance(entry, SourceState)],
    )


def test_what_was_answered_is_in_the_journal(tmp_path: Path) -> None:
    fleet = Fleet(source="http:main")
    with journalled(tmp_path, fleet) as intake, Served(intake, fleet.decoder) as one:
        for n in range(20):
            assert one.post(message(row(time=T0 + n), row("nobody"))).status == 200
    readings, refusals, states = kept(tmp_path)
    assert len(readings) == 60
    assert len(refusals) == 20
    assert [state.up for state in states] == [True]


def given(gateway: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{gateway}", "Content-Type": "application/json"}


def test_nothing_is_lost_while_the_server_comes_and_goes(tmp_path: Path) -> None:
    """Senders that send again until they are answered; each stop cuts what is under way."""
    port, fleet = free_port(), Fleet(source="http:main")
    stopping, sent = threading.Event(), {"gw-print": 0, "gw-mill": 0}

    def push(gateway: str) -> None:
        at = 0
        while not stopping.is_set():
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with contextlib.closing(link), contextlib.suppress(OSError, http.client.HTTPException):
                while not stopping.is_set():
                    body = message(row(time=T0 + at))
                    link.request("POST", "/v1/readings", body, given(gateway))
                    answer = link.getresponse()
                    answer.read()
                    if answer.status == 200:
                        at += 1
                        sent[gateway] = at

    def both(goal: int) -> None:
        eventually(lambda: min(sent.values()) >= goal, "they send")

    senders = [threading.Thread(target=push, args=(gateway,)) for gateway in sent]
    with journalled(tmp_path, fleet) as intake:
        for thread in senders:
            thread.start()
        for turn in range(4):
            settings = {"finish": 0.0 if turn % 2 else 1.0, "head_timeout": 1.0}
            with Served(intake, fleet.decoder, settings=settings, port=port):
                both(min(sent.values()) + 20)
        stopping.set()
        for thread in senders:
            thread.join()
    readings, refusals, _ = kept(tmp_path)
    assert not refusals
    for gateway, site in (("gw-print", "print"), ("gw-mill", "mill")):
        point = fleet.point(f"{site}/main/power.active")
        times = {time for found, time in readings if found == point}
        assert times.issuperset(range(T0, T0 + sent[gateway]))
        assert sent[gateway] >= 80
