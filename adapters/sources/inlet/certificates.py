"""The certificate that a listener shows, how it learns of a renewed one, and whose a client's is.

A new ``SSLContext`` is made for each state of the files: half-written ones must not spoil the
context in use. Connections that are open keep theirs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.sources.inlet.settings import ListenSettings
from collector.errors import ConfigurationError, Fault
from collector.ports import Credentials

Proven = Callable[[], str]
"""The gateway that the client certificate of a connection proves by now; "" for none."""
_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """``context`` is for the next connection; None without TLS. ``protocol``: what is spoken
    within (ALPN). Raises ``ConfigurationError``."""

    def __init__(self, settings: ListenSettings, protocol: str) -> None:
        self._settings, self._protocol = settings, protocol
        self._files = [
            Path(name)
            for name in (
                settings.cert_file,
                settings.key_file,
                settings.client_ca_file,
                settings.client_crl_file,
            )
            if name
        ]
        self._seen = self._changing = self._stamp()
        self.context = self._load() if settings.cert_file else None

    def look(self) -> bool:
        """Look at the files; whether there is a new context. They are read when they look the same
        twice: certificate and key are not written at one stroke. Raises ``ConfigurationError``
        once for each state of the files that cannot be used; the old context stays."""
        stamp = self._stamp()
        settled, self._changing = stamp == self._changing, stamp
        if self.context is None or stamp == self._seen or not settled:
            return False
        self._seen = stamp
        self.context = self._load()
        return True

    def _stamp(self) -> _Stamp:
        found = []
        for path in self._files:
            try:
                told = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((told.st_ino, told.st_mtime_ns, told.st_size))
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([self._protocol])
        try:
            # An empty password, or OpenSSL would ask for it on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password="")
        except (OSError, ValueError) as fault:
            told = f"no usable certificate and key: {fault}"
            raise self._wrong(settings.cert_file, told) from fault
        for file in (settings.client_ca_file, settings.client_crl_file):
            if not file:
                continue
            try:
                context.load_verify_locations(cafile=file)
            except (OSError, ValueError) as fault:
                raise self._wrong(file, f"no usable CA certificate or CRL: {fault}") from fault
        if settings.client_ca_file:
            context.verify_mode = ssl.CERT_OPTIONAL
        if settings.client_crl_file:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    def _wrong(self, file: str, what: str) -> ConfigurationError:
        todo = f"correct cert_file, key_file and client files of source {self._settings.name!r}"
        return ConfigurationError(Fault(file, 0, what, todo))


def nobody() -> str:
    """``Proven`` by a connection without a certificate."""
    return ""


def prover(link: ssl.SSLObject, settings: ListenSettings, credentials: Credentials) -> Proven:
    """Of a connection after its handshake. What it proves may end while the connection lasts."""
    der = link.getpeercert(binary_form=True) if settings.client_ca_file else None
    if der is None:
        return nobody
    name = common_name(link.getpeercert()) if settings.client_names else ""

    def proven() -> str:
        known = credentials.gateway_of_certificate(der)
        return name if known is None else known

    return proven


def common_name(certificate: Any) -> str:
    """Of a client certificate as ``getpeercert`` shows it; empty when there is none, or several
    (then nobody knows who is meant)."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""
