"""One line of DL/T 645 meters, asked one question at a time.

Promise: ``read`` gives the data that answers this very question, or a ``Failure`` as a value; it
never raises for what happens on the wire.

Frames carry no number, so a late answer looks like the answer to the same question asked again.
What is done about it:
- an answer counts only while its question is open, and only from this meter, with this control
  code and this identifier; everything that came before the question was sent is forgotten;
- a question that stayed unanswered is *owed*: before the same is asked of this meter again, it is
  asked something else first. Once that is answered, whatever came late has come.
- an answer in several frames is asked for piece by piece and only whole.

A pause within a frame is half a second at most (clause 5.3.3 of the standard), so a frame that has
begun may end a little after the timeout, and one that stopped is given up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from adapters.sources.dlt645 import message as messages
from adapters.sources.dlt645.frame import (
    ANY,
    GAP_S,
    Event,
    Frame,
    Noise,
    Reader,
    Why,
    encode,
    matches,
)
from adapters.sources.dlt645.message import Address, Answer, Message, Other, Question, Refusal
from adapters.sources.dlt645.wire import Wire
from adapters.sources.polling.failure import Failure, What
from collector.telemetry import Telemetry

SILENCES: Final = 4
"""This many questions in a row without a single byte, and a TCP connection may be half open."""
FRAME_S: Final = 4.0
"""The longest frame takes no longer at 600 baud; what goes on for longer is no frame."""
FRAMES: Final = 255
"""Following frames are numbered in one byte."""
ENERGY: Final = 0x00010000
"""What every meter has."""
STEPS: Final = (0x04000102, 0x02800002, 0x04000101, ENERGY, *range(0x00010001, 0x0001000D))
"""Asked to get into step: the time, the frequency, the date, energy now and on billing days. A
refusal will do as well. There are so many because a dead meter comes to owe them too."""


class Link:
    """A connection to a line, opened by ``connect`` as often as needed. Used by one task.
    ``timeout`` seconds for one answer, ``gap`` of silence before each question. After ``silences``
    questions in a row without a single byte it is closed; 0: never, for a serial port, and for who
    asks addresses that nobody may have."""

    def __init__(
        self,
        wire: Wire,
        telemetry: Telemetry,
        timeout: float,
        gap: float = 0.0,
        silences: int = SILENCES,
    ) -> None:
        self.timeout = timeout
        self._gap = gap
        self._quiet_from = 0.0
        self._most_silences = silences
        self._wire = wire
        self._telemetry = telemetry
        self._reader = Reader()
        self._events: deque[Event] = deque()
        self._heard = asyncio.Event()
        self._heard_at = 0.0
        self._open = False
        """Whether a question is."""
        self._lost = ""
        self._garbled = 0
        self._stray = False
        self._foreign = ""
        self._silences = 0
        self._owed: defaultdict[str, dict[int, None]] = defaultdict(dict)
        """By meter, the latest identifiers that it may yet answer, oldest first."""

    @property
    def connected(self) -> bool:
        return self._wire.connected

    @property
    def noisy(self) -> bool:
        """Whether bytes came since the latest question that belong to no frame at all: an answer
        beyond recognition, several at once, or what a terminal says now and then."""
        return self._stray

    async def connect(self) -> Failure | None:
        """Open the line anew; None when it is open."""
        self._lost = ""
        self._silences = 0
        why = await self._wire.open(self._hear, self._lose)
        return Failure(What.CONNECT, why) if why else None

    def close(self) -> None:
        self._wire.close()

    async def read(
        self, meter: str, identifier: int, patience: float | None = None
    ) -> bytes | Failure:
        """The data behind ``identifier``, of all its frames. Each may take ``patience`` seconds,
        ``timeout`` when not given."""
        wait = self.timeout if patience is None else min(patience, self.timeout)
        if identifier in self._owed[meter]:
            failure = await self._step(meter, wait)
            if failure is not None:
                return failure
        data = b""
        number: int | None = None
        while True:
            answer = await self._piece(meter, identifier, number, wait)
            if isinstance(answer, Failure):
                return answer
            data += answer.data
            if not answer.more:
                return data
            number = (number or 0) + 1
            if number > FRAMES:
                return Failure(What.GARBLED, f"meter {meter} never ends its answer")

    async def who(
        self, pattern: str, patience: float | None = None, *, reading: bool = False
    ) -> str | Failure:
        """The address of the one meter that ``pattern`` means. It is asked only at first contact,
        so there is time to hear whether a second one answers. Everybody is asked for the address;
        with ``reading`` for a value, as part of an address always is: some know only that."""
        wait = self.timeout if patience is None else min(patience, self.timeout)
        known = messages.read(pattern, ENERGY)
        question = messages.read_address() if pattern == ANY and not reading else known
        seen: set[str] = set()

        def meant(said: Message) -> bool:
            if isinstance(said, Address | Answer | Refusal) and matches(pattern, said.address):
                seen.add(said.address)
            return bool(seen)

        answer = await self._ask(question, meant, pattern, wait)
        if isinstance(answer, Failure):
            return answer
        await self._listen(GAP_S, lambda said: meant(said) and len(seen) > 1)
        if len(seen) > 1:
            several = " and ".join(sorted(seen))
            return Failure(What.GARBLED, f"meters {several} answer to {pattern}")
        return seen.pop()

    # Asking.

    async def _piece(
        self, meter: str, identifier: int, number: int | None, wait: float
    ) -> Answer | Failure:
        """One frame of an answer: the first, or the following one ``number``."""
        if number is None:
            question = messages.read(meter, identifier)
        else:
            question = messages.follow(meter, identifier, number)

        def meant(said: Message) -> bool:
            match said:
                case Answer():
                    given = (said.address, said.identifier, said.number)
                    return given == (meter, identifier, number)
                case Refusal():
                    named = said.identifier in {None, identifier}
                    return named and (said.address, said.control) == (meter, question.control)
            return False

        answer = await self._ask(question, meant, meter, wait)
        if isinstance(answer, Failure):
            if answer.what in {What.SILENT, What.GARBLED}:
                self._owe(meter, identifier)
            return answer
        if isinstance(answer, Refusal):
            what = What.NO_SUCH if answer.no_such else What.REFUSED
            return Failure(what, f"meter {meter} answers to {identifier:08X}: {answer}")
        if identifier not in self._owed[meter]:
            self._owed.pop(meter, None)  # what came late has come before this
        assert isinstance(answer, Answer)
        return answer

    async def _step(self, meter: str, wait: float) -> Failure | None:
        """Ask ``meter`` for something that it owes nobody."""
        identifier = next(one for one in STEPS if one not in self._owed[meter])
        answer = await self._piece(meter, identifier, None, wait)
        if isinstance(answer, Failure) and answer.what not in {What.NO_SUCH, What.REFUSED}:
            return answer
        self._owed.pop(meter, None)
        return None

    def _owe(self, meter: str, identifier: int) -> None:
        """``meter`` may yet answer this. Always one fewer than there are ``STEPS``; what is older
        than so many unanswered questions does not come any more."""
        owed = self._owed[meter]
        owed.pop(identifier, None)
        owed[identifier] = None
        while len(owed) >= len(STEPS):
            del owed[next(iter(owed))]

    async def _ask(
        self, question: Frame, meant: Callable[[Message], bool], meter: str, wait: float
    ) -> Message | Failure:
        loop = asyncio.get_running_loop()
        if self._gap and (rest := self._quiet_from + self._gap - loop.time()) > 0:
            await asyncio.sleep(rest)
        if not self.connected:
            return Failure(What.LOST, self._lost or "the line is not open")
        self._forget()
        self._wire.send(encode(question))
        answer = await self._listen(wait, meant)
        self._quiet_from = loop.time()
        if answer is not None:
            return answer
        if self._lost:
            return Failure(What.LOST, self._lost)
        return self._silent(meter, wait)

    async def _listen(self, seconds: float, meant: Callable[[Message], bool]) -> Message | None:
        """The first message that is ``meant``; None after ``seconds`` without one, or when the
        connection is lost. A frame that has begun gets the pauses that it may have."""
        self._open = True
        try:
            return await self._until_meant(seconds, meant)
        finally:
            self._open = False

    async def _until_meant(
        self, seconds: float, meant: Callable[[Message], bool]
    ) -> Message | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        latest = until + FRAME_S
        while True:
            while self._events:
                said = self._say(self._events.popleft())
                if said is not None and meant(said):
                    return said
            if self._lost:
                return None
            left = until - loop.time()
            if left <= 0:
                until = min(self._heard_at + GAP_S, latest)
                if not self._reader.pending:
                    return None
                left = until - loop.time()
                if left <= 0:
                    self._events.extend(self._reader.idle())
                    if not self._events:
                        return None
                    continue
            await self._until_heard(left)

    async def _until_heard(self, seconds: float) -> None:
        self._heard.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            return

    # Hearing.

    def _hear(self, data: bytes) -> None:
        self._silences = 0  # whatever it says, the connection lives
        if not self._open:
            self._telemetry.count("dlt645_unasked_bytes", len(data))
            return
        self._heard_at = asyncio.get_running_loop().time()
        self._events.extend(self._reader.receive(data))
        self._heard.set()

    def _lose(self, why: str) -> None:
        self._lost = why
        self._heard.set()

    def _forget(self) -> None:
        """What came before the question has nothing to do with its answer."""
        self._reader.clear()
        self._events.clear()
        self._garbled = 0
        self._stray = False
        self._foreign = ""
        self._heard_at = 0.0

    def _say(self, event: Event) -> Message | None:
        """What a frame says; what is none, or is not for us, is only counted."""
        if isinstance(event, Noise):
            self._telemetry.count("dlt645_noise_bytes", len(event.data))
            if event.why is Why.STRAY:
                self._stray = True
            else:
                self._garbled += 1
            return None
        said = messages.understand(event)
        if isinstance(said, Question):
            return None  # our own, as some adapters echo it, or another reader's
        if isinstance(said, Other):
            self._foreign = f"meter {said.address} sends {said.text}"
        else:
            self._foreign = f"an answer of meter {event.address} to something else came"
        return said

    def _silent(self, meter: str, wait: float) -> Failure:
        if not self._heard_at:
            self._silences += 1
            if self._silences == self._most_silences:
                self._wire.close()
        text = f"meter {meter} does not answer within {wait:.3g} s"
        if self._foreign:
            self._telemetry.count("dlt645_foreign_answers")
            return Failure(What.GARBLED, f"{text}; {self._foreign}")
        if self._garbled:
            detail = f"{text}; what comes is garbled: look at baud rate, parity and wiring"
            return Failure(What.GARBLED, detail)
        return Failure(What.SILENT, text)
