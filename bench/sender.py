"""A publisher that costs almost nothing, so that a benchmark measures the reader.

A process of its own that speaks MQTT 3.1.1, QoS 1, on a bare socket: payloads are rendered once,
a message is a copy with five time stamps, ten registers of counters and a packet id patched in. The
readings' ``time`` is the moment of publishing (epoch ms), so that whoever sees a reading knows how
old it is.

What is sent is a pure function of the plan and the cycle, never of timing: which points exceed
the limit and when, and the sum of all values of a quantity, can be told independently of whoever
received them (``Plan.crossing``, ``Plan.expected_rises``, ``Plan.sums``).

    python -m bench.sender --port 1883 --seconds 30 --rate 400000
    python -m bench.sender --registry DIR      # write the registry that these readings belong to

Prints one JSON object: messages and readings sent and acknowledged by the broker, cycles per
message slot, sums of what was sent, wall and CPU seconds, and the broker's acknowledgement latency.
``--curve FILE``: when how much had been sent, as JSON.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from operator import add
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.plan import COUNTERS, GAUGES, QUANTITIES, STAMP, Plan, hundredths

CURVE_MS: Final = 10
"""How often it is written down how much was sent."""


class Slot:
    """One message of the cycle: its renderings as whole packets, patched in place."""

    def __init__(self, plan: Plan, slot: int) -> None:
        self._plan, self._slot = plan, slot
        topic = f"meterwatch/v1/{plan.gateway(slot)}/readings".encode()
        counters = [
            plan.register(number, 0)
            for number in range(slot * plan.per_message, (slot + 1) * plan.per_message)
            if number % len(QUANTITIES) >= len(GAUGES)
        ]
        self._steps = [step for _, step in counters]
        self._registers = [start for start, _ in counters]
        texts = [hundredths(start) for start in self._registers]

        def packets(high: bool) -> list[_Packet]:
            payloads = (plan.payload(slot, v, high) for v in range(plan.variants))
            return [_Packet(topic, payload, texts) for payload in payloads]

        self._quiet = packets(high=False)
        has_crossers = any(n // plan.per_message == slot for n in plan.crossers)
        self._high = packets(high=True) if has_crossers else self._quiet
        self._last_time = 0
        self.cycle = 0

    def next(self, mid: int, now: int) -> bytes:
        """The packet of this slot's next cycle. Times of a slot strictly grow."""
        plan, cycle = self._plan, self.cycle
        phase = self._high if plan.is_high(self._slot, cycle) else self._quiet
        self.cycle = cycle + 1
        self._last_time = now if now > self._last_time else self._last_time + 1
        registers = self._registers
        packet = phase[cycle % plan.variants].patched(mid, self._last_time, registers)
        self._registers = list(map(add, registers, self._steps))
        return packet


class _Packet:
    """A message, patched in place. ``registers``: the texts of its counters, in their order; each
    occurs once, and all are as long."""

    def __init__(self, topic: bytes, payload: bytes, registers: Sequence[bytes] = ()) -> None:
        body = struct.pack("!H", len(topic)) + topic + b"\0\0" + payload
        head = b"\x32" + remaining(len(body))
        self._bytes = bytearray(head + body)
        self._mid = len(head) + 2 + len(topic)
        self._stamps = []
        at = self._bytes.find(STAMP)
        while at >= 0:
            self._stamps.append(slice(at, at + len(STAMP)))
            at = self._bytes.find(STAMP, at + 1)
        self._registers = []
        at = 0
        for text in registers:
            at = self._bytes.index(text, at)
            self._registers.append(slice(at, at + len(text)))

    def patched(self, mid: int, time: int, registers: Sequence[int] = ()) -> bytes:
        buffer = self._bytes
        buffer[self._mid] = mid >> 8
        buffer[self._mid + 1] = mid & 255
        stamp = b"%013d" % time
        for where in self._stamps:
            buffer[where] = stamp
        for where, register in zip(self._registers, registers, strict=True):
            buffer[where] = hundredths(register)
        return bytes(buffer)


def remaining(length: int) -> bytes:
    out = bytearray()
    while True:
        length, low = divmod(length, 128)
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out)


def connect(host: str, port: int, client: str, user: str, password: str) -> socket.socket:
    """A connection that the broker has taken."""
    flags, tail = 2, b""
    for text, flag in ((user, 0x80), (password, 0x40)):
        if text:
            flags |= flag
            tail += struct.pack("!H", len(text.encode())) + text.encode()
    name = client.encode()
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\0\0" + struct.pack("!H", len(name)) + name
    link = socket.create_connection((host, port), timeout=10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(b"\x10" + remaining(len(body + tail)) + body + tail)
    answer = link.recv(4)
    if len(answer) < 4 or answer[3]:
        raise SystemExit(f"the broker refused the connection: {answer.hex()}")
    return link


def publish(link: socket.socket, topic: str, payload: bytes) -> None:
    """One message of QoS 1 on a blocking connection, and its acknowledgement."""
    body = struct.pack("!H", len(topic)) + topic.encode() + b"\0\1" + payload
    link.sendall(b"\x32" + remaining(len(body)) + body)
    answer = b""
    while len(answer) < 4:
        more = link.recv(4 - len(answer))
        if not more:
            raise SystemExit("the broker closed the connection")
        answer += more


class Run:
    """One run over one connection; at most ``window`` messages unacknowledged."""

    def __init__(self, link: socket.socket, plan: Plan, window: int) -> None:
        self._link, self._plan = link, plan
        self._window = min(window, 60_000)
        self.slots = [Slot(plan, number) for number in range(plan.slots)]
        self.sent = self.acked = 0
        self.curve: list[tuple[int, int]] = []
        self._sent_at = np.zeros(65536)
        self.latencies: list[Any] = []
        self._rest = b""
        link.setblocking(False)

    def go(self, seconds: float, rate: float, messages: int) -> float:
        """Send for ``seconds`` or until ``messages``; ``rate`` in readings/s, 0 for all it can.
        Then wait for the acknowledgements. The seconds it took to send."""
        start = time.monotonic()
        order = self._order()
        while (now := time.monotonic()) < start + seconds and self.sent < messages:
            allowed = min(self._window - (self.sent - self.acked), messages - self.sent, 64)
            if rate:
                due = int((now - start) * rate / self._plan.per_message) - self.sent
                allowed = min(allowed, due)
            if allowed > 0:
                self._send([next(order) for _ in range(allowed)])
                self._read(0)
            else:
                self._read(0.002)
        took = time.monotonic() - start
        limit = time.monotonic() + 30
        while self.acked < self.sent and time.monotonic() < limit:
            self._read(0.2)
        return took

    def _order(self) -> Iterator[Slot]:
        while True:
            yield from self.slots

    def _send(self, slots: list[Slot]) -> None:
        now = time.time_ns() // 1_000_000
        parts = []
        first = self.sent
        for slot in slots:
            parts.append(slot.next(self.sent % 65535 + 1, now))
            self.sent += 1
        if not self.curve or now - self.curve[-1][0] >= CURVE_MS:
            self.curve.append((now, self.sent))
        mids = np.arange(first, self.sent) % 65535 + 1
        self._sent_at[mids] = time.monotonic()
        rest = memoryview(b"".join(parts))
        while rest:
            try:
                rest = rest[self._link.send(rest) :]
            except BlockingIOError:
                # The broker reads slowly; its acknowledgements must still be read, or both wait.
                readable, _, _ = select.select([self._link], [self._link], [], 1)
                if readable:
                    self._read(0)

    def _read(self, patience: float) -> None:
        if patience:
            select.select([self._link], [], [], patience)
        try:
            data = self._link.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit("the broker closed the connection")
        data = self._rest + data
        whole = len(data) // 4 * 4  # a PUBACK is 40 02 mid mid; nothing else comes
        self._rest = data[whole:]
        mids = np.frombuffer(data, ">u2", whole // 2)[1::2]
        self.acked += len(mids)
        self.latencies.append(time.monotonic() - self._sent_at[mids])


def _arguments() -> argparse.Namespace:
    plan = Plan()
    args = argparse.ArgumentParser(prog="bench.sender", description=__doc__)
    args.add_argument("--host", default="127.0.0.1")
    args.add_argument("--port", type=int, default=1883)
    args.add_argument("--client", default="bench-sender")
    args.add_argument("--user", default="")
    args.add_argument("--password", default="")
    args.add_argument("--seconds", type=float, default=10)
    args.add_argument("--messages", type=int, default=2**62, help="stop after so many")
    args.add_argument("--rate", type=float, default=0, help="readings per second; 0: no limit")
    args.add_argument("--window", type=int, default=2000, help="unacknowledged messages")
    args.add_argument("--registry", type=Path, help="write the registry here and end")
    args.add_argument("--curve", type=Path, help="write here when how many messages had been sent")
    for name, default in asdict(plan).items():
        args.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return args.parse_args()


def main() -> None:
    args = _arguments()
    plan = Plan(**{name: getattr(args, name) for name in asdict(Plan())})
    if args.registry is not None:
        args.registry.mkdir(parents=True, exist_ok=True)
        for name, text in plan.registry().items():
            (args.registry / name).write_text(text, encoding="utf-8")
        return
    link = connect(args.host, args.port, args.client, args.user, args.password)
    run = Run(link, plan, args.window)
    cpu = time.process_time()
    started = time.time_ns() // 1_000_000
    took = run.go(args.seconds, args.rate, args.messages)
    cpu = time.process_time() - cpu
    link.close()
    if args.curve is not None:
        args.curve.write_text(json.dumps(run.curve), encoding="utf-8")
    waits = np.concatenate(run.latencies) if run.latencies else np.zeros(1)
    cycles = [slot.cycle for slot in run.slots]
    json.dump(
        {
            "plan": asdict(plan),
            "started": started,
            "messages": run.sent,
            "acked": run.acked,
            "readings": run.sent * plan.per_message,
            "seconds": round(took, 3),
            "readings_per_s": round(run.sent * plan.per_message / took) if took else 0,
            "cpu_us_per_message": round(cpu / max(run.sent, 1) * 1e6, 2),
            "ack_ms_p50": round(float(np.percentile(waits, 50)) * 1000, 2),
            "ack_ms_p99": round(float(np.percentile(waits, 99)) * 1000, 2),
            "crossing_points": len(plan.crossers),
            "counter_share": len(COUNTERS) / len(QUANTITIES),
            "expected_rises": plan.expected_rises(cycles),
            "sums": plan.sums(cycles),
            "cycles": [min(cycles), max(cycles)],
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
