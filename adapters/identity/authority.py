"""A small certificate authority for gateways and for the servers that they meet.

    FOLDER/ca.key   ECDSA P-256, mode 0600; whoever has it can be any gateway
    FOLDER/ca.pem   its certificate: what brokers, gateways and our HTTPS are given
    FOLDER/ca.crl   what of it is no longer worth anything, before it ran out

Promises: the authority signs certificates of gateways (client authentication alone, CN is the
gateway's id) and of servers (server authentication alone), and no further authorities (path length
0). A gateway's key is made here, handed out once and never kept. Serial numbers are random.

The list of the revoked is good until the authority itself ends. OpenSSL refuses *every* certificate
once a list has passed its next update, so a date that somebody must keep would one day lock all
gateways out; a list is replaced when something was revoked, not by the calendar.

Form: RFC 5280. Needs the library cryptography (extra ``certificates``).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters.identity.credentials import CERTIFICATE, Credential, Credentials, certificate
from adapters.identity.files import replace_file, write_new
from collector.errors import ConfigurationError, Fault, TemporaryError

KEY: Final = "ca.key"
CERT: Final = "ca.pem"
CRL: Final = "ca.crl"
CA_DAYS: Final = 3650
GATEWAY_MS: Final = 730 * 86_400_000
SERVER_MS: Final = 730 * 86_400_000
_HOST: Final = re.compile(r"(?=.{1,253}$)(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_BACK: Final = timedelta(hours=1)
"""Certificates begin earlier by this: a gateway's clock may be slow."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key and its certificate, as PEM, and the certificate as DER with its end (UTC ms)."""

    key: bytes
    pem: bytes
    der: bytes
    serial: int
    until: int

    def credential(self, now: int) -> Credential:
        return certificate(self.der, self.serial, now, self.until)


class Authority:
    """An authority that is there; ``open_authority`` and ``make_authority`` give one."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        self._key = key
        self._cert = cert

    @property
    def pem(self) -> bytes:
        return self._cert.public_bytes(serialization.Encoding.PEM)

    @property
    def until(self) -> datetime:
        return self._cert.not_valid_after_utc

    def gateway(self, gateway: str, now: int, lifetime: int = GATEWAY_MS) -> Issued:
        """A certificate by which ``gateway`` shows who it is; ``lifetime`` in ms."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._issue(gateway, [usage], now, lifetime)

    def server(self, names: Sequence[str], now: int, lifetime: int = SERVER_MS) -> Issued:
        """A certificate of a server that is reached by ``names`` (hosts or addresses)."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        reached = x509.SubjectAlternativeName([_general(name) for name in names])
        return self._issue(names[0][:64], [usage, reached], now, lifetime)

    def _issue(
        self, name: str, more: Sequence[x509.ExtensionType], now: int, lifetime: int
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        begin = _moment(now)
        end = min(begin + timedelta(milliseconds=lifetime), self.until)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - _BACK)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(_by(self._cert), critical=False)
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        return Issued(
            key=_private(key),
            pem=cert.public_bytes(serialization.Encoding.PEM),
            der=cert.public_bytes(serialization.Encoding.DER),
            serial=cert.serial_number,
            until=round(cert.not_valid_after_utc.timestamp() * 1000),
        )

    def revoked(self, ended: Iterable[tuple[str, int]], now: int) -> bytes:
        """The list of what has ended early: (serial in hexadecimal, when in UTC ms), as PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._cert.subject)
            .last_update(_moment(now) - _BACK)
            .next_update(self.until)
            .add_extension(x509.CRLNumber(now), critical=False)
            .add_extension(_by(self._cert), critical=False)
        )
        for serial, when in ended:
            one = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
            builder = builder.add_revoked_certificate(one.revocation_date(_moment(when)).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def ended_early(held: Credentials, now: int) -> list[tuple[str, int]]:
    """Certificates that are worth nothing although their own end has not come."""
    return [
        (one.serial, one.ended(now))
        for _, one in held
        if one.kind == CERTIFICATE and one.until > now and not one.in_force(now)
    ]


def revocation_list(folder: Path, held: Credentials, now: int) -> bytes:
    """The list in ``folder``, signed anew where it lacks one that has ended (only then is the
    authority's key needed). Raises ``ConfigurationError``, ``TemporaryError``."""
    path, wanted = folder / CRL, ended_early(held, now)
    try:
        data = path.read_bytes()
        listed = {one.serial_number for one in x509.load_pem_x509_crl(data)}
    except (OSError, ValueError):
        listed, data = None, b""
    if listed is not None and listed.issuperset(int(serial, 16) for serial, _ in wanted):
        return data
    data = open_authority(folder).revoked(wanted, now)
    try:
        replace_file(path, data, 0o644)
    except OSError as fault:
        raise TemporaryError(f"{path}: cannot be written: {fault.strerror}") from fault
    return data


def make_authority(folder: Path, now: int) -> Authority:
    """A new one in ``folder``, where there is none. Raises ``ConfigurationError``, or
    ``TemporaryError`` where it cannot be written."""
    for there in (folder / CERT, folder / KEY):
        if there.exists():
            todo = "move it away first; what it has signed is then of no authority"
            raise ConfigurationError(Fault(str(there), 0, "is there already", todo))
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _named(f"meterwatch gateways {serial:x}"[:40])
    begin = _moment(now)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin - _BACK)
        .not_valid_after(begin + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Authority(key, cert)
    try:  # the certificate last: while it is not there, nothing is
        replace_file(folder / KEY, _private(key), 0o600)
        replace_file(folder / CRL, made.revoked((), now), 0o644)
        replace_file(folder / CERT, made.pem, 0o644)
    except OSError as fault:
        raise TemporaryError(f"{folder}: cannot be written: {fault.strerror}") from fault
    return made


def open_authority(folder: Path) -> Authority:
    """The one in ``folder``. Raises ``ConfigurationError``."""
    path = folder / CERT
    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        path = folder / KEY
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as fault:
        todo = "make one with: meterwatch gateway ca FOLDER"
        raise ConfigurationError(Fault(str(path), 0, "there is no authority", todo)) from fault
    except (OSError, ValueError, TypeError) as fault:
        what = f"cannot be read: {getattr(fault, 'strerror', None) or fault}"
        raise ConfigurationError(Fault(str(path), 0, what, "bring back its last copy")) from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != cert.public_key():
        what = f"is not the key of {folder / CERT}"
        raise ConfigurationError(Fault(str(folder / KEY), 0, what, "bring back its last copy"))
    return Authority(key, cert)


def check_out(folder: Path, name: str) -> None:
    """Raises ``ConfigurationError`` where ``hand_out`` could not write to ``folder``: what is
    signed and not held by anybody could not be revoked."""
    where = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    there = [one for one in (folder / f"{name}.key", folder / f"{name}.pem") if one.exists()]
    if there:
        todo = "move it away, or name another folder: --out"
        raise ConfigurationError(Fault(str(there[0]), 0, "is there already", todo))
    if not (where.is_dir() and os.access(where, os.W_OK | os.X_OK)):
        raise ConfigurationError(
            Fault(str(folder), 0, "cannot be written", "name another folder: --out")
        )


def hand_out(issued: Issued, folder: Path, name: str, authority: Authority) -> list[Path]:
    """Write ``NAME.key`` (0600), ``NAME.pem`` and ``ca.pem`` for whoever gets them. Raises
    ``ConfigurationError``; a key that is there is never written over."""
    key, pem, ca = folder / f"{name}.key", folder / f"{name}.pem", folder / CERT
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data, mode in ((key, issued.key, 0o600), (pem, issued.pem, 0o644)):
            write_new(path, data, mode)
        path = ca
        replace_file(ca, authority.pem, 0o644)
    except OSError as fault:
        what = f"cannot be written: {fault.strerror}"
        raise ConfigurationError(Fault(str(path), 0, what, "name another folder: --out")) from fault
    return [key, pem, ca]


def _named(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as fault:  # RFC 5280, A.1: at most 64 characters
        what = f"cannot stand in a certificate: {fault}"
        raise ConfigurationError(Fault(name, 0, what, "it needs a shorter id")) from fault


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not _HOST.fullmatch(name):
            what = "is neither the name of a host nor an address"
            raise ConfigurationError(Fault(f"--server {name}", 0, what)) from None
        return x509.DNSName(name)


def _by(cert: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Of a holder that ``signs`` handshakes; else of an authority."""
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signs,
        crl_sign=not signs,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)
