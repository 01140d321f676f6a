"""Meters of DL/T 645-2007 on a simulated line, over real sockets, with everything that goes wrong.

The protocol is written here a second time, by the standard's frame and apart from the program's own
codec, so that one mistake is not made twice.
"""

from __future__ import annotations

import asyncio
import operator
import os
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from meterwatch.simulator.faults import Line


def spoken(address: str, control: int, data: bytes = b"", wake: int = 4) -> bytes:
    """A frame on the wire."""
    low_first = bytes.fromhex(address)[::-1]
    inside = bytes((byte + 0x33) % 256 for byte in data)
    body = b"\x68" + low_first + b"\x68" + bytes([control, len(data)]) + inside
    return b"\xfe" * wake + body + bytes([sum(body) % 256, 0x16])


def behind(identifier: str, value: str = "") -> bytes:
    """An identifier and digits as people write them, as they go over the wire: low byte first.
    Several values are apart by blanks."""
    return bytes.fromhex(identifier)[::-1] + b"".join(
        bytes.fromhex(one)[::-1] for one in value.split()
    )


Shown = Mapping[str, str]
"""Digits by identifier, both as people write them; several values are apart by blanks."""


@dataclass
class SimMeter:
    """A meter and what is wrong with it at present. ``errors``: by identifier, the error byte it
    refuses with (what it does not have it refuses with 02)."""

    address: str
    shows: Callable[[], Shown]
    silent: bool = False
    says_it_is: str = ""
    before: bytes = b""
    """Noise in front of every answer."""
    lost_byte: int | None = None
    """The byte of every answer that does not arrive."""
    altered_byte: int | None = None
    cut_after: int | None = None
    """Bytes after which every answer breaks off."""
    other_identifier: str = ""
    """What it answers, whatever it is asked."""
    most: int = 200
    """Bytes of data in one frame; more come in following frames."""
    errors: dict[str, int] = field(default_factory=dict)
    ignores: frozenset[str] = frozenset()
    """Identifiers to which it says nothing."""
    whole_only: bool = False
    """It does not know abbreviated addresses, only its own and everybody's."""
    asked: list[str] = field(default_factory=list)

    def means(self, pattern: str) -> bool:
        """Whether a question to ``pattern`` is one to this meter."""
        if self.whole_only:
            return pattern in {self.address, "AA" * 6}
        pairs = zip(_bytes(pattern), _bytes(self.address), strict=True)
        return all(asked in {"AA", own} for asked, own in pairs)

    def answer(self, control: int, data: bytes) -> bytes:
        """The bytes that answer a question; none where there is no answer."""
        if self.silent:
            return b""
        address = self.says_it_is or self.address
        if control == 0x13:
            self.asked.append("who")
            return self._sent(address, 0x93, bytes.fromhex(address)[::-1])
        identifier = data[3::-1].hex().upper()
        self.asked.append(identifier)
        if identifier in self.ignores:
            return b""
        if identifier in self.errors:
            return self._sent(address, control | 0xC0, bytes([self.errors[identifier]]))
        value = self.shows().get(identifier)
        if value is None:
            return self._sent(address, control | 0xC0, b"\x02")
        named = self.other_identifier or identifier
        whole = behind(named, value)[4:]
        number = data[4] if control == 0x12 else 0
        piece = whole[number * self.most : (number + 1) * self.most]
        more = 0x20 if len(whole) > (number + 1) * self.most else 0
        last = bytes([number]) if control == 0x12 else b""
        return self._sent(address, control | 0x80 | more, behind(named) + piece + last)

    def _sent(self, address: str, control: int, data: bytes) -> bytes:
        frame = bytearray(spoken(address, control, data, wake=2))
        if self.altered_byte is not None:
            frame[self.altered_byte % len(frame)] ^= 0x01
        if self.lost_byte is not None:
            del frame[self.lost_byte % len(frame)]
        return self.before + bytes(frame[: self.cut_after])


class SimLine:
    """Meters on one line behind a transparent serial server (``async with``), behind a terminal
    that calls (``call``), or on a serial port (``serial``).

    ``lag``: answers are held back until that many more questions have come: what is late comes
    just when the next is awaited. ``echo``: the adapter repeats every question. ``collide``:
    meters that answer at the same time garble each other, as on two wires. With a ``line``
    questions and answers take their time on it.
    """

    def __init__(self, *meters: SimMeter, line: Line | None = None) -> None:
        self.meters: Sequence[SimMeter] = meters
        self.line = line
        self.lag = 0
        self.echo = False
        self.collide = False
        self.port = 0
        self.connections = 0
        self.heard = asyncio.Event()
        """Something was asked."""
        self._held: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._files: list[int] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """As the power goes; ``async with`` again opens the same port."""
        if self._server is not None:
            self._server.close()
        self.hang_up()
        for task in self._tasks:
            task.cancel()
        for file in self._files:
            asyncio.get_running_loop().remove_reader(file)
            os.close(file)
        self._files.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang_up(self) -> None:
        """Every connection ends."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def call(self, port: int, says: bytes = b"") -> None:
        """A terminal connects and says who it is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(says)
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    def serial(self) -> str:
        """A serial port with these meters at its other end; its path."""
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        self._files += [ours, theirs]
        heard = bytearray()

        def readable() -> None:
            heard.extend(os.read(ours, 4096))
            for answer in self._answers(heard):
                os.write(ours, answer)

        asyncio.get_running_loop().add_reader(ours, readable)
        return os.ttyname(theirs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        heard = bytearray()
        try:
            while data := await reader.read(4096):
                if self.line is not None:
                    await asyncio.sleep(self.line.seconds(len(data)) + self.line.turnaround)
                heard += data
                for answer in self._answers(heard):
                    if self.line is not None:
                        await asyncio.sleep(self.line.seconds(len(answer)))
                    writer.write(answer)
        except ConnectionError:
            return

    def _answers(self, heard: bytearray) -> list[bytes]:
        """What is to be sent now that ``heard`` came; whole questions are taken out of it."""
        found: list[bytes] = []
        while (begin := heard.find(0x68)) >= 0 and len(heard) >= begin + 10:
            size = heard[begin + 9] + 12
            if len(heard) < begin + size:
                break
            question = bytes(heard[begin : begin + size])
            del heard[: begin + size]
            if self.echo:
                found.append(question)
            self._held.append(self._answered(question))
            found += [self._held.pop(0) for _ in range(max(0, len(self._held) - self.lag))]
            self.heard.set()
        return found

    def _answered(self, question: bytes) -> bytes:
        pattern = question[6:0:-1].hex().upper()
        data = bytes((byte - 0x33) % 256 for byte in question[10:-2])
        answers = [meter.answer(question[8], data) for meter in self.meters if meter.means(pattern)]
        answers = [one for one in answers if one]
        if self.collide and len(answers) > 1:
            return bytes(map(operator.and_, *answers[:2]))
        return b"".join(answers)


def _bytes(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(0, 12, 2)]
