"""``meterwatch gateway`` as typed: what is shown, what is refused, what is listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.identity.store import CredentialStore, GatewayCredentials
from collector.errors import ConfigurationError
from collector.settings import parse_settings
from collector.telemetry import Telemetry
from meterwatch.cli import app
from meterwatch.clock import SystemClock
from tests.meterwatch.gateways import Desk, fleet, login
from tests.programs import eventually
from tests.servers import free_port, program

FILES = '[broker]\npassword_file = "broker/passwords"\nacl_file = "broker/acl"\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return fleet(tmp_path / "fleet")


@pytest.fixture
def guarded(tmp_path: Path) -> Desk:
    """With a broker's files beside it, and nobody to tell."""
    (tmp_path / "fleet" / "broker").mkdir(parents=True)
    return fleet(tmp_path / "fleet", FILES)


def who(desk: Desk, token: str) -> str | None:
    return GatewayCredentials(desk.folder / "data", SystemClock(), Telemetry()).gateway_of(token)


def run(command: str, desk: Desk, *words: str) -> subprocess.Popen[bytes]:
    """As a process of its own."""
    typed = [sys.executable, "-m", "meterwatch", "gateway", command, str(desk.folder), *words]
    return subprocess.Popen(typed, stdout=subprocess.DEVNULL)


def waits(process: subprocess.Popen[bytes]) -> bool:
    """For a lock that another one has."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[1:3] == ["->", "FLOCK"] and line[5] == str(process.pid) for line in lines)


class TestGiving:
    def test_the_token_that_is_shown_opens_our_door(self, desk: Desk) -> None:
        shown = desk.type("add", "gw-a")
        bearer = re.search(r"Authorization: Bearer (\S+)", shown)
        assert bearer
        assert who(desk, bearer[1]) == "gw-a"
        assert login(shown) == ("gw-a", bearer[1])
        assert "no table [broker]: a broker knows nothing of it yet" in shown
        assert bearer[1] not in desk.type("list", "--all")

    def test_a_gateway_that_the_registry_has_not_is_refused_with_the_nearest(
        self, desk: Desk
    ) -> None:
        assert 'did you mean "gw-a"?' in desk.type("add", "gw-aa", code=1)
        assert "enter it in its site's file" in desk.type("add", "boiler", code=1)
        assert not CredentialStore(desk.folder / "data").path.exists()

    def test_a_second_one_needs_a_rotation(self, desk: Desk) -> None:
        desk.type("add", "gw-a")
        assert f"gateway rotate {desk.folder} gw-a\n" in desk.type("add", "gw-a", code=1)
        assert f"gateway add {desk.folder} gw-b\n" in desk.type("rotate", "gw-b", code=1)

    @pytest.mark.parametrize("kind", [(), ("--certificate",)])
    def test_what_a_refused_command_advises_can_be_typed_as_it_stands(
        self, desk: Desk, tmp_path: Path, kind: tuple[str, ...]
    ) -> None:
        desk.type("ca")
        for number, (refused, advised) in enumerate((("rotate", "add"), ("add", "rotate"))):
            told = desk.type(refused, "gw-a", *kind, code=1)
            found = re.search(r"-> run: meterwatch gateway (\S+) (\S+) (.*)", told)
            assert found
            assert found[1] == advised
            desk.type(found[1], *found[3].split(), "--out", str(tmp_path / str(number)))

    def test_a_rotation_tells_how_long_the_old_one_holds(self, desk: Desk) -> None:
        _, old = desk.login("add", "gw-a")
        shown = desk.type("rotate", "gw-a")
        assert "valid for 7 days" in shown
        assert who(desk, old) == who(desk, login(shown)[1]) == "gw-a"
        _, third = desk.login("rotate", "gw-a", "--grace", "0s")
        assert [who(desk, one) for one in (old, login(shown)[1], third)] == [None, None, "gw-a"]

    @pytest.mark.parametrize("words", [("--grace", "soon"), ("--expires", "7 weeks")])
    def test_what_is_no_span_changes_nothing(self, desk: Desk, words: tuple[str, str]) -> None:
        _, old = desk.login("add", "gw-a")
        assert "is no duration" in desk.type("rotate", "gw-a", *words, code=1)
        assert len(CredentialStore(desk.folder / "data").read().gateways["gw-a"].credentials) == 1
        assert who(desk, old) == "gw-a"

    def test_revoked_all_of_it_ends_even_while_the_registry_is_broken(self, desk: Desk) -> None:
        _, old = desk.login("add", "gw-a")
        _, new = desk.login("rotate", "gw-a")
        (desk.folder / "registry" / "print.toml").write_text("[site")
        assert "have ended" in desk.type("revoke", "gw-a")
        assert who(desk, old) is who(desk, new) is None
        assert "no credential in force" in desk.type("revoke", "gw-a", code=1)

    def test_in_chinese(self, desk: Desk) -> None:
        assert "只显示这一次" in desk.type("add", "gw-a", "--lang", "zh")
        assert "旧凭证在 7 天内仍然有效" in desk.type("rotate", "gw-a", "--lang", "zh")
        assert "旧凭证在 12 小时内" in desk.type("rotate", "gw-a", "--grace", "12h", "--lang", "zh")
        assert "有效  用户 gw-a~3" in desk.type("list", "--lang", "zh")
        assert "已吊销" in desk.type("revoke", "gw-a", "--lang", "zh")
        for words, told in (
            (
                ("revoke", "gw-a"),
                f"网关 gw-a: 没有有效的凭证 -> 请运行：meterwatch gateway list {desk.folder}",
            ),
            (("add", "gw-aa"), '台账中没有 -> 是不是 "gw-a"？'),
            (("add", "gw-a", "--certificate"), "还没有证书机构 -> 请先运行："),
            (("add", "gw-a", "--expires", "x"), '"x" 不是时长'),
            (("broker",), "没有 [broker]"),
        ):
            assert told in desk.type(*words, "--lang", "zh", code=1)

    @pytest.mark.parametrize(
        ("grace", "told"), [("1m", "1 minute"), ("12h", "12 hours"), ("36h", "36 hours"),
                            ("1d", "1 day"), ("90s", "90 seconds"), ("1500ms", "1.5 seconds")],
    )  # fmt: skip
    def test_a_grace_is_told_as_people_say_it(self, desk: Desk, grace: str, told: str) -> None:
        desk.type("add", "gw-a")
        assert f"stays valid for {told} beside it" in desk.type("rotate", "gw-a", "--grace", grace)


class TestTheBrokersFiles:
    def test_they_are_written_and_the_reader_is_told_to_reload(self, guarded: Desk) -> None:
        assert "systemctl reload mosquitto" in guarded.type("add", "gw-a")
        for name in ("passwords", "acl"):
            path = guarded.folder / "broker" / name
            assert "gw-a" in path.read_text()
            assert path.stat().st_mode & 0o777 == 0o640

    def test_of_two_commands_at_once_the_slower_one_brings_no_revoked_password_back(
        self, guarded: Desk
    ) -> None:
        guarded.type("add", "gw-a")
        passwords = guarded.folder / "broker" / "passwords"
        before = passwords.read_bytes()
        real = passwords.rename(passwords.with_name("real"))
        os.mkfifo(passwords)  # whoever reads it now takes as long as this test wants
        slow = run("broker", guarded)
        with passwords.open("wb") as file:
            real.replace(passwords)
            quick = run("revoke", guarded, "gw-a")
            eventually(lambda: quick.poll() is not None or waits(quick), "it ends, or waits")
            file.write(before)
        assert (slow.wait(), quick.wait()) == (0, 0)
        assert b"gw-a" in before
        assert b"gw-a" not in passwords.read_bytes()

    def test_owner_and_mode_stay_what_they_were(self, guarded: Desk) -> None:
        path = guarded.folder / "broker" / "passwords"
        path.write_text("plc:$7$1\n")
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
        before = path.stat()
        guarded.type("add", "gw-a")
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (
            before.st_mode, before.st_uid, before.st_gid,
        )  # fmt: skip
        assert path.read_text().startswith("plc:$7$1\n")

    def test_a_command_that_reloads_is_run_and_its_failure_is_told(self, guarded: Desk) -> None:
        told = guarded.folder / "told"
        assert "was told: touch" in guarded.type("add", "gw-a", "--reload-command", f"touch {told}")
        assert told.exists()
        _, token = guarded.login("rotate", "gw-a")
        failed = guarded.type("revoke", "gw-a", "--reload-command", "false", code=3)
        assert "meterwatch gateway broker" in failed
        assert who(guarded, token) is None  # our own door is closed all the same

    def test_a_pid_file_that_names_another_program_signals_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "broker").mkdir()
        desk = fleet(tmp_path, FILES + 'pid_file = "pid"\n')
        sleeper = subprocess.Popen(["sleep", "60"])
        try:
            (tmp_path / "pid").write_text(f"{sleeper.pid}\n")
            assert "is sleep" in desk.type("add", "gw-a", code=3)
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            sleeper.wait()
        (tmp_path / "pid").unlink()
        assert "names no process" in desk.type("broker", code=3)

    def test_where_they_cannot_be_written_nothing_is_given(self, tmp_path: Path) -> None:
        desk = fleet(tmp_path, FILES)  # and no folder "broker"
        assert "there is no folder" in desk.type("add", "gw-a", code=1)
        assert not CredentialStore(tmp_path / "data").path.exists()

    def test_a_torn_section_is_left_alone(self, guarded: Desk) -> None:
        guarded.type("add", "gw-a")
        path = guarded.folder / "broker" / "acl"
        path.write_text(path.read_text().replace("# <<<", "#"))
        before = path.read_text()
        assert "are torn" in guarded.type("add", "gw-b", code=1)
        assert path.read_text() == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs a user that is not this one")
    def test_a_file_that_the_broker_cannot_read_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "broker").mkdir()
        desk = fleet(tmp_path, FILES + 'run_as = "nobody"\n')
        (tmp_path / "broker" / "passwords").touch(mode=0o600)
        assert "user nobody cannot read it" in desk.type("add", "gw-a")

    def test_without_the_settings_there_is_nothing_to_write(self, desk: Desk) -> None:
        assert "no table [broker]" in desk.type("broker", code=1)


class TestTheList:
    def test_who_has_what_and_who_has_nothing(self, guarded: Desk) -> None:
        guarded.type("add", "gw-a", "--expires", "365d")
        guarded.type("rotate", "gw-a", "--grace", "3d")
        shown = guarded.type("list")
        a, b = shown.index("gw-a  Print Works  last rotated"), shown.index("gw-b  Print Works")
        assert a < b
        assert "EXPIRES SOON  user gw-a " in shown  # the old one, in three days
        assert "in force  user gw-a~2" in shown
        assert "has no credential" in shown[b:]

    def test_what_has_ended_is_listed_when_asked_for(self, guarded: Desk) -> None:
        guarded.type("add", "gw-a")
        guarded.type("revoke", "gw-a")
        assert "revoked" not in guarded.type("list")
        assert re.search(r"token [0-9a-f]{8}  revoked 20\d\d-", guarded.type("list", "--all"))

    def test_a_gateway_that_left_the_registry_is_told_while_it_has_something(
        self, guarded: Desk
    ) -> None:
        guarded.type("add", "gw-b")
        path = guarded.folder / "registry" / "print.toml"
        path.write_text(path.read_text().replace('[[gateway]]\nid = "gw-b"\n', ""))
        assert "gw-b  NOT IN THE REGISTRY" in guarded.type("list")
        guarded.type("revoke", "gw-b")
        assert "gw-b" not in guarded.type("list")

    def test_what_ran_out_and_still_opens_the_broker_is_told(self, guarded: Desk) -> None:
        guarded.type("add", "gw-a")
        path = guarded.folder / "broker" / "passwords"
        before = path.read_text()
        guarded.type("rotate", "gw-a", "--grace", "0s")
        path.write_text(before)  # as if the broker's files had been written before the grace ended
        assert "still in the broker's file: gw-a" in guarded.type("list")
        guarded.type("broker")
        assert "still in" not in guarded.type("list")


class TestTheAuthority:
    def test_its_certificates_are_what_openssl_takes_them_for(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.type("ca")
        desk.type("ca", "--server", "box.example", "--server", "192.0.2.7", "--out", str(tmp_path))
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path))

        def openssl(*words: str) -> str:
            return subprocess.run(
                [program("openssl"), *words], check=False, capture_output=True, text=True,
            ).stdout  # fmt: skip

        def verify(purpose: str, file: str) -> str:
            ca = str(desk.folder / "data" / "secrets" / "ca.pem")
            words = ("-x509_strict", "-CAfile", ca, "-purpose", purpose)
            return openssl("verify", *words, str(tmp_path / file))

        for purpose, file, good in (
            ("sslclient", "gw-a.pem", True),
            ("sslserver", "gw-a.pem", False),
            ("sslserver", "box.example.pem", True),
            ("sslclient", "box.example.pem", False),
        ):
            assert verify(purpose, file).endswith("OK\n") is good, (purpose, file)
        text = openssl("x509", "-noout", "-text", "-in", str(tmp_path / "gw-a.pem"))
        assert re.search(r"Subject: CN ?= ?gw-a\n", text)
        assert "NIST CURVE: P-256" in text
        text = openssl("x509", "-noout", "-text", "-in", str(tmp_path / "box.example.pem"))
        assert "DNS:box.example, IP Address:192.0.2.7" in text
        # Even a stolen gateway's key signs no further certificates.
        assert "CA:FALSE" in text
        (tmp_path / "box.example.pem").unlink()

    def test_what_it_says_of_a_servers_certificate_can_stand_in_the_settings(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        for number, out in enumerate((desk.folder / "tls", tmp_path / "elsewhere")):
            shown = desk.type("ca", "--server", "localhost", "--out", str(out))
            lines = re.findall(r"^  ((?:cert|key)_file = .*)$", shown, re.MULTILINE)
            assert ('"tls/localhost.pem"' in lines[0]) == (number == 0)
            source = f'[[source]]\nkind = "http"\nname = "x"\nlisten = "0.0.0.0:{free_port()}"\n'
            settings = desk.folder / "meterwatch.toml"
            settings.write_text(source + "\n".join(lines))
            done = CliRunner().invoke(app, ["check", str(desk.folder)])
            assert done.exit_code == 0, done.output

    @pytest.mark.parametrize("name", ["../etc/x", "", "a b", "例.example", "x" * 300])
    def test_what_is_no_name_of_a_server_is_refused(
        self, desk: Desk, tmp_path: Path, name: str
    ) -> None:
        words = ("ca", "--server", name, "--out", str(tmp_path / "out"))
        assert "neither the name of a host nor an address" in desk.type(*words, code=1)
        assert not (tmp_path / "out").exists()

    def test_keys_are_their_owners_alone(self, desk: Desk, tmp_path: Path) -> None:
        desk.type("ca")
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path))
        for path in (desk.folder / "data" / "secrets" / "ca.key", tmp_path / "gw-a.key"):
            assert path.stat().st_mode & 0o777 == 0o600
        kept = b"".join(path.read_bytes() for path in (desk.folder / "data/secrets").iterdir())
        assert (tmp_path / "gw-a.key").read_bytes() not in kept

    def test_the_list_of_the_revoked_outlives_every_certificate(self, desk: Desk) -> None:
        """OpenSSL refuses everybody once the list is past its next update."""
        desk.type("ca")
        folder = desk.folder / "data" / "secrets"
        told = [
            subprocess.run(
                [program("openssl"), *words], check=True, capture_output=True, text=True
            ).stdout.partition("=")[2]
            for words in (
                ("crl", "-noout", "-nextupdate", "-in", str(folder / "ca.crl")),
                ("x509", "-noout", "-enddate", "-in", str(folder / "ca.pem")),
            )
        ]
        assert told[0] == told[1]

    def test_what_is_there_is_never_written_over(self, desk: Desk, tmp_path: Path) -> None:
        desk.type("ca")
        assert "is there already" in desk.type("ca", code=1)
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path))
        key = (tmp_path / "gw-a.key").read_bytes()
        again = ("rotate", "gw-a", "--certificate", "--out", str(tmp_path))
        assert "is there already" in desk.type(*again, code=1)
        assert (tmp_path / "gw-a.key").read_bytes() == key
        held = CredentialStore(desk.folder / "data").read().gateways["gw-a"]
        assert len(held.credentials) == 1

    def test_without_an_authority_there_is_no_certificate(self, desk: Desk) -> None:
        assert "meterwatch gateway ca" in desk.type("add", "gw-a", "--certificate", code=1)

    def test_revoking_a_token_needs_no_key_of_the_authority(self, desk: Desk) -> None:
        """The key may be kept elsewhere; only what it has signed needs it to be revoked."""
        desk.type("ca")
        desk.type("add", "gw-a")
        key = desk.folder / "data" / "secrets" / "ca.key"
        away = key.rename(desk.folder / "away")
        desk.type("revoke", "gw-a")
        away.rename(key)
        desk.type("add", "gw-a", "--certificate", "--out", str(desk.folder / "out"))
        key.rename(away)
        assert "ca.key" in desk.type("revoke", "gw-a", code=3)
        away.rename(key)

    def test_what_cannot_be_listed_keeps_no_password_in_force(
        self, guarded: Desk, tmp_path: Path
    ) -> None:
        guarded.type("ca")
        guarded.type("add", "gw-a")
        guarded.type("add", "gw-a", "--certificate", "--out", str(tmp_path / "out"))
        (guarded.folder / "data" / "secrets" / "ca.key").rename(guarded.folder / "away")
        assert "gateway broker" in guarded.type("revoke", "gw-a", code=3)
        assert "gw-a:" not in (guarded.folder / "broker" / "passwords").read_text()
        assert "topic deny #" in (guarded.folder / "broker" / "acl").read_text()

    def test_a_certificate_holds_as_long_as_it_was_given_for(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.type("ca")
        desk.type("add", "gw-a", "--certificate", "--expires", "12h", "--out", str(tmp_path))
        (one,) = CredentialStore(desk.folder / "data").read().gateways["gw-a"].credentials
        assert 0 <= one.created + 12 * 3_600_000 - one.until < 1000

    def test_both_kinds_stand_beside_each_other(self, desk: Desk, tmp_path: Path) -> None:
        desk.type("ca")
        _, token = desk.login("add", "gw-a")
        desk.type("add", "gw-a", "--certificate", "--out", str(tmp_path))
        desk.type("rotate", "gw-a", "--certificate", "--grace", "0s", "--out", str(tmp_path / "2"))
        assert who(desk, token) == "gw-a"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('password_file = "a"', "belong together"),
        ('acl_file = "a"', "belong together"),
        ('reload_command = "x"', "no file of the broker"),
        ('pid_file = "x"', "no file of the broker"),
        ('crl_file = "c"\nreload_command = "x"\npid_file = "y"', "is given too"),
        ('crl_file = "c"\nreload_command = "x \'"', "cannot be read"),
        ('password = "x"', "holds a secret"),
    ],
)
def test_faults_in_the_settings_are_told(wrong: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_settings(f"[broker]\n{wrong}\n", "meterwatch.toml")
    assert told in str(error.value)
