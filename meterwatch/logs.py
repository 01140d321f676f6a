"""Logs: one JSON object a line for machines, readable lines for a person at a terminal.

Values under keys that name a secret, and passwords inside URLs, never reach a log.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

_SECRET_KEYS: Final = ("password", "token", "secret", "authorization")
_URL_SECRET: Final = re.compile(r"(?<=://)[^/\s@]+@")
HIDDEN: Final = "***"


def configure(stream: TextIO | None = None, *, level: str = "info") -> None:
    """Set logging up for this process. ``stream`` defaults to stderr."""
    out = stream or sys.stderr
    last: Any = (
        structlog.dev.ConsoleRenderer()
        if out.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redacted,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def redacted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what must not be read by whoever reads logs."""
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_KEYS):
            event[key] = HIDDEN
        elif isinstance(value, str):
            event[key] = _URL_SECRET.sub(f"{HIDDEN}@", value)
    return event
