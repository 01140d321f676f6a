"""One table of a rule file, read key by key; every fault is collected with its line. Pure.

A reader never raises and never stops at the first fault: it notes what is wrong, answers with
the default, and at the end (:meth:`Fields.finish`) names the keys that nobody asked for.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.errors import Fault

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def near(word: str, known: Sequence[str]) -> str:
    """What was probably meant, as an instruction; "" when nothing is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def span_text(ms: int) -> str:
    """A span as people write it: ``5m``, ``90s``, ``1h``."""
    for unit in ("d", "h", "m", "s"):
        if ms and ms % _UNIT_MS[unit] == 0:
            return f"{ms // _UNIT_MS[unit]}{unit}"
    return f"{ms}ms"


class Fields:
    """A ``[[rule]]`` table. ``lines`` maps a key to its line, "" to that of the table itself."""

    def __init__(
        self, file: str, table: Mapping[str, Any], lines: Mapping[str, int], faults: list[Fault]
    ) -> None:
        self.file = file
        self.faults = faults
        self._table = table
        self._lines = lines
        self._asked: set[str] = set()

    def line(self, key: str = "") -> int:
        return self._lines.get(key) or self._lines.get("", 0)

    def fault(self, key: str, what: str, todo: str = "") -> None:
        self.faults.append(Fault(self.file, self.line(key), what, todo))

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._table

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        found = self._get(key, required)
        if found is None:
            return default
        if not isinstance(found, str):
            self.fault(key, f"{key} must be a text, not {found!r}")
            return default
        return found

    def word(self, key: str, known: Sequence[str], default: str = "") -> str:
        """One word of ``known``; required when ``default`` is ""."""
        found = self.text(key, default, required=not default)
        if found and found not in known:
            self.fault(
                key,
                f'{key} "{found}" is not known',
                near(found, known) or f"one of: {', '.join(known)}",
            )
            return default or known[0]
        return found or default or known[0]

    def number(self, key: str, default: float = math.nan, *, required: bool = False) -> float:
        found = self._get(key, required)
        if found is None:
            return default
        if (
            isinstance(found, bool)
            or not isinstance(found, int | float)
            or not math.isfinite(found)
        ):
            self.fault(key, f"{key} must be a number, not {found!r}")
            return default
        return float(found)

    def flag(self, key: str, *, default: bool = False) -> bool:
        found = self._get(key, required=False)
        if found is None:
            return default
        if not isinstance(found, bool):
            self.fault(key, f"{key} must be true or false, not {found!r}")
            return default
        return found

    def span(self, key: str, default: int = 0, *, required: bool = False, least: int = 0) -> int:
        """A span such as ``"5m"`` in milliseconds; ``least`` is the smallest allowed."""
        found = self._get(key, required)
        if found is None:
            return default
        match = _SPAN.fullmatch(found.strip()) if isinstance(found, str) else None
        if match is None:
            self.fault(key, f'{key} must be a span such as "30s", "5m" or "1h", not {found!r}')
            return default
        ms = round(float(match[1]) * _UNIT_MS[match[2]])
        if ms < least:
            self.fault(key, f"{key} must be at least {span_text(least)}")
            return default
        return ms

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        found = self._get(key, required=False)
        if found is None:
            return ()
        if isinstance(found, str):
            found = [found]
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            self.fault(key, f"{key} must be a list of texts, not {found!r}")
            return ()
        if not found:
            self.fault(key, f"{key} is empty, so the rule would watch nothing", "remove the key")
        return tuple(found)

    def finish(self) -> None:
        """Name every key that nobody asked for."""
        for key in self._table:
            if key not in self._asked:
                known = sorted(self._asked)
                self.fault(
                    key,
                    f'key "{key}" is not known here',
                    near(key, known) or f"known: {', '.join(known)}",
                )

    def _get(self, key: str, required: bool) -> Any:
        if not self.has(key):
            if required:
                self.fault("", f"{key} is missing")
            return None
        return self._table[key]
