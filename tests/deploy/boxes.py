"""What is deployed, stood up on this machine: the shipped broker settings in a real mosquitto, the
shipped fleet folder beside it. Only addresses and paths are changed, each exactly where it stands;
a shipped file that no longer names one fails the test that asks for it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from tests.databases import InfluxDb
from tests.programs import ROOT, eventually
from tests.servers import Mosquitto, program

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
ACL = DEPLOY / "mosquitto" / "acl"
ANSWER_S = 30.0
GONE = -1
"""In the place of a reason code: the broker ended the connection instead of answering."""
GATEWAY = "gw-my-site"
"""The gateway of the shipped fleet folder."""


def rewritten(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with each old line or phrase, which must stand there once, as the new one."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def setting(text: str, key: str) -> str:
    """The one line of ``text`` that sets ``key`` of a mosquitto.conf."""
    (line,) = [line for line in text.splitlines() if line.split(" ")[0] == key]
    return line


class ShippedBroker(Mosquitto):
    """mosquitto with a configuration of ours; ``passwords`` is a file as mosquitto_passwd makes."""

    def __init__(
        self,
        folder: Path,
        config: Path,
        passwords: Path,
        *,
        more: Mapping[str, str] | None = None,
        acl: Path = ACL,
    ) -> None:
        super().__init__(folder)
        self._acl = acl
        self._shipped = config.read_text(encoding="utf-8")
        self._passwords = passwords
        self._more = dict(more or {})

    def _text(self) -> str:
        text = rewritten(self._shipped, self._more)
        here = {
            "listener": f"listener {self.port} 127.0.0.1",
            "password_file": f"password_file {self._passwords}",
            "acl_file": f"acl_file {self._acl}",
            "persistence_location": f"persistence_location {self.folder}/",
        }
        lines = {setting(self._shipped, key): line for key, line in here.items()}
        text = "\n".join(lines.get(line, line) for line in text.splitlines())
        # The tests wait for what it tells at its start; as root it would change to its own user.
        return f"{text}\nlog_type information\nuser {getpass.getuser()}\n"


def password_file(path: Path, users: Mapping[str, str]) -> Path:
    """As the documents tell to make it."""
    path.touch(mode=0o600)
    for user, password in users.items():
        subprocess.run(
            [program("mosquitto_passwd"), "-b", str(path), user, password], check=True,
            capture_output=True,
        )  # fmt: skip
    return path


class Client:
    """An MQTT 5 client that tells what the broker answered. ``code`` of CONNACK."""

    def __init__(
        self,
        port: int,
        user: str = "",
        password: str = "",
        *,
        name: str = "",
        ca: str = "",
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.code = GONE
        self._gone = False
        self._answers: dict[int, int] = {}
        self._grew = threading.Condition()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )  # fmt: skip
        if user:
            self._client.username_pw_set(user, password)
        if ca:
            self._client.tls_set(ca, cert, key)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        lasting.SessionExpiryInterval = 3600 if name else 0
        self._client.connect("127.0.0.1", port, clean_start=not name, properties=lasting)
        self._client.loop_start()
        self._until(lambda: self.code >= 0 or self._gone, "CONNACK")

    def publish(self, topic: str, payload: bytes) -> int:
        """The reason code of the PUBACK, or ``GONE``."""
        told = self._client.publish(topic, payload, qos=1)
        self._until(lambda: told.mid in self._answers or self._gone, "PUBACK")
        return self._answers.get(told.mid, GONE)

    def subscribe(self, topic: str) -> None:
        _, mid = self._client.subscribe(topic, qos=1)
        assert mid is not None
        self._until(lambda: mid in self._answers, "SUBACK")

    def wait_messages(self, count: int) -> None:
        self._until(lambda: len(self.messages) >= count, f"{count} messages")

    def wait_gone(self) -> None:
        self._until(lambda: self._gone, "end of the connection")

    @property
    def gone(self) -> bool:
        return self._gone

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _until(self, condition: Any, what: str) -> None:
        with self._grew:
            assert self._grew.wait_for(condition, ANSWER_S), f"no {what}"

    def _tell(self, mid: int, code: int) -> None:
        with self._grew:
            self._answers[mid] = code
            self._grew.notify_all()

    def _on_connect(self, _c: Any, _d: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        with self._grew:
            self.code = code.value
            self._grew.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._grew:
            self._gone = True
            self._grew.notify_all()

    def _on_publish(self, _c: Any, _d: Any, mid: int, code: ReasonCode, _p: Any) -> None:
        self._tell(mid, code.value)

    def _on_subscribe(self, _c: Any, _d: Any, mid: int, codes: Any, _p: Any) -> None:
        self._tell(mid, codes[0].value)

    def _on_message(self, _c: Any, _d: Any, message: mqtt.MQTTMessage) -> None:
        with self._grew:
            self.messages.append((message.topic, message.payload))
            self._grew.notify_all()


def make_secrets(folder: Path, *gateways: str) -> dict[str, str]:
    """Run the shipped script in a copy of its folder; the gateways' passwords that it prints."""
    folder.mkdir(exist_ok=True)
    shutil.copy(COMPOSE / "make-secrets", folder)
    program("mosquitto_passwd")
    made = subprocess.run(
        [str(folder / "make-secrets"), *gateways], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ") for line in made.stdout.splitlines())


@dataclass(frozen=True)
class Box:
    """The stack of compose.yaml without containers: its broker, its secrets, its fleet folder."""

    broker: ShippedBroker
    fleet: Path
    data: Path
    passwords: dict[str, str]

    def wait_for_readings(self, count: int) -> None:
        """Until the archive holds so many."""

        def held() -> bool:
            try:
                reader = ArchiveReader(self.data / "archive.db")
            except TemporaryError:
                return False
            with contextlib.closing(reader):
                stored = reader.stats().stored
                return stored.sealed_rows + stored.run_rows >= count

        eventually(held, f"{count} readings in the archive")


def feeding(influx: InfluxDb) -> str:
    """The settings that feed it: of version 1, without a login."""
    return f"""
[[projection]]
name = "influx"
kind = "influxdb"
version = 1
url = "{influx.url}"
database = "{influx.database}"
"""


@contextlib.contextmanager
def serving(folder: Path, projection: str = "") -> Iterator[Box]:
    """Broker and fleet folder; ``projection`` in the place of the shipped one, "" for none."""
    passwords = make_secrets(folder / "compose", GATEWAY)
    secrets = folder / "compose" / "secrets"
    config = COMPOSE / "mosquitto" / "mosquitto.conf"
    with ShippedBroker(folder / "broker", config, secrets / "mqtt_passwords") as broker:
        fleet, data = folder / "fleet", folder / "data"
        shutil.copytree(COMPOSE / "fleet", fleet)
        text = (fleet / "meterwatch.toml").read_text(encoding="utf-8")
        begin = text.index("# The database that Grafana asks")
        end = text.index("# VictoriaMetrics beside it")
        text = text[:begin] + projection + text[end:]
        changes = {
            'data = "/var/lib/meterwatch"': f'data = "{data}"',
            'listen = "127.0.0.1:9464"': 'listen = "127.0.0.1:0"',
            "mqtt://mosquitto:1883": f"mqtt://127.0.0.1:{broker.port}",
            "/run/secrets/mqtt_password": str(secrets / "mqtt_password"),
            "/etc/mosquitto/mosquitto.conf": str(config),
        }
        (fleet / "meterwatch.toml").write_text(rewritten(text, changes), encoding="utf-8")
        yield Box(broker, fleet, data, passwords)


def send(box: Box, device: str = "main-meter", **values: float) -> None:
    """One message of the shipped fleet's gateway; keyword ``power_active`` is ``power.active``."""
    readings = [{
        "device": device, "time": int(time.time() * 1000),
        "values": {name.replace("_", "."): value for name, value in values.items()},
    }]  # fmt: skip
    with Client(box.broker.port, GATEWAY, box.passwords[GATEWAY]) as gateway:
        payload = json.dumps({"readings": readings}).encode()
        assert gateway.publish(f"meterwatch/v1/{GATEWAY}/readings", payload) == 0
