"""How the slaves of one Modbus bus are spoken to: a poll is its blocks, one after another.

Before the readings of a slave count it is asked who it is, where the registry and its profile know
that: at first, whenever it may have been exchanged, and once a day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.sources.modbus.link import Link, shortest
from adapters.sources.modbus.plan import Block
from adapters.sources.modbus.slave import Slave
from adapters.sources.polling import Answer, Failure, What
from adapters.sources.polling.failure import ALIVE
from collector.ports import Clock

REFUSALS: Final = 8
"""Blocks of one poll that are read in halves; the search goes on with the next poll."""


class ModbusSpeaker:
    """Implements ``polling.Speaker``. ``patience`` says how long a question of a poll may wait."""

    def __init__(
        self, link: Link, clock: Clock, patience: Callable[[Slave, int], float | None]
    ) -> None:
        self.timeout = link.timeout
        self._link = link
        self._clock = clock
        self._patience = patience
        self.connect = link.connect
        self.close = link.close

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def ask(self, device: Slave, patience: float, *, short: bool) -> Failure | None:
        """A refusal is an answer, except of a slave that refused everything."""
        block = device.plan.blocks[0]
        answer = await self._link.read(device.unit, shortest(block) if short else block, patience)
        if isinstance(answer, bytes) or (answer.what in ALIVE and not device.barren):
            return None
        return answer

    async def poll(self, device: Slave) -> Answer | Failure:
        if device.asks_who(self._clock.now()):
            failure = await self._identify(device)
            if failure is not None:
                return failure
        clock, plan = self._clock, device.plan
        before = clock.monotonic()
        longest = 0.0
        answers: list[bytes] = []
        for block in plan.blocks:
            patience = self._patience(device, clock.now())
            answer = await self._link.read(device.unit, block, patience)
            after = clock.monotonic()
            longest, before = max(longest, after - before), after
            if isinstance(answer, bytes):
                answers.append(answer)
            elif answer.what is What.NO_SUCH:
                return await self._search(device, answers, answer)
            else:
                return answer
        values, qualities = plan.decode(b"".join(answers))
        return Answer(plan.points, values, qualities, longest)

    async def _search(
        self, device: Slave, answers: list[bytes], refusal: Failure
    ) -> Answer | Failure:
        """The rest of a poll, of which one block was refused after so many ``answers``: what is
        refused is read in halves."""
        blocks = device.plan.blocks
        done = list(blocks[: len(answers)])
        left = list(reversed(blocks[len(answers) + 1 :]))
        left += reversed(self._pieces(device, blocks[len(answers)], refusal, done))
        refusals = 1
        while left and refusals <= REFUSALS:
            block = left.pop()
            patience = self._patience(device, self._clock.now())
            answer = await self._link.read(device.unit, block, patience)
            if isinstance(answer, bytes):
                done.append(block)
                answers.append(answer)
            elif answer.what is What.NO_SUCH:
                refusal = answer
                refusals += 1
                if refusals <= REFUSALS:
                    left += reversed(self._pieces(device, block, answer, done))
            else:
                device.replan(whole=False)
                return answer
        return _refused(device, done, answers, refusal, whole=refusals <= REFUSALS)

    @staticmethod
    def _pieces(device: Slave, block: Block, refusal: Failure, done: list[Block]) -> list[Block]:
        answers = any(one.function == block.function for one in done)
        return device.narrow(block, refusal.code, answers=answers)

    async def _identify(self, device: Slave) -> Failure | None:
        """Who is it? What it does not say is no objection; another serial number is one."""
        answers: dict[Block, bytes] = {}
        for block in device.who:
            answer = await self._link.read(device.unit, block, None)
            if isinstance(answer, bytes):
                answers[block] = answer
            elif answer.what in {What.NO_SUCH, What.REFUSED}:
                continue
            elif answer.what is not What.SILENT or not device.well or not device.unsaid():
                return answer
        return device.said(answers, self._clock.now())


def _refused(
    device: Slave, done: list[Block], answers: list[bytes], refusal: Failure, *, whole: bool
) -> Answer | Failure:
    """What came of a poll in which something was refused."""
    read = device.only(done)
    values, qualities = read.decode(b"".join(answers))
    device.replan(whole=whole)
    if device.barren:
        return refusal
    return Answer(read.points, values, qualities, None, whole)
