"""mosquitto's password file and access list: what is written, what is left, who can read it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.identity.files import may_read, replace_file
from adapters.identity.mosquitto import (
    BEGIN,
    END,
    Login,
    UnclearError,
    access,
    by_hand,
    hashed,
    passwords,
)
from tests.servers import program

A, B = Login("gw-a", "gw-a", "$7$1"), Login("gw-b", "gw-b", "$7$2")
NAMES = ["gw-a", "gw-b"]
LINES = st.lists(
    st.sampled_from(["# a word", "meterwatch:$7$101$x$y", "plc:$7$101$x$z", "", "gw-c:$7$9"])
)


def test_the_hash_is_that_of_mosquitto_passwd(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.touch(mode=0o600)
    subprocess.run(
        [program("mosquitto_passwd"), "-b", str(path), "gw-a", "mw_secret-é"], check=True
    )
    made = path.read_text().strip().removeprefix("gw-a:")
    import base64

    _, _, rounds, salt, _ = made.split("$")
    assert hashed("mw_secret-é", base64.b64decode(salt), int(rounds)) == made


class TestPasswords:
    @given(LINES, LINES)
    def test_what_stands_outside_our_section_stays(self, head: list[str], tail: list[str]) -> None:
        before = "\n".join([*head, BEGIN, "gw-old:x", END, *tail, ""])
        text, dropped = passwords(before, [A, B], NAMES)
        assert text.splitlines() == [*head, BEGIN, "gw-a:$7$1", "gw-b:$7$2", END, *tail]
        assert dropped == ()
        assert passwords(text, [A, B], NAMES).text == text

    @pytest.mark.parametrize("odd", ["\f", "\v", "\x1c", "\x85", "\u2028"])
    def test_only_a_line_feed_ends_a_line(self, odd: str) -> None:
        before = f"# a{odd}gw-a:$7$no line\nplc:$7$x\n"
        text, dropped = passwords(before, [A], NAMES)
        assert text == f"{before}{BEGIN}\ngw-a:$7$1\n{END}\n"
        assert dropped == ()
        assert passwords(text, [A], NAMES).text == text

    def test_a_password_by_hand_of_a_gateway_of_ours_is_taken_out_and_told(self) -> None:
        before = "gw-a:$7$hand\nmeterwatch:$7$x\n"
        merged = passwords(before, [A], NAMES)
        assert merged.dropped == ("gw-a",)
        assert merged.text == f"meterwatch:$7$x\n{BEGIN}\ngw-a:$7$1\n{END}\n"
        revoked = passwords(before, [], ["gw-a"])
        assert "gw-a" not in revoked.text

    def test_mosquitto_passwd_still_understands_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "p"
        path.write_text(passwords("meterwatch:$7$101$eA==$eA==\n", [A, B], NAMES).text)
        path.chmod(0o600)
        subprocess.run([program("mosquitto_passwd"), "-b", str(path), "plc", "x"], check=True)
        text = path.read_text()
        assert text.startswith("meterwatch:$7$101$eA==$eA==\n" + BEGIN)
        assert by_hand(text) == ["meterwatch", "plc"]

    def test_an_editor_that_ends_lines_otherwise_makes_no_second_section(self) -> None:
        before = passwords("plc:$7$x\n", [A], NAMES).text.replace("\n", "\r\n")
        text = passwords(before, [A], NAMES).text
        assert text == f"plc:$7$x\r\n{BEGIN}\ngw-a:$7$1\n{END}\n"

    @pytest.mark.parametrize("torn", [f"{BEGIN}\ngw-a:x\n", f"x:y\n{END}\n", f"{END}\n{BEGIN}\n"])
    def test_a_torn_section_is_not_guessed_at(self, torn: str) -> None:
        with pytest.raises(UnclearError):
            passwords(torn, [A], NAMES)


class TestAccess:
    def test_each_name_has_its_gateways_topics_and_no_other(self) -> None:
        second = Login("gw-a~2", "gw-a", "$7$3")
        text = access("", ["meterwatch"], [second, A], NAMES).text
        assert text.splitlines() == [
            BEGIN,
            "user meterwatch",
            "topic read meterwatch/v1/+/readings",
            "topic write meterwatch/v1/+/replies/#",
            "topic read $SYS/broker/#",
            "user gw-a",
            "topic write meterwatch/v1/gw-a/readings",
            "topic read meterwatch/v1/gw-a/replies/#",
            "user gw-a~2",
            "topic write meterwatch/v1/gw-a/readings",
            "topic read meterwatch/v1/gw-a/replies/#",
            "user gw-b",
            "topic deny #",
            END,
        ]

    @pytest.mark.parametrize("line", ["topic read b", "  topic read b", "  topic  read b\r"])
    def test_a_topic_after_our_section_would_be_somebody_elses(self, line: str) -> None:
        before = f"user x\ntopic read a\n{BEGIN}\n{END}\n# so\n\n{line}\n"
        with pytest.raises(UnclearError) as unclear:
            access(before, [], [A], NAMES)
        assert unclear.value.line == 7
        fine = f"{BEGIN}\n{END}\nuser y\ntopic read b\n"
        assert access(fine, [], [A], NAMES).text.endswith(f"{END}\nuser y\ntopic read b\n")


class TestReplacing:
    def test_it_keeps_the_mode_that_it_is_told_and_goes_through_a_link(
        self, tmp_path: Path
    ) -> None:
        real = tmp_path / "real"
        real.write_text("old")
        link = tmp_path / "link"
        link.symlink_to(real)
        replace_file(link, b"new", 0o640)
        assert link.is_symlink()
        assert real.read_text() == "new"
        assert real.stat().st_mode & 0o777 == 0o640

    def test_what_fails_leaves_the_old_one_and_nothing_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        with pytest.raises(OSError):
            replace_file(tmp_path / "there", b"new", 0o640)
        assert [path.name for path in tmp_path.iterdir()] == ["there"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    @pytest.mark.parametrize(
        ("mode", "owner", "readable"),
        [
            (0o640, (0, 0), False),
            (0o644, (0, 0), True),
            (0o640, (0, 65534), True),
            (0o400, (65534, 0), True),
            (0o044, (65534, 0), False),
        ],
    )
    def test_whether_a_user_can_read_it(
        self, open_path: Path, mode: int, owner: tuple[int, int], readable: bool
    ) -> None:
        path = open_path / "p"
        path.touch()
        path.chmod(mode)
        os.chown(path, *owner)
        assert may_read(path, "nobody") is readable
        open_path.chmod(0o700)
        assert not may_read(path, "nobody")
