"""A sender that counts what was acknowledged.

Paho in its own thread, QoS 1, a session of its own; the window is bounded, so that the sender
cannot run far ahead of the broker. One thread calls ``send`` and ``wait_acknowledged``.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.campaigns.traffic import Sent
from tests.programs import DEADLINE


class Sender:
    """``with Sender(port) as sender: sender.send(messages)``; ``acknowledged`` are the messages
    the broker (or a listener) has taken over, in the order of their acknowledgement."""

    def __init__(self, port: int, window: int = 200, *, user: str = "", password: str = "") -> None:
        self.acknowledged: list[Sent] = []
        self._window = window
        self._open: dict[int, Sent] = {}
        self._answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="campaign-sender", clean_session=False
        )
        if user:
            self._client.username_pw_set(user, password)
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.max_inflight_messages_set(window)
        # paho holds a lock of its own while it calls back: only a queue that never blocks here
        self._client.on_publish = lambda _c, _u, mid, _r, _p: self._answers.put(mid)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, messages: Iterable[Sent]) -> None:
        for message in messages:
            while len(self._open) >= self._window:
                self._settle()
            self._open[self._client.publish(message.topic, message.payload, qos=1).mid] = message

    def wait_acknowledged(self) -> None:
        """Until everything that was sent has been acknowledged."""
        while self._open:
            self._settle()

    def _settle(self) -> None:
        try:
            mid = self._answers.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"{len(self._open)} messages never acknowledged") from None
        self.acknowledged.append(self._open.pop(mid))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def send(port: int, sent: Iterable[Sent]) -> None:
    """``sent``, until all of it is acknowledged."""
    with Sender(port) as sender:
        sender.send(sent)
        sender.wait_acknowledged()
