"""Simulated meters: Modbus servers on real sockets, with faults to switch on.

A ``Meter`` computes its registers at the moment it is asked, from a function of the time and
its profile, so it is consistent however often and in which order it is read. A ``MeterServer``
is one connection's other end: several slaves behind one port, Modbus TCP or RTU frames over
TCP (a serial converter). Its protocol code is its own, so that the program under test is not
checked against the library that it uses.

Like a serial line, an RTU server answers one question at a time, in order, and sends an answer
to whoever is connected when it is ready: a late one meets the next question.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from adapters.sources.modbus.codec import encode, spread
from adapters.sources.modbus.plan import width
from collector.profile import Profile, Register, Text, canonical
from meterwatch.simulator.faults import Gateway, Line, Trouble, spoilt_body, spoilt_wire

__all__ = ["DEVICE_BUSY", "Gateway", "Line", "Meter", "MeterServer", "Trouble", "crc16"]

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
DEVICE_BUSY: Final = 6


@dataclass(slots=True)
class Meter:
    """A slave. ``values(now)`` gives, for UTC ms, its quantities in canonical units (gauges as
    on the primary side; counters as the register shows them, rolled over or not: it wraps).
    With ``raw`` it gives register numbers before scale instead, which are exact.

    A quantity it leaves out, or NaN, is answered as the type's "no value". Addresses without
    a register are answered as 0, or with exception 2 when ``holes`` is False. ``held``: what it
    was set to, raw, in registers that are no readings (factors, exponents, ratios).
    """

    unit: int
    profile: Profile
    values: Callable[[int], Mapping[str, float]]
    ratio: float = 1.0
    voltage_ratio: float = 1.0
    current_ratio: float = 1.0
    raw: bool = False
    holes: bool = True
    serial: str = ""
    held: Mapping[Register, float] = field(default_factory=dict)
    trouble: Trouble | None = None
    delay: float = 0.0
    exception: int = DEVICE_BUSY
    distort: Callable[[str, float], float] = lambda _, number: number
    asked: int = 0
    """Questions so far."""
    answers: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Questions answered with values so far, by function and address."""
    gate: asyncio.Event | None = None
    """With ``SLOW``: the answer waits for this instead of ``delay``."""
    thinks: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is about to answer ``LATE``."""
    _words: dict[tuple[int, int], int] = field(default_factory=dict)
    _at: tuple[int, Trouble | None] | None = None

    def read(self, function: int, address: int, count: int, now: int) -> list[int] | int:
        """Registers or coils, or an exception code."""
        if self._at != (now, self.trouble):
            self._words = self._compute(now)
            self._at = (now, self.trouble)
        wanted = [(function, address + n) for n in range(count)]
        if not self.holes and any(key not in self._words for key in wanted):
            return ILLEGAL_ADDRESS
        if address + count > 0x10000:
            return ILLEGAL_ADDRESS
        return [self._words.get(key, 0) for key in wanted]

    def _compute(self, now: int) -> dict[tuple[int, int], int]:
        numbers = self.values(now)
        words = self._itself()
        for register in self.profile.registers:
            number = numbers.get(register.quantity, float("nan"))
            if self.trouble is Trouble.WRONG:
                number = self.distort(register.quantity, number)
            if not self.raw:
                number = self._register_number(register, number)
            for one, shown in spread(register, number, self.held):
                _put(words, one, encode(one, shown))
        return words

    def _itself(self) -> dict[tuple[int, int], int]:
        """What it says of itself, where its model has registers for that."""
        words: dict[tuple[int, int], int] = {}
        for register, number in self.held.items():
            _put(words, register, encode(register, number))
        where = self.profile.identity.serial
        if isinstance(where, Register):
            _put(words, where, encode(where, float(self.serial or 0)))
        elif isinstance(where, Text):
            letters = self.serial.encode("ascii").ljust(2 * where.words, b"\0")
            order = "<" if where.order == "BADC" else ">"
            _put(words, where, struct.unpack(f"{order}{where.words}H", letters[: 2 * where.words]))
        return words

    def _register_number(self, register: Register, number: float) -> float:
        """The decoder's way backwards: from the canonical unit to the register's number."""
        unit = canonical(register)
        ratio = 1.0
        if register.ratio and not unit.counter:
            own = {"voltage": self.voltage_ratio, "current": self.current_ratio}
            ratio = own.get(unit.scales, self.ratio)
        return ((number / ratio - unit.offset) / unit.scale - register.offset) / register.scale


def _put(words: dict[tuple[int, int], int], one: Register | Text, shown: Sequence[int]) -> None:
    """Enter the words of one value; bits share theirs."""
    if isinstance(one, Register):
        shown = shown[: width(one)]
    for n, word in enumerate(shown):
        key = (one.function, one.address + n)
        shared = isinstance(one, Register) and one.type == "bit" and one.function in {3, 4}
        words[key] = words.get(key, 0) | word if shared else word


class MeterServer:
    """One port with slaves behind it. ``async with MeterServer(...) as server: server.port``.

    ``now`` is the clock that the meters live by (UTC ms). ``rtu`` frames as a serial converter
    does; otherwise Modbus TCP. With a ``line``, bytes take their time on it, one question after
    another, whatever the framing. ``stop`` and ``start`` again keep the port.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        now: Callable[[], int],
        *,
        rtu: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        line: Line | None = None,
        gateway: Gateway = Gateway.HONEST,
    ) -> None:
        self.line = line
        self.gateway = gateway
        self.meters = {meter.unit: meter for meter in meters}
        self.host = host
        self.port = port
        self.rtu = rtu
        self.connections = 0
        """Connections accepted so far."""
        self._now = now
        self._server: asyncio.Server | None = None
        self._open: list[_Connection] = []
        self._questions: asyncio.Queue[tuple[_Connection, int, bytes]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: tuple[_Connection, int, bytes] | None = None
        """What a hasty gateway takes for open; and an answer it has left over for it."""
        self._left_over: bytes | None = None

    async def start(self) -> None:
        """Listen; with port 0 on a free one, which ``port`` then names."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host, self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        if self._serial:
            self._spawn(self._serve())

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        """Close every connection; new ones are welcome."""
        for connection in list(self._open):
            connection.transport.abort()

    def url(self, unit: int) -> str:
        """The ``connection`` of a slave, as a registry names it."""
        scheme = "modbus+rtu-tcp" if self.rtu else "modbus+tcp"
        return f"{scheme}://{self.host}:{self.port}?unit={unit}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Called by connections.

    def came(self, connection: _Connection) -> None:
        self.connections += 1
        self._open.append(connection)

    def went(self, connection: _Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)
        self._asked = self._left_over = None

    def question(self, connection: _Connection, number: int, frame: bytes) -> None:
        """``frame`` is unit, function and data. Answered at once where nothing stands in the
        way; on an RTU line one after another."""
        if self._serial:
            self._questions.put_nowait((connection, number, frame))
            return
        meter = self.meters.get(frame[0])
        if meter is not None and meter.trouble in {Trouble.SLOW, Trouble.LATE}:
            self._spawn(self._slowly(meter, connection, number, frame))
        else:
            self._answer(meter, connection, number, frame)

    # Inside.

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def _serial(self) -> bool:
        return self.rtu or self.line is not None or self.gateway is Gateway.HASTY

    async def _serve(self) -> None:
        """A serial line: one question at a time."""
        while True:
            connection, number, frame = await self._questions.get()
            self._asked = connection, number, frame
            if self._left_over is not None:
                self._hastily(self._left_over)
            if self.line is not None:
                await asyncio.sleep(self.line.seconds(len(frame) + 2) + self.line.turnaround)
            meter = self.meters.get(frame[0])
            if meter is not None and (meter.trouble is Trouble.LATE or meter.thinks.locked()):
                meter.asked += 1
                self._spawn(self._later(meter, self._reply(meter, frame), connection, number))
                continue
            if meter is not None and meter.trouble is Trouble.SLOW:
                await self._wait(meter)
            listener = self._open[-1] if self._open else connection
            await self._speak(meter, listener, number, frame)

    async def _speak(
        self, meter: Meter | None, connection: _Connection, number: int, frame: bytes
    ) -> None:
        """The answer is what the meter holds when it begins to speak."""
        if meter is None or meter.trouble is Trouble.DEAD or self.line is None:
            self._answer(meter, connection, number, frame)
            return
        now = self._now()
        await asyncio.sleep(self.line.seconds(len(self._reply(meter, frame)) + 2))
        self._answer(meter, connection, number, frame, now)

    async def _later(
        self, meter: Meter, answer: bytes, connection: _Connection, number: int
    ) -> None:
        """Into whatever is going on by then. A meter answers its questions in order."""
        async with meter.thinks:
            if meter.trouble is Trouble.LATE:
                await self._wait(meter)
        if self.gateway is Gateway.HASTY:
            self._hastily(answer)
        elif self.rtu and self._open:
            self._open[-1].send(0, answer)
        else:
            connection.send(number, answer)

    def _hastily(self, answer: bytes) -> None:
        """The answer to whatever was asked last; when nothing is open, to the next question."""
        if self._asked is None:
            self._left_over = answer if self._open else None
            return
        connection, number, frame = self._asked
        self._asked = self._left_over = None
        connection.send(number, frame[:1] + answer[1:])

    async def _slowly(
        self, meter: Meter, connection: _Connection, number: int, frame: bytes
    ) -> None:
        await self._wait(meter)
        self._answer(meter, connection, number, frame)

    @staticmethod
    async def _wait(meter: Meter) -> None:
        if meter.gate is not None:
            await meter.gate.wait()
        else:
            await asyncio.sleep(meter.delay)

    def _answer(
        self,
        meter: Meter | None,
        connection: _Connection,
        number: int,
        frame: bytes,
        now: int | None = None,
    ) -> None:
        if meter is None:
            return
        meter.asked += 1
        trouble = meter.trouble
        if trouble is Trouble.DEAD:
            return
        if trouble is Trouble.DROPS:
            connection.transport.abort()
        elif trouble is Trouble.GARBAGE:
            connection.transport.write(b"\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff")
        elif trouble is Trouble.EXCEPTION:
            connection.send(number, _refusal(frame, meter.exception))
        else:
            answer = self._reply(meter, frame, now)
            if self.gateway is Gateway.HASTY:
                self._hastily(answer)
            else:
                connection.send(number, answer, trouble)
            if answer[1] == frame[1] and not connection.transport.is_closing():
                meter.answers[frame[1], int.from_bytes(frame[2:4], "big")] += 1

    def _reply(self, meter: Meter, frame: bytes, now: int | None = None) -> bytes:
        unit, function = frame[0], frame[1]
        if function not in {1, 2, 3, 4}:
            return _refusal(frame, ILLEGAL_FUNCTION)
        address, count = struct.unpack_from(">HH", frame, 2)
        if not 1 <= count <= (2000 if function < 3 else 125):
            return _refusal(frame, 3)
        words = meter.read(function, address, count, self._now() if now is None else now)
        if isinstance(words, int):
            return _refusal(frame, words)
        if meter.trouble is Trouble.SHORT:
            words = words[:-1]
        if function < 3:
            bits = sum(bit << n for n, bit in enumerate(words))
            data = bits.to_bytes((len(words) + 7) // 8, "little")
        else:
            data = struct.pack(f">{len(words)}H", *words)
        return bytes((unit, function, len(data))) + data


class _Connection(asyncio.Protocol):
    """Frames in, frames out, in either framing."""

    def __init__(self, server: MeterServer) -> None:
        self._server = server
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.came(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio calls it so
        self._server.went(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._server.rtu:
            self._rtu_frames()
        else:
            self._tcp_frames()

    def send(self, number: int, body: bytes, trouble: Trouble | None = None) -> None:
        body = spoilt_body(trouble, body)
        rtu = self._server.rtu
        wire = (
            body + struct.pack("<H", crc16(body))
            if rtu
            else struct.pack(">HHH", number, 0, len(body)) + body
        )
        if wire := spoilt_wire(trouble, wire, checked=rtu):
            self.transport.write(wire)

    def _tcp_frames(self) -> None:
        while len(self._buffer) >= 6:
            number, protocol, length = struct.unpack_from(">HHH", self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                self.transport.abort()
                return
            if len(self._buffer) < 6 + length:
                return
            frame, self._buffer = self._buffer[6 : 6 + length], self._buffer[6 + length :]
            self._server.question(self, number, frame)

    def _rtu_frames(self) -> None:
        """Reading questions are eight bytes; what does not check is noise up to the next pause."""
        while len(self._buffer) >= 8:
            frame, self._buffer = self._buffer[:8], self._buffer[8:]
            if struct.pack("<H", crc16(frame[:6])) != frame[6:]:
                self._buffer = b""
                return
            self._server.question(self, 0, frame[:6])


def _refusal(frame: bytes, code: int) -> bytes:
    return bytes((frame[0], frame[1] | 0x80, code))


def crc16(data: bytes) -> int:
    """CRC-16 of Modbus over serial line V1.02, clause 2.5.1.2; sent low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def _crc_row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC: Final = tuple(_crc_row(byte) for byte in range(256))
