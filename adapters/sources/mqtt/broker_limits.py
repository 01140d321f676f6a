"""What of a broker's settings can lose readings, as far as it can be seen. Pure.

Seen in MQTT 5: what CONNACK grants. Seen for a broker on this machine: its mosquitto.conf. Seen
with permission: the $SYS counter of dropped messages. Not to be seen from outside, and so only
written in docs/gateway-protocol.md: the queue bound and persistence of a foreign broker.
Settings and their defaults: mosquitto.conf(5) of mosquitto 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.sources.mqtt.settings import MqttSettings

_AN_HOUR: Final = 3600
_WINDOW_311: Final = 1000
"""Messages in flight under which MQTT 3.1.1 with a synced acknowledgement is slow."""
_AUTOSAVE: Final = 60


@dataclass(frozen=True, slots=True)
class Risk:
    """What may be lost, and what to change."""

    what: str
    todo: str


def of_connack(granted: Mapping[str, Any], settings: MqttSettings) -> list[Risk]:
    """From the properties of CONNACK (MQTT 5.0, 3.2.2.3). Empty for MQTT 3.1.1, where a broker
    tells nothing."""
    if settings.version != 5:
        return []
    risks = []
    if granted.get("MaximumQoS", 2) < 1:
        risks.append(Risk("the broker offers QoS 0 only: nothing is acknowledged", "allow QoS 1"))
    expiry = granted.get("SessionExpiryInterval", settings.session_expiry)
    if expiry < min(_AN_HOUR, settings.session_expiry):
        risks.append(
            Risk(
                f"the broker forgets us {expiry} s after the connection ends, and what came since",
                "let sessions live for days",
            )
        )
    size = granted.get("MaximumPacketSize")
    if size is not None and size < 1024:
        risks.append(
            Risk(f"the broker takes packets of {size} bytes at most", "raise the packet size")
        )
    return risks


def qos0(topic: str) -> Risk:
    """A gateway publishes without asking for an acknowledgement."""
    return Risk(
        f"{topic} comes at QoS 0: what is lost between gateway and broker is lost unseen",
        "set QoS 1 in the gateway",
    )


def denied() -> Risk:
    """The broker said so (MQTT 5), or ended connections over replies."""
    return Risk(
        "the broker does not let us publish replies: senders are not told what became of a message",
        "allow writing of meterwatch/v1/+/replies/# in the broker's access list, or set replies = "
        '"none" here',
    )


def of_config(text: str, version: int) -> list[Risk]:
    """From the text of a mosquitto.conf. Files that it includes are not followed."""
    found = {"persistence": "false", "autosave_interval": "1800", "autosave_on_changes": "false"}
    found |= {"max_queued_messages": "1000", "max_queued_bytes": "0"}
    found |= {"max_inflight_messages": "20", "max_inflight_bytes": "0"}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key and not key.startswith("#"):
            found[key] = value.strip()
    risks: list[Risk] = []
    if found["persistence"] != "true":
        what = "the broker keeps its queue in memory only: a restart loses what we have not fetched"
        risks.append(Risk(what, "persistence true"))
    else:
        risks += _autosave(found)
    risks += _queue(found)
    flight = _number(found["max_inflight_messages"])
    if version != 5 and 0 < flight < _WINDOW_311:
        what = (
            f"the broker sends {flight} messages ahead at most, and each acknowledgement waits "
            "for our disk"
        )
        risks.append(Risk(what, "max_inflight_messages 0, or version = 5 here"))
    if "persistent_client_expiration" in found:
        span = found["persistent_client_expiration"]
        what = f"the broker forgets us, and what came since, after {span} without a connection"
        risks.append(Risk(what, "remove persistent_client_expiration, or make it a month"))
    if "include_dir" in found:
        what = f"more settings lie in {found['include_dir']}; they were not looked at"
        risks.append(Risk(what, "check persistence and max_queued_messages there"))
    return risks


def _autosave(found: Mapping[str, str]) -> list[Risk]:
    interval = _number(found["autosave_interval"])
    if found["autosave_on_changes"] == "true":
        if interval == 1:
            return []
        what = f"a crash of the broker loses up to {interval} changes to its queue"
        return [Risk(what, "autosave_interval 1 (with autosave_on_changes true)")]
    if 0 < interval <= _AUTOSAVE:
        return []
    span = f"the last {interval} s" if interval else "all of its queue"
    what = f"a crash of the broker or of its machine loses {span}"
    return [Risk(what, f"autosave_interval {_AUTOSAVE} or less")]


def _queue(found: Mapping[str, str]) -> list[Risk]:
    risks = []
    if (queued := _number(found["max_queued_messages"])) > 0:
        what = (
            f"while we are away or behind, the broker keeps {queued:,} messages and drops the rest"
        )
        risks.append(Risk(what, "max_queued_messages 0 (no limit), bounded by max_queued_bytes"))
    if 0 < (size := _number(found["max_queued_bytes"])) < 64 << 20:
        what = f"while we are away or behind, the broker keeps {size:,} bytes and drops the rest"
        risks.append(Risk(what, "max_queued_bytes 1073741824, or 0 for no limit"))
    return risks


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
