"""What a sender is told, as status and JSON. Pure.

Every fault has the same body: ``{"code": ..., "message": ..., "reasons": [...]}``. ``code`` and
``message`` are InfluxDB's names, so that its clients show them; ``reasons`` are the refused rows
as in a receipt, and what else a receipt says stands beside them (docs/push-http.md).

What a client of InfluxDB does with an answer decides what ``/api/v2/write`` says (Telegraf's
outputs.influxdb_v2; influxdb-client's WritesRetry): it sends again on 429 and 503, splits the
batch on 413, keeps it on 401 and 403 (Telegraf), and on 400 logs the message and lets go of the
batch. So a batch of which part was refused is told with 400, as InfluxDB does: what could be
used is stored, what could not is kept as refused, the client's log says why, and nothing comes
again for ever.

What is to be mended of a batch that is stored has no such place: of a 204 no client shows anything,
200 with a body is as good to Telegraf and the Python client, and to the JavaScript client an error
("204 HTTP response status code expected"). So 204 stays, the remarks are in a header for whoever
tries it by hand, and the program's own log tells them to people (``Report.remarked``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from adapters.sources.inlet.tokens import misspelt
from adapters.sources.payload import Receipt, RefusedRows, answer
from collector.model import Reason

JSON: Final = (b"content-type", b"application/json")
CODES: Final = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    408: "request timeout",
    411: "length required",
    413: "request too large",
    415: "unsupported media type",
    422: "unprocessable entity",
    429: "too many requests",
    431: "request header fields too large",
    500: "internal error",
    503: "unavailable",
}
REMARKS: Final = b"meterwatch-remarks"
SCHEMES: Final = ("bearer", "token")
"""Of the header Authorization, in small letters; InfluxDB's clients send the second."""
LIMITS: Final = {"requests": "rate_requests", "readings": "rate_readings", "bytes": "rate_kb"}
"""The setting of each limit of a gateway that has one."""
_MESSAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``headers`` beside Content-Length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


def fault(
    status: int,
    message: str,
    reasons: Sequence[dict[str, Any]] = (),
    *,
    retry_after: float = 0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    **more: Any,
) -> Answer:
    """An answer that says no. ``retry_after`` seconds, rounded up; ``more`` goes into the body."""
    body = {"code": CODES[status], "message": message, "reasons": list(reasons)} | more
    if retry_after:
        headers = (*headers, (b"retry-after", b"%d" % math.ceil(retry_after)))
    return Answer(status, msgspec.json.encode(body), (JSON, *headers))


def message_of(answer: Answer) -> str:
    """What a fault says."""
    told: str = msgspec.json.decode(answer.body)["message"]
    return told


def of_readings(receipt: Receipt) -> Answer:
    """To ``POST /v1/readings``: 200 with the receipt when anything was stored."""
    if receipt.stored or not receipt.refused:
        return Answer(200, answer(receipt), (JSON,))
    return _refused(receipt, _status(receipt.refused, 422), _told(receipt))


def of_write(receipt: Receipt) -> Answer:
    """To ``POST /api/v2/write``: 204 when all was stored."""
    if not receipt.refused:
        remarks = "; ".join(receipt.remarks).encode("ascii", "backslashreplace")
        return Answer(204, headers=((REMARKS, remarks),) if remarks else ())
    status = 400 if receipt.stored else _status(receipt.refused, 400)
    told = f"partial write: {_told(receipt)}" if receipt.stored else _told(receipt)
    return _refused(receipt, status, told)


def too_many(limit: str, wait: float) -> Answer:
    """429: a gateway has used up ``limit`` of its share, for so many seconds."""
    setting = LIMITS.get(limit)
    by = f", {setting} in meterwatch.toml" if setting else ""
    told = f"more {limit} than one gateway may have{by}: again in {math.ceil(wait)} s"
    return fault(429, told, retry_after=wait)


def unproven(authorization: bytes) -> Answer:
    """401: nobody is known by this header, which is empty where there is none."""
    scheme, _, token = authorization.decode("latin-1").strip().partition(" ")
    if not scheme:
        told = "send the header Authorization: Bearer TOKEN, with the gateway's token"
    elif scheme.lower() not in SCHEMES:
        told = "write Authorization: Bearer TOKEN"
        if scheme.lower() == "basic":  # anything else might be the token itself
            told += ", not Basic with user and password"
    elif not token.strip():
        told = f"nothing stands behind {scheme}: write Authorization: Bearer TOKEN"
    else:
        told = misspelt(token.strip())
    return fault(401, told, headers=((b"www-authenticate", b'Bearer realm="meterwatch"'),))


def _status(refused: Sequence[RefusedRows], otherwise: int) -> int:
    """Of a message of which nothing could be used."""
    reasons = {part.reason for part in refused}
    if Reason.UNKNOWN_GATEWAY in reasons:
        return 403
    if Reason.TOO_LARGE in reasons:
        return 413
    if reasons == {Reason.PAYLOAD} and not any(part.rows for part in refused):
        return 400
    return otherwise


def _told(receipt: Receipt) -> str:
    count = sum(part.count for part in receipt.refused)
    first = receipt.refused[0]
    more = f" (and {len(receipt.refused) - 1} more)" if len(receipt.refused) > 1 else ""
    whole = receipt.stored or len(receipt.refused) > 1 or count > 1
    sums = f"{receipt.stored} readings stored, {count} refused: " if whole else ""
    return f"{sums}{first.reason}: {first.detail}{more}"[:_MESSAGE]


def _refused(receipt: Receipt, status: int, message: str) -> Answer:
    told: dict[str, Any] = msgspec.json.decode(answer(receipt))
    return fault(status, message, told.pop("refused"), **told)
