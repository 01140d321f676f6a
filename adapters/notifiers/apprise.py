"""Notices through apprise: DingTalk, WeCom, Feishu, Lark, email, webhooks and a hundred more.

Promises:

- ``send`` returns only when the other side said that it took the notice. apprise itself calls
  any HTTP 200 a success, but the robots of DingTalk, WeCom and Feishu refuse with 200 and an
  ``errcode`` in the body; so the answers are read here, next to apprise.
- ``TemporaryError`` when the same notice may be taken later: unreachable, timed out, busy, 5xx,
  but also 401, 403, 404 and a robot's refusal of its token, signature or keyword: there the
  channel is at fault, not the notice, and a person will mend it. ``RejectedError`` when the
  notice itself is what is refused.
- Nothing secret ever leaves: neither in an error, nor in a log, at whatever level.
- ``send`` blocks (call it in a thread) for at most about twice ``timeout`` seconds.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import apprise
import msgspec
import requests

from collector.errors import ConfigurationError, Fault, RejectedError, TemporaryError
from collector.ports import Notice

MEND_S: Final = 300.0
"""Wait before the next try when a person must mend the channel first."""
BUSY_S: Final = 60.0

_TYPES: Final = {
    1: apprise.NotifyType.INFO,
    2: apprise.NotifyType.WARNING,
    3: apprise.NotifyType.WARNING,
    4: apprise.NotifyType.FAILURE,
}
_BUSY_STATUS: Final = frozenset({408, 425, 429, *range(500, 600)})
# A redirect is here too: a POST that follows one becomes a GET, and then 200 means nothing.
_MEND_STATUS: Final = frozenset({*range(300, 400), 401, 402, 403, 404, 407, 410})


@dataclass(frozen=True, slots=True)
class _Robot:
    """How a chat robot says no with HTTP 200: a number other than 0 under one of ``keys``."""

    keys: tuple[str, ...]
    busy: frozenset[int]
    content: frozenset[int]


# RECALLED from the vendors' pages, not read here. A number in neither set is "mend the
# channel": the notice is kept and tried again, which is the safe mistake.
_ROBOTS: Final = {
    "dingtalk": _Robot(("errcode",), frozenset({-1, 130101, 130102}), frozenset({400102, 40035})),
    "wecombot": _Robot(
        ("errcode",), frozenset({-1, 45009}), frozenset({40008, 40058, 44004, 45002})
    ),
    "feishu": _Robot(("code", "StatusCode"), frozenset({11232}), frozenset({9499})),
    "lark": _Robot(("code", "StatusCode"), frozenset({11232}), frozenset({9499})),
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """One HTTP exchange that apprise had: what came back, or in which way nothing did."""

    status: int = 0
    body: bytes = b""
    retry_after: str = ""
    error: str = ""


class AppriseNotifier:
    """A channel at an apprise URL (``dingtalk://...``, ``json://...``, ``mailto://...``).

    ``url`` is a secret: settings read it from the environment or a file. ``origin``
    (``http://host:port``) replaces the vendor's public address for a private deployment or a
    relay in a closed network; DingTalk, WeCom, Feishu and Lark only. ``timeout``: seconds to
    connect, and again to answer. Raises ``ConfigurationError`` for a URL that apprise cannot
    use, without repeating it.
    """

    def __init__(self, name: str, url: str, *, timeout: float = 8.0, origin: str = "") -> None:
        self.name = name
        _overhear()
        with _listening():
            made = apprise.Apprise.instantiate(
                url, asset=apprise.AppriseAsset(app_id="meterwatch", http_redirects=False)
            )
        if made is None:
            raise ConfigurationError(
                Fault(
                    f"notifier {name}",
                    0,
                    "apprise cannot use this address (not shown: it holds a secret)",
                    "see appriseit.com/services for the form of your service",
                )
            )
        self._plugin: Any = made
        self._robot = _ROBOTS.get(str(self._plugin.secure_protocol))
        self._secrets = _secrets(url)
        self._plugin.request_rate_per_sec = 0  # the outbox keeps the budget, apprise would sleep
        self._plugin.socket_connect_timeout = timeout
        self._plugin.socket_read_timeout = timeout
        if origin:
            _aim(self._plugin, origin.rstrip("/"), name)
        _attend(self._plugin)

    def send(self, notice: Notice) -> None:
        """Hand it over. Any thread, one at a time per notifier."""
        over = notice.tags.get("state") == "over"
        kind = apprise.NotifyType.SUCCESS if over else _TYPES.get(notice.level, _TYPES[2])
        with _listening() as heard:
            try:
                taken = self._plugin.notify(
                    body=notice.body,
                    title=notice.title,
                    notify_type=kind,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except (OSError, ValueError, TypeError) as fault:
                raise TemporaryError(f"{type(fault).__name__} in apprise", BUSY_S) from fault
        if self._robot is not None or not taken:
            for answer in heard.answers:
                self._judge(answer)
        if not taken:
            why = self._clean(heard.lines[-1]) if heard.lines else "did not take it"
            raise TemporaryError(f"{self._plugin.service_name}: {why}", BUSY_S)

    def _judge(self, answer: _Answer) -> None:
        """Raise what this answer means; return when it means yes."""
        if answer.error:
            raise TemporaryError(answer.error)
        said = self._said(answer)
        if answer.status in _BUSY_STATUS:
            asked = answer.retry_after
            raise TemporaryError(
                f"HTTP {answer.status}{said}", float(asked) if asked.isdecimal() else 1.0
            )
        if answer.status in _MEND_STATUS:
            raise TemporaryError(f"HTTP {answer.status}{said}", MEND_S)
        if answer.status >= 300:
            raise RejectedError({0: f"HTTP {answer.status}{said}"})
        self._judge_robot(answer, said)

    def _judge_robot(self, answer: _Answer, said: str) -> None:
        if self._robot is None:
            return
        try:
            told = msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise TemporaryError("answers, but not as this robot does", MEND_S) from None
        code = next((told[key] for key in self._robot.keys if key in told), 0)
        if code == 0:
            return
        if code in self._robot.content:
            raise RejectedError({0: f"code {code}{said}"})
        raise TemporaryError(f"code {code}{said}", BUSY_S if code in self._robot.busy else MEND_S)

    def _said(self, answer: _Answer) -> str:
        """What the other side said, short and without our secrets."""
        text = self._clean(answer.body[:2000].decode("utf-8", "replace"))
        return f": {text}" if text.strip("{} ") else ""

    def _clean(self, text: str) -> str:
        text = " ".join(text.split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:200]


def _secrets(url: str) -> tuple[str, ...]:
    """Every part of the address long enough to be a key, as written and as decoded; longest
    first. A host that is none is hidden too: that costs nothing."""
    rest = url.partition("://")[2]
    parts = {part for part in re.split(r"[/:@?&=#,+]", rest) if len(part) >= 5}
    parts |= {unquote(part) for part in parts}
    return tuple(sorted(parts, key=len, reverse=True))


def _aim(plugin: Any, origin: str, name: str) -> None:
    """Send the plugin's requests to another host."""
    moved = False
    for attribute in ("api_url", "webhook_url", "notify_url"):
        address = getattr(plugin, attribute, None)
        if isinstance(address, str) and address.startswith("https://"):
            path = address.removeprefix("https://").partition("/")[2]
            setattr(plugin, attribute, f"{origin}/{path}")
            moved = True
    if not moved or str(plugin.secure_protocol) not in _ROBOTS:
        raise ConfigurationError(
            Fault(f"notifier {name}", 0, "this service's address cannot be replaced by an origin")
        )


# apprise answers only yes or no. What the other side said is seen by standing between a plugin's
# module and the `requests` it calls; why a mail failed, by listening to apprise's log. Both
# are per thread, so that notifiers in several threads never hear each other.


@dataclass(slots=True)
class _Heard:
    answers: list[_Answer] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class _Ear(threading.local):
    heard: _Heard | None = None


_EAR: Final = _Ear()


@contextmanager
def _listening() -> Iterator[_Heard]:
    _EAR.heard = heard = _Heard()
    try:
        yield heard
    finally:
        _EAR.heard = None


class _Overhearing(logging.Filter):
    """Stands before a log's handlers: no record of a sender's thread reaches any of them, the
    warnings reach the sender. apprise writes tokens and payloads, urllib3 whole addresses."""

    def __init__(self, *, all_threads: bool) -> None:
        super().__init__()
        self._all = all_threads

    def filter(self, record: logging.LogRecord) -> bool:
        if _EAR.heard is None:
            return not self._all
        if record.levelno >= logging.WARNING:
            _EAR.heard.lines.append(record.getMessage())
        return False


def _overhear() -> None:
    for name, all_threads in (("apprise", True), ("urllib3.connectionpool", False)):
        log = logging.getLogger(name)
        if not any(isinstance(one, _Overhearing) for one in log.filters):
            log.addFilter(_Overhearing(all_threads=all_threads))


class _Witness:
    """The ``requests`` module as one plugin sees it: the same, but heard."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(requests, name)
        return _heard(found) if name in _CALLS else found


_CALLS: Final = frozenset({"request", "get", "post", "put", "patch", "delete"})


def _attend(plugin: Any) -> None:
    module = sys.modules[type(plugin).__module__]
    if getattr(module, "requests", None) is requests:
        setattr(module, "requests", _Witness())  # noqa: B010 - modules have no such attribute to mypy


def _heard(call: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    def heard(*args: Any, **kwargs: Any) -> requests.Response:
        try:
            response = call(*args, **kwargs)
        except requests.RequestException as fault:
            _note(_Answer(error=_in_words(fault)))
            raise
        again = response.headers.get("Retry-After", "")
        _note(_Answer(response.status_code, response.content or b"", again))
        return response

    return heard


def _note(answer: _Answer) -> None:
    if _EAR.heard is not None:
        _EAR.heard.answers.append(answer)


def _in_words(fault: requests.RequestException) -> str:
    """Never the fault's own text: it holds the address, and with it the token."""
    for kind, words in _FAULTS:
        if isinstance(fault, kind):
            return words
    return type(fault).__name__


_FAULTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (requests.exceptions.ConnectTimeout, "no connection within the timeout"),
    (requests.exceptions.ReadTimeout, "no answer within the timeout"),
    (requests.exceptions.SSLError, "its certificate is not accepted"),
    (requests.exceptions.ProxyError, "the proxy cannot be reached"),
    (requests.exceptions.ConnectionError, "cannot be reached, or hung up"),
)
