"""``[[projection]]`` of ``meterwatch.toml``: the external databases that are fed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from collector.secrets import Secret, secret_of
from collector.sections import NO_SECRETS, Section

VICTORIA: Final = "victoria-metrics"
INFLUX: Final = "influxdb"


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """An external database that is fed. ``version``: InfluxDB's, 1, 2 or 3. ``bucket``: of
    InfluxDB 2, or the database's name of 1 and 3. ``policy``: retention policy of InfluxDB 1.
    ``hold_mb``: megabytes of journal kept for it while it takes nothing; what comes after is
    fed from the archive."""

    name: str
    kind: str
    url: str
    version: int = 2
    bucket: str = ""
    org: str = ""
    policy: str = ""
    user: str = ""
    password: Secret | None = None
    token: Secret | None = None
    gzip: bool = False
    ca_file: str = ""
    enabled: bool = True
    hold_mb: int = 128
    max_series: int = 500_000

    @property
    def fold(self) -> str:
        return f"project-{self.name}"

    @property
    def origin(self) -> str:
        return f"projection:{self.name}"


def parse_projections(sections: Iterable[Section]) -> tuple[ProjectionSettings, ...]:
    """The databases of ``sections``; faults go where the sections say."""
    found: dict[str, ProjectionSettings] = {}
    for section in sections:
        name = section.id("name")
        kind = section.text("kind", required=True, choices=(VICTORIA, INFLUX))
        if kind:
            one = _projection(section, name, kind)
            section.close()
            if name in found:
                section.fault("name", f'projection "{name}" stands twice', "give it another name")
            found[name] = one
    return tuple(found.values())


def _projection(section: Section, name: str, kind: str) -> ProjectionSettings:
    url, tls, near = _url(section)
    version, bucket, org, policy = _where(section) if kind == INFLUX else (0, "", "", "")
    user = section.text("user") if version in {0, 1} else ""
    password = secret_of(section, "password", required=False) if version in {0, 1} else None
    token = secret_of(section, "token", required=version == 2) if version != 1 else None
    if password is not None and not user:
        section.fault("user", "a password is given without a user", 'add user = "..."')
    if token is not None and user:
        section.fault("user", "a user and a token are given", "keep one of them")
    ca_file = section.text("ca_file")
    if ca_file and url and not tls:
        section.fault("ca_file", "ca_file has no effect without TLS", "write https:// in url")
    if (token or password) and url and not tls and not near:
        what = "credentials would go over the network in clear text"
        if not section.flag("allow_clear_text"):
            section.fault("url", what, "write https:// in url, or allow_clear_text = true")
    else:
        section.flag("allow_clear_text")
    return ProjectionSettings(
        name=name,
        kind=kind,
        url=url,
        version=version,
        bucket=bucket,
        org=org,
        policy=policy,
        user=user,
        password=password,
        token=token,
        gzip=section.flag("gzip", default=not near),
        ca_file=ca_file,
        enabled=section.flag("enabled", default=True),
        hold_mb=section.whole_number("hold_mb", 128, least=1, most=1 << 20),
        max_series=section.whole_number("max_series", 500_000, least=1, most=100_000_000),
    )


def _where(section: Section) -> tuple[int, str, str, str]:
    """Version, bucket (or database), organisation and retention policy of an InfluxDB."""
    version = section.whole_number("version", 2, least=1, most=3)
    bucket = section.text("bucket" if version == 2 else "database", required=True)
    org = section.text("org", required=True) if version == 2 else ""
    policy = section.text("retention_policy") if version == 1 else ""
    return version, bucket, org, policy


def _url(section: Section) -> tuple[str, bool, bool]:
    """The address, whether it has TLS, and whether it is this machine's own."""
    url = section.text("url", required=True)
    todo = 'write "https://HOST:PORT" or "http://127.0.0.1:8428"'
    if not url:
        return "", False, True
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        section.fault("url", f"url is no URL: {error}", todo)
        return "", False, True
    if "@" in parts.netloc:
        what = f"url holds a user or password: {NO_SECRETS}"
        section.fault("url", what, "use user and password_env, or token_env")
    elif parts.scheme not in {"http", "https"} or not host:
        section.fault("url", f'url "{url}" is not of HTTP', todo)
    elif parts.query or parts.fragment:
        section.fault("url", f'url "{url}" says more than where the server is', todo)
    near = host in {"localhost", "::1"} or (host or "").startswith("127.")
    return url, parts.scheme == "https", near
