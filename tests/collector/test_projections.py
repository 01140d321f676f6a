"""``[[projection]]``: what is read, and what is told of everything that is wrong."""

from __future__ import annotations

import pytest

from collector.errors import ConfigurationError
from collector.projections import ProjectionSettings
from collector.secrets import Secret
from collector.settings import parse_settings


def read(text: str) -> tuple[ProjectionSettings, ...]:
    return parse_settings(text, "meterwatch.toml").projections


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_each_kind_of_database_with_what_it_needs() -> None:
    vm, two, one, three = read("""
[[projection]]
name = "vm"
kind = "victoria-metrics"
url = "http://127.0.0.1:8428"

[[projection]]
name = "centre"
kind = "influxdb"
url = "https://influx.example.org:8086"
org = "gansu"
bucket = "meters"
token_file = "secrets/influx"
hold_mb = 64

[[projection]]
name = "old-box"
kind = "influxdb"
version = 1
url = "http://localhost:8086"
database = "meters"
retention_policy = "two_years"
user = "writer"
password_env = "MW_INFLUX"
enabled = false

[[projection]]
name = "new"
kind = "influxdb"
version = 3
url = "http://localhost:8181"
database = "meters"
""")
    assert vm == ProjectionSettings(
        "vm", "victoria-metrics", "http://127.0.0.1:8428", version=0, gzip=False
    )
    assert two == ProjectionSettings(
        "centre",
        "influxdb",
        "https://influx.example.org:8086",
        version=2,
        bucket="meters",
        org="gansu",
        token=Secret(file="secrets/influx"),
        gzip=True,
        hold_mb=64,
    )
    assert (one.version, one.bucket, one.policy, one.user) == (1, "meters", "two_years", "writer")
    assert (one.password, one.enabled) == (Secret(env="MW_INFLUX"), False)
    assert (three.version, three.bucket, three.token) == (3, "meters", None)
    assert (vm.fold, vm.origin) == ("project-vm", "projection:vm")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('kind = "influx"\nurl = "http://127.0.0.1"', 'unknown kind "influx"'),
        ('kind = "victoria-metrics"', '"url" is missing'),
        ('kind = "victoria-metrics"\nurl = "127.0.0.1:8428"', "is not of HTTP"),
        ('kind = "victoria-metrics"\nurl = "http://u:p@127.0.0.1"', "holds a user or password"),
        ('kind = "victoria-metrics"\nurl = "http://127.0.0.1"\nbucket = "b"', "unknown key"),
        ('kind = "victoria-metrics"\nurl = "http://127.0.0.1/?db=x"', "says more than where"),
        ('kind = "victoria-metrics"\nurl = "http://127.0.0.1"\ntoken = "x"', "holds a secret"),
        (
            'kind = "victoria-metrics"\nurl = "http://10.0.0.9:8428"\ntoken_env = "T"',
            "clear text",
        ),
        ('kind = "victoria-metrics"\nurl = "http://127.0.0.1"\nca_file = "ca.pem"', "no effect"),
        (
            'kind = "influxdb"\nurl = "http://127.0.0.1"\norg = "o"\nbucket = "b"',
            "token_env is missing",
        ),
        ('kind = "influxdb"\nversion = 1\nurl = "http://127.0.0.1"', '"database" is missing'),
        (
            'kind = "influxdb"\nversion = 1\nurl = "http://127.0.0.1"\ndatabase = "d"\n'
            'password_env = "P"',
            "without a user",
        ),
        ('kind = "influxdb"\nversion = 4\nurl = "http://127.0.0.1"', "version is 4"),
        ('kind = "victoria-metrics"\nurl = "http://127.0.0.1"\nhold_mb = 0', "hold_mb is 0"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines: str, told: str) -> None:
    found = faults(f'[[projection]]\nname = "x"\n{lines}\n')
    assert any(told in fault and fault.startswith("meterwatch.toml:") for fault in found), found


def test_clear_text_may_be_allowed_on_a_network_of_ones_own() -> None:
    (one,) = read("""
[[projection]]
name = "vm"
kind = "victoria-metrics"
url = "http://victoria:8428"
token_env = "T"
allow_clear_text = true
gzip = false
""")
    assert (one.gzip, one.token) == (False, Secret(env="T"))


def test_two_of_one_name_are_told() -> None:
    table = '[[projection]]\nname = "x"\nkind = "victoria-metrics"\nurl = "http://127.0.0.1"\n'
    assert any("stands twice" in fault for fault in faults(table + table))
