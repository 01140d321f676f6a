"""``meterwatch.toml`` says what it says, or every fault in it; no secret ever stands in it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError, Fault
from collector.secrets import Secret, secret
from collector.settings import (
    ArchiveSettings,
    JournalSettings,
    ModbusSource,
    MqttSource,
    NotifierSettings,
    ProgramSettings,
    Settings,
    parse_settings,
)
from tests.collector.fleet import DATA

SOUND = (DATA / "fleet/meterwatch.toml").read_text("utf-8")


def faults(text: str) -> list[Fault]:
    try:
        parse_settings(text, "meterwatch.toml")
    except ConfigurationError as error:
        return list(error.faults)
    return []


def test_an_empty_file_means_the_defaults() -> None:
    settings = parse_settings("", "meterwatch.toml")
    assert settings == Settings()
    program = settings.program
    assert (program.zone, program.language, program.data) == ("Asia/Shanghai", "zh", "data")
    assert (program.listen, program.late_after_ms) == ("127.0.0.1:9464", 600_000)
    assert program.tick_ms == 5_000
    assert settings.journal.max_bytes == 1024 * 1024 * 1024
    assert settings.archive.retention_days == 400


def test_a_full_file_is_read_as_written() -> None:
    settings = parse_settings(SOUND, "meterwatch.toml")
    assert settings == Settings(
        program=ProgramSettings(
            language="en", late_after_ms=900_000, tick_ms=2_000, listen="127.0.0.1:9464"
        ),
        journal=JournalSettings(512),
        archive=ArchiveSettings(200),
        sources=(
            MqttSource(
                name="main",
                host="broker.example",
                port=8884,
                tls=True,
                user="mw",
                password=Secret(env="MW_MQTT_PASSWORD"),
                ca_file="ca.pem",
                client_id="meterwatch-main",
                version=4,
            ),
            ModbusSource(timeout=1.5),
        ),
        notifiers=(
            NotifierSettings(
                name="ops",
                url=Secret(file="secrets/ops"),
                per_minute=10,
                at_least=3,
                language="en",  # the program's, as none is given
            ),
        ),
    )
    assert [source.kind for source in settings.sources] == ["mqtt", "modbus"]


def test_moving_a_line_changes_no_settings() -> None:
    assert parse_settings("\n\n" + SOUND, "m.toml") == parse_settings(SOUND, "m.toml")


def test_the_port_follows_from_the_scheme() -> None:
    text = '[[source]]\nkind = "mqtt"\nname = "a"\nurl = "%s://h"\n'
    for scheme, port, tls in (("mqtt", 1883, False), ("mqtts", 8883, True)):
        (source,) = parse_settings(text % scheme, "m.toml").sources
        assert isinstance(source, MqttSource)
        assert (source.host, source.port, source.tls) == ("h", port, tls)


MQTT = '[[source]]\nkind = "mqtt"\nname = "main"\nurl = "mqtt://h:1883"\n'
OPS = '[[notifier]]\nname = "ops"\nkind = "apprise"\nurl_env = "OPS"\n'


@pytest.mark.parametrize(
    ("text", "line", "what", "todo"),
    [
        ('[program]\nzone = "Mars"\n', 2, 'time zone "Mars"', ""),
        ('[program]\nlanguage = "fr"\n', 2, 'unknown language "fr"', '"zh", "en"'),
        ('[program]\nlisten = "9464"\n', 2, "not host:port", "127.0.0.1:9464"),
        ('[program]\nlisten = "h:99999"\n', 2, "listen has port 99999", ""),
        ('[program]\ndata = ""\n', 2, "names no folder", ""),
        ('[program]\nlate_after = "10"\n', 2, "no duration", '"2m"'),
        ("[program]\ntick = 5\n", 2, "tick is a number", "in quotes"),
        ('[program]\ntick = "1h"\n', 2, "impossible", "900 s"),
        ("[program]\nlate_aftr = 1\n", 2, 'unknown key "late_aftr"', '"late_after"'),
        ("[journal]\nmax_mb = 1\n", 2, "max_mb is 1", "from 16"),
        ("[journal]\nmax_mb = 64.5\n", 2, "max_mb is a number", "whole number"),
        ("[archive]\nretention_days = 182\n", 2, "retention_days is 182", "from 183"),
        ("journal = 5\n", 1, "journal is a number", "[journal]"),
        ("[jornal]\n", 1, 'unknown key "jornal"', '"journal"'),
        ('[[source]]\nname = "x"\n', 1, '"kind" is missing', ""),
        ('[[source]]\nkind = "mqttt"\n', 2, 'unknown kind "mqttt"', '"mqtt"'),
        (MQTT.replace("mqtt://h:1883", "http://h"), 4, "is not of MQTT", "mqtts://"),
        (MQTT.replace("mqtt://h:1883", "mqtt://h:bad"), 4, "is no URL", ""),
        (MQTT.replace("mqtt://h:1883", "h:1883"), 4, "is not of MQTT", "mqtt://HOST"),
        (MQTT.replace("mqtt://h:1883", "mqtt://"), 4, "not scheme, host and port", ""),
        (MQTT.replace("mqtt://h:1883", "mqtt://h/topic"), 4, "not scheme, host and port", ""),
        (MQTT.replace("h:1883", "mw:pw@h"), 4, "user or password", "password_env"),
        (MQTT + 'password = "pw"\nuser = "u"\n', 5, "holds a secret", "password_env"),
        (MQTT + 'password_env = "A"\n', 1, "without a user", "user = "),
        (
            MQTT + 'user = "u"\npassword_env = "A"\npassword_file = "b"\n',
            *(7, "both password_env and password_file", ""),
        ),
        (MQTT + 'user = "u"\npassword_env = "my-pw!"\n', 6, "malformed", "variable"),
        (MQTT + 'user = "u"\npassword_file = ""\n', 6, "password_file is empty", ""),
        (MQTT + 'ca_file = "ca.pem"\n', 5, "no effect without TLS", "mqtts://"),
        (MQTT.replace("mqtt:", "mqtts:") + 'cert_file = "c"\n', 5, "belong together", ""),
        (MQTT + "version = 3\n", 5, "version is 3", "from 4 to 5"),
        (MQTT + 'topics = ["a/#/b"]\n', 5, "no topic filter", ""),
        (MQTT + 'topics = ["ok", "a/b+"]\n', 5, '"a/b+" is no topic filter', ""),
        (MQTT + 'topics = ["a/#"]\n', 5, "would take in replies", "/readings"),
        (MQTT + 'topics = ["$share/g/a/+/readings"]\n', 5, "same client_id", "of its own"),
        (MQTT + 'topics = ["$share/g"]\nclient_id = "a"\n', 5, "is no topic filter", ""),
        (MQTT + 'topics = ["$share//a/readings"]\nclient_id = "a"\n', 5, "names no group", ""),
        (MQTT + 'topics = ["$share/+/a/readings"]\nclient_id = "a"\n', 5, "names no group", ""),
        (MQTT + 'topics = ["$share/g/a+/readings"]\nclient_id = "a"\n', 5, "no topic filter", ""),
        (MQTT + 'replies = "some"\n', 5, "replies", "needed"),
        (MQTT + "topics = []\n", 5, "topics is empty", ""),
        (MQTT + MQTT.replace(":1883", ":1884"), 7, 'source "main" stands twice', "another name"),
        (
            MQTT + 'client_id = "x"\n' + MQTT.replace("main", "two") + 'client_id = "x"\n',
            *(10, 'client_id "x" is used twice', "rename"),
        ),
        (MQTT + '[[source]]\nkind = "modbus"\nname = "main"\n', 7, "stands twice", ""),
        ('[[source]]\nkind = "modbus"\ntimeout = "1h"\n', 3, "impossible", ""),
        (OPS.replace("url_env", "url"), 4, "url holds a secret", "url_env"),
        (OPS.replace("url_env", "#"), 1, "url_env is missing", "url_file"),
        (OPS.replace("apprise", "pigeon"), 3, 'unknown kind "pigeon"', '"apprise"'),
        (OPS + "per_minute = 0\n", 5, "per_minute is 0", "from 1"),
        (OPS + 'at_least = "gren"\n', 5, 'unknown at_least "gren"', ""),
        (OPS + 'api_key = "x"\n', 5, "api_key holds a secret", ""),
        (OPS + OPS, 6, 'notifier "ops" stands twice', ""),
        ("[program\n", 1, "is not TOML", ""),
    ],
)
def test_one_fault_is_told_once_on_its_line(text: str, line: int, what: str, todo: str) -> None:
    (fault,) = faults(text)
    assert (fault.file, fault.line) == ("meterwatch.toml", line)
    assert what in fault.what
    assert todo in fault.todo
    assert fault.todo


@pytest.mark.parametrize(
    ("url", "port", "tls"),
    [("mqtt://h", 1883, False), ("mqtts://h", 8883, True), ("mqtts://h:9", 9, True)],
)
def test_a_broker_has_the_port_of_its_scheme(url: str, port: int, tls: bool) -> None:
    (source,) = parse_settings(MQTT.replace("mqtt://h:1883", url), "f").sources
    assert isinstance(source, MqttSource)
    assert (source.host, source.port, source.tls) == ("h", port, tls)


def test_all_faults_are_told_at_once() -> None:
    found = faults('[program]\ntick = "x"\n[journal]\nmax_mb = 1\n' + OPS.replace("ops", "O"))
    assert [fault.line for fault in found] == [2, 4, 6]


def test_a_secret_in_the_file_is_not_repeated_in_the_fault() -> None:
    text = MQTT.replace("h:1883", "mw:hunter2@h") + 'password = "hunter2"\nuser = "u"\n'
    text += OPS.replace('url_env = "OPS"', 'url = "dingtalk://hunter2"')
    found = faults(text)
    assert len(found) == 3
    assert "hunter2" not in "".join(str(fault) for fault in found)


def test_a_secret_comes_from_where_the_settings_say() -> None:
    kept = {("env", "MW"): "pw\n", ("file", "secrets/mw"): " filed \n"}

    def read(name: str, kind: str) -> str:
        return kept[kind, name]

    assert secret(Secret(env="MW"), read) == "pw"
    assert secret(Secret(file="secrets/mw"), read) == "filed"


@pytest.mark.parametrize(
    ("where", "failure", "what"),
    [
        (Secret(env="MW"), KeyError("MW"), "environment variable MW is not set"),
        (Secret(file="f"), FileNotFoundError(2, "No such file"), "f cannot be read: No such file"),
        (Secret(file="f"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "is not UTF-8"),
        (Secret(env="MW"), None, "the secret in MW is empty"),
    ],
)
def test_a_missing_secret_is_a_fault_at_its_line(
    where: Secret, failure: Exception | None, what: str
) -> None:
    where = Secret(where.env, where.file, "meterwatch.toml", 7)

    def read(_name: str, _kind: str) -> str:
        if failure is not None:
            raise failure
        return " \n"

    with pytest.raises(ConfigurationError) as caught:
        secret(where, read)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line) == ("meterwatch.toml", 7)
    assert what in fault.what
    assert fault.todo


def _keys(data: dict[str, Any]) -> list[str]:
    keys = [key for rows in data.values() for row in _rows(rows) for key in row]
    return sorted({*keys, *data})


def _rows(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]


JUNK = ["5", "-1", "nan", '""', '"x"', "true", "[]", "[1]", "{}", "{ a = 1 }", "2025-01-01"]


@given(
    st.sampled_from(_keys(tomllib.loads(SOUND))),
    st.sampled_from(JUNK),
    st.integers(0, SOUND.count("\n")),
)
def test_any_value_anywhere_is_read_or_refused(key: str, junk: str, at: int) -> None:
    lines = SOUND.splitlines()
    replaced = [f"{key} = {junk}" if line.startswith(f"{key} =") else line for line in lines]
    inserted = [*lines[:at], f"{key} = {junk}", *lines[at:]]
    for text in (replaced, inserted, lines[:at] + lines[at + 1 :]):
        for fault in faults("\n".join(text)):
            assert 0 <= fault.line <= len(text)
