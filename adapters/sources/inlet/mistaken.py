"""What came to a door that speaks something else, and what went wrong in a TLS handshake, in words
of who set the client up. Pure.
"""

from __future__ import annotations

import re
import ssl
from typing import Final

_LANGUAGES: Final = (
    (re.compile(rb"[A-Z]{3,7} (/|\*|https?:)"), "HTTP"),
    (re.compile(rb"\x10.{1,4}\x00[\x04\x06]MQ", re.DOTALL), "MQTT"),
    (re.compile(rb"\x16\x03"), "TLS"),
)
_CA: Final = "the client does not know our authority: give it ca.pem"
_SHAKEN: Final = {
    "WRONG_VERSION_NUMBER": "no TLS was spoken: set it at the client (https://, mqtts://)",
    "HTTP_REQUEST": "no TLS was spoken, but HTTP without it",
    "TLSV1_ALERT_UNKNOWN_CA": _CA,
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not take our certificate: does it know ca.pem,"
    " and call us by a name in the certificate?",
    "UNSUPPORTED_PROTOCOL": "the client speaks a TLS older than 1.2",
}
_SHAKEN["SSLV3_ALERT_CERTIFICATE_UNKNOWN"] = _SHAKEN["SSLV3_ALERT_BAD_CERTIFICATE"]


def spoken(first: bytes) -> str:
    """What begins with these bytes: HTTP, MQTT, TLS, or "" for nothing that is known."""
    return next((name for shape, name in _LANGUAGES if shape.match(first)), "")


def no_handshake(failed: BaseException) -> str:
    """Why a TLS handshake came to nothing."""
    if isinstance(failed, ssl.SSLCertVerificationError):
        why = failed.verify_message
        return f"the client's certificate is not taken: {why}; who issues them: client_ca_file"
    if isinstance(failed, ssl.SSLError) and failed.reason:
        known = _SHAKEN.get(failed.reason)
        return known or f"TLS: {failed.reason.lower().replace('_', ' ')}"
    if isinstance(failed, ConnectionResetError | ssl.SSLEOFError):
        return "the client hung up during the TLS handshake"
    return str(failed) or type(failed).__name__
