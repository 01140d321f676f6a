"""Logs: one JSON object a line for machines, readable lines for a person at a terminal.

Promises: values under keys that name a secret, passwords and tokens inside addresses, and every
value given to :func:`hide` never reach a log, wherever in an event they stand. Logging never
fails: neither for a value that JSON does not know, nor because nobody reads stderr any more.
What libraries log through the standard library (warnings and worse) comes in the same form.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

HIDDEN: Final = "***"

_SECRET_KEYS: Final = re.compile(
    r"password|passwd|(^|_)pass$|token|secret|authorization|credential", re.IGNORECASE
)
_IN_TEXT: Final = (
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), f"{HIDDEN}@"),
    # A gateway's token, wherever it was written, as for its name; its id is no secret.
    (re.compile(r"(mw_[0-9a-f]{8}_)[\w-]+"), rf"\g<1>{HIDDEN}"),
    # In addresses and in what people write: ?access_token=..., key: ..., "password": "..."
    (
        re.compile(
            r"((?:access_token|token|secret|password|passwd|[?&]key|[?&]sign)[\\\"']*\s*[=:]\s*[\\\"']*)"
            r"[^\s&\\\"',;}]+",
            re.IGNORECASE,
        ),
        rf"\g<1>{HIDDEN}",
    ),
)
_SHORTEST: Final = 4
_hidden: tuple[str, ...] = ()
"""Longest first: of two secrets of which one begins the other, no rest may stay. Replaced as a
whole, never changed: other threads go through it while they log."""
_hiding: Final = threading.Lock()


def hide(*secrets: str) -> None:
    """Never log these values. One shorter than four characters is left out: it would blot out
    half of every line."""
    global _hidden  # noqa: PLW0603 one list for the process: its loggers are the process's too
    told = [one for one in secrets if len(one) >= _SHORTEST]
    forms = {form for one in told for form in (one, _in_json(one), repr(one)[1:-1])}
    with _hiding:
        _hidden = tuple(sorted(forms.union(_hidden), key=lambda form: (-len(form), form)))


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def configure(stream: TextIO | None = None, *, level: str = "info") -> None:
    """Set logging up for this process. ``stream`` defaults to stderr; ``level`` is one of
    debug, info, warning, error. Raises ``KeyError`` for another."""
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    last: list[Any]
    if out.isatty():
        # Plain tracebacks: the coloured ones show local variables, and with them secrets.
        last = [
            structlog.dev.ConsoleRenderer(
                colors="NO_COLOR" not in os.environ,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    else:
        last = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=repr),
        ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redacted,
            *last,
            _redacted_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_args: _Lines(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, _FromLibraries)]
    root.addHandler(_FromLibraries(max(number, logging.WARNING)))


def redacted(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide the values under keys that name a secret, at any depth."""
    for key, value in event.items():
        event[key] = _without_secrets(key, value, 6)
    return event


def _without_secrets(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _SECRET_KEYS.search(key):
        return HIDDEN
    if depth and isinstance(value, Mapping):
        return {name: _without_secrets(name, one, depth - 1) for name, one in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_without_secrets("", one, depth - 1) for one in value]
    return value


def _redacted_line(_logger: Any, _method: str, rendered: Any) -> str:
    """The whole line, once it is text: so that no value's own form gets past."""
    line = str(rendered)
    for one in _hidden:
        line = line.replace(one, HIDDEN)
    for pattern, instead in _IN_TEXT:
        line = pattern.sub(instead, line)
    return line


class _Lines:
    """Writes lines, from any thread. A reader that went away is no reason to stop."""

    _lock = threading.Lock()

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            with self._lock:
                self._out.write(line + "\n")
                self._out.flush()
        except (OSError, ValueError):  # closed, full, or gone
            return

    debug = info = warning = error = critical = exception = fatal = log = failure = msg


class _FromLibraries(logging.Handler):
    """What libraries say through the standard library, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a library's own mistake in its format
            text = str(record.msg)
        log = structlog.get_logger(record.name)
        name = logging.getLevelName(record.levelno).lower()
        tell = getattr(log, name if name in {"warning", "error", "critical"} else "warning")
        tell(text, library=record.name, exc_info=record.exc_info)
