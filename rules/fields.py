"""One ``[[rule]]`` table, read key by key in the words of rules. Pure.

A reader never raises and never stops at the first fault: it notes what is wrong with its line,
answers with the default, and :meth:`Fields.finish` names the keys that nobody asked for. All of
that is :class:`collector.sections.Section`; here is what a rule file adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.sections import Section


class Fields:
    """A ``[[rule]]`` table."""

    def __init__(self, section: Section) -> None:
        self._section = section

    @property
    def file(self) -> str:
        return self._section.file

    def line(self) -> int:
        return self._section.line()

    def fault(self, key: str, what: str, todo: str = "") -> None:
        """A fault at ``key``; at the table itself where ``key`` is empty."""
        self._section.fault(key or (), what, todo)

    def has(self, key: str) -> bool:
        return self._section.has(key)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        return self._section.text(key, default, required=required)

    def word(self, key: str, known: Sequence[str]) -> str:
        """One word of ``known``, required; the first of them where it is missing or wrong."""
        return self._section.text(key, required=True, choices=known) or known[0]

    def number(self, key: str, default: float) -> float:
        if not self.has(key):
            return default
        return self._section.check_number((key,), self._section.data[key], default)

    def whole(self, key: str, default: int, *, least: int, most: int) -> int:
        return self._section.whole_number(key, default, least=least, most=most)

    def known(self, key: str, name: str, choices: Sequence[str], what: str) -> bool:
        """Whether ``name``, which stands at ``key``, is one of ``choices``."""
        return self._section.known(key, name, choices, what)

    def flag(self, key: str, *, default: bool = False) -> bool:
        return self._section.flag(key, default=default)

    def span(self, key: str, default: int = 0, *, required: bool = False, least: int = 0) -> int:
        """A span such as ``"5m"`` in milliseconds; ``least`` is the smallest allowed."""
        if required and not self.has(key):
            self.fault("", f'"{key}" is missing', f'add {key} = "5m"')
        return round(1000 * self._section.seconds(key, default / 1000, least=least / 1000))

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text; an empty list is a fault."""
        if isinstance(self._section.data.get(key), str):
            return (self.text(key),)
        if self._section.data.get(key) == []:
            self.fault(key, f"{key} is empty, so the rule would watch nothing", "remove the key")
        return self._section.texts(key)

    def finish(self) -> None:
        """Name every key that nobody asked for."""
        self._section.close()
