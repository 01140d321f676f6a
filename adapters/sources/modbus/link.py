"""One Modbus connection, and the only file that knows pymodbus (3.16).

Promise: ``read`` gives bytes that answer this very question, or a ``Failure`` as a value; it
never raises for what happens on the wire and never waits longer than it may.

pymodbus opens connections and carries bytes. What it does not do, and is done here:
- a first ``connect`` that failed is never retried by it: every connect here is a new client,
  and it is given ``CONNECT_S`` at least: a lost SYN is sent again after 1 s and after 3, and a
  busy program may not take a slow turn of its own loop for a dead meter;
- its ``execute`` waits with ``asyncio.wait_for``, which until Python 3.12 forgets a cancellation
  that comes with the answer, and takes longer over it than over sending the question: we write
  the question (``request.py``) and wait by ourselves;
- a connection lost while a question is open is told at once, not after the timeout;
- it takes any answer of the right unit for the answer: bytes are read by ``reply.py`` instead,
  which holds unit, function, byte count and number against the question;
- RTU frames carry no number, so it would take a late answer for the answer to the next question,
  and every later one be off by one. After any timeout on RTU framing the connection is closed. A
  serial converter may still pass the late answer on through the new one, and a gateway may put
  the newest number on it, so (``owed.py``) nothing is asked whose answer looks like a late one
  before the device, asked for something else, has shown that it is in step.
"""

from __future__ import annotations

import asyncio
import logging
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from serial import SerialException

from adapters.sources.modbus import request
from adapters.sources.modbus.address import Bus, Framing
from adapters.sources.modbus.owed import Owed
from adapters.sources.modbus.plan import Block
from adapters.sources.modbus.reply import Kind, Question, Reply, rtu, tcp
from adapters.sources.modbus.request import LAST_NUMBER
from adapters.sources.polling.failure import Failure, What
from adapters.sources.polling.serial_port import drive, why_closed

EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still working",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway: target device does not respond",
}
"""Exception codes of the Modbus application protocol, V1.1b3, clause 7."""
_MEANS: Final = {
    **dict.fromkeys((1, 2, 3), What.NO_SUCH),
    **dict.fromkeys((5, 6), What.BUSY),
    # The gateway speaks for a device that is silent; the gateway itself is well.
    **dict.fromkeys((10, 11), What.SILENT),
}

CONNECT_S: Final = 5.0
"""A connect gets so long, or the timeout of an answer where that is longer: it keeps nobody else
from the line."""
SILENCES_BEFORE_RECONNECT: Final = 2
"""TCP: this many timeouts in a row, and the connection may be half open."""
ASTRAY_BEFORE_RECONNECT: Final = 4
"""Answers in a row to something else than was asked."""
TRIES_IN_STEP: Final = 4
"""Questions to find out, at one go, whether a device is in step again."""
BUFFER: Final = 4096


class Link:
    """A connection to ``bus``, opened by ``connect`` as often as needed. Used by one task.
    ``timeout`` seconds for one answer, unless the bus's own URL says otherwise. ``monotonic``
    seconds, by which late answers are given up; what the wire needs is waited for by the loop."""

    def __init__(
        self, bus: Bus, timeout: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.bus = bus
        self.timeout = bus.timeout or timeout
        self.connects = 0
        """Connections made so far."""
        self._client: Any = None  # AsyncModbusTcpClient | AsyncModbusSerialClient
        self._numbered = bus.framing is Framing.TCP
        self._number = 0
        """Of the newest question. Counted on over connections: a late answer may outlive one."""
        self._open: Question | None = None
        self._answer: asyncio.Future[Reply] | None = None
        """What the open question waits for; an exception in it: there will be no answer."""
        self._deadline = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._silences = self._astray = 0
        self._now = monotonic
        self._owed = Owed()
        self._answers: dict[int, list[Block]] = {}
        """By unit, questions it has answered with data, one for each length."""
        # 3.5 characters of silence end an RTU frame, and 1.75 ms from 19200 baud upwards
        # (Modbus over serial line V1.02, clause 2.5.1.1).
        serial = bus.framing is Framing.SERIAL
        self._pause = max(max(3.5 * 11 / bus.baud, 0.00175) if serial else 0.0, bus.gap)
        self._quiet_from = 0.0
        # What goes wrong is a value here; its logger tells every timeout as an error.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)

    @property
    def connected(self) -> bool:
        return self._client is not None and bool(self._client.connected)

    async def connect(self) -> Failure | None:
        """Open the connection anew; None when it is open."""
        self.close()
        client = self._made()
        why = ""
        try:
            opened = await client.connect()
            if opened and self.bus.rs485:
                drive(client.ctx.transport.sync_serial, self.bus.rs485)
        except (ModbusException, OSError, ValueError, termios.error, SerialException) as fault:
            opened, why = False, f": {fault}"
        except asyncio.CancelledError:
            client.close()
            raise
        _heed_cancellation(client)
        if not opened:
            client.close()
            if self.bus.framing is Framing.SERIAL:
                why = f": {why_closed(self.bus.host, rs485=bool(self.bus.rs485))}"
            return Failure(What.CONNECT, f"cannot open {self.bus.place}{why}")
        client.ctx.callback_data = self._came
        client.ctx.max_buffer_size = BUFFER
        self._client = client
        self._silences = self._astray = 0
        self.connects += 1
        return None

    async def read(self, unit: int, block: Block, patience: float | None = None) -> bytes | Failure:
        """The registers of ``block``, two bytes each as on the wire; coils as 0 or 1 in two
        bytes each. An answer may take ``patience`` seconds, ``timeout`` when not given."""
        wait = self.timeout if patience is None else min(patience, self.timeout)
        if self._owed and self._alike(unit, block):
            failure = await self._step(unit, block, wait)
            if failure is not None:
                return failure
        answer = await self._ask(unit, block, wait)
        if self._owed and isinstance(answer, bytes) and self._doubtful(unit, block):
            failure = await self._confirm(unit, block, wait)
            return answer if failure is None else failure
        return answer

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._client is not None:
            self._client.close()
            self._client = None

    # Opening.

    def _made(self) -> Any:
        """A client that neither retries nor reconnects by itself."""
        bus = self.bus
        options: dict[str, Any] = {
            "timeout": max(self.timeout, CONNECT_S),  # of a connect; answers are waited for here
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": self._connection,
        }
        if bus.framing is Framing.SERIAL:
            return AsyncModbusSerialClient(
                bus.host,
                framer=FramerType.RTU,
                baudrate=bus.baud,
                parity=bus.parity,
                stopbits=bus.stop,
                **options,
            )
        framer = FramerType.SOCKET if bus.framing is Framing.TCP else FramerType.RTU
        return AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer, **options)

    def _connection(self, made: bool) -> None:
        """pymodbus says that the connection is there or gone: wake whoever waits for an answer."""
        if not made:
            self._give_up(ConnectionResetError("the other side closed the connection"))

    def _give_up(self, reason: OSError) -> None:
        """There will be no answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(reason)

    # Asking.

    async def _ask(self, unit: int, block: Block, patience: float) -> bytes | Failure:
        loop = asyncio.get_running_loop()
        if self._pause and (rest := self._quiet_from + self._pause - loop.time()) > 0:
            await asyncio.sleep(rest)
        if not self.connected:
            return Failure(What.LOST, self.bus.place)
        try:
            reply = await self._sent(loop, unit, block, patience)
        except TimeoutError:
            return self._silent(unit, block, patience)
        except (OSError, termios.error) as fault:
            self._owe(unit, block)
            return self._drop(What.LOST, str(fault))
        except asyncio.CancelledError:
            self._owe(unit, block)
            self.close()
            raise
        finally:
            self._answer = self._open = None
        if self._pause:
            self._quiet_from = loop.time()
        self._silences = 0
        return self._judged(unit, block, reply)

    def _sent(
        self, loop: asyncio.AbstractEventLoop, unit: int, block: Block, patience: float
    ) -> asyncio.Future[Reply]:
        """Send a question. Nobody else uses this client."""
        self._number = number = self._number % LAST_NUMBER + 1
        numbered = self.bus.framing is Framing.TCP
        frame = request.tcp(unit, block, number) if numbered else request.rtu(unit, block)
        self._open = Question(unit, block.function, _length(block), number)
        answer = self._answer = loop.create_future()
        self._deadline = loop.time() + patience
        if self._watch is not None and self._watch.when() > self._deadline:
            self._watch.cancel()
            self._watch = None
        if self._watch is None:
            self._watch = loop.call_at(self._deadline, self._look, loop)
        self._client.ctx.send(frame)  # which forgets what came before
        return answer

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Is the answer overdue? One timer for many questions: most are answered long before."""
        self._watch = None
        if self._answer is None:
            return
        if loop.time() < self._deadline:
            self._watch = loop.call_at(self._deadline, self._look, loop)
        else:
            self._give_up(TimeoutError())

    def _came(self, data: bytes, addr: object = None) -> int:  # noqa: ARG002 pymodbus calls it so
        """Bytes came: how many of them are done with."""
        waiting = self._answer is not None and not self._answer.done()
        question = self._open if waiting else None
        used, replies = (tcp if self.bus.framing is Framing.TCP else rtu)(data, question)
        for reply in replies:
            if question is not None and self._ends(question, reply):
                assert self._answer is not None
                self._answer.set_result(reply)
                question = None
            else:
                self._late(reply)
        if question is None and used < len(data):
            used += self._after(data[used:])
        return used

    def _after(self, rest: bytes) -> int:
        """What lies behind the answer was asked by nobody."""
        used, replies = (tcp if self.bus.framing is Framing.TCP else rtu)(rest, None)
        for reply in replies:
            self._late(reply)
        return used

    def _ends(self, question: Question, reply: Reply) -> bool:
        """Whether there is nothing better to wait for."""
        if reply.kind is Kind.BROKEN:
            return True
        if self.bus.framing is Framing.TCP:
            return reply.number in {question.number, 0}
        return reply.unit == question.unit and (
            reply.kind is not Kind.STRAY or reply.function & 0x7F == question.function
        )

    def _late(self, reply: Reply) -> None:
        """Nobody waits for this one. One that was not even owed is said a second time: the next
        answer may be, too."""
        if reply.kind is Kind.BROKEN:
            return
        key = self._key(reply.unit)
        if reply.function & 0x80:
            self._owed.exception(key, reply.function & 0x7F, self._now())
        elif not self._owed.came(key, reply.function, reply.length, reply.number):
            self._owed.add(key, reply.function, reply.length, 0, self._now())

    def _judged(self, unit: int, block: Block, reply: Reply) -> bytes | Failure:
        if self.bus.framing is Framing.TCP and reply.kind is not Kind.BROKEN:
            self._numbered = reply.number != 0  # there are gateways that do not number answers
        if reply.kind is Kind.DATA:
            if self._owed:
                self._owed.clear(self._key(unit), self._now())
            self._astray = 0
            self._remember(unit, block)
            return _spread(reply.data, block.count) if block.function in {1, 2} else reply.data
        if reply.kind is Kind.EXCEPTION:
            return self._excepted(unit, block, reply.code)
        self._owe(unit, block)
        if reply.kind is Kind.BROKEN:
            return self._drop(What.GARBLED, f"{self.bus.place} answers something else than Modbus")
        self._owed.came(self._key(unit), reply.function, reply.length)
        self._astray += 1
        if self._astray >= ASTRAY_BEFORE_RECONNECT:
            self.close()  # every answer is that to the question before: start anew
        return Failure(
            What.GARBLED,
            f"unit {reply.unit} answers function {reply.function} with {reply.length} bytes; unit"
            f" {unit} was asked for function {block.function} with {_length(block)}",
        )

    def _excepted(self, unit: int, block: Block, code: int) -> Failure:
        detail = f"unit {unit} answers exception {code}"
        detail += f" ({EXCEPTIONS[code]})" if code in EXCEPTIONS else ""
        detail += f" to {block.count} from {block.address:#06x}, function {block.function}"
        if self._owed and self._owed.exception(self._key(unit), block.function, self._now()):
            self._owe(unit, block)
            return Failure(What.BUSY, f"{detail}, or to an earlier question", code)
        return Failure(_MEANS.get(code, What.REFUSED), detail, code)

    def _silent(self, unit: int, block: Block, patience: float) -> Failure:
        self._silences += 1
        self._owe(unit, block)
        if not self._numbered or self._silences >= SILENCES_BEFORE_RECONNECT:
            self.close()
        return Failure(What.SILENT, f"unit {unit} does not answer within {patience:.3g} s")

    def _drop(self, what: What, detail: str) -> Failure:
        self.close()
        return Failure(what, detail)

    # What is owed.

    def _key(self, unit: int) -> int:
        """On an RTU line the frame says whose it is; a gateway says what it likes."""
        return 0 if self.bus.framing is Framing.TCP else unit

    def _owe(self, unit: int, block: Block) -> None:
        """``unit`` may yet answer ``block``, on whatever connection is open then."""
        number = self._open.number if self._open is not None else 0
        self._owed.add(self._key(unit), block.function, _length(block), number, self._now())

    def _alike(self, unit: int, block: Block) -> bool:
        return self._owed.alike(self._key(unit), block.function, _length(block), self._now())

    def _doubtful(self, unit: int, block: Block) -> bool:
        key = self._key(unit)
        return self._owed.doubtful(key, block.function, _length(block), self._now())

    async def _confirm(self, unit: int, block: Block, patience: float) -> Failure | None:
        """Was that the answer to ``block``? Then the next one is that to the next question."""
        question = next(
            q
            for q in self._others(unit, block)
            if _length(q) != _length(block) and not self._alike(unit, q)
        )
        answer = await self._ask(unit, question, patience)
        if isinstance(answer, bytes) or answer.what in {What.NO_SUCH, What.REFUSED}:
            return None
        return answer

    def _remember(self, unit: int, block: Block) -> None:
        known = self._answers.setdefault(unit, [])
        if block not in known:
            others = [one for one in known if _length(one) != _length(block)]
            known[:] = [*others[-7:], block]

    async def _step(self, unit: int, block: Block, patience: float) -> Failure | None:
        """Ask ``unit`` for something whose answer is like none that is owed: when *that* comes,
        all late ones are over."""
        answer: bytes | Failure = Failure(What.SILENT, f"unit {unit} may answer late")
        for _ in range(TRIES_IN_STEP):
            question = next(
                (q for q in self._others(unit, block) if not self._alike(unit, q)), None
            )
            if question is None:
                break
            answer = await self._ask(unit, question, patience)
            if not self._alike(unit, block):
                return None
            if isinstance(answer, Failure) and (
                answer.what in {What.SILENT, What.LOST} or not self.connected
            ):
                return answer
        return answer if isinstance(answer, Failure) else None

    def _others(self, unit: int, block: Block) -> Iterator[Block]:
        """What may be asked instead: what it has answered before, else a few registers."""
        yield from self._answers.get(unit, ())
        each = 8 if block.function in {1, 2} else 1
        for n in (2, 1, *range(3, 33)):
            yield Block(block.function, block.address, each * n)
        yield Block(7 - block.function if block.function > 2 else 3, block.address, 2)


def shortest(block: Block) -> Block:
    """As little of it as can be asked."""
    return Block(block.function, block.address, 1)


def _heed_cancellation(client: Any) -> None:
    """pymodbus waits with ``asyncio.wait_for``, which until Python 3.12 forgets a cancellation
    that comes in the same turn of the loop as the answer: whoever cancelled waits forever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        client.close()
        raise asyncio.CancelledError


def _length(block: Block) -> int:
    """Bytes of data in the answer to ``block``."""
    return (block.count + 7) // 8 if block.function in {1, 2} else 2 * block.count


def _spread(raw: bytes, count: int) -> bytes:
    """Packed coils, first in the lowest bit, as two bytes each."""
    bits = int.from_bytes(raw, "little")
    return b"".join(b"\0\1" if bits >> n & 1 else b"\0\0" for n in range(count))
