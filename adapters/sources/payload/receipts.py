"""What a sender is told of its message: what is stored, what was refused, and why. Pure.

A receipt is made for every message, whatever became of it, and is true once the journal has synced
what the message brought: who sends it waits for that. As JSON it is the same on every way back (a
reply topic, the answer to a request): docs/gateway-protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from adapters.sources.payload.ids import Id, id_in
from collector.model import Reason, Refusal

ROWS: Final = 20
"""Of the rows that were refused for one reason, so many are numbered."""


class RefusedRows(msgspec.Struct, frozen=True, gc=False):
    """Readings of one message refused for one reason (of one device). ``count``: how many.
    ``rows``: numbers of the rows they stood in, from 0, the first ``ROWS`` of them; empty where it
    is the message as a whole."""

    reason: str
    detail: str
    count: int
    rows: tuple[int, ...] = ()


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What became of one message. ``stored``: readings that go to the journal. ``id``: what the
    message called itself. ``remarks``: what its sender should mend beside what was refused, or
    although all is stored."""

    stored: int
    refused: tuple[RefusedRows, ...] = ()
    id: Id = None
    remarks: tuple[str, ...] = ()

    @staticmethod
    def of_refusal(refusal: Refusal) -> Receipt:
        """Of a message that was refused whole."""
        part = RefusedRows(refusal.reason, refusal.detail, refusal.count)
        return Receipt(0, (part,), id_in(refusal.sample))

    def kept_aside(self, why: str) -> Receipt:
        """Of the same message when the program failed on what it would have stored, which is kept
        all the same (``Delivery.kept_aside``)."""
        if not self.stored:
            return self
        failed = RefusedRows(Reason.PROGRAM_FAULT, why, self.stored)
        return Receipt(0, (*self.refused, failed), self.id, self.remarks)


BUSY: Final = "busy"
"""In the place of a refusal's reason: nothing is wrong with the message, and nothing of it is kept.
No reason of the model's, because it is never journalled."""

_DATABASE: Final = "look at the external database: the archive has the readings"
TODO: Final[Mapping[str, str]] = {
    Reason.PAYLOAD: "send the form that docs/gateway-protocol.md shows",
    Reason.UNKNOWN_GATEWAY: (
        "enter the gateway in its site's file, or correct its name at the sender"
    ),
    Reason.UNKNOWN_DEVICE: "enter the device in the registry, or correct its name at the sender",
    Reason.UNKNOWN_QUANTITY: "correct the name, or enter the quantity with the device",
    Reason.UNKNOWN_UNIT: "correct the unit",
    Reason.WRONG_SERIAL: "if the meter was exchanged, enter the new one with its first day",
    Reason.NOT_YOURS: "enter the device with this gateway, or correct its name at the sender",
    Reason.NOT_IN_SERVICE: "correct the clock, or the device's dates in the registry",
    Reason.BAD_TIME: "correct the clock, or the form of the time",
    Reason.BAD_VALUE: "send a number, true, false or null",
    Reason.TOO_LARGE: "send fewer readings in each message",
    Reason.PROGRAM_FAULT: "nothing: it is kept, and for the operator to report",
    Reason.REJECTED: _DATABASE,
    Reason.UNFIT: _DATABASE,
    BUSY: "keep the readings, and wait",
}
"""What to do, by reason: in receipts for the sender, in ``meterwatch refused`` for who looks."""

_BY_DETAIL: Final[tuple[tuple[str, str], ...]] = (
    # Of these the reason alone would say to look at the wrong thing.
    (r"topic ", "publish to meterwatch/v1/GATEWAY/readings"),
    (r".*, older than [\d,]+ days, ", "raise retention_days first, or do not send it"),
    (r".* the message has an empty one", "leave serial out, or send the number"),
    (r"line \d+ has no tag ", "add the tag, or correct its name"),
    (r".* is a text: leave it out", "leave it out, or list it under ignore of a mapping"),
    (r".*the gateway's format in the registry decides: ",
     "correct the gateway's format in the registry, or what it sends"),
)  # fmt: skip


def remedy(reason: str, detail: str) -> str:
    """What to do about what was refused so; empty for a reason of a later version."""
    for shape, todo in _BY_DETAIL:
        if re.match(shape, detail):
            return todo
    return TODO.get(reason, "")


def older(days: int) -> str:
    """Why a reading is refused that is older than what the archive keeps."""
    return (
        f"older than {days:,} days, which the archive keeps: raise retention_days first, "
        "or do not send it"
    )


def busy(receipt: Receipt) -> Receipt:
    """What the sender of a message is told as long as the disk is too full for it."""
    count = receipt.stored + sum(part.count for part in receipt.refused)
    told = "the disk is nearly full: nothing of this message is stored yet"
    return Receipt(0, (RefusedRows(BUSY, told, count),), receipt.id)


def answer(receipt: Receipt, words: Callable[[str], str] | None = None) -> bytes:
    """``receipt`` as JSON. ``words`` puts what is told to people into their language. ``retry`` is
    there, and true, when the sender must keep the message."""

    def told(text: str) -> str:
        return text if words is None else words(text)

    refused = [
        {
            "rows": part.rows,
            "count": part.count,
            "reason": part.reason,
            "detail": told(part.detail),
            "todo": told(todo) if (todo := remedy(part.reason, part.detail)) else None,
        }
        for part in receipt.refused
    ]
    made: dict[str, Any] = {"id": receipt.id, "stored": receipt.stored, "refused": refused}
    if receipt.remarks:
        made["remarks"] = [told(text) for text in receipt.remarks]
    if any(part.reason == BUSY for part in receipt.refused):
        made["retry"] = True
    return msgspec.json.encode(made)
