"""The stack of containers, as far as it can be tried without an engine: the file is strict YAML,
all that it names is there and agrees, and no container is given more than it needs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.projections import INFLUX
from collector.settings import MqttSource, Settings, parse_settings
from tests.deploy.boxes import COMPOSE, make_secrets
from tests.programs import ROOT

FILE = COMPOSE / "compose.yaml"
PROVISIONING = ROOT / "grafana" / "provisioning"
DOCKERFILE = COMPOSE / "Dockerfile"
ONCE = "victoriametrics-owner"
"""The one container that is root, for one command, with one capability and no network."""
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


class Strict(yaml.SafeLoader):
    """YAML in which a key stands once, as the parsers of engines demand."""


def _mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    doubled = {key for key in keys if keys.count(key) > 1}
    assert not doubled, f"{doubled} twice, line {node.start_mark.line}"
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def filled(value: Any) -> Any:
    """``value`` with every variable as it is when nobody sets it."""
    if isinstance(value, dict):
        return {key: filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one) for one in value]
    return VARIABLE.sub(lambda found: found[2], value) if isinstance(value, str) else value


RAW = FILE.read_text(encoding="utf-8")
STACK: dict[str, Any] = filled(yaml.load(RAW, Strict))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
EACH = pytest.mark.parametrize("name", SERVICES)


def settings() -> Settings:
    path = COMPOSE / "fleet" / "meterwatch.toml"
    return parse_settings(path.read_text(encoding="utf-8"), str(path))


def mounts(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Of one service: target -> the mount."""
    found = SERVICES[name].get("volumes", [])
    return {one["target"]: one for one in found if one["type"] == kind}


@EACH
def test_a_container_is_given_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "pid", "ipc", "userns_mode"} & set(service)
    if name == ONCE:
        assert (service["cap_add"], service["network_mode"]) == (["CHOWN"], "none")
        assert service["restart"] == "no"
        return
    assert "cap_add" not in service
    assert service["restart"] == "unless-stopped"
    user = (
        service.get("user") or re.findall(r"^USER (.*)$", DOCKERFILE.read_text(), re.MULTILINE)[-1]
    )
    assert int(user.split(":")[0]) > 0


@EACH
def test_a_container_has_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@EACH
def test_an_image_is_a_fixed_version(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SERVICES["meterwatch"]["image"] == f"meterwatch:{project['version']}"


@EACH
def test_what_a_container_mounts_is_in_the_checkout(name: str) -> None:
    for target, mount in mounts(name, "bind").items():
        assert (COMPOSE / mount["source"]).exists(), target
        assert mount["read_only"] is True
        assert mount["bind"] == {"create_host_path": False}  # a typing error makes no empty folder


def test_all_that_is_named_is_declared_and_all_that_is_declared_is_used() -> None:
    used: dict[str, set[str]] = {"secrets": set(), "networks": set(), "volumes": set()}
    for name, service in SERVICES.items():
        used["secrets"] |= set(service.get("secrets", []))
        used["networks"] |= set(service.get("networks", []))
        used["volumes"] |= {one["source"] for one in mounts(name, "volume").values()}
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
    for kind, names in used.items():
        assert names == set(STACK[kind]), kind


def test_every_lasting_container_can_be_asked_how_it_is() -> None:
    for name, service in SERVICES.items():
        if name == "meterwatch":
            assert "HEALTHCHECK" in DOCKERFILE.read_text()
        elif name != ONCE:
            test = service["healthcheck"]["test"]
            assert test[0] == "CMD"
            assert "localhost" not in " ".join(test)  # may be ::1, where nobody listens


def test_only_the_broker_and_grafana_are_open_and_only_to_this_machine() -> None:
    opened = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert opened == {"mosquitto": ["127.0.0.1:1883:1883"], "grafana": ["127.0.0.1:3000:3000"]}
    assert STACK["networks"]["store"] == {"internal": True}
    for database in ("influxdb", "victoriametrics"):
        assert SERVICES[database]["networks"] == ["store"]


def test_no_secret_is_in_the_file_or_in_an_environment(tmp_path: Path) -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET", key):
                assert key.endswith("_FILE"), key
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    make_secrets(tmp_path / "compose")
    made = {path.name for path in (tmp_path / "compose" / "secrets").iterdir()}
    named = {one["file"].removeprefix("./secrets/") for one in STACK["secrets"].values()}
    assert named == made
    ignored = (COMPOSE / ".gitignore").read_text().splitlines()
    assert {"secrets/", ".env"} <= set(ignored)


def test_the_example_of_env_names_every_variable_with_its_default() -> None:
    lines = (COMPOSE / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert example == dict(VARIABLE.findall(re.sub(r"^\s*#.*$", "", RAW, flags=re.MULTILINE)))


def test_the_fleet_folder_fits_the_stack() -> None:
    ours = SERVICES["meterwatch"]
    told = settings()
    (broker,) = [one for one in told.sources if isinstance(one, MqttSource)]
    (influx,) = told.projections
    assert set(SERVICES[broker.host]["networks"]) & set(ours["networks"])
    host = re.fullmatch(r"http://([a-z]+):8086", influx.url)
    assert host
    assert set(SERVICES[host[1]]["networks"]) & set(ours["networks"])
    assert broker.password
    assert influx.token
    for secret in (broker.password, influx.token):
        assert secret.file.removeprefix("/run/secrets/") in ours["secrets"]
    made = SERVICES["influxdb"]["environment"]
    assert (influx.kind, influx.org, influx.bucket) == (
        INFLUX, made["DOCKER_INFLUXDB_INIT_ORG"], made["DOCKER_INFLUXDB_INIT_BUCKET"],
    )  # fmt: skip
    assert told.program.data in mounts("meterwatch", "volume")
    assert broker.broker_config in mounts("meterwatch", "bind")
    hours = int(made["DOCKER_INFLUXDB_INIT_RETENTION"].removesuffix("h"))
    assert hours == told.archive.retention_days * 24
    assert f"-retentionPeriod={hours}h" in SERVICES["victoriametrics"]["command"]
    assert "-dedup.minScrapeInterval=1ms" in SERVICES["victoriametrics"]["command"]


def test_grafana_is_given_what_its_provisioning_asks_for() -> None:
    grafana = SERVICES["grafana"]
    text = "".join(path.read_text(encoding="utf-8") for path in PROVISIONING.rglob("*.yaml"))
    told = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    assert set(re.findall(r"\$(MW_\w+)", told)) <= set(grafana["environment"])
    secrets = re.findall(r"\$__file\{/run/secrets/(\w+)\}", told)
    assert secrets
    assert set(secrets) <= set(grafana["secrets"])
    dashboards = mounts("grafana", "bind")["/var/lib/meterwatch-dashboards"]
    for path in re.findall(r"path: /var/lib/meterwatch-dashboards/([\w/]+)", told):
        assert list((COMPOSE / dashboards["source"] / path).glob("*.json"))
    environment = grafana["environment"]
    assert environment["MW_INFLUXDB_URL"] == settings().projections[0].url
    assert environment["MW_INFLUXDB_DATABASE"] == settings().projections[0].bucket


class TestImage:
    text = DOCKERFILE.read_text(encoding="utf-8")

    def copied(self) -> set[str]:
        lines = re.findall(r"^COPY (?!--from)(.*) \S+$", self.text, flags=re.MULTILINE)
        return {source for line in lines for source in line.split()}

    def test_every_stage_begins_with_a_fixed_version_and_the_last_is_nobody(self) -> None:
        bases = re.findall(r"^FROM (\S+)", self.text, flags=re.MULTILINE)
        assert len(set(bases)) == 1
        assert PINNED.fullmatch(bases[0])
        assert re.findall(r"^USER (\d+):(\d+)$", self.text, flags=re.MULTILINE) == [
            ("10001", "10001")
        ]

    def test_only_wheels_that_are_pinned_by_hash_are_installed(self) -> None:
        for line in re.findall(r"pip install (.*?)(?: \\)?$", self.text, flags=re.MULTILINE):
            assert "--require-hashes --only-binary=:all:" in line or "--no-deps" in line, line

    def test_it_takes_all_packages_and_only_what_the_builder_may_see(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
        copied = self.copied()
        assert {name.removesuffix("*") for name in packages} <= copied
        ignore = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
        seen = {line.removeprefix("!") for line in ignore if line.startswith("!")}
        assert copied == seen
        assert all((ROOT / source).exists() for source in copied)

    def test_it_asks_and_opens_the_port_on_which_the_fleet_folder_listens(self) -> None:
        listen = settings().program.listen
        assert f"http://{listen}/healthz" in self.text
        assert f"EXPOSE {listen.rpartition(':')[2]}\n" in self.text
        assert settings().program.data in re.findall(r'^VOLUME \["(.*)"\]', self.text, re.MULTILINE)

    def test_hadolint_finds_nothing(self) -> None:
        hadolint = shutil.which("hadolint")
        if hadolint is None:
            pytest.skip("hadolint is not installed")
        told = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
        assert told.stdout == ""


class TestLock:
    lock = ROOT / "deploy" / "requirements.lock"

    def entries(self, path: Path) -> set[str]:
        return set(re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()))

    def test_pins_the_versions_that_were_tested(self) -> None:
        assert self.entries(self.lock) <= self.entries(ROOT / "requirements.lock")

    def test_holds_what_a_box_needs_and_no_tool_of_developers(self) -> None:
        names = set(re.findall(r"^([a-z0-9-]+)==", self.lock.read_text(), flags=re.MULTILINE))
        assert {"paho-mqtt", "pymodbus", "pyserial", "apprise", "influxdb-client"} <= names
        assert {"setuptools", "tzdata", "numpy", "zstandard"} <= names
        assert not names & {"pytest", "ruff", "mypy", "amqtt"}
