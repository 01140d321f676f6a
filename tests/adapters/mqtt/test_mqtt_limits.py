"""What of a broker's settings can lose readings, and the words for what goes wrong. Pure."""

from __future__ import annotations

import socket
import ssl

import pytest

from adapters.sources.mqtt import MqttSettings, words
from adapters.sources.mqtt.broker_limits import of_config, of_connack, qos0
from collector.errors import ConfigurationError

SAFE = """
# a broker that keeps what it accepted
persistence true
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
max_inflight_messages 0
"""


def told(text: str, version: int = 5) -> str:
    return "\n".join(f"{risk.what} -> {risk.todo}" for risk in of_config(text, version))


class TestConfig:
    def test_a_safe_one_gives_no_warning(self) -> None:
        assert of_config(SAFE, 4) == []

    def test_the_default_one_keeps_nothing_over_a_restart_and_1000_messages(self) -> None:
        text = told("", 4)
        assert "in memory only" in text
        assert "1,000 messages" in text
        assert "20 messages ahead" in text

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("persistence false", "restart loses"),
            ("autosave_on_changes false\nautosave_interval 1800", "last 1800 s"),
            ("autosave_on_changes false\nautosave_interval 0", "all of its queue"),
            ("autosave_interval 500", "up to 500 changes"),
            ("max_queued_messages 5000", "5,000 messages"),
            ("max_queued_bytes 1000000", "1,000,000 bytes"),
            ("persistent_client_expiration 2d", "after 2d"),
            ("include_dir /etc/mosquitto/conf.d", "conf.d"),
        ],
    )
    def test_each_setting_by_itself(self, line: str, says: str) -> None:
        (risk,) = of_config(f"{SAFE}\n{line}\n", 5)
        assert says in risk.what
        assert risk.todo

    def test_few_in_flight_matter_to_mqtt_311_alone(self) -> None:
        text = SAFE + "max_inflight_messages 20"
        assert of_config(text, 5) == []
        assert "20 messages ahead" in told(text, 4)

    def test_comments_are_no_settings(self) -> None:
        assert of_config(SAFE + "# max_queued_messages 10\n#persistence false", 5) == []


class TestConnack:
    def test_a_broker_that_grants_all(self) -> None:
        assert of_connack({}, MqttSettings("m", "h")) == []
        assert (
            of_connack({"MaximumQoS": 1, "MaximumPacketSize": 1 << 20}, MqttSettings("m", "h"))
            == []
        )

    @pytest.mark.parametrize(
        ("granted", "says"),
        [
            ({"MaximumQoS": 0}, "QoS 0 only"),
            ({"SessionExpiryInterval": 0}, "forgets us 0 s"),
            ({"MaximumPacketSize": 100}, "100 bytes"),
        ],
    )
    def test_what_it_does_not_grant(self, granted: dict[str, int], says: str) -> None:
        (risk,) = of_connack(granted, MqttSettings("m", "h"))
        assert says in risk.what

    def test_mqtt_311_tells_nothing(self) -> None:
        assert of_connack({"MaximumQoS": 0}, MqttSettings("m", "h", version=4)) == []

    def test_a_gateway_at_qos_0(self) -> None:
        assert "gw-1" in qos0("meterwatch/v1/gw-1/readings").what


class TestWords:
    settings = MqttSettings("m", "broker.example", 8883, user="mw", ca_file="ca.pem")

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (ConnectionRefusedError(), "nobody listens at broker.example:8883"),
            (socket.gaierror(), "is not known here"),
            (TimeoutError(), "does not answer"),
            (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "TLS"),
            (ConnectionResetError("reset"), "was lost"),
        ],
    )
    def test_below_mqtt(self, error: OSError, says: str) -> None:
        assert says in words.failed(error, self.settings)

    @pytest.mark.parametrize(
        ("code", "says"),
        [(134, "user 'mw'"), (135, "check user and password"), (142, "client_id"), (7, "ended")],
    )
    def test_reason_codes(self, code: int, says: str) -> None:
        assert says in words.refused(code, "name", self.settings)

    def test_a_subscription_that_is_not_granted(self) -> None:
        assert "'mw'" in words.not_subscribed("t/#", 135, self.settings)
        assert "QoS 0 only" in words.not_subscribed("t/#", 0, self.settings)

    def test_a_password_is_never_shown(self) -> None:
        assert "secret" not in repr(MqttSettings("m", "h", password="secret"))


class TestSettings:
    def test_a_certificate_file_that_is_none_names_the_file(self) -> None:
        with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem"):
            MqttSettings("m", "h", tls=True, ca_file="/nowhere/ca.pem").tls_context()
