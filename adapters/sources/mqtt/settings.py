"""What a person sets about one broker. Pure: no socket or file is opened here, except that
``tls_context`` reads the certificate files, once, at start."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from collector.errors import ConfigurationError, Fault

TOPIC: Final = "meterwatch/v1/+/readings"


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """One broker. ``version`` 5, or 4 for MQTT 3.1.1. ``client_id`` must stay the same over
    restarts and be used by nobody else: the broker keeps our session, and so our messages, by it.

    ``max_unsynced_bytes`` and ``max_unsynced_readings`` bound what is in memory between socket
    and journal; beyond them the socket is not read. ``max_message_bytes`` bounds one message.
    ``replies``: who is told what became of a message: "needed" those who ask (by an id in the
    message, or the Response Topic or Correlation Data of MQTT 5) and those of whose message
    anything was refused; "all"; "none".
    ``broker_config``: path of the mosquitto.conf of a broker on this machine, looked through for
    settings that lose data.
    """

    name: str
    host: str
    port: int = 1883
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = ""
    version: int = 5
    topics: tuple[str, ...] = (TOPIC,)
    keepalive: int = 30
    session_expiry: int = 30 * 86400
    """Seconds for which the broker keeps what came while we were away (MQTT 5)."""
    max_unsynced_bytes: int = 64 << 20
    max_unsynced_readings: int = 250_000
    max_message_bytes: int = 1 << 20
    replies: str = "needed"
    broker_config: str = ""
    first_wait: float = 0.5
    longest_wait: float = 30.0
    """Seconds before the first and between later attempts to connect again."""
    finish: float = 5.0
    """Seconds for which a stop waits for readings under way to be synced and acknowledged."""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def session_name(self) -> str:
        """The client id in use."""
        return self.client_id or f"meterwatch-{self.name}"

    def tls_context(self) -> ssl.SSLContext | None:
        """None without TLS. Raises ``ConfigurationError`` naming the file that cannot be used."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as fault:
            raise self._wrong(self.ca_file, f"no usable CA certificate: {fault}") from fault
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file or None)
            except (OSError, ssl.SSLError) as fault:
                told = f"no usable certificate and key: {fault}"
                raise self._wrong(self.cert_file, told) from fault
        return context

    def _wrong(self, file: str, what: str) -> ConfigurationError:
        todo = f"correct ca_file, cert_file, key_file of source {self.name!r}"
        return ConfigurationError(Fault(file, 0, what, todo))
