"""Lines to a database, so that one bad line never costs another.

Promise: when ``deliver`` returns, every line is stored, or is in what it returns with the server's
own reason. A part that is rejected is halved until the line is found that does it, and a line of
many fields is then sent field by field. Sending again what was stored is harmless, because the
same series and time is the same row.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.stores.external import Database, LinesRejectedError
from adapters.stores.line import narrowed


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that the database will not take, with its own reason."""

    line: bytes
    reason: str


def deliver(database: Database, lines: bytes) -> list[RejectedLine]:
    """Write ``lines`` (each with its end). Raises ``TemporaryError`` when the database takes
    nothing now; any of the lines may be stored then."""
    try:
        database.write(lines)
    except LinesRejectedError as fault:
        reason = str(fault)
    else:
        return []
    each = lines.splitlines(keepends=True)
    if len(each) == 1:
        each = narrowed(each[0])
        if len(each) == 1:
            return [RejectedLine(each[0], reason)]
    half = len(each) // 2
    return deliver(database, b"".join(each[:half])) + deliver(database, b"".join(each[half:]))
