"""HTTP(S): gateways, Telegraf and InfluxDB's clients push here. See docs/push-http.md."""

from adapters.sources.http.settings import HttpSettings
from adapters.sources.http.source import HttpSource
from adapters.sources.inlet.limits import Rates

__all__ = ["HttpSettings", "HttpSource", "Rates"]
