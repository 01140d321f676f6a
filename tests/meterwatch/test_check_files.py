"""``check`` looks at the files and secrets that the settings name: what would keep a source or its
gateways out is a fault at the line that names it, what may be right all the same is a note."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from adapters.identity.authority import Authority, make_authority
from adapters.identity.validity import ends
from meterwatch.cli import app
from tests.meterwatch.gateways import fleet
from tests.servers import Certificates

DAY = 86_400_000
NOW = time.time_ns() // 1_000_000
SETTINGS = """\
[[source]]
kind = "http"
name = "push"
listen = "127.0.0.1:0"
cert_file = "tls/server.pem"
key_file = "tls/server.key"
client_ca_file = "tls/ca.pem"
client_crl_file = "tls/ca.crl"
[[source]]
kind = "mqtt-listener"
name = "direct"
listen = "127.0.0.1:0"
cert_file = "tls/other.pem"
key_file = "tls/other.key"
[[source]]
kind = "mqtt"
name = "main"
url = "mqtts://127.0.0.1:8883"
user = "meterwatch"
password_file = "secret"
ca_file = "tls/ca.pem"
cert_file = "tls/ours.pem"
key_file = "tls/ours.key"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fleet folder in which all is right."""
    made = tmp_path / "fleet"
    fleet(made, SETTINGS)
    (made / "tls").mkdir()
    (made / "secret").write_text("xyzzy\n")
    authority = make_authority(made / "tls", NOW)
    for name in ("server", "other", "ours"):
        issue(made, name, authority, 100)
    return made


def issue(folder: Path, name: str, authority: Authority, days: float) -> None:
    """A certificate that ends so many days from now, and its key."""
    made = authority.server(["localhost"], NOW - 20 * DAY, round((20 + days) * DAY))
    (folder / "tls" / f"{name}.pem").write_bytes(made.pem)
    (folder / "tls" / f"{name}.key").write_bytes(made.key)


def check(folder: Path) -> tuple[int, dict[int, str], dict[int, str]]:
    """Exit code; faults and notes by line."""
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "xyzzy" not in done.output
    named = rf"^({{}}){re.escape(str(folder))}/meterwatch.toml:(\d+): (.+)$"
    faults, notes = (
        {int(line): told for _, line, told in re.findall(named.format(head), text, re.MULTILINE)}
        for head, text in (("", done.stderr), ("note: ", done.stdout))
    )
    return done.exit_code, faults, notes


def test_what_is_right_is_not_spoken_of(folder: Path) -> None:
    assert check(folder) == (0, {}, {})


def swap(folder: Path) -> None:
    shutil.copy(folder / "tls" / "other.key", folder / "tls" / "server.key")


def another_kind(folder: Path) -> None:
    shutil.copy(Certificates.make(folder / "x").server, folder / "tls" / "server.pem")
    shutil.copy(folder / "tls" / "other.key", folder / "tls" / "server.key")


def cut(folder: Path) -> None:
    path = folder / "tls" / "server.pem"
    path.write_bytes(path.read_bytes()[:300] + b"\n-----END CERTIFICATE-----\n")


def write(name: str, text: str = "") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def beside(name: str, other: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(folder / "tls" / other, folder / "tls" / name)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove("tls/server.pem"), {5: "cert_file tls/server.pem cannot be read: No such file"}),
        (remove("tls/server.key"), {6: "key_file tls/server.key cannot be read: No such file"}),
        (remove("tls/other.pem"), {13: "cert_file tls/other.pem cannot be read"}),
        (remove("tls/ours.key"), {23: "key_file tls/ours.key cannot be read"}),
        (remove("tls/ca.crl"), {8: "client_crl_file tls/ca.crl cannot be read"}),
        (
            remove("tls/ca.pem"),
            {7: "client_ca_file tls/ca.pem cannot be", 21: "ca_file tls/ca.pem cannot be"},
        ),
        (swap, {6: "key_file tls/server.key is not that of cert_file tls/server.pem"}),
        (another_kind, {6: "key_file tls/server.key is not that of cert_file"}),
        (cut, {5: "cert_file tls/server.pem holds no certificate"}),
        (write("tls/server.pem"), {5: "cert_file tls/server.pem holds no certificate"}),
        (write("tls/server.key", "?"), {6: "key_file tls/server.key cannot be read as a key"}),
        (beside("ca.crl", "server.pem"), {8: "holds no list of revoked certificates"}),
        (beside("ca.pem", "ca.crl"), {7: "holds no certificate", 21: "holds no certificate"}),
        (remove("secret"), {20: "secret file secret cannot be read: No such file"}),
        (write("secret", " \n"), {20: "the secret in secret is empty"}),
    ],
)
def test_what_could_not_be_used_is_a_fault_with_its_line(
    folder: Path, spoil: Callable[[Path], object], told: dict[int, str]
) -> None:
    spoil(folder)
    code, faults, notes = check(folder)
    assert (code, faults.keys(), notes) == (1, told.keys(), {})
    for line, words in told.items():
        assert words in faults[line]
        assert " -> " in faults[line]


def test_a_key_with_a_password_is_a_fault_and_nobody_is_asked_for_it(folder: Path) -> None:
    path = folder / "tls" / "server.key"
    key = form.load_pem_private_key(path.read_bytes(), None)
    locked = form.BestAvailableEncryption(b"password")
    path.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))
    code, faults, _ = check(folder)
    assert (code, faults.keys()) == (1, {6})
    assert "without a password" in faults[6]


def test_a_certificate_that_ended_is_a_fault_and_one_that_ends_soon_a_note(folder: Path) -> None:
    shutil.rmtree(folder / "tls")
    (folder / "tls").mkdir()
    authority = make_authority(folder / "tls", NOW - 3640 * DAY)  # of ten years
    issue(folder, "server", authority, -0.001)
    with (folder / "tls" / "server.pem").open("ab") as chain:
        chain.write(authority.pem)
    issue(folder, "other", authority, 5)
    issue(folder, "ours", authority, 9)
    code, faults, notes = check(folder)
    assert code == 1
    today = datetime.fromtimestamp(NOW / 1000 - 90, UTC)
    assert faults == {5: f"cert_file tls/server.pem expired on {today:%Y-%m-%d} -> have it renewed"}
    issue(folder, "server", authority, 9)
    code, faults, notes = check(folder)
    assert (code, faults) == (0, {})
    assert notes.keys() == {5, 7, 13, 21, 22}
    soon = datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(days=5)
    assert notes[13].startswith(f"cert_file tls/other.pem expires on {soon:%Y-%m-%d}, within 30")


def test_of_authorities_one_that_holds_is_enough_and_of_a_chain_the_first_is_shown(
    folder: Path, tmp_path: Path
) -> None:
    old = make_authority(tmp_path, NOW - 4000 * DAY).pem.decode()
    for name in ("ca.pem", "server.pem"):
        path = folder / "tls" / name
        path.write_text(path.read_text() + old)
    assert check(folder) == (0, {}, {})
    write("tls/ca.pem", old)(folder)
    code, faults, _ = check(folder)
    assert (code, faults.keys()) == (1, {7, 21})


def test_a_secret_that_only_the_running_program_has_is_a_note(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = folder / "meterwatch.toml"
    text = SETTINGS.replace('file = "secret"', 'file = "/run/credentials/nobody.service/secret"')
    settings.write_text(f'{text}[[notifier]]\nname = "ops"\nkind = "apprise"\nurl_env = "MW_OPS"\n')
    monkeypatch.delenv("MW_OPS", raising=False)
    code, faults, notes = check(folder)
    assert (code, faults, notes.keys()) == (0, {}, {20, 27})
    assert "environment variable MW_OPS is not set" in notes[27]
    monkeypatch.setenv("MW_OPS", "json://xyzzy")
    assert check(folder)[2].keys() == {20}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can read what the program cannot")
def test_root_is_told_what_the_program_cannot_read(folder: Path, open_path: Path) -> None:
    moved = shutil.copytree(folder, open_path / "fleet")
    (moved / "data").mkdir()
    shutil.chown(moved / "data", "nobody")
    for name in ("server.key", "server.pem"):
        (moved / "tls" / name).chmod(0o600)
    (moved / "secret").chmod(0o600)
    code, faults, notes = check(moved)
    assert (code, faults, notes.keys()) == (0, {}, {5, 6, 20})
    assert "tls/server.key cannot be read by nobody" in notes[6]


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2150, 9999])
def test_when_certificates_end_is_read_as_a_library_reads_it(year: int) -> None:
    end = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)] * 5)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 2**150)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    der = made.public_bytes(form.Encoding.DER)
    pem = ssl.DER_cert_to_PEM_cert(der)
    assert ends(f"{pem}\nwords\n{pem}") == [end, end]
    for size in range(len(der)):
        with contextlib.suppress(ValueError):
            assert ends(ssl.DER_cert_to_PEM_cert(der[:size])) in ([end], [])
