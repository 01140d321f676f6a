"""``[[source]]`` of what listens: what it says, and every fault in it."""

from __future__ import annotations

import pytest

from collector.errors import ConfigurationError, Fault
from collector.settings import HttpSource, ListenerSource, parse_settings

TLS = 'cert_file = "tls/server.pem"\nkey_file = "tls/server.key"\n'


def source(text: str) -> str:
    return f'[[source]]\nkind = "http"\nname = "main"\n{text}'


def faults(text: str) -> list[Fault]:
    try:
        parse_settings(text, "meterwatch.toml")
    except ConfigurationError as error:
        return list(error.faults)
    return []


def test_little_is_enough() -> None:
    (found,) = parse_settings(source('listen = "127.0.0.1:8086"'), "meterwatch.toml").sources
    assert found == HttpSource("main", "127.0.0.1", 8086)
    assert isinstance(found, HttpSource)
    assert found.origin == "http:main"


def test_everything_is_read_as_written() -> None:
    text = f"""listen = "[::]:8443"
{TLS}client_ca_file = "ca.pem"
client_crl_file = "ca.crl"
client_names = true
max_body_mb = 2
under_way_mb = 32
max_connections = 300
max_connections_per_address = 20
rate_requests = 10
rate_readings = 500
rate_kb = 256
burst = "30s"
head_timeout = "5s"
keep_alive = "2m"
slowest_bytes = 100
"""
    (found,) = parse_settings(source(text), "meterwatch.toml").sources
    assert found == HttpSource(
        name="main", host="::", port=8443, cert_file="tls/server.pem", key_file="tls/server.key",
        client_ca_file="ca.pem", client_crl_file="ca.crl", client_names=True,
        max_body_mb=2, under_way_mb=32, max_connections=300, max_connections_per_address=20,
        rate_requests=10, rate_readings=500, rate_kb=256, burst=30, head_timeout=5,
        keep_alive=120, slowest=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, '"listen" is missing'),
        ('listen = "8443"', 4, "is not host:port"),
        ('listen = "0.0.0.0:99999"', 4, "listen has port 99999"),
        ('listen = "192.0.2.300:8443"', 4, '"192.0.2.300" is no IPv4 address'),
        ('listen = "0.0.0.0:8443"', 4, "unencrypted"),
        ('listen = "meter.example:8443"', 4, "unencrypted"),
        ('listen = "127.0.0.1:1"\ncert_file = "a"', 5, "belong together"),
        ('listen = "127.0.0.1:1"\nkey_file = "a"', 5, "belong together"),
        ('listen = "127.0.0.1:1"\nclient_ca_file = "a"', 5, "no effect without TLS"),
        (f'listen = "0.0.0.0:1"\n{TLS}client_crl_file = "a"', 7, "without its CA"),
        (f'listen = "0.0.0.0:1"\n{TLS}client_names = true', 7, "without a CA"),
        (f'listen = "0.0.0.0:1"\n{TLS}plain = true', 7, "beside a certificate"),
        ('listen = "127.0.0.1:1"\nmax_body_mb = 0', 5, "max_body_mb is 0"),
        ('listen = "127.0.0.1:1"\nmax_body_mb = 8\nunder_way_mb = 4', 6, "one body of 8 MB"),
        ('listen = "127.0.0.1:1"\nrate_request = 5', 5, 'unknown key "rate_request"'),
        ('listen = "127.0.0.1:1"\ntoken = "x"', 5, "token holds a secret"),
        ('listen = "127.0.0.1:1"\n' + source('listen = "127.0.0.1:2"'), 7, "stands twice"),
        (
            'listen = "127.0.0.1:1"\n' + source('listen = "127.0.0.1:1"').replace("main", "two"),
            8,
            "two sources listen on port 1",
        ),
    ],
)
def test_one_fault_is_told_once_on_its_line(text: str, line: int, what: str) -> None:
    (fault,) = faults(source(text))
    assert fault.line == line
    assert what in fault.what


@pytest.mark.parametrize(
    "text",
    [
        'listen = "0.0.0.0:8086"\nplain = true',
        'listen = "localhost:8086"',
        'listen = "[::1]:8086"',
        f'listen = "0.0.0.0:8443"\n{TLS}',
    ],
)
def test_without_tls_it_listens_to_this_machine_or_where_that_is_said(text: str) -> None:
    assert not faults(source(text))


def listener(text: str) -> str:
    return source(text).replace('"http"', '"mqtt-listener"')


def test_a_listener_of_mqtt_is_read_as_written() -> None:
    (found,) = parse_settings(listener('listen = "127.0.0.1:1883"'), "meterwatch.toml").sources
    assert found == ListenerSource("main", "127.0.0.1", 1883)
    assert isinstance(found, ListenerSource)
    assert found.origin == "mqtt-listener:main"
    text = f"""listen = "[::]:8883"
{TLS}client_ca_file = "ca.pem"
max_message_kb = 64
under_way_mb = 32
max_connections = 300
max_connections_per_address = 20
max_connections_per_gateway = 2
window = 10
rate_messages = 10
rate_readings = 500
rate_kb = 256
burst = "30s"
connect_timeout = "5s"
silence = "10m"
slowest_bytes = 100
"""
    (found,) = parse_settings(listener(text), "meterwatch.toml").sources
    assert found == ListenerSource(
        name="main", host="::", port=8883, cert_file="tls/server.pem", key_file="tls/server.key",
        client_ca_file="ca.pem", max_message_kb=64, under_way_mb=32, max_connections=300,
        max_connections_per_address=20, max_connections_per_gateway=2, window=10,
        rate_messages=10, rate_readings=500, rate_kb=256, burst=30, connect_timeout=5,
        silence=600, slowest=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, '"listen" is missing'),
        ('listen = "0.0.0.0:8883"', 4, "unencrypted"),
        ('listen = "127.0.0.1:1"\nclient_ca_file = "a"', 5, "no effect without TLS"),
        ('listen = "127.0.0.1:1"\nwindow = 0', 5, "window is 0"),
        ('listen = "127.0.0.1:1"\nmax_message_kb = 4096\nunder_way_mb = 2', 6, "one message of"),
        ('listen = "127.0.0.1:1"\nrate_requests = 5', 5, 'unknown key "rate_requests"'),
        (
            'listen = "127.0.0.1:1"\n' + source('listen = "127.0.0.1:1"').replace("main", "two"),
            8,
            "two sources listen on port 1",
        ),
    ],
)
def test_every_fault_of_a_listener_of_mqtt_is_told_where_it_is(
    text: str, line: int, what: str
) -> None:
    found = faults(listener(text))
    assert [(one.line, what in one.what) for one in found] == [(line, True)], found
    assert all(one.todo for one in found)
