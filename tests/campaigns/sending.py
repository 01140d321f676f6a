"""A sender that counts what was acknowledged, and sends again what was not.

Paho in its own thread, QoS 1, a session of its own; the window is bounded, so that the sender
cannot run far ahead of the broker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.campaigns.traffic import Sent
from tests.programs import eventually


class Sender:
    """``with Sender(port) as sender: sender.send(messages)``; ``acknowledged`` are the messages
    the broker has taken over, in the order of their acknowledgement."""

    def __init__(self, port: int, window: int = 200) -> None:
        self.acknowledged: list[Sent] = []
        self._window = threading.BoundedSemaphore(window)
        self._open: dict[int, Sent] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="campaign-sender", clean_session=False
        )
        self._client.max_inflight_messages_set(window)
        self._client.on_publish = self._published
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, messages: Iterable[Sent]) -> None:
        for message in messages:
            self._window.acquire()
            with self._lock:
                info = self._client.publish(message.topic, message.payload, qos=1)
                if info.mid in self._early:
                    self._early.discard(info.mid)
                    self._settle(message)
                else:
                    self._open[info.mid] = message

    def _published(self, _c: object, _u: object, mid: int, _r: object, _p: object) -> None:
        with self._lock:
            message = self._open.pop(mid, None)
            if message is None:
                self._early.add(mid)
            else:
                self._settle(message)

    def _settle(self, message: Sent) -> None:
        self.acknowledged.append(message)
        self._window.release()

    def wait_acknowledged(self) -> None:
        """Until everything that was sent has been acknowledged."""
        eventually(lambda: not self._open, "the broker acknowledges everything")

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
