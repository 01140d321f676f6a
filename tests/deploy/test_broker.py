"""The shipped broker settings, in a real mosquitto: who may do what, and what is kept."""

from __future__ import annotations

import getpass
import re
import subprocess
from pathlib import Path

import pytest

from adapters.sources.mqtt import MqttSettings
from adapters.sources.mqtt.broker_limits import of_config
from tests.deploy.boxes import (
    ACL,
    COMPOSE,
    DEPLOY,
    GONE,
    Client,
    ShippedBroker,
    make_secrets,
    password_file,
)
from tests.meterwatch.gateways import fleet
from tests.servers import Certificates, free_port

BOX = DEPLOY / "mosquitto" / "mosquitto.conf"
STACK = COMPOSE / "mosquitto" / "mosquitto.conf"
BOTH = pytest.mark.parametrize("config", [BOX, STACK], ids=["box", "stack"])
USERS = {"meterwatch": "reads-all", "gw-a": "first-secret", "gw-b": "second-secret"}
NOT_AUTHORISED = 135  # MQTT 5.0, 2.4: also of CONNACK


def topic(gateway: str) -> str:
    return f"meterwatch/v1/{gateway}/readings"


@pytest.fixture(params=[BOX, STACK], ids=["box", "stack"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> ShippedBroker:
    return ShippedBroker(tmp_path / "b", request.param, password_file(tmp_path / "p", USERS))


def settings(path: Path) -> dict[str, list[str]]:
    """What a mosquitto.conf sets."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
    return found


@BOTH
@pytest.mark.parametrize("version", [4, 5])
def test_the_programs_own_check_finds_no_risk_in_it(config: Path, version: int) -> None:
    assert of_config(config.read_text(encoding="utf-8"), version) == []


def test_the_two_differ_in_paths_address_and_size_only() -> None:
    one, other = settings(BOX), settings(STACK)
    assert one.keys() == other.keys()
    assert {key for key in one if one[key] != other[key]} == {
        "password_file", "acl_file", "listener", "persistence_location", "max_queued_bytes",
    }  # fmt: skip


def test_a_gateway_publishes_to_its_own_topic_and_to_no_other(broker: ShippedBroker) -> None:
    with broker, Client(broker.port, "meterwatch", USERS["meterwatch"]) as program:
        program.subscribe("meterwatch/v1/+/readings")
        for where in (topic("gw-b"), "meterwatch/v1/readings", "anything/else"):
            with Client(broker.port, "gw-a", USERS["gw-a"]) as gateway:  # it is thrown out for it
                assert gateway.publish(where, b"not its own") == NOT_AUTHORISED
        with Client(broker.port, "gw-a", USERS["gw-a"]) as gateway:
            assert gateway.publish(topic("gw-a"), b"its own") == 0
        program.wait_messages(1)
        assert program.messages == [(topic("gw-a"), b"its own")]


def test_a_gateway_cannot_read_along(broker: ShippedBroker) -> None:
    with broker, Client(broker.port, "gw-b", USERS["gw-b"]) as eavesdropper:
        eavesdropper.subscribe("#")
        with (
            Client(broker.port, "meterwatch", USERS["meterwatch"]) as program,
            Client(broker.port, "gw-a", USERS["gw-a"]) as gateway,
        ):
            program.subscribe("meterwatch/v1/+/readings")
            # Two, in order: when the second has reached the program, nobody waits for the first.
            gateway.publish(topic("gw-a"), b"1")
            gateway.publish(topic("gw-a"), b"2")
            program.wait_messages(2)
        # What it may publish and not read comes back to nobody; its own broker answers last.
        assert eavesdropper.publish(topic("gw-b"), b"mine") in {0, 16}
        assert eavesdropper.messages == []


@pytest.mark.parametrize(
    ("user", "password"), [("", ""), ("gw-a", "wrong"), ("gw-a", ""), ("nobody", "x")]
)
def test_who_has_no_password_is_refused(broker: ShippedBroker, user: str, password: str) -> None:
    with broker, Client(broker.port, user, password) as client:
        assert client.code == NOT_AUTHORISED


def test_the_program_and_not_the_broker_refuses_what_is_too_large(broker: ShippedBroker) -> None:
    """mosquitto ends the connection of whoever exceeds its limit, who then sends the same again for
    ever; the program keeps the reason and acknowledges. The broker's limit is for its memory."""
    ours = MqttSettings("main", "127.0.0.1").max_message_bytes
    with broker, Client(broker.port, "meterwatch", USERS["meterwatch"]) as program:
        program.subscribe("meterwatch/v1/+/readings")
        with Client(broker.port, "gw-a", USERS["gw-a"]) as gateway:
            assert gateway.publish(topic("gw-a"), bytes(ours + 1)) == 0
            assert gateway.publish(topic("gw-a"), bytes(8 * ours + 1)) == GONE
        program.wait_messages(1)
        assert [len(payload) for _, payload in program.messages] == [ours + 1]


def test_what_waits_for_the_program_is_kept_over_a_restart_beyond_the_default_bound(
    broker: ShippedBroker,
) -> None:
    many = 1500  # mosquitto keeps 1,000 unless it is told otherwise, and acknowledges the rest too
    with broker:
        with Client(broker.port, "meterwatch", USERS["meterwatch"], name="center") as program:
            program.subscribe("meterwatch/v1/+/readings")
        with Client(broker.port, "gw-a", USERS["gw-a"]) as gateway:
            assert {gateway.publish(topic("gw-a"), b"%d" % n) for n in range(many)} == {0}
        broker.stop()
        broker.start()
        with Client(broker.port, "meterwatch", USERS["meterwatch"], name="center") as program:
            program.wait_messages(many)
            assert [int(payload) for _, payload in program.messages] == list(range(many))


def test_the_gateway_commands_write_beside_what_is_shipped(tmp_path: Path) -> None:
    """The shipped access list and a password by hand go on to hold; what the commands give and
    take holds too, although the shipped lines would let everybody in who has logged in."""
    acl = tmp_path / "acl"
    acl.write_text(ACL.read_text(encoding="utf-8"), encoding="utf-8")
    passwords = password_file(tmp_path / "p", {"meterwatch": "reads-all", "gw-hand": "by-hand"})
    names = f'[broker]\npassword_file = "{passwords}"\nacl_file = "{acl}"\npid_file = "pid"\n'
    with ShippedBroker(tmp_path / "b", BOX, passwords, acl=acl) as broker:
        desk = fleet(tmp_path / "fleet", names + f'run_as = "{getpass.getuser()}"\n', broker)
        (tmp_path / "fleet" / "pid").write_text(str(broker.pid))
        a, b = desk.login("add", "gw-a"), desk.login("add", "gw-b")
        with (
            Client(broker.port, "gw-hand", "by-hand") as hand,
            Client(broker.port, *a) as one,
            Client(broker.port, *b) as other,
            Client(broker.port, "meterwatch", "reads-all") as program,
        ):
            program.subscribe("meterwatch/v1/+/readings")
            for client, name in ((hand, "gw-hand"), (one, "gw-a"), (other, "gw-b")):
                assert client.publish(topic(name), b"") == 0
            desk.type("revoke", "gw-a")
            one.wait_gone()
            for client, name in ((hand, "gw-hand"), (other, "gw-b")):
                assert client.publish(topic(name), b"") == 0
                client.subscribe(f"meterwatch/v1/{name}/replies")
                assert program.publish(f"meterwatch/v1/{name}/replies", b"taken") == 0
                client.wait_messages(1)
            program.wait_messages(5)
    assert acl.read_text(encoding="utf-8").startswith(ACL.read_text(encoding="utf-8"))


@BOTH
def test_the_lines_for_tls_work_when_they_are_uncommented(config: Path, tmp_path: Path) -> None:
    made = Certificates.make(tmp_path / "certificates")
    text = config.read_text(encoding="utf-8")
    keys = "listener 8883|cafile|certfile|keyfile|tls_version|require_certificate"
    (commented,) = re.findall(rf"(?:^# (?:{keys}) ?.*\n)+", text, flags=re.MULTILINE)
    port = free_port()
    opened = commented.replace("# ", "").replace("8883", f"{port} 127.0.0.1")
    for key, file in (("cafile", made.ca), ("certfile", made.server), ("keyfile", made.server_key)):
        opened = re.sub(rf"^{key} .*$", f"{key} {file}", opened, flags=re.MULTILINE)
    passwords = password_file(tmp_path / "p", USERS)
    with (
        ShippedBroker(tmp_path / "b", config, passwords, more={commented: opened}),
        Client(port, "gw-a", USERS["gw-a"], ca=str(made.ca)) as gateway,
    ):
        assert gateway.code == 0
        assert gateway.publish(topic("gw-b"), b"") == NOT_AUTHORISED


class TestMakeSecrets:
    def test_makes_what_is_missing_and_changes_nothing_that_is_there(self, tmp_path: Path) -> None:
        first = make_secrets(tmp_path, "gw-a")
        folder = tmp_path / "secrets"
        held = {path.name: path.read_text() for path in folder.iterdir()}
        again = make_secrets(tmp_path, "gw-a", "gw-b")
        after = {path.name: path.read_text() for path in folder.iterdir()}
        assert (set(first), set(again)) == ({"gw-a"}, {"gw-b"})
        added = after.pop("mqtt_passwords")
        assert added.startswith(held.pop("mqtt_passwords"))
        assert after == held
        assert first["gw-a"] not in added  # hashed
        assert len(set(held.values())) == len(held)
        assert min(len(text) for text in held.values()) >= 40
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "mqtt_passwords").stat().st_mode & 0o077 == 0

    def test_its_passwords_open_the_broker(self, tmp_path: Path) -> None:
        made = make_secrets(tmp_path, "gw-a")
        secrets = tmp_path / "secrets"
        ours = (secrets / "mqtt_password").read_text()
        with ShippedBroker(tmp_path / "b", STACK, secrets / "mqtt_passwords") as broker:
            for user, password in (("gw-a", made["gw-a"]), ("meterwatch", ours)):
                with Client(broker.port, user, password) as client:
                    assert client.code == 0

    @pytest.mark.parametrize("name", ["meterwatch", "gw/+", "GW", ""])
    def test_refuses_a_name_that_is_no_gateway(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            make_secrets(tmp_path, "gw-a", name)
        assert refused.value.returncode == 2
        assert not (tmp_path / "secrets").exists()
