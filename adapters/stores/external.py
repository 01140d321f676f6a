"""What every external database has in common: where it is, how it is asked, what it may answer.

``Database`` is what a projection needs of one; ``Http`` carries requests through influxdb-client's
transport and turns every failure into what the caller should do: ``TemporaryError`` (send the same
again later: unreachable, overloaded, credentials refused, database missing) or
``LinesRejectedError`` (the server will not take these lines; some may have been stored).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from adapters.stores.line import FIRST_TIME, LAST_TIME, Dialect, PointNames
from collector.errors import MeterwatchError, TemporaryError
from collector.model import Qualities, Times, Values

CONNECT_MS: Final = 5_000
ANSWER_MS: Final = 60_000
LONGEST_REASON: Final = 300
_REJECTED: Final = frozenset({400, 413, 422})
_STORED: Final = 204
"""What every database answers to lines. A page of somebody in between, who wants a login, is
another 2xx, and stores nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """One external database as the settings name it. ``version``: of InfluxDB, 1, 2 or 3.
    ``bucket``: InfluxDB 2's, or the database's name of 1 and 3. ``policy``: retention policy of
    InfluxDB 1, empty for the default one. Files are absolute."""

    name: str
    kind: str
    url: str
    version: int = 2
    bucket: str = ""
    org: str = ""
    policy: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    gzip: bool = False
    ca_file: str = ""


class LinesRejectedError(MeterwatchError):
    """The server will never take (some of) these lines as they are; ``str`` is its reason."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person should change at the database. ``wrong``: as it is, it holds other numbers
    than it was given."""

    what: str
    todo: str
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """How a database stands. ``started``: names its process, 0 where it does not tell. ``first``:
    nothing before it (UTC ms); ``keeps`` and ``ahead``: nothing that is so much (ms) older or
    newer than now, None for no limit. ``dropped``: rows that it took with a 2xx and then dropped,
    by its own counters since it started."""

    started: int = 0
    first: int = FIRST_TIME
    keeps: int | None = None
    ahead: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()

    def limits(self, now: int) -> tuple[int, int]:
        """The times (UTC ms, inclusive) that it takes at ``now``."""
        low = self.first if self.keeps is None else max(self.first, now - self.keeps)
        return low, LAST_TIME if self.ahead is None else min(now + self.ahead, LAST_TIME)


@dataclass(frozen=True, slots=True)
class Held:
    """What a database holds of one point over a span: the valid series (``time value``), and its
    rows in ``quality`` (``mark_time code mark_value``, NaN where there is none). By time."""

    time: Times
    value: Values
    mark_time: Times
    code: Qualities
    mark_value: Values


Sums = Mapping[tuple[str, str, str, str, str], tuple[int, float]]
"""Count and sum by (measurement, site, place, statistic, field)."""


class Database(Protocol):
    """An external database. Any one thread at a time."""

    dialect: Dialect
    settle_ms: int
    """How long what it acknowledged may still be lost with its process, 0 for not at all."""
    replaces: bool
    """Whether a later value of the same series and time takes the place of the earlier one."""

    def write(self, lines: bytes) -> None:
        """Store these lines, times in ms. Returns when the server acknowledged them. Raises
        ``TemporaryError`` and ``LinesRejectedError``; after the latter any may be stored."""

    def condition(self) -> Condition:
        """How it stands. Raises ``TemporaryError``."""

    def held(self, names: PointNames, start: int, end: int) -> Held:
        """What it holds of one point with ``start <= time < end`` (UTC ms)."""

    def sums(self, measurement: str, start: int, end: int) -> Sums:
        """Count and sum of every series of ``measurement`` with ``start <= time < end``."""

    def close(self) -> None:
        """Let go of the connection."""


class Http:
    """Requests to one server over one kept connection, with the headers it wants."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        self._target = target
        self._headers = dict(headers)
        said = headers.get("Authorization", "").rpartition(" ")[2]
        self._secrets = [one for one in (target.password, target.token, said) if one]
        options: dict[str, Any] = {"ssl_ca_cert": target.ca_file} if target.ca_file else {}
        # Untyped where it is not generated, and its token would take the header's place.
        self._client: Any = InfluxDBClient(
            target.url.rstrip("/"),
            token="",
            org=target.org,
            timeout=(CONNECT_MS, ANSWER_MS),
            connection_pool_maxsize=1,
            **options,
        )

    def post_lines(self, path: str, query: Mapping[str, str], lines: bytes) -> None:
        """POST line protocol, compressed if the target says so."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._target.gzip:
            squeeze = zlib.compressobj(1, wbits=31)
            lines = squeeze.compress(lines) + squeeze.flush()
            headers["Content-Encoding"] = "gzip"
        self._send("POST", path, query, headers, lines)
        status = self._client.api_client.last_response.status
        if status != _STORED:
            what = f"{self.where} answers {status} to lines, a database says {_STORED}"
            raise TemporaryError(f"{what}; see what stands there, or between", 10.0)

    def ask(self, method: str, path: str, query: Mapping[str, str]) -> str:
        """The body of the answer; a question that the server rejects is a bug or a server of
        another make, and told as ``TemporaryError`` like every other trouble with it."""
        try:
            return self._send(method, path, query, {"Content-Type": "text/plain"}, b"")
        except LinesRejectedError as fault:
            raise TemporaryError(f"{self.where}{path}: {fault}", 30.0) from fault

    def ask_json(self, method: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer as an object of JSON, its numbers as floats: -0 is one of them, and times in
        ms are exact as such. Another answer is told as :meth:`ask` tells trouble."""
        try:
            told = json.loads(self.ask(method, path, query), parse_int=float)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            what = f"{self.where}{path}: no answer in JSON"
            raise TemporaryError(f"{what}; see what stands there, or between", 10.0)
        return told

    @property
    def where(self) -> str:
        return self._target.url.rstrip("/")

    def close(self) -> None:
        self._client.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> str:
        try:
            self._client.api_client.call_api(
                quote(path),
                method,
                query_params=list(query.items()),
                header_params={**self._headers, **headers},
                body=body,
                _request_timeout=(CONNECT_MS, ANSWER_MS),
            )
        except ApiException as fault:
            raise self._meant(fault) from fault
        except (HTTPError, OSError) as fault:
            reason = _plain(fault)
            raise TemporaryError(f"{self.where} cannot be reached: {reason}", 2.0) from fault
        answer: str = self._client.api_client.last_response.data
        return answer

    def _meant(self, fault: ApiException) -> MeterwatchError:
        """What an answer other than 2xx asks of us."""
        status = int(fault.status or 0)
        reason = reason_of(fault.body, self._secrets)
        if status in _REJECTED:
            return LinesRejectedError(f"{status}: {reason}" if reason else f"status {status}")
        where = self.where
        if status in {401, 403}:
            what = f"{where} refuses our credentials ({status}: {reason})"
            return TemporaryError(
                f"{what}; put a new token or password where the settings say: it is read again "
                "at each try",
                10.0,
            )
        if status == 404:
            what = f"{where} has no such database, bucket or path ({reason or 'status 404'})"
            return TemporaryError(f"{what}; create it, or mend the settings", 10.0)
        wait = _retry_after(dict(fault.headers or {}))
        return TemporaryError(f"{where} takes nothing now ({status}: {reason})", wait)


def reason_of(body: Any, secrets: Sequence[str] = ()) -> str:
    """The server's own words, of JSON or plain text, within a bound. ``secrets`` in them (some
    proxies answer with the request's own headers) are covered."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if isinstance(told, dict):
        text = str(told.get("error") or told.get("message") or told.get("code") or text)
    text = " ".join(text.split())
    for secret in secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float:
    told = {name.lower(): text for name, text in headers.items()}.get("retry-after", "")
    return min(300.0, float(told)) if re.fullmatch(r"\d{1,6}", told) else 2.0


def _plain(fault: BaseException) -> str:
    """The innermost reason of a failed request, without the addresses of objects."""
    while fault.__cause__ is not None or fault.__context__ is not None:
        fault = fault.__cause__ or fault.__context__ or fault
    return (
        getattr(fault, "strerror", None) or re.sub(r"<[^>]*>:?\s*", "", str(fault)) or repr(fault)
    )
