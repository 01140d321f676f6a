"""One Modbus connection, and the only file that knows pymodbus (3.16).

Promise: ``read`` gives bytes that answer this very question, or a ``Failure`` as a value; it
never raises for what happens on the wire and never waits longer than ``timeout`` seconds.

What pymodbus does not do, and is done here:
- a first ``connect`` that failed is never retried by it: every connect here is a new client,
  and it is given ``CONNECT_S`` at least: a lost SYN is sent again after 1 s and after 3, and a
  busy program may not take a slow turn of its own loop for a dead meter;
- its ``execute`` waits with ``asyncio.wait_for``, which until Python 3.12 forgets a cancellation
  that comes with the answer, and takes longer over it than over sending the question: we send
  through it and wait by ourselves;
- a connection lost while a question is open is told at once, not after the timeout;
- it takes any answer of the right unit for the answer: function and length are checked here;
- RTU frames carry no number, so a late answer would be taken for the answer to the next
  question, and every later one be off by one. After any timeout on RTU framing the connection
  is closed. A serial converter may still pass the late answer on through the new one, so the
  unit is first asked something whose answer has another length: when *that* comes back, the
  line is in step. TCP framing numbers its questions; a gateway that answers with number 0
  is treated like RTU.
"""

from __future__ import annotations

import asyncio
import logging
import os
import termios
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from adapters.sources.modbus.address import Bus, Framing
from adapters.sources.modbus.plan import Block


class What(Enum):
    """What went wrong, by what should be done about it."""

    CONNECT = "no connection"
    LOST = "connection lost"
    SILENT = "no answer"
    REFUSED = "refused"
    """The device answered with an exception other than the two below."""
    NO_SUCH = "no such register"
    """Exceptions 1, 2 and 3: not here, not like this; asking again will not help."""
    GARBLED = "wrong answer"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer; ``detail`` says it to an electrician."""

    what: What
    detail: str

    def __str__(self) -> str:
        return f"{self.what.value}: {self.detail}"


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
_NO_SUCH: Final = {1, 2, 3}
_SILENT_BEHIND: Final = {10, 11}
"""The gateway speaks for a device that is silent."""

CONNECT_S: Final = 5.0
"""A connect gets so long, or the timeout of an answer where that is longer: it keeps nobody else
from the line."""
SILENCES_BEFORE_RECONNECT: Final = 2
"""TCP: this many timeouts in a row, and the connection may be half open."""


# pymodbus parses registers one by one into lists; the bytes as they came are all we need, and
# a struct reads them at once. Lengths are checked in ``read``: raising here would only make
# asyncio log a fatal error.
class _Raw:
    raw: bytes = b""

    def decode(self, data: bytes) -> None:
        self.raw = data[1:] if data and data[0] == len(data) - 1 else b""


class _Coils(_Raw, ReadCoilsResponse):
    pass


class _Discrete(_Raw, ReadDiscreteInputsResponse):
    pass


class _Holding(_Raw, ReadHoldingRegistersResponse):
    pass


class _Input(_Raw, ReadInputRegistersResponse):
    pass


_REQUESTS: Final[dict[int, Callable[..., ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}


class Link:
    """A connection to ``bus``, opened by ``connect`` as often as needed. Used by one task."""

    def __init__(self, bus: Bus, timeout: float) -> None:
        self.bus = bus
        self.timeout = timeout
        self.connects = 0
        """Connections made so far."""
        self._client: Any = None  # AsyncModbusTcpClient | AsyncModbusSerialClient
        self._numbered = bus.framing is Framing.TCP
        self._answer: asyncio.Future[ModbusPDU] | None = None
        """What the open question waits for; an exception in it: there will be no answer."""
        self._deadline = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._silences = 0
        self._owed: dict[int, deque[int]] = {}
        # 3.5 characters of silence end an RTU frame, and 1.75 ms from 19200 baud upwards
        # (Modbus over serial line V1.02, clause 2.5.1.1).
        serial = bus.framing is Framing.SERIAL
        self._pause = max(3.5 * 11 / bus.baud, 0.00175) if serial else 0.0
        self._quiet_from = 0.0
        # What goes wrong is a value here; its logger tells every timeout as an error.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)

    @property
    def connected(self) -> bool:
        return self._client is not None and bool(self._client.connected)

    async def connect(self) -> Failure | None:
        """Open the connection anew; None when it is open."""
        self.close()
        client = self._open()
        why = ""
        try:
            opened = await client.connect()
        except (ModbusException, OSError, ValueError, termios.error) as fault:
            opened, why = False, str(fault)
        except asyncio.CancelledError:
            client.close()
            raise
        _heed_cancellation(client)
        if not opened:
            client.close()
            return Failure(What.CONNECT, f"cannot open {self.bus.place}" + (self._reason() or why))
        self._client = client
        self._silences = 0
        self.connects += 1
        return None

    async def read(self, unit: int, block: Block) -> bytes | Failure:
        """The registers of ``block``, two bytes each as on the wire; coils as 0 or 1 in two
        bytes each."""
        if unit in self._owed:
            failure = await self._step(unit, block)
            if failure is not None:
                return failure
        return await self._ask(unit, block)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> Any:
        """A client that neither retries nor reconnects by itself."""
        bus = self.bus
        options: dict[str, Any] = {
            "timeout": max(self.timeout, CONNECT_S),  # of a connect; answers are waited for here
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": self._connection,
        }
        client: Any
        if bus.framing is Framing.SERIAL:
            client = AsyncModbusSerialClient(
                bus.host,
                framer=FramerType.RTU,
                baudrate=bus.baud,
                parity=bus.parity,
                stopbits=bus.stop,
                **options,
            )
        else:
            framer = FramerType.SOCKET if bus.framing is Framing.TCP else FramerType.RTU
            client = AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer, **options)
        for response in (_Coils, _Discrete, _Holding, _Input):
            client.register(response)
        return client

    def _connection(self, made: bool) -> None:
        """pymodbus says that the connection is there or gone: wake whoever waits for an answer."""
        if not made:
            self._give_up(ConnectionResetError("the other side closed the connection"))

    def _give_up(self, reason: OSError) -> None:
        """There will be no answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(reason)

    def _reason(self) -> str:
        """Why a serial port cannot be opened, where that can be seen."""
        if self.bus.framing is not Framing.SERIAL:
            return ""
        if not Path(self.bus.host).exists():
            return ": there is no such serial port"
        if not os.access(self.bus.host, os.R_OK | os.W_OK):
            return ": no permission to read and write it"
        return ": in use, or not a serial port"

    async def _ask(self, unit: int, block: Block) -> bytes | Failure:
        loop = asyncio.get_running_loop()
        if self._pause:
            await asyncio.sleep(max(0.0, self._quiet_from + self._pause - loop.time()))
        if not self.connected:
            return Failure(What.LOST, self.bus.place)
        request = _REQUESTS[block.function](address=block.address, count=block.count, dev_id=unit)
        try:
            answer = await self._sent(loop, request)
        except TimeoutError:
            return self._silent(unit, block)
        except (OSError, termios.error) as fault:
            return self._drop(What.LOST, str(fault))
        except asyncio.CancelledError:
            self._owe(unit, block)
            self.close()
            raise
        finally:
            self._answer = None
        if self._pause:
            self._quiet_from = loop.time()
        self._silences = 0
        return self._checked(unit, block, answer)

    def _sent(
        self, loop: asyncio.AbstractEventLoop, request: ModbusPDU
    ) -> asyncio.Future[ModbusPDU]:
        """Send ``request`` as pymodbus's ``execute`` does. Nobody else uses this client."""
        manager = self._client.ctx
        request.transaction_id = manager.getNextTID()
        manager.recv_buffer = b""
        self._answer = manager.response_future = loop.create_future()
        self._deadline = loop.time() + self.timeout
        if self._watch is None:
            self._watch = loop.call_at(self._deadline, self._look, loop)
        manager.pdu_send(request)
        return self._answer

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Is the answer overdue? One timer for many questions: most are answered long before."""
        self._watch = None
        if self._answer is None:
            return
        if loop.time() < self._deadline:
            self._watch = loop.call_at(self._deadline, self._look, loop)
        else:
            self._give_up(TimeoutError())

    def _checked(self, unit: int, block: Block, answer: Any) -> bytes | Failure:
        if self._numbered and answer.transaction_id == 0:
            self._numbered = False  # this gateway does not number its answers
        if answer.function_code == block.function | 0x80:
            code = answer.exception_code
            detail = f"unit {unit} answers exception {code}"
            detail += f" ({EXCEPTIONS[code]})" if code in EXCEPTIONS else ""
            detail += f" to {block.count} from {block.address:#06x}, function {block.function}"
            if code in _SILENT_BEHIND:
                return Failure(What.SILENT, detail)
            return Failure(What.NO_SUCH if code in _NO_SUCH else What.REFUSED, detail)
        raw: bytes = getattr(answer, "raw", b"")
        length = _length(block)
        if answer.function_code != block.function or len(raw) != length:
            # The line is out of step: whatever else is under way would answer the next question.
            self._owe(unit, block)
            return self._drop(
                What.GARBLED,
                f"unit {unit} answers function {answer.function_code} with {len(raw)} bytes,"
                f" asked for function {block.function} with {length}",
            )
        return _spread(raw, block.count) if block.function in {1, 2} else raw

    def _silent(self, unit: int, block: Block) -> Failure:
        self._silences += 1
        if not self._numbered:
            self._owe(unit, block)
            self.close()
        elif self._silences >= SILENCES_BEFORE_RECONNECT:
            self.close()
        return Failure(What.SILENT, f"unit {unit} does not answer within {self.timeout:g} s")

    def _drop(self, what: What, detail: str) -> Failure:
        self.close()
        return Failure(what, detail)

    def _owe(self, unit: int, block: Block) -> None:
        """``unit`` may yet answer ``block``, on whatever connection is open then."""
        self._owed.setdefault(unit, deque(maxlen=4)).append(_length(block))

    async def _step(self, unit: int, block: Block) -> Failure | None:
        """Ask ``unit`` for a number of registers that it owes nobody; its answer, of the right
        length, comes after all late ones. An exception is as good."""
        each = 8 if block.function in {1, 2} else 1
        questions = (Block(block.function, block.address, each * n) for n in range(1, 8))
        question = next(q for q in questions if _length(q) not in self._owed[unit])
        answer = await self._ask(unit, question)
        if isinstance(answer, Failure) and answer.what not in {What.REFUSED, What.NO_SUCH}:
            return answer
        del self._owed[unit]
        return None


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
