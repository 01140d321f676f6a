"""``books``: what went through each counter, once it is final, and again when late data changed it.

The state is where the books' clock stood when everything up to there was told, and how far the
present way is gone. Promises: those of :mod:`adapters.state.books_changes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adapters.projection.feeds import Known, Opened, State, numbers
from adapters.state.books_changes import LEVELS, START, BooksChanges, Told
from collector.accounts.standing import NEVER
from collector.schema import BOOKS, SPANS, Statement
from collector.telemetry import Telemetry

_SPAN: Final = dict(zip(LEVELS, SPANS, strict=True))


class BooksFeed:
    """See the module."""

    def __init__(self, path: Path, known: Known, telemetry: Telemetry | None) -> None:
        self._books = Opened(path, BooksChanges, telemetry)
        self._known = known

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:  # noqa: ARG002 the books have a clock of their own
        found = self._books.ask(lambda books: self._told(books, dict(state), room))
        return ([], state) if found is None else found

    def _told(self, books: BooksChanges, state: State, room: int) -> tuple[list[Statement], State]:
        told: list[Told] = []
        closed = books.closed()
        since: int = state.get("since", NEVER)
        if closed < state.get("until", since):
            state, since = {}, NEVER  # books begun anew: all of theirs is news
        while len(told) < room and (closed > since or "until" in state):
            until = state.get("until", closed)
            point, quarter = state.get("after", START)
            found, follows = books.told(since, until, (point, quarter), room - len(told))
            told += found
            if follows is None:
                state, since = {"since": until}, until
            else:
                state = {"since": since, "until": until, "after": list(follows)}
        return [self._statement(one) for one in told], state

    def _statement(self, one: Told) -> Statement:
        site, place, quantity, _ = one.name.split("/", 3)
        tags = {
            "county": self._known.county(site),
            "place": place,
            "quantity": quantity,
            "site": site,
            "span": _SPAN[one.level],
        }
        fields = numbers(amount=one.amount, measured=one.measured, estimated=one.estimated)
        return Statement(BOOKS, tags, fields, one.start, revision=one.revision)

    def close(self) -> None:
        self._books.close()
