"""What a person sets about anything that listens. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.sources.inlet.limits import Rates

MIB: Final = 1 << 20
RATES: Final = Rates(requests=50, readings=10_000, size=2 * MIB)


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """One listener. Without ``cert_file`` it speaks without TLS. With ``client_ca_file`` a client
    certificate signed by that CA is as good as a token, if it is known as a gateway's.

    Seconds: ``head_timeout`` until a connection has said what it wants (its TLS handshake, and
    then its first header or packet); ``finish`` for which a stop waits for readings under way.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_crl_file: str = ""
    """What of that CA was revoked."""
    client_names: bool = False
    """Any certificate of that CA is the gateway's that its common name says, known or not."""
    in_flight: int = 64 * MIB
    """Bytes of all bodies from their first byte until they are synced."""
    connections: int = 500
    """Each is a file descriptor of the program."""
    per_address: int = 200
    rates: Rates = RATES
    head_timeout: float = 10.0
    hesitation: float = 1.0
    """Seconds by which a client that is refused again and again is told late."""
    finish: float = 5.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    """Seconds before the first and between later attempts to listen."""
    watch: float = 5.0
    """Seconds between two looks at the certificate files."""

    @property
    def largest(self) -> int:
        """Bytes of one body, as sent."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
