"""What mosquitto's password file and access list say of gateways. Pure: text in, text out.

Promises:

- Each file has one section of ours between two marked lines, and only that is written. What stands
  outside stays, byte for byte, but for one thing: the password of a gateway that has credentials
  here. Left there by hand it would outlive their revocation, so it is taken out, and told.
- A gateway may write its own readings and read its own replies, and nothing else. A gateway whose
  credentials have all ended is forbidden everything by name: a connection that is open has lost its
  rights as soon as the broker has read the file, even where a ``pattern`` line would give them.
- Whoever is in force keeps the line that it had, so that a reload ends no other connection.

Passwords are hashed as ``mosquitto_passwd`` of 2.0 does (``$7$``, PBKDF2 with SHA-512, 101
rounds): what is hashed is 256 random bits, which more rounds would not make safer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

BEGIN: Final = "# >>> meterwatch gateways: written by the program, edit outside of it >>>"
END: Final = "# <<< meterwatch gateways: until here <<<"
"""Each holds a colon: at a line without one mosquitto_passwd 2.0.11 drops the rest of the file."""
ROUNDS: Final = 101
TOPICS: Final = "meterwatch/v1"


class Login(NamedTuple):
    """A name at the broker. ``password``: as the password file holds it, "" for one that comes
    with a certificate; ``gateway``: whose topics it may use."""

    user: str
    gateway: str
    password: str = ""


class Merged(NamedTuple):
    """A file's new text, and the names of lines of others that were taken out of it."""

    text: str
    dropped: tuple[str, ...] = ()


class UnclearError(ValueError):
    """The file cannot be written without changing what it means to others; ``line`` from 1."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(what)


def hashed(password: str, salt: bytes, rounds: int = ROUNDS) -> str:
    """What stands behind ``user:`` in the password file."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def passwords(before: str, logins: Iterable[Login], gateways: Iterable[str]) -> Merged:
    """The password file with these logins. ``gateways``: every gateway that has, or had,
    credentials of ours; no line by hand of one of them stays. Raises ``UnclearError``."""
    logins = [one for one in logins if one.password]
    ours = {*gateways, *(one.user for one in logins)}
    head, tail = _around(before)
    kept = [[line for line in part if line.partition(":")[0] not in ours] for part in (head, tail)]
    gone = [line.partition(":")[0] for line in (*head, *tail) if line.partition(":")[0] in ours]
    section = [f"{one.user}:{one.password}" for one in logins]
    return Merged(_joined(kept[0], section, kept[1]), tuple(dict.fromkeys(gone)))


def access(
    before: str, users: Iterable[str], logins: Iterable[Login], gateways: Iterable[str]
) -> Merged:
    """The access list. ``users``: the program's own names at the broker; ``gateways`` as for
    ``passwords``. Raises ``UnclearError`` also where a line after our section would get another
    meaning by it."""
    head, tail = _around(before)
    for number, line in enumerate(tail, len(_lines(before)) - len(tail) + 1):
        word = line.lstrip(" ").partition(" ")[0].rstrip()  # mosquitto passes over blanks
        if word in {"user", "pattern"}:
            break
        if word == "topic":
            raise UnclearError(number, "a topic line here would be of the last gateway above it")
    section: list[str] = []
    for user in dict.fromkeys(users):
        section += [
            f"user {user}",
            f"topic read {TOPICS}/+/readings",
            f"topic write {TOPICS}/+/replies/#",
            "topic read $SYS/broker/#",
        ]
    logins = sorted(set(logins))
    for user, gateway in dict.fromkeys((one.user, one.gateway) for one in logins):
        section += [
            f"user {user}",
            f"topic write {TOPICS}/{gateway}/readings",
            f"topic read {TOPICS}/{gateway}/replies/#",
        ]
    for gateway in sorted(set(gateways) - {one.user for one in logins}):
        section += [f"user {gateway}", "topic deny #"]
    return Merged(_joined(head, section, tail))


def by_hand(text: str) -> list[str]:
    """Names in a password file that stand outside our section."""
    lines = [line for part in _around(text) for line in part]
    return [line.partition(":")[0] for line in lines if ":" in line and not line.startswith("#")]


def _around(text: str) -> tuple[list[str], list[str]]:
    """Lines before our section and after it. Raises ``UnclearError`` where it is torn."""
    lines = _lines(text)
    marks = [at for at, line in enumerate(lines) if line.rstrip() in {BEGIN, END}]
    if not marks:
        return lines, []
    if [lines[at].rstrip() for at in marks] != [BEGIN, END]:
        raise UnclearError(marks[0] + 1, "the two lines around the section of meterwatch are torn")
    return lines[: marks[0]], lines[marks[1] + 1 :]


def _lines(text: str) -> list[str]:
    """As mosquitto sees them: other characters that break a line elsewhere stand within one."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _joined(head: Sequence[str], section: Sequence[str], tail: Sequence[str]) -> str:
    return "\n".join((*head, BEGIN, *section, END, *tail)) + "\n"
