"""Which answers may still be under way: questions that were asked and never answered. Pure.

Where an answer carries nothing of its question but unit, function and length, a late one is told
from the right one only by being different in one of them. So what is owed is remembered: a
question may be asked when nothing like its answer is owed, and its answer, being like none of the
late ones, comes after them all (a device answers in order) and ends the debt.

``key`` is whoever answers in order by itself: a unit on a line whose frames say which unit speaks;
0 for everything behind a gateway, which may put anybody's late answer under the newest number.
A debt ends after ``KEPT_S``: no answer comes later than that. For ``DOUBT_S`` after a debt ended
without its answer having come, the answer is *in doubt*: something on the way may have kept it back
and let others pass. Then an answer counts only when the next question is answered as it should be,
for a late one would have pushed the right one behind itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEPT_S: Final = 300.0
"""A hundred times the usual timeout: no buffer on the way keeps an answer for so long."""
DOUBT_S: Final = 60.0
MOST: Final = 64
"""Debts of one key; beyond it the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Debt:
    function: int
    length: int
    number: int
    until: float


class Owed:
    """Debts by key; ``now`` is any clock in seconds."""

    def __init__(self) -> None:
        self._debts: dict[int, list[Debt]] = {}
        self._doubts: dict[tuple[int, int, int], float] = {}

    def __bool__(self) -> bool:
        return bool(self._debts or self._doubts)

    def add(self, key: int, function: int, length: int, number: int, now: float) -> None:
        """It was asked and not answered."""
        debts = self._debts.setdefault(key, [])
        debts.append(Debt(function, length, number, now + KEPT_S))
        del debts[:-MOST]

    def alike(self, key: int, function: int, length: int, now: float) -> bool:
        """May such an answer be a late one?"""
        return any(
            debt.function == function and debt.length == length for debt in self._alive(key, now)
        )

    def exception(self, key: int, function: int, now: float) -> bool:
        """An exception came: may it be a late one? Then it was the oldest's."""
        for debt in self._alive(key, now):
            if debt.function == function:
                self._end(key, debt)
                return True
        return False

    def came(self, key: int, function: int, length: int, number: int = 0) -> bool:
        """An answer came that nobody waits for; whether it was owed. What a number says is taken
        only where it fits: it may have been stamped on something else."""
        like = [
            debt
            for debt in self._debts.get(key, ())
            if debt.function == function and debt.length == length
        ]
        if not like:
            return False
        self._end(key, next((debt for debt in like if debt.number == number), like[0]))
        return True

    def clear(self, key: int, now: float) -> None:
        """It answered something that was owed nobody: everything older should be over."""
        for debt in self._debts.pop(key, ()):
            self._doubts[key, debt.function, debt.length] = now + DOUBT_S

    def doubtful(self, key: int, function: int, length: int, now: float) -> bool:
        """May such a late answer still have been overtaken?"""
        until = self._doubts.get((key, function, length))
        if until is not None and until <= now:
            del self._doubts[key, function, length]
            return False
        return until is not None

    def _alive(self, key: int, now: float) -> list[Debt]:
        debts = [debt for debt in self._debts.get(key, ()) if debt.until > now]
        if debts:
            self._debts[key] = debts
        else:
            self._debts.pop(key, None)
        return debts

    def _end(self, key: int, debt: Debt) -> None:
        debts = self._debts[key]
        debts.remove(debt)
        if not debts:
            del self._debts[key]
