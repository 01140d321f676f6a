"""One fact, told once: a metric for Grafana and, where a person should know, a log line.

Rooms get a ``Telemetry`` handed in and never touch a global. ``count`` and ``gauge`` may be
called from any thread and are cheap enough for once per batch, not for once per reading.
The names are ours (``meterwatch_<name>``); a metric's labels are fixed by its first use.
"""

from __future__ import annotations

import threading
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "meterwatch_"
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Seconds: from an fsync on a good disk to a broker that hangs."""


class Telemetry:
    """Metrics in one registry and structured logs. A new one per program or test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._children: dict[tuple[object, ...], Counter] = {}
        self._gauge_children: dict[tuple[object, ...], Gauge] = {}
        """By name and labels: looking one up takes longer than counting."""
        self._lock = threading.Lock()
        self._log = structlog.get_logger("meterwatch")

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter (``meterwatch_<name>_total``)."""
        counter = self._counters.get(name)
        if counter is None:
            with self._lock:
                counter = self._counters.get(name)
                if counter is None:
                    counter = Counter(PREFIX + name, name, sorted(labels), registry=self.registry)
                    self._counters[name] = counter
        if labels:
            key = (name, *labels.items())
            child = self._children.get(key)
            if child is None:
                child = self._children[key] = counter.labels(**labels)
            child.inc(amount)
        else:
            counter.inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge (``meterwatch_<name>``)."""
        gauge = self._gauges.get(name)
        if gauge is None:
            with self._lock:
                gauge = self._gauges.get(name)
                if gauge is None:
                    gauge = Gauge(PREFIX + name, name, sorted(labels), registry=self.registry)
                    self._gauges[name] = gauge
        if labels:
            key = (name, *labels.items())
            child = self._gauge_children.get(key)
            if child is None:
                child = self._gauge_children[key] = gauge.labels(**labels)
            child.set(value)
        else:
            gauge.set(value)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add to a histogram of durations (``meterwatch_<name>``)."""
        histogram = self._histograms.get(name)
        if histogram is None:
            with self._lock:
                histogram = self._histograms.get(name)
                if histogram is None:
                    histogram = Histogram(
                        PREFIX + name,
                        name,
                        sorted(labels),
                        buckets=BUCKETS,
                        registry=self.registry,
                    )
                    self._histograms[name] = histogram
        (histogram.labels(**labels) if labels else histogram).observe(seconds)

    def event(self, name: str, /, level: str = "info", **fields: Any) -> None:
        """A log line that a person should read; ``level`` info, warning or error."""
        getattr(self._log, level)(name, **fields)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """A metric's present value (0 when never used): for tests and the status page."""
        for full in (f"{PREFIX}{name}_total", f"{PREFIX}{name}"):
            found = self.registry.get_sample_value(full, labels)
            if found is not None:
                return found
        return 0.0
