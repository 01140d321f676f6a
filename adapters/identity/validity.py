"""When a certificate ends, by nothing but Python's own library, whose ``ssl`` tells it only of a
peer's. Pure."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import Final

_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.ASCII | re.DOTALL
)
_VERSION: Final = 0xA0
_GENERALIZED_TIME: Final = 0x18


def ends(pem: str) -> list[datetime]:
    """Of each certificate in ``pem``, in their order. Raises ``ValueError`` for what is none."""
    return [_end(ssl.PEM_cert_to_DER_cert(one)) for one in _PEM.findall(pem)]


def _end(der: bytes) -> datetime:
    """``notAfter`` (RFC 5280, 4.1)."""
    at, _ = _extent(der, 0)  # Certificate
    at, _ = _extent(der, at)  # TBSCertificate
    _, behind = _extent(der, at)
    if der[at] == _VERSION:
        at = behind
    for _ in ("serialNumber", "signature", "issuer"):
        _, at = _extent(der, at)
    at, _ = _extent(der, at)  # Validity
    _, at = _extent(der, at)  # notBefore
    begin, end = _extent(der, at)
    form = "%Y%m%d%H%M%SZ" if der[at] == _GENERALIZED_TIME else "%y%m%d%H%M%SZ"
    return datetime.strptime(der[begin:end].decode("ascii"), form).replace(tzinfo=UTC)


def _extent(der: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the element at ``at`` begin and end (X.690, 8.1.3)."""
    if len(der) < at + 2:
        raise ValueError("it ends before its end")
    size, begin = der[at + 1], at + 2
    if size & 0x80:
        length, begin = der[begin : begin + (size & 0x7F)], begin + (size & 0x7F)
        size = int.from_bytes(length)
    return begin, begin + size
