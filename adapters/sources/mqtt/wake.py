"""A thread that waits on sockets and is woken by other threads."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
from typing import Protocol


class Wake:
    """``wake()`` from any thread makes ``reader`` readable, once until ``drain``. Between
    ``open`` and ``close``; outside of it a call does nothing."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self._rung = False
        self.close()

    def open(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._rung = False

    def close(self) -> None:
        self.reader.close()
        self._writer.close()

    def __call__(self) -> None:
        # Set after its work is queued, cleared before the queue is read: no call is lost.
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):
                self._writer.send(b"\0")

    def drain(self) -> None:
        """Call before looking at what the wakers left."""
        with contextlib.suppress(OSError):
            self.reader.recv(64)
        self._rung = False

    def wait(self, seconds: float) -> None:
        """Until woken, or ``seconds``."""
        if select.select([self.reader], [], [], seconds)[0]:
            self.drain()


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


class Watch:
    """What is waited for on one socket, changed only when it changes."""

    def __init__(self, selector: selectors.BaseSelector, link: _Descriptor) -> None:
        self._selector, self._link = selector, link
        self._events = 0

    def set(self, *, reading: bool, writing: bool) -> None:
        events = selectors.EVENT_READ * reading | selectors.EVENT_WRITE * writing
        if events == self._events:
            return
        if not events:
            self._selector.unregister(self._link)
        elif not self._events:
            self._selector.register(self._link, events, self._link)
        else:
            self._selector.modify(self._link, events, self._link)
        self._events = events
