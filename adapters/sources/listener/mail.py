"""The messages of one session, from their arrival until they are answered.

Promises: an answer is due after the journal has synced what a message brought, or the reason of
its refusal, and in the order of the messages (MQTT 5.0, 4.6). While the disk is too full for a
message it is offered again and again, and nothing behind it is answered. What waits is bounded: by
``window``, by the gateway's share, by the room of all together.

One loop. Knows of no connection: ``changed`` is called when answers are due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from adapters.sources.inlet.desk import GZIP_GAIN, Desk, Outcome, Wrong
from adapters.sources.inlet.limits import Room, Share
from adapters.sources.listener.report import Report
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.frames import Publish
from adapters.sources.payload import Receipt, answer
from adapters.sources.payload.unpack import GZIP, MOST_BYTES
from collector.model import Reason

GO: Final = -1.0
_AGAIN_S: Final = 0.5
_ROOM_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Session:
    """Who it is, and how it can be told: packets of ``largest`` bytes, words if ``reasons``."""

    gateway: str
    version: int
    largest: int
    reasons: bool

    @property
    def topic(self) -> str:
        return f"meterwatch/v1/{self.gateway}/readings"

    @property
    def replies(self) -> str:
        return f"meterwatch/v1/{self.gateway}/replies"

    @property
    def filters(self) -> tuple[str, str]:
        """What it may subscribe to: its replies, as such or as a broker's access list grants
        them."""
        return self.replies, f"{self.replies}/#"


@dataclass(slots=True, eq=False)
class _Owed:
    """A message that is not answered yet. ``size``: what it takes of the room."""

    message: Publish
    size: int
    wrong: Wrong | None
    receipt: Receipt | None = None


class Mail:
    """``lost`` when nobody is there any more who could be answered."""

    def __init__(
        self,
        session: Session,
        window: int,
        share: Share,
        desk: Desk,
        room: Room,
        report: Report,
        changed: Callable[[], object],
    ) -> None:
        self.session, self.share = session, share
        self.lost = False
        self._window, self._desk, self._room = window, desk, room
        self._report, self._changed = report, changed
        self._loop = asyncio.get_running_loop()
        self._owed: deque[_Owed] = deque()
        self._waiting: _Owed | None = None
        self._due = False
        self._topic = b""

    def __len__(self) -> int:
        """Messages that are not answered."""
        return len(self._owed)

    def wait(self) -> float:
        """Seconds until the next message may be taken; ``GO`` for now, 0 for after the next
        ``changed``."""
        if self._waiting is not None and not self._submit(self._waiting):
            return _ROOM_S
        if len(self._owed) >= self._window:
            return 0.0
        over = self.share.over(self._loop.time())
        if over is not None:
            self._report.paused(over.limit, self.session.gateway)
            return over.wait
        return _AGAIN_S if self._desk.full() else GO

    def put(self, message: Publish) -> None:
        """Take one; ``wait`` said so."""
        self._report.message(1 if message.mid else 0)
        size = len(message.payload)
        if message.payload[:2] == GZIP:
            size = min(MOST_BYTES, size * GZIP_GAIN)
        one = _Owed(message, size, self._wrong(message.topic))
        self.share.enter(size)
        self.share.used(size=message.size)
        self._owed.append(one)
        self._waiting = one
        self._submit(one)

    def drop(self) -> None:
        """The connection is gone: what is under way is stored, and nobody told."""
        self.lost = True
        if self._waiting is not None:
            self.share.leave(self._waiting.size)
            self._waiting = None

    def answers(self, *, replies: bool) -> bytes:
        """What is due, in the order of the messages."""
        self._due = False
        out = bytearray()
        session = self.session
        while self._owed and (receipt := self._owed[0].receipt) is not None:
            one = self._owed.popleft()
            if replies:
                out += self._reply(receipt)
            if one.message.mid:
                code, told = _code(one, receipt)
                told = told if session.reasons else ""
                mid, largest = one.message.mid, session.largest
                out += packets.puback(session.version, mid, code, told, largest)
        return bytes(out)

    def _reply(self, receipt: Receipt) -> bytes:
        session = self.session
        packet = packets.publish(session.version, session.replies, answer(receipt))
        if len(packet) <= session.largest:
            return packet
        self._report.no_reply()
        return b""

    def _wrong(self, topic: bytes) -> Wrong | None:
        """Why a message on this topic is not looked at; None for a gateway's own."""
        if topic == self._topic and topic:
            return None
        session, (*_, version, gateway, what) = self.session, [b"", b"", *topic.split(b"/")]
        readings = (version, what) == (b"v1", b"readings")
        if readings and gateway == session.gateway.encode():
            self._topic = topic
            return None
        named = topic.decode(errors="replace")
        told = f"topic {named!r:.120}: {session.gateway} publishes to {session.topic}"
        return Wrong(Reason.NOT_YOURS if readings else Reason.PAYLOAD, told)

    def _submit(self, one: _Owed) -> bool:
        """Hand it over, if there is room."""
        if not self._room.take_now(one.size):
            return False
        self._waiting = None
        self._bring(one)
        return True

    def _bring(self, one: _Owed) -> None:
        message = one.message
        outcome = self._desk.bring(
            ("", ""),
            self.session.topic,
            message.payload,
            gzip=message.payload[:2] == GZIP,
            excess=message.size if message.cut else 0,
            wrong=one.wrong,
        )
        outcome.add_done_callback(partial(self._settled, one))

    def _settled(self, one: _Owed, outcome: asyncio.Future[Outcome]) -> None:
        """The journal has it, or the disk is too full for it."""
        if outcome.cancelled():
            return
        receipt = outcome.result()
        if receipt is None:
            self._loop.call_later(_AGAIN_S, self._again, one)
            return
        self._leave(one)
        self.share.used(readings=receipt.stored + sum([part.count for part in receipt.refused]))
        one.receipt = receipt
        if not self._due:
            self._due = True
            self._loop.call_soon(self._changed)

    def _again(self, one: _Owed) -> None:
        if self.lost:
            self._leave(one)  # its sender has it still
        else:
            self._bring(one)

    def _leave(self, one: _Owed) -> None:
        self._room.give(one.size)
        self.share.leave(one.size)


def _code(one: _Owed, receipt: Receipt) -> tuple[int, str]:
    """A reason code of PUBACK (MQTT 5.0, 3.4.2.1), and its words: a refusal is one only where
    nothing of the message was stored."""
    if receipt.stored or not receipt.refused:
        return packets.SUCCESS, ""
    first = receipt.refused[0]
    told = f"{first.reason}: {first.detail}"
    if one.wrong is not None:
        other = one.wrong.reason == Reason.NOT_YOURS
        return packets.NOT_AUTHORIZED if other else packets.BAD_TOPIC, told
    return packets.BAD_PAYLOAD if first.reason == Reason.PAYLOAD else packets.REFUSED, told
