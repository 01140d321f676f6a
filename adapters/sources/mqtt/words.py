"""What went wrong between us and the broker, in one line that says what to change. Pure."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from adapters.sources.mqtt.settings import MqttSettings

# Reason codes of MQTT 5.0, 3.2.2.2 and 3.14.2.1; paho gives those of 3.1.1 the same numbers.
_CREDENTIALS: Final = (134, 135)
_REFUSED: Final = {
    132: "the broker does not speak this version of MQTT: set version = 4 for 3.1.1",
    133: "the broker does not accept the client id: set another client_id",
    136: "the broker says it is not available",
    137: "the broker says it is too busy",
    138: "the broker has banned this client",
    140: "the broker wants another way of authentication",
    142: "another program connected with our client id: give each its own client_id",
    143: "the broker does not accept the topic filter",
    149: "the broker says that a packet was too large",
    151: "the broker's quota is exceeded",
    152: "the broker's administrator closed the connection",
    159: "the broker wants us to connect less often",
}


_LONGEST: Final = 200


def refused(code: int, name: str, settings: MqttSettings, reason: str = "") -> str:
    """The broker answered CONNECT, or ended the session, with a reason code; ``reason``: what it
    said beside it (Reason String)."""
    told = _refused(code, name, settings)
    if not reason:
        return told
    said = reason if reason.isprintable() else ascii(reason)[1:-1]
    return f'{told}; it says "{said[:_LONGEST]}"'


def _refused(code: int, name: str, settings: MqttSettings) -> str:
    if code in _CREDENTIALS:
        who = f"user {settings.user!r}" if settings.user else "a client without user and password"
        return (
            f"the broker at {settings.address} does not let {who} in: check user and password "
            "of this source, and the broker's password and access lists"
        )
    told = _REFUSED.get(code, f"the broker ended the connection ({name})")
    return f"{settings.address}: {told}"


def not_subscribed(topic: str, code: int, settings: MqttSettings) -> str:
    """The broker did not grant a subscription at QoS 1 (SUBACK)."""
    if code == 0:
        return (
            f"the broker at {settings.address} grants {topic} at QoS 0 only, without "
            "acknowledgement: readings would be lost; allow QoS 1"
        )
    return (
        f"the broker at {settings.address} does not let us subscribe to {topic}: allow "
        f"reading of it to {settings.user or 'this client'!r} in the broker's access list"
    )


def failed(error: BaseException, settings: MqttSettings) -> str:
    """Connecting or talking failed below MQTT."""
    at = settings.address
    match error:
        case ssl.SSLCertVerificationError():
            where = f"ca_file {settings.ca_file}" if settings.ca_file else "the system's CAs"
            return (
                f"the certificate of {at} is not accepted ({error.verify_message}): it must be "
                f"signed by a CA in {where} and name {settings.host!r}"
            )
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return f"{at} does not speak TLS: use mqtt:// or the broker's TLS port"
        case ssl.SSLError():
            hint = "" if settings.cert_file else "; does the broker want a client certificate?"
            return f"TLS with {at} failed ({getattr(error, 'reason', '') or error}){hint}"
        case ConnectionRefusedError():
            return f"nobody listens at {at}: is the broker running, is the port right?"
        case socket.gaierror():
            return f"the name {settings.host!r} is not known here: check url and DNS"
        case TimeoutError():
            return f"{at} does not answer: check address, network and firewall"
        case _:
            return f"the connection to {at} was lost: {error or type(error).__name__}"


def closed(settings: MqttSettings, *, answered: bool) -> str:
    """The broker closed the connection without a word."""
    if answered:
        return f"the broker at {settings.address} closed the connection"
    hint = (
        "does this port speak TLS, does the broker want a client certificate?"
        if settings.tls
        else "does this port expect TLS?"
    )
    return f"{settings.address} closed the connection before it answered: {hint}"


def silent(settings: MqttSettings) -> str:
    """A ping stayed without an answer."""
    return f"the broker at {settings.address} does not answer any more"
