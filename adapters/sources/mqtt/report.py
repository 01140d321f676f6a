"""What the MQTT source tells people and dashboards: each thing once, in words with a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.sources.mqtt import broker_limits
from adapters.sources.mqtt.replies import Figures
from adapters.sources.mqtt.session import SYS_DROPPED, SYS_VERSION
from adapters.sources.mqtt.settings import MqttSettings
from adapters.sources.mqtt.window import Window
from adapters.sources.payload import Message
from collector.telemetry import Telemetry


class Report:
    """Log lines and metrics of one source. One thread."""

    def __init__(self, name: str, settings: MqttSettings, telemetry: Telemetry) -> None:
        self._name, self._settings, self._telemetry = name, settings, telemetry
        self._state: tuple[bool, str] | None = None
        self._paused = False
        self._dropped = -1
        self._warned: set[broker_limits.Risk] = set()

    def state(self, up: bool, reason: str) -> bool:
        """The source is up, or down and why; whether that is news."""
        if (up, reason) == self._state:
            return False
        self._state = (up, reason)
        event, level = ("source-up", "info") if up else ("source-down", "warning")
        self._telemetry.event(event, level=level, source=self._name, reason=reason)
        self._telemetry.gauge("source_up", float(up), source=self._name)
        return True

    def turn(self, messages: Sequence[Message], mids: Sequence[int], window: Window) -> None:
        """Messages were read; packet id 0 means QoS 0."""
        telemetry, name = self._telemetry, self._name
        telemetry.count("mqtt_messages", len(messages), source=name)
        telemetry.gauge("mqtt_unsynced_readings", window.rows, source=name)
        telemetry.gauge("mqtt_unsynced_bytes", window.size, source=name)
        if 0 in mids:
            telemetry.count("mqtt_qos0_messages", mids.count(0), source=name)
            topic = messages[mids.index(0)][0]
            self._warn(broker_limits.qos0(topic))

    def synced(self, seconds: float) -> None:
        """A delivery is safe, and will be acknowledged, so long after it was read. Any thread."""
        self._telemetry.observe("mqtt_receipt_to_sync_seconds", seconds, source=self._name)

    def replies(self, figures: Figures) -> None:
        """What became of replies since the last call."""
        telemetry, name = self._telemetry, self._name
        if figures.sent:
            telemetry.count("mqtt_replies", figures.sent, source=name)
        if figures.dropped:
            telemetry.count("mqtt_replies_dropped", figures.dropped, source=name)
        telemetry.gauge("mqtt_replies_waiting", figures.waiting, source=name)
        if figures.denied:  # in MQTT 3.1.1 it is a guess: connections ended over it
            self._warn(broker_limits.denied())

    def paused(self, is_paused: bool) -> None:
        """The socket is not read because the journal is behind, or is read again."""
        if is_paused == self._paused:
            return
        self._paused = is_paused
        self._telemetry.gauge("mqtt_paused", float(is_paused), source=self._name)

    def granted(self, properties: Mapping[str, Any]) -> None:
        """What CONNACK granted."""
        for risk in broker_limits.of_connack(properties, self._settings):
            self._warn(risk)

    def config(self) -> None:
        """Look through the configuration of a broker on this machine, if one is named."""
        path = self._settings.broker_config
        if not path:
            return
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError as fault:
            todo = "correct broker_config of this source, or let meterwatch read the file"
            self._warn(broker_limits.Risk(f"{path} cannot be read: {fault.strerror}", todo))
            return
        for risk in broker_limits.of_config(text, self._settings.version):
            self._warn(risk)

    def broker_says(self, topic: str, payload: bytes) -> None:
        """The broker's own figures ($SYS), where it lets us read them."""
        if topic == SYS_VERSION:
            version = payload.decode(errors="replace")
            self._telemetry.event("broker", source=self._name, version=version)
        elif topic == SYS_DROPPED and payload.isdigit():
            dropped, before = int(payload), self._dropped
            self._dropped = dropped
            self._telemetry.gauge("mqtt_broker_dropped", dropped, source=self._name)
            if 0 <= before < dropped:
                self._telemetry.event(
                    "broker-dropped-messages",
                    level="warning",
                    source=self._name,
                    messages=dropped - before,
                    todo="raise max_queued_messages and max_inflight_messages of the broker",
                )

    def _warn(self, risk: broker_limits.Risk) -> None:
        if risk in self._warned:
            return
        self._warned.add(risk)
        self._telemetry.event(
            "broker-risk", level="warning", source=self._name, what=risk.what, todo=risk.todo
        )
        self._telemetry.gauge("mqtt_broker_risks", len(self._warned), source=self._name)
