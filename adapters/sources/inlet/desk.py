"""Bodies that are here whole -> one batch -> the journal -> what each sender is told.

All that came while the last batch was decoded is the next one: columns are made once for many
requests. A small batch is decoded where it is; a large one in a thread, so that the loop goes on
serving. One batch at a time, for a decoder may be used by one thread only.

Invariant: an outcome with a receipt is given only after the journal has synced the batch and the
refusals of its request.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from adapters.sources.inlet.report import Report
from adapters.sources.payload import Decoded, Message, Receipt
from adapters.sources.payload.unpack import GZIP
from collector.model import Batch, Reason, Refusal
from collector.ports import Clock, Delivery, Intake, Urgency

TURN_REQUESTS: Final = 512
TURN_BYTES: Final = 4 << 20
INLINE_BYTES: Final = 64 << 10
"""A batch of at most so many bytes is decoded in the loop: it takes less than handing it over."""
GZIP_GAIN: Final = 32
"""How much larger than its packed form a body is taken to be."""
_PRESSURE_S: Final = 0.1
_TURN_S: Final = 0.002
"""A batch is begun no sooner than this after the last: under load they become larger, and every
request waits for the disk longer than that anyway."""


Form = tuple[str, str]
"""Of a body, and of its timestamps, where that is not what the registry says of its gateway."""


class Wrong(NamedTuple):
    """Why a body is refused before anybody looks at it."""

    reason: str
    detail: str


class Decoder(Protocol):
    """What the desk needs of a payload decoder."""

    def decode_many(
        self, messages: Sequence[Message], form: str = "", unit: str = ""
    ) -> Decoded: ...

    def too_large(self, topic: str, head: bytes, size: int, received: int) -> Refusal: ...


Outcome = Receipt | None
"""What became of a request; None when the disk is too full for it."""


@dataclass(slots=True, eq=False)
class Arrived:
    """A request whose body is here, in this ``form``, from whom ``topic`` says.
    ``size`` of the body; ``cut``: it was too large, and this is its beginning; ``wrong``: why it is
    refused unread."""

    form: Form
    topic: str
    body: bytes
    size: int
    cut: bool
    gzip: bool
    wrong: Wrong | None
    received: int
    since: float
    outcome: asyncio.Future[Outcome]


class Desk:
    """``decoder`` is asked for with each batch: a reload changes it. ``largest``: bytes that a body
    may have, as sent. One loop."""

    def __init__(
        self,
        decoder: Callable[[], Decoder],
        intake: Intake,
        clock: Clock,
        report: Report,
        largest: int,
    ) -> None:
        self._decoder, self._intake, self._clock = decoder, intake, clock
        self._report, self._largest = report, largest
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Arrived] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "inlet-decode")
        self._asked, self._full = -1.0, False

    def full(self) -> bool:
        """The disk takes no pushed readings. Asked ten times a second at most: it looks at the
        file system."""
        now = self._loop.time()
        if now - self._asked >= _PRESSURE_S:
            self._asked, self._full = now, self._intake.pressure() > Urgency.PUSH
        return self._full

    def bring(
        self,
        form: Form,
        topic: str,
        body: bytes,
        *,
        gzip: bool = False,
        excess: int = 0,
        wrong: Wrong | None = None,
    ) -> asyncio.Future[Outcome]:
        """Have a body decoded, stored and synced. Or refused, and kept as evidence: where it had
        ``excess`` bytes, too many, and ``body`` is its beginning; or where ``wrong`` says why
        it is not looked at."""
        outcome: asyncio.Future[Outcome] = self._loop.create_future()
        now, since, size = self._clock.now(), self._loop.time(), excess or len(body)
        self._waiting.append(
            Arrived(form, topic, body, size, bool(excess), gzip, wrong, now, since, outcome)
        )
        self._came.set()
        return outcome

    async def run(self) -> None:
        """Until cancelled. What is waiting then stays without an outcome."""
        last = 0.0
        try:
            while True:
                await self._came.wait()
                early = last + _TURN_S - self._loop.time()
                if early > 0:
                    await asyncio.sleep(early)
                last = self._loop.time()
                await self._turn()
        finally:
            self._thread.shutdown(wait=False)

    async def _turn(self) -> None:
        lots: dict[Form, list[Arrived]] = {}
        requests = size = 0
        while self._waiting and requests < TURN_REQUESTS and size < TURN_BYTES:
            one = self._waiting.popleft()
            lots.setdefault(one.form, []).append(one)
            requests += 1
            size += len(one.body) * (GZIP_GAIN if one.gzip else 1)
        if not self._waiting:
            self._came.clear()
        decoder = self._decoder()
        for form, lot in lots.items():
            if size <= INLINE_BYTES:
                self._decode(decoder, form, lot)
            else:
                await self._loop.run_in_executor(self._thread, self._decode, decoder, form, lot)

    # In the loop or in the thread.

    def _decode(self, decoder: Decoder, form: Form, lot: list[Arrived]) -> None:
        good: list[Arrived] = []
        for one in lot:
            refusal = self._refusal(decoder, one)
            if refusal is not None:
                told = Decoded(Batch.empty(), [refusal], False, [Receipt.of_refusal(refusal)])
                self._hand_over([one], told)
                continue
            good.append(one)
        if good:
            self._store(decoder, form, good)

    def _refusal(self, decoder: Decoder, one: Arrived) -> Refusal | None:
        """Why a body is refused before it is looked at."""
        if one.cut:
            found = decoder.too_large(one.topic, one.body, one.size, one.received)
            size = f"{one.size:,} bytes"
            told = found.detail.replace(size, f"{size}, {self._largest:,} are the most", 1)
            return dataclasses.replace(found, detail=told)
        wrong = one.wrong
        if one.gzip and not one.body.startswith(GZIP):  # which the decoder goes by
            told = "the body is not gzip, though Content-Encoding says so"
            wrong = Wrong(Reason.PAYLOAD, told)
        if wrong is not None:
            like = decoder.too_large(one.topic, one.body, one.size, one.received)
            return dataclasses.replace(like, reason=wrong.reason, detail=wrong.detail)
        return None

    def _store(self, decoder: Decoder, form: Form, lot: list[Arrived]) -> None:
        messages = [(one.topic, one.body, one.received) for one in lot]
        decoded = decoder.decode_many(messages, *form)
        late = decoded.batch.segments.backfill
        if late.any() and not late.all() and self._intake.pressure() > Urgency.BACKFILL:
            # The disk is nearly full, and the late ones are refused first.
            for one, message in zip(lot, messages, strict=True):
                self._hand_over([one], decoder.decode_many([message], *form))
        else:
            self._hand_over(lot, decoded)
        for one in lot:
            one.body = b""

    def _hand_over(self, lot: Sequence[Arrived], decoded: Decoded) -> None:
        def answered(*, synced: bool) -> None:
            """The intake's thread tells."""
            receipts, aside = decoded.receipts, delivery.kept_aside
            if aside:
                receipts = [receipt.kept_aside(aside) for receipt in receipts]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, lot, receipts, synced)

        delivery = Delivery(
            decoded.batch if len(decoded.batch) else None,
            Urgency.BACKFILL if decoded.backfill else Urgency.PUSH,
            decoded.refusals,
            synced=lambda: answered(synced=True),
            refused=lambda: answered(synced=False),
        )
        self._intake.submit(delivery)

    # In the loop.

    def _settle(self, lot: Sequence[Arrived], receipts: Sequence[Receipt], synced: bool) -> None:
        if synced:
            readings = sum([receipt.stored for receipt in receipts])
            since = min([one.since for one in lot])
            self._report.synced(len(lot), readings, self._loop.time() - since)
        for one, receipt in zip(lot, receipts, strict=True):
            if not one.outcome.done():
                one.outcome.set_result(receipt if synced else None)
