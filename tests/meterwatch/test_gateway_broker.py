"""Credentials of gateways at a real mosquitto: who may publish where, and when it ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.identity.store import CredentialStore, GatewayCredentials
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from tests.adapters.http.http_served import Served
from tests.deploy.boxes import GONE, Client
from tests.intakes import CollectingIntake
from tests.meterwatch.gateways import OURS, Desk, Guarded, fleet
from tests.programs import eventually
from tests.servers import Certificates
from tests.servers import program as installed

NOT_AUTHORISED = 135  # MQTT 5.0, 2.4
REFUSED = 135  # and of CONNACK


def readings(gateway: str) -> str:
    return f"meterwatch/v1/{gateway}/readings"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Guarded]:
    with Guarded(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def desk(broker: Guarded, tmp_path: Path) -> Desk:
    return broker.fleet(tmp_path / "fleet")


def program(broker: Guarded) -> Client:
    return Client(broker.port, "meterwatch", OURS["meterwatch"])


class TestPasswords:
    def test_a_gateway_speaks_for_itself_and_for_no_other(
        self, broker: Guarded, desk: Desk
    ) -> None:
        a, b = desk.login("add", "gw-a"), desk.login("add", "gw-b")
        assert (a[0], b[0]) == ("gw-a", "gw-b")
        with program(broker) as ours:
            ours.subscribe("meterwatch/v1/+/readings")
            with Client(broker.port, *a) as gateway:
                for topic in (readings("gw-b"), "meterwatch/v1/gw-a/replies", "else"):
                    assert gateway.publish(topic, b"not its own") in {NOT_AUTHORISED, GONE}
            with Client(broker.port, *a) as gateway:
                assert gateway.publish(readings("gw-a"), b"its own") == 0
            ours.wait_messages(1)
            assert ours.messages == [(readings("gw-a"), b"its own")]
        with Client(broker.port, "gw-b", a[1]) as other:
            assert other.code == REFUSED

    def test_replies_come_to_the_gateway_that_they_are_for(
        self, broker: Guarded, desk: Desk
    ) -> None:
        a, b = desk.login("add", "gw-a"), desk.login("add", "gw-b")
        with Client(broker.port, *a) as mine, Client(broker.port, *b) as other:
            for gateway in (mine, other):
                for name in ("+", "gw-a", "gw-b"):
                    gateway.subscribe(f"meterwatch/v1/{name}/replies/#")
            with program(broker) as ours:
                for below in ("", "/one"):
                    assert ours.publish(f"meterwatch/v1/gw-b/replies{below}", b"b") == 0
                    assert ours.publish(f"meterwatch/v1/gw-a/replies{below}", b"a") == 0
            mine.wait_messages(2)
            other.wait_messages(2)
            assert {message for _, message in mine.messages} == {b"a"}
            assert {message for _, message in other.messages} == {b"b"}

    def test_revoked_it_is_cut_off_and_cannot_come_back(self, broker: Guarded, desk: Desk) -> None:
        a, b = desk.login("add", "gw-a"), desk.login("add", "gw-b")
        with Client(broker.port, *a) as thief, Client(broker.port, *b) as other:
            assert thief.publish(readings("gw-a"), b"1") in {0, 16}
            desk.type("revoke", "gw-a")
            thief.wait_gone()
            with Client(broker.port, *a) as again:
                assert again.code == REFUSED
            assert other.publish(readings("gw-b"), b"1") in {0, 16}
            assert not other.gone

    def test_a_rotation_interrupts_nobody(self, broker: Guarded, desk: Desk) -> None:
        old = desk.login("add", "gw-a")
        with Client(broker.port, *old) as before, program(broker) as ours:
            ours.subscribe("meterwatch/v1/+/readings")
            new = desk.login("rotate", "gw-a")
            assert new[0] == "gw-a~2"
            with Client(broker.port, *new) as after:
                # Both in one topic: whoever reads them sees one gateway.
                assert after.publish(readings("gw-a"), b"new") == 0
                assert before.publish(readings("gw-a"), b"old") == 0
                assert not before.gone
                assert after.publish(readings("gw-a~2"), b"") in {NOT_AUTHORISED, GONE}
            ours.wait_messages(2)
            assert {topic for topic, _ in ours.messages} == {readings("gw-a")}

    def test_when_the_grace_is_over_the_old_one_is_cut_off(
        self, broker: Guarded, desk: Desk
    ) -> None:
        old = desk.login("add", "gw-a")
        with Client(broker.port, *old) as before:
            new = desk.login("rotate", "gw-a", "--grace", "0s")
            before.wait_gone()
            with Client(broker.port, *new) as after:
                assert after.publish(readings("gw-a"), b"") in {0, 16}
                assert desk.login("rotate", "gw-a")[0] == "gw-a"  # the name is free again
                assert not after.gone

    def test_a_password_by_hand_ends_when_the_gateway_is_given_one(
        self, broker: Guarded, desk: Desk
    ) -> None:
        subprocess.run(
            [installed("mosquitto_passwd"), "-b", str(broker.passwords), "gw-a", "by-hand"],
            check=True,
        )
        assert "written by hand" in desk.type("list")
        shown = desk.type("add", "gw-a")
        assert "gw-a had by hand was taken out" in shown
        with Client(broker.port, "gw-a", "by-hand") as old, program(broker) as ours:
            assert (old.code, ours.code) == (REFUSED, 0)

    def test_a_broker_that_is_set_up_anew_gets_everything_again(
        self, broker: Guarded, desk: Desk
    ) -> None:
        a = desk.login("add", "gw-a")
        broker.acl.write_text("")
        broker.passwords.write_text("")
        desk.type("broker")
        with Client(broker.port, *a) as gateway:
            assert gateway.publish(readings("gw-a"), b"") in {0, 16}


class TestCertificates:
    @pytest.fixture
    def made(self, tmp_path: Path) -> Iterator[tuple[Guarded, Desk]]:
        """A broker with a certificate of our authority, that asks for one."""
        desk = fleet(tmp_path / "fleet")
        files = tmp_path / "server"
        desk.type("ca", "--server", "127.0.0.1", "--server", "localhost", "--out", str(files))
        server = Certificates(
            files / "ca.pem", files / "127.0.0.1.pem", files / "127.0.0.1.key", Path(), Path()
        )
        more = "require_certificate true\nuse_identity_as_username true\n"
        more += f"crlfile {tmp_path / 'broker' / 'crl'}\n"
        broker = Guarded(tmp_path / "broker", server, more)
        desk = broker.fleet(tmp_path / "fleet")
        broker.crl.write_bytes((tmp_path / "fleet/data/secrets/ca.crl").read_bytes())
        with broker:
            yield broker, desk

    def client(self, broker: Guarded, folder: Path, gateway: str) -> Client:
        ca, cert, key = (
            str(folder / one) for one in ("ca.pem", f"{gateway}.pem", f"{gateway}.key")
        )
        return Client(broker.port, ca=ca, cert=cert, key=key)

    def test_a_gateway_is_who_its_certificate_says(
        self, made: tuple[Guarded, Desk], tmp_path: Path
    ) -> None:
        broker, desk = made
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path / "a"))
        with self.client(broker, tmp_path / "a", "gw-a") as gateway:
            assert gateway.publish(readings("gw-a"), b"") in {0, 16}
            assert gateway.publish(readings("gw-b"), b"") in {NOT_AUTHORISED, GONE}
        with Client(broker.port, ca=str(tmp_path / "a" / "ca.pem")) as nobody:
            assert nobody.code == GONE

    def test_revoked_it_loses_its_rights_and_cannot_come_back(
        self, made: tuple[Guarded, Desk], tmp_path: Path
    ) -> None:
        broker, desk = made
        for name in ("gw-a", "gw-b"):
            desk.type("add", name, "--certificate", "--out", str(tmp_path / name))
        with (
            self.client(broker, tmp_path / "gw-a", "gw-a") as thief,
            self.client(broker, tmp_path / "gw-b", "gw-b") as other,
        ):
            assert thief.publish(readings("gw-a"), b"") in {0, 16}
            shown = desk.type("revoke", "gw-a")
            assert "restart the broker" in shown  # mosquitto does not end the connection by itself
            assert thief.publish(readings("gw-a"), b"") in {NOT_AUTHORISED, GONE}
            with self.client(broker, tmp_path / "gw-a", "gw-a") as again:
                assert again.code == GONE
            assert other.publish(readings("gw-b"), b"") in {0, 16}

    def test_rotated_both_hold_and_then_one(
        self, made: tuple[Guarded, Desk], tmp_path: Path
    ) -> None:
        broker, desk = made
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path / "1"))
        desk.type("rotate", "gw-a", "--certificate", "--out", str(tmp_path / "2"))
        for folder in ("1", "2"):
            with self.client(broker, tmp_path / folder, "gw-a") as gateway:
                assert gateway.publish(readings("gw-a"), b"") in {0, 16}
        desk.type("rotate", "gw-a", "--certificate", "--grace", "0s", "--out", str(tmp_path / "3"))
        seen = GatewayCredentials(tmp_path / "fleet" / "data", SystemClock(), Telemetry())
        for folder, gateway_is in (("1", ""), ("2", ""), ("3", "gw-a")):
            with self.client(broker, tmp_path / folder, "gw-a") as gateway:
                assert gateway.code == (0 if gateway_is else GONE)
            pem = (tmp_path / folder / "gw-a.pem").read_text()
            der = ssl.PEM_cert_to_DER_cert(pem)
            assert seen.gateway_of_certificate(der) == gateway_is


def test_our_own_https_can_ask_for_certificates_too(tmp_path: Path) -> None:
    """What the standard library makes of the files: a server with our certificate, a client with
    a gateway's, and the DER by which the gateway is known."""
    desk = fleet(tmp_path / "fleet")
    desk.type("ca", "--server", "localhost", "--out", str(tmp_path / "server"))
    desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path / "gw-a"))
    secrets = CredentialStore(tmp_path / "fleet" / "data").folder

    def handshake() -> str | None:
        serve = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=secrets / "ca.pem")
        serve.load_cert_chain(tmp_path / "server/localhost.pem", tmp_path / "server/localhost.key")
        serve.verify_mode = ssl.CERT_REQUIRED
        serve.load_verify_locations(secrets / "ca.crl")
        serve.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        ask = ssl.create_default_context(cafile=tmp_path / "gw-a" / "ca.pem")
        ask.load_cert_chain(tmp_path / "gw-a" / "gw-a.pem", tmp_path / "gw-a" / "gw-a.key")
        one, other = socket.socketpair()
        ends: list[str] = []

        def client() -> None:
            try:
                with ask.wrap_socket(one, server_hostname="localhost") as wrapped:
                    ends.append(wrapped.recv(1).decode())
            except ssl.SSLError as error:
                ends.append(str(error))

        thread = threading.Thread(target=client)
        thread.start()
        try:
            with serve.wrap_socket(other, server_side=True) as wrapped:
                der = wrapped.getpeercert(binary_form=True)
                wrapped.send(b".")
        finally:
            other.close()
            thread.join()
        assert der is not None
        seen = GatewayCredentials(tmp_path / "fleet" / "data", SystemClock(), Telemetry())
        return seen.gateway_of_certificate(der)

    assert handshake() == "gw-a"
    desk.type("revoke", "gw-a")
    with pytest.raises(ssl.SSLError, match="revoked"):
        handshake()


def test_a_certificate_opens_our_own_https_until_it_is_revoked(tmp_path: Path) -> None:
    desk = fleet(tmp_path / "fleet")
    desk.type("ca", "--server", "localhost", "--out", str(tmp_path / "server"))
    desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path / "gw-a"))
    data = tmp_path / "fleet" / "data"
    trust = ssl.create_default_context(cafile=tmp_path / "gw-a" / "ca.pem")
    trust.load_cert_chain(tmp_path / "gw-a" / "gw-a.pem", tmp_path / "gw-a" / "gw-a.key")
    settings = {
        "cert_file": str(tmp_path / "server" / "localhost.pem"),
        "key_file": str(tmp_path / "server" / "localhost.key"),
        "client_ca_file": str(data / "secrets" / "ca.pem"),
    }
    seen = GatewayCredentials(data, SystemClock(), Telemetry())
    with (
        CollectingIntake() as intake,
        Served(intake, None, seen, settings, trust=trust) as served,  # type: ignore[arg-type]
        contextlib.closing(served.connect()) as link,
    ):

        def status() -> int:
            return served.post(b"{}", gateway="", over=link).status

        assert status() != 401
        desk.type("revoke", "gw-a")
        eventually(lambda: status() == 401, "the open connection is no gateway's any more")
        assert served.post(b"{}", gateway="").status == 401
