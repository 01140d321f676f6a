"""One device on a bus, as the bus sees it: when it is due and how it fares. Asks nothing itself.

Each protocol has a class of its own below this one, which knows what to ask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from adapters.sources.polling.pace import Pace
from collector.registry import Device


@dataclass(slots=True)
class Standing:
    """What people were told of a device last: ``up`` None when nothing. A device that takes the
    place of another after a registry change shares it, for the old one may still be asked."""

    up: bool | None = None
    words: str = ""


class Polled(ABC):
    """State of one device between its polls."""

    __slots__ = (
        "asked_short",
        "at",
        "barren",
        "busy_since",
        "busy_times",
        "device",
        "failures",
        "interval",
        "origin",
        "pace",
        "proved",
        "refuse_from",
        "remark",
        "standing",
        "tell_again",
        "wanted",
    )

    def __init__(self, device: Device) -> None:
        self.device = device
        self.origin = f"device:{device.key}"
        self.interval = max(1, round(device.interval * 1000))
        self.at = device.start
        """When it is due, UTC ms; in the past: now."""
        self.failures = 0
        """In a row; while there are any it is asked one thing only, to see whether it answers."""
        self.proved = False
        """It answered that one thing since it failed: its next poll is due."""
        self.standing = Standing()
        self.tell_again = False
        """What was told may be true no more."""
        self.refuse_from = 0
        """From then on another refusal of its readings is counted, UTC ms."""
        self.pace = Pace()
        self.asked_short = False
        self.barren = False
        """It refused everything: a refusal is no sign of life any more."""
        self.busy_since = 0
        self.busy_times = 0
        self.wanted = True
        """Whether there is anything to ask it for."""
        self.remark = ""
        """What people should know of it although it is well."""

    @property
    def well(self) -> bool:
        """It is polled, not asked whether it is there."""
        return not self.failures or self.proved

    @property
    @abstractmethod
    def points(self) -> int:
        """How many readings a poll of it brings."""

    @abstractmethod
    def as_read(self) -> tuple[object, ...]:
        """All that decides how it is read: equal means that nothing changed."""

    @abstractmethod
    def widen(self, *, barren: bool = False) -> None:
        """Forget what it refused and who it was: it may be another device by now."""

    @abstractmethod
    def refused(self) -> tuple[int, str]:
        """How many points are left out because it refuses them, and which, for people."""

    @abstractmethod
    def news(self) -> bool:
        """Whether ``refused`` or ``remark`` may have changed since this was asked last."""

    def words(self) -> str:
        """What people should know of it although it is up."""
        names = self.refused()[1]
        told = [f"refuses {names}"] if names else []
        return "; ".join([*told, self.remark] if self.remark else told)

    def here(self, now: int) -> bool:
        """It is in service, and there is something to ask it for."""
        return self.wanted and self.device.start <= now < self.device.end

    def after(self, old: Self | None) -> Self:
        """What to go on with where ``old`` was: the old one when nothing about it changed."""
        if old is None:
            return self
        if self.as_read() == old.as_read():
            return old
        self.standing = old.standing
        self.tell_again = True
        return self

    def where(self) -> Device:
        """The device without the line of the file that it stands in."""
        return replace(self.device, file="", line=0)
