"""Which gateway a token or a certificate belongs to, as values. Pure: times are arguments.

Promises:

- Secrets are not held, only what checks them; a token leaves this program once, when it is made.
- A credential is in force or it is not, by the time alone: not revoked, not past its end. One that
  is not opens nothing, whatever else the table holds.
- A change gives a new table and leaves the old one as it was. Of what has ended the newest stay as
  evidence, and every certificate that a broker could still be shown.

A token is ``mw_ID_SECRET``: the id finds the credential in one step, the secret proves it. It is
256 bits from the system's random source, so nobody can try them out, and one salted SHA-256 is
enough: a slow hash protects passwords that people choose, and would cost every request what it
should cost a thief. The salt keeps equal secrets from looking equal. The id is no secret, and is
looked up as one; only the hashes are compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from adapters.identity.mosquitto import hashed

TOKEN: Final = "token"  # noqa: S105 a word
CERTIFICATE: Final = "certificate"
KINDS: Final = (TOKEN, CERTIFICATE)
VERSION: Final = 1
_FORM: Final = re.compile(r"mw_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_ENDED_KEPT: Final = 20
"""Of each gateway; a certificate that has not run out yet stays beyond that."""

Random = Callable[[int], bytes]


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One proof of who a gateway is. Times are UTC ms, 0 for none.

    ``expires``: from then on it is worth nothing; ``until``: the end that is written in a
    certificate itself. ``hash``: of a token SHA-256 of salt and secret, of a certificate SHA-256
    of its DER. ``user`` and ``broker``: a token's name at the MQTT broker, and what the broker's
    password file says of it. ``serial``: of a certificate, in hexadecimal.
    """

    id: str
    kind: str
    created: int
    hash: str
    expires: int = 0
    revoked: int = 0
    salt: str = ""
    user: str = ""
    broker: str = ""
    serial: str = ""
    until: int = 0

    def in_force(self, now: int) -> bool:
        return not self.revoked and (not self.expires or now < self.expires)

    def ended(self, now: int) -> int:
        """When it ended; 0 while it is in force."""
        return 0 if self.in_force(now) else self.revoked or self.expires


class Held(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one gateway has, the oldest first. ``rotated``: when it last got a new one in the
    place of another."""

    credentials: tuple[Credential, ...] = ()
    rotated: int = 0

    def in_force(self, now: int, kind: str = "") -> list[Credential]:
        return [one for one in self.credentials if one.in_force(now) and kind in {"", one.kind}]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    gateways: dict[str, Held]


class DamagedError(ValueError):
    """These bytes are no table of credentials; the text says why."""


class Credentials:
    """The credentials of a fleet. A value: changes give another one."""

    def __init__(self, gateways: Mapping[str, Held] | None = None) -> None:
        self.gateways: Final = dict(gateways or {})
        self._tokens: dict[str, tuple[str, Credential]] = {}
        self._certificates: dict[str, tuple[str, Credential]] = {}
        for gateway, held in self.gateways.items():
            for one in held.credentials:
                if one.kind == TOKEN:
                    self._tokens[one.id] = (gateway, one)
                else:
                    self._certificates[one.hash] = (gateway, one)

    def __iter__(self) -> Iterator[tuple[str, Credential]]:
        for gateway, held in self.gateways.items():
            for one in held.credentials:
                yield gateway, one

    # --- who is it ----------------------------------------------------------------------------

    def gateway_of(self, token: str, now: int) -> str | None:
        """The gateway whose token this is, if it is in force at ``now``. Never raises."""
        form = _FORM.fullmatch(token)
        found = self._tokens.get(form[1]) if form else None
        if form is None or found is None:
            return None
        gateway, one = found
        if not hmac.compare_digest(_digest(one.salt, form[2]), one.hash):
            return None
        return gateway if one.in_force(now) else None

    def gateway_of_certificate(self, der: bytes, now: int) -> str | None:
        """The gateway whose certificate this is (its DER, which the TLS handshake has proved the
        key of), if it is in force at ``now``; "" if it is not any more, None if it is not known."""
        found = self._certificates.get(fingerprint(der))
        if found is None:
            return None
        return found[0] if found[1].in_force(now) else ""

    # --- changes ------------------------------------------------------------------------------

    def with_one(
        self, gateway: str, one: Credential, now: int, grace: int | None = None
    ) -> Credentials:
        """With one more; with a ``grace`` (ms) in the place of those of its kind, which end when
        that is over, or earlier if they would have."""
        held = self.gateways.get(gateway, Held())
        kept, rotated = held.credentials, held.rotated
        if grace is not None:
            end, rotated = now + grace, now
            kept = tuple(
                msgspec.structs.replace(was, expires=min(was.expires or end, end))
                if was.kind == one.kind and was.in_force(now)
                else was
                for was in kept
            )
        return self._with(gateway, Held(credentials=(*kept, one), rotated=rotated), now)

    def revoked(self, gateway: str, now: int) -> Credentials:
        """With nothing of the gateway in force any more."""
        held = self.gateways.get(gateway, Held())
        ended = tuple(
            msgspec.structs.replace(one, revoked=now) if one.in_force(now) else one
            for one in held.credentials
        )
        return self._with(gateway, Held(credentials=ended, rotated=held.rotated), now)

    def _with(self, gateway: str, held: Held, now: int) -> Credentials:
        past = [one for one in held.credentials if one.ended(now)]
        past.sort(key=lambda one: one.ended(now))
        gone = {one.id for one in past[:-_ENDED_KEPT] if one.until <= now}
        kept = tuple(one for one in held.credentials if one.id not in gone)
        return Credentials({**self.gateways, gateway: Held(credentials=kept, rotated=held.rotated)})

    # --- as bytes -----------------------------------------------------------------------------

    def encoded(self) -> bytes:
        """As the file holds them: JSON that a person can read."""
        text = msgspec.json.encode(_File(version=VERSION, gateways=self.gateways))
        return msgspec.json.format(text, indent=1) + b"\n"

    @staticmethod
    def decoded(data: bytes) -> Credentials:
        """From a file's bytes. Raises ``DamagedError`` for anything but a whole and sound table:
        there is no half of it that could be trusted."""
        try:
            file = msgspec.json.decode(data, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise DamagedError(f"is no table of credentials: {fault}") from fault
        if file.version != VERSION:
            raise DamagedError(f"is of version {file.version}, this program knows {VERSION}")
        found = Credentials(file.gateways)
        ids = [one.id for _, one in found]
        if len(set(ids)) < len(ids):
            raise DamagedError("holds one credential twice")
        for gateway, one in found:
            if one.kind not in KINDS or not re.fullmatch("[0-9a-f]{64}", one.hash):
                raise DamagedError(f"holds a credential of {gateway} that is none: {one.id:.20}")
        return found


def new_token(
    held: Credentials,
    gateway: str,
    now: int,
    *,
    lifetime: int = 0,
    random: Random = secrets.token_bytes,
) -> tuple[str, Credential]:
    """A token for ``gateway``, and what is kept of it; its id is nobody else's in ``held``.
    ``lifetime`` in ms, 0 for no end."""
    taken = {one.id for _, one in held}
    name, salt = random(4).hex(), random(16).hex()
    while name in taken:
        name = random(4).hex()
    secret = base64.urlsafe_b64encode(random(32)).decode().rstrip("=")
    token = f"mw_{name}_{secret}"
    kept = Credential(
        id=name,
        kind=TOKEN,
        created=now,
        hash=_digest(salt, secret),
        expires=now + lifetime if lifetime else 0,
        salt=salt,
        user=user_of(held.gateways.get(gateway, Held()), gateway, now),
        broker=hashed(token, random(12)),
    )
    return token, kept


def user_of(held: Held, gateway: str, now: int) -> str:
    """The name of a gateway's next token at the broker: the gateway's id, or with ``~2`` and so on
    while that is taken, because a broker knows one password for each name."""
    taken = {one.user for one in held.in_force(now, TOKEN)}
    names = (gateway, *(f"{gateway}~{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def certificate(der: bytes, serial: int, now: int, until: int) -> Credential:
    """What is kept of a certificate that ends at ``until`` (UTC ms)."""
    print_ = fingerprint(der)
    return Credential(
        id=print_[:8],
        kind=CERTIFICATE,
        created=now,
        hash=print_,
        expires=until,
        serial=f"{serial:x}",
        until=until,
    )


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}{secret}".encode()).hexdigest()
