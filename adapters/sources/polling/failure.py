"""Why there is no answer: a value, never an exception that travels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class What(Enum):
    """What went wrong, by what should be done about it."""

    CONNECT = "no connection"
    LOST = "connection lost"
    SILENT = "no answer"
    REFUSED = "refused"
    """The device answered that it will not, or cannot now."""
    NO_SUCH = "no such data"
    """Not here, not like this; asking again will not help."""
    BUSY = "busy"
    """It is well, and asks to be asked again."""
    GARBLED = "wrong answer"
    WRONG_DEVICE = "another device"
    """It answers, and says that it is not the one in the registry."""
    FAULT = "the program failed on it"


ALIVE: Final = frozenset({What.NO_SUCH, What.REFUSED, What.BUSY})
"""Who refuses is there."""


@dataclass(frozen=True, slots=True)
class Failure:
    """``detail`` says it to an electrician. ``code``: the protocol's own number, 0 for none."""

    what: What
    detail: str
    code: int = 0

    def __str__(self) -> str:
        return f"{self.what.value}: {self.detail}"
