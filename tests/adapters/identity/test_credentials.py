"""Credentials of gateways: who is let in at which moment, and the file that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.identity.credentials import (
    Credential,
    Credentials,
    DamagedError,
    certificate,
    new_token,
)
from adapters.identity.store import CredentialStore, GatewayCredentials
from collector.errors import ConfigurationError, TemporaryError
from collector.telemetry import Telemetry

T0 = 1_795_305_600_000
DAY = 86_400_000


def token_for(
    held: Credentials, gateway: str, now: int = T0, grace: int | None = None, lifetime: int = 0
) -> tuple[str, Credentials]:
    token, one = new_token(held, gateway, now, lifetime=lifetime)
    return token, held.with_one(gateway, one, now, grace)


def users(held: Credentials, gateway: str, now: int) -> list[str]:
    return [one.user for one in held.gateways[gateway].in_force(now)]


class TestWhoIsLetIn:
    def test_a_token_is_its_gateways_and_nobody_elses(self) -> None:
        a, held = token_for(Credentials(), "gw-a")
        b, held = token_for(held, "gw-b")
        assert (held.gateway_of(a, T0), held.gateway_of(b, T0)) == ("gw-a", "gw-b")
        mixed = a[:12] + b[12:]  # the name of the one, the secret of the other
        assert held.gateway_of(mixed, T0) is None

    @given(at=st.integers(0, 55), letter=st.characters(max_codepoint=0x3000))
    def test_a_token_with_one_letter_changed_opens_nothing(self, at: int, letter: str) -> None:
        token, held = token_for(Credentials(), "gw-a")
        changed = token[:at] + letter + token[at + 1 :]
        found = held.gateway_of(changed, T0)
        # Of the last of 43 letters two bits say nothing: only the text is compared, so it counts.
        assert found == ("gw-a" if changed == token else None)

    @pytest.mark.parametrize(
        "text", ["", "mw_", "mw_00000000_", "gw-a", "Bearer x", "mw_é_ü", "\0"]
    )
    def test_what_is_no_token_opens_nothing(self, text: str) -> None:
        _, held = token_for(Credentials(), "gw-a")
        assert held.gateway_of(text, T0) is None

    def test_the_secret_is_not_held(self) -> None:
        token, held = token_for(Credentials(), "gw-a")
        secret = token.split("_", 2)[2]
        assert secret.encode() not in held.encoded()

    def test_two_tokens_are_never_alike(self) -> None:
        tokens = {token_for(Credentials(), "gw-a")[0] for _ in range(100)}
        assert len(tokens) == 100
        assert all(len(token) == 55 for token in tokens)  # within what gateways' forms take

    def test_an_id_that_is_taken_is_drawn_again(self) -> None:
        names = iter([b"same", b"same", b"same", b"next"])

        def draw(size: int) -> bytes:
            return next(names) if size == 4 else bytes(size)

        first, one = new_token(Credentials(), "gw-a", T0, random=draw)
        held = Credentials().with_one("gw-a", one, T0)
        second, other = new_token(held, "gw-b", T0, random=draw)
        assert (one.id, other.id) == (b"same".hex(), b"next".hex())
        held = Credentials.decoded(held.with_one("gw-b", other, T0).encoded())
        assert [held.gateway_of(token, T0) for token in (first, second)] == ["gw-a", "gw-b"]

    def test_it_runs_out_at_its_end_and_not_before(self) -> None:
        token, held = token_for(Credentials(), "gw-a", lifetime=DAY)
        assert held.gateway_of(token, T0 + DAY - 1) == "gw-a"
        assert held.gateway_of(token, T0 + DAY) is None

    def test_rotation_leaves_the_old_one_for_the_grace(self) -> None:
        old, held = token_for(Credentials(), "gw-a")
        new, held = token_for(held, "gw-a", T0 + DAY, grace=7 * DAY)
        for token in (old, new):
            assert held.gateway_of(token, T0 + 8 * DAY - 1) == "gw-a"
        assert held.gateway_of(old, T0 + 8 * DAY) is None
        assert held.gateway_of(new, T0 + 1000 * DAY) == "gw-a"
        assert held.gateways["gw-a"].rotated == T0 + DAY

    def test_rotating_again_does_not_prolong_an_older_one(self) -> None:
        first, held = token_for(Credentials(), "gw-a")
        second, held = token_for(held, "gw-a", T0, grace=DAY)
        _, held = token_for(held, "gw-a", T0 + 1, grace=7 * DAY)
        assert held.gateway_of(first, T0 + DAY) is None
        assert held.gateway_of(second, T0 + DAY) == "gw-a"

    def test_names_at_the_broker_are_unique_while_in_force_and_come_back(self) -> None:
        _, held = token_for(Credentials(), "gw-a")
        _, held = token_for(held, "gw-a", T0, grace=DAY)
        _, held = token_for(held, "gw-a", T0, grace=DAY)
        assert users(held, "gw-a", T0) == ["gw-a", "gw-a~2", "gw-a~3"]
        _, held = token_for(held, "gw-a", T0 + DAY, grace=DAY)
        assert users(held, "gw-a", T0 + DAY) == ["gw-a~3", "gw-a"]

    def test_revoking_ends_everything_of_that_gateway_only(self) -> None:
        a, held = token_for(Credentials(), "gw-a")
        a2, held = token_for(held, "gw-a", grace=DAY)
        b, held = token_for(held, "gw-b")
        held = held.with_one("gw-a", certificate(b"der", 7, T0, T0 + DAY), T0)
        held = held.revoked("gw-a", T0 + 1)
        assert [held.gateway_of(token, T0 + 1) for token in (a, a2, b)] == [None, None, "gw-b"]
        assert held.gateway_of_certificate(b"der", T0 + 1) == ""

    def test_a_certificate_is_known_by_its_bytes(self) -> None:
        held = Credentials().with_one("gw-a", certificate(b"der", 7, T0, T0 + DAY), T0)
        assert held.gateway_of_certificate(b"der", T0) == "gw-a"
        assert held.gateway_of_certificate(b"dex", T0) is None
        assert held.gateway_of_certificate(b"der", T0 + DAY) == ""

    def test_rotating_a_token_leaves_a_certificate_alone(self) -> None:
        held = Credentials().with_one("gw-a", certificate(b"der", 7, T0, T0 + 900 * DAY), T0)
        _, held = token_for(held, "gw-a", T0, grace=0)
        assert held.gateway_of_certificate(b"der", T0 + DAY) == "gw-a"

    def test_what_has_ended_is_kept_within_a_bound_but_for_certificates_that_still_run(
        self,
    ) -> None:
        held = Credentials().with_one("gw-a", certificate(b"der", 7, T0, T0 + 900 * DAY), T0)
        held = held.revoked("gw-a", T0)
        for day in range(40):
            _, held = token_for(held, "gw-a", T0 + day * DAY, grace=0)
        kinds = [one.kind for one in held.gateways["gw-a"].credentials]
        assert kinds.count("certificate") == 1
        assert kinds.count("token") == 21  # twenty that ended, and the one in force


class TestAsBytes:
    def test_what_was_written_is_read(self) -> None:
        token, held = token_for(Credentials(), "gw-a", lifetime=DAY)
        held = held.with_one("gw-b", certificate(b"der", 7, T0, T0 + DAY), T0)
        again = Credentials.decoded(held.encoded())
        assert again.gateways == held.gateways
        assert again.gateway_of(token, T0) == "gw-a"

    def test_no_beginning_of_it_is_taken_for_the_whole(self) -> None:
        data = token_for(Credentials(), "gw-a")[1].encoded().rstrip()
        for length in range(len(data)):
            with pytest.raises(DamagedError):
                Credentials.decoded(data[:length])

    @pytest.mark.parametrize(
        "wrong",
        [
            {"version": 2},
            {"gateways": {"gw-a": {"credentials": [{"id": "0", "kind": "token"}]}}},
            {"gateways": []},
            {"gateways": {"gw-a": {"credentials": [
                {"id": "0", "kind": "password", "created": 0, "hash": "0" * 64}]}}},
            {"gateways": {"gw-a": {"credentials": [
                {"id": "0", "kind": "token", "created": 0, "hash": ""}]}}},
            {"gateways": {"gw-a": {"credentials": [
                {"id": "0", "kind": "token", "created": 0, "hash": "0" * 64}] * 2}}},
        ],
    )  # fmt: skip
    def test_a_table_with_one_fault_is_none(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(DamagedError):
            Credentials.decoded(json.dumps({"version": 1, "gateways": {}} | wrong).encode())


@dataclass
class HandClock:
    """Moved by the test."""

    seconds: float = 0.0

    def now(self) -> int:
        return T0 + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, ms: int) -> None:
        raise NotImplementedError


@dataclass
class Door:
    """The file, a program that reads it, and a clock between them."""

    data: Path
    clock: HandClock = field(default_factory=HandClock)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        self.store = CredentialStore(self.data)
        self.seen = GatewayCredentials(self.data, self.clock, self.telemetry)

    def add(self, gateway: str) -> str:
        given: list[str] = []

        def change(held: Credentials) -> Credentials:
            token, after = token_for(held, gateway, self.clock.now())
            given.append(token)
            return after

        self.store.change(change)
        return given[0]

    def later(self, token: str) -> str | None:
        """Who ``token`` is when the file is due to be looked at again."""
        self.clock.seconds += 1.0
        return self.seen.gateway_of(token)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path / "data")


class TestTheFile:
    def test_nobody_is_let_in_while_there_is_none_and_that_is_no_fault(self, door: Door) -> None:
        assert door.seen.gateway_of("mw_00000000_" + "A" * 43) is None
        assert b"gateway_credentials_readable" not in door.telemetry.exposition()

    def test_a_change_holds_within_a_second_without_a_restart(self, door: Door) -> None:
        assert door.seen.gateway_of("x") is None
        token = door.add("gw-a")
        assert door.seen.gateway_of(token) is None  # looked at less than a second ago
        assert door.later(token) == "gw-a"
        door.store.change(lambda held: held.revoked("gw-a", door.clock.now()))
        assert door.later(token) is None

    def test_it_is_only_its_owners_and_leaves_nothing_beside_it(self, door: Door) -> None:
        door.add("gw-a")
        assert door.store.path.stat().st_mode & 0o777 == 0o600
        assert door.store.folder.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in door.store.folder.iterdir()) == [
            "gateways.json",
            "lock",
        ]

    @pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1, "gateways": {', b"\xff\xfe"])
    def test_a_damaged_one_neither_opens_the_door_nor_locks_anybody_out(
        self, door: Door, damage: bytes
    ) -> None:
        token = door.add("gw-a")
        assert door.later(token) == "gw-a"
        good = door.store.path.read_bytes()
        door.store.path.write_bytes(damage)
        assert door.later(token) == "gw-a"
        assert door.later("mw_00000000_" + "A" * 43) is None
        assert door.telemetry.value("gateway_credentials_readable") == 0
        with pytest.raises(ConfigurationError):  # a command does not write over it either
            door.add("gw-b")
        assert door.store.path.read_bytes() == damage
        revoked = Credentials.decoded(good).revoked("gw-a", door.clock.now())
        door.store.path.write_bytes(revoked.encoded())
        assert door.later(token) is None
        assert door.telemetry.value("gateway_credentials_readable") == 1

    def test_a_change_that_could_not_be_read_again_is_not_written(self, door: Door) -> None:
        token = door.add("gw-a")
        good = door.store.path.read_bytes()
        (one,) = door.store.read().gateways["gw-a"].credentials
        with pytest.raises(TemporaryError, match="twice"):
            door.store.change(lambda held: held.with_one("gw-b", one, T0))
        assert door.store.path.read_bytes() == good
        assert door.later(token) == "gw-a"

    def test_one_that_vanished_locks_nobody_out(self, door: Door) -> None:
        token = door.add("gw-a")
        assert door.later(token) == "gw-a"
        away = door.store.path.rename(door.data / "away")
        assert door.later(token) == "gw-a"
        assert door.telemetry.value("gateway_credentials_readable") == 0
        away.rename(door.store.path)
        assert door.later(token) == "gw-a"
        assert door.telemetry.value("gateway_credentials_readable") == 1

    def test_a_damaged_one_at_the_start_lets_nobody_in(self, tmp_path: Path) -> None:
        door = Door(tmp_path)
        token = door.add("gw-a")
        good = door.store.path.read_bytes()
        door.store.path.write_bytes(good[:-20])
        assert door.seen.gateway_of(token) is None
        assert door.telemetry.value("gateway_credentials_readable") == 0
        door.store.path.write_bytes(good)
        assert door.later(token) == "gw-a"

    def test_what_is_wrong_is_told_once(self, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        monkeypatch.setattr(door.telemetry, "event", lambda name, /, **_: told.append(name))
        token = door.add("gw-a")
        door.later(token)
        door.store.path.write_bytes(b"{")
        for _ in range(5):
            door.later(token)
        assert len(told) == 2, told

    def test_a_slow_look_does_not_put_back_what_another_saw_revoked(self, door: Door) -> None:
        token = door.add("gw-a")
        valid = door.store.path.read_bytes()
        door.store.path.unlink()
        os.mkfifo(door.store.path)  # it is read for as long as this test wants
        slow = threading.Thread(target=door.later, args=(token,), daemon=True)
        slow.start()
        with door.store.path.open("wb") as file:
            revoked = Credentials.decoded(valid).revoked("gw-a", door.clock.now())
            beside = door.data / "beside"
            beside.write_bytes(revoked.encoded())
            beside.replace(door.store.path)
            meanwhile = door.later(token)
            file.write(valid)
        slow.join()
        assert not (meanwhile is None and door.seen.gateway_of(token))
        assert door.later(token) is None

    def test_commands_at_the_same_time_lose_nothing(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path;"
            "from tests.adapters.identity.test_credentials import Door;"
            "[Door(Path(sys.argv[1])).add(f'gw-{sys.argv[2]}-{n}') for n in range(10)]"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)
        ]
        assert [one.wait() for one in running] == [0] * 4
        assert len(CredentialStore(tmp_path).read().gateways) == 40

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_written_by_root_it_still_belongs_to_who_runs_the_program(
        self, open_path: Path
    ) -> None:
        data = open_path / "data"
        data.mkdir()
        os.chown(data, 65534, 65534)
        door = Door(data)
        door.add("gw-a")
        door.add("gw-b")
        for path in (door.store.folder, *door.store.folder.iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534), path

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")
    @pytest.mark.parametrize("link", ["gateways.json", "lock", ""])
    def test_links_in_the_programs_folder_lead_root_nowhere(
        self, open_path: Path, link: str
    ) -> None:
        """The program's user may be taken over; a command of root's must not be its way up."""
        (theirs := open_path / "theirs").mkdir(mode=0o700)
        (theirs / "lock").write_text("root's")
        data = open_path / "data"
        (data / "secrets").mkdir(parents=True)
        if link:
            (data / "secrets" / link).symlink_to(theirs / "lock")
        else:
            (data / "secrets").rmdir()
            (data / "secrets").symlink_to(theirs)
        for path in (data, data / "secrets"):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        with pytest.raises((ConfigurationError, TemporaryError)):
            Door(data).add("gw-a")
        assert [path.name for path in theirs.iterdir()] == ["lock"]
        assert (theirs / "lock").read_text() == "root's"
        assert (theirs / "lock").stat().st_uid == theirs.stat().st_uid == os.geteuid() == 0

    def test_a_file_of_an_earlier_version_with_less_in_it_is_read(self) -> None:
        one = Credential(id="0", kind="token", created=T0, hash="0" * 64)
        data = {"version": 1, "gateways": {"gw-a": {"credentials": [msgspec.to_builtins(one)]}}}
        assert Credentials.decoded(json.dumps(data).encode()).gateways["gw-a"].credentials == (one,)
