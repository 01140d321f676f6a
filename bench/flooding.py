"""Gateways that push: each on a connection of its own, at its pace, or as fast as it is let.

A process of its own, so that a benchmark measures the receiver. Speaks MQTT 3.1.1 (QoS 1) or
HTTP/1.1 on bare sockets; readings carry the moment of sending (epoch ms) as their time.

    python -m bench.flooding --protocol mqtt --port 1883 --first 1 --last 49 --rate 19.6
    python -m bench.flooding --protocol http --port 8080 --first 0 --last 0 --rate 0 --links 16

Prints one JSON object: messages sent, what they were answered with, and for each answer the moment
of sending and the milliseconds it took. ``--rate`` is of all gateways together, 0 for as fast as it
goes; ``--links`` connections for each gateway; ``--window`` unanswered messages on each (HTTP:
always one). ``--behind`` hours: what was kept for so long is sent, a message for each minute, once;
readings then carry that minute as their time. ``--heed``: an answer is the reply on the gateway's
own topic, not the PUBACK.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import selectors
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path

from adapters.sources.mqttwire.frames import Frames, pubacks
from bench.plan import STAMP, Plan
from bench.sender import connect, remaining

PATIENCE_S = 5.0
MINUTE_MS = 60_000


class Link:
    """One connection of one gateway. ``answers``: sent at (epoch ms), ms it took."""

    def __init__(self, gateway: str, link: socket.socket) -> None:
        self.gateway, self.link = gateway, link
        self.waiting: deque[float] = deque()
        self.answers: list[tuple[int, float]] = []
        self.told: Counter[str] = Counter()
        self.sent = 0
        self._out = b""
        self._in = b""
        link.setblocking(False)

    def packet(self, payload: bytes) -> bytes:
        raise NotImplementedError

    def parse(self, data: bytes) -> bytes:
        """Take the answers out of ``data``; what is left of it."""
        raise NotImplementedError

    def send(self, payload: bytes) -> None:
        self._out += self.packet(payload)
        self.waiting.append(time.time())
        self.sent += 1
        self.flush()

    def flush(self) -> None:
        while self._out:
            try:
                self._out = self._out[self.link.send(self._out) :]
            except BlockingIOError:
                return

    @property
    def stuck(self) -> bool:
        return bool(self._out)

    def read(self) -> None:
        try:
            data = self.link.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(f"{self.gateway}: the connection was closed; {dict(self.told)}")
        self._in = self.parse(self._in + data)

    def answered(self, how: str) -> None:
        sent = self.waiting.popleft()
        self.told[how] += 1
        self.answers.append((round(sent * 1000), round((time.time() - sent) * 1000, 2)))


class MqttLink(Link):
    def __init__(self, gateway: str, port: int, token: str, client: str) -> None:
        user = gateway if token else ""
        link = connect("127.0.0.1", port, client, user, token)
        self._topic = f"meterwatch/v1/{gateway}/readings".encode()
        self.greet(link, gateway)
        super().__init__(gateway, link)

    def greet(self, link: socket.socket, gateway: str) -> None:
        """Before anything is sent."""

    def packet(self, payload: bytes) -> bytes:
        mid = self.sent % 65535 + 1
        body = len(self._topic).to_bytes(2, "big") + self._topic + mid.to_bytes(2, "big") + payload
        return b"\x32" + remaining(len(body)) + body

    def parse(self, data: bytes) -> bytes:
        whole = len(data) // 4 * 4
        for at in range(0, whole, 4):
            if data[at] != 0x40:
                raise SystemExit(f"no PUBACK but {data[at : at + 4].hex()}")
            self.answered("acknowledged")
        return data[whole:]


class HeedingLink(MqttLink):
    """Counts on replies: the PUBACKs say nothing to it."""

    def greet(self, link: socket.socket, gateway: str) -> None:
        self._frames = Frames(4, 1 << 20, answers=True)
        topic = f"meterwatch/v1/{gateway}/replies".encode()
        body = b"\0\1" + len(topic).to_bytes(2, "big") + topic + b"\1"
        link.sendall(b"\x82" + remaining(len(body)) + body)
        link.recv(5)  # SUBACK

    def packet(self, payload: bytes) -> bytes:
        return super().packet(b'{"id":%d,' % self.sent + payload[1:])

    def parse(self, data: bytes) -> bytes:
        self._frames.feed(data)
        replies = self._frames.take(1 << 20)
        self._frames.acknowledged.clear()
        self._out += pubacks([reply.mid for reply in replies if reply.mid])
        for reply in replies:
            self.answered("stored" if b'"refused":[]' in reply.payload else "refused")
        return b""


class HttpLink(Link):
    def __init__(self, gateway: str, port: int, token: str) -> None:
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(gateway, link)
        self._head = (
            "POST /v1/readings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: "
        ).encode()

    def packet(self, payload: bytes) -> bytes:
        return self._head + b"%d\r\n\r\n" % len(payload) + payload

    def parse(self, data: bytes) -> bytes:
        while True:
            head, mark, rest = data.partition(b"\r\n\r\n")
            if not mark:
                return data
            lines = head.lower().split(b"\r\n")
            size = next(int(x[15:]) for x in lines if x.startswith(b"content-length:"))
            if len(rest) < size:
                return data
            self.answered(head[9:12].decode())
            data = rest[size:]


class Run:
    """All links of one process, in one loop."""

    def __init__(
        self, links: list[Link], plan: Plan, window: int, *, since: int = 0, most: int = 1 << 40
    ) -> None:
        self._links, self._window = links, window
        self._since, self._most = since, most
        self.watched = False
        """Whether the end of standard input ends it."""
        self._payloads = {
            link.gateway: plan.payload(int(link.gateway[3:]), 0, high=False) for link in links
        }
        self._selector = selectors.DefaultSelector()
        for link in links:
            self._selector.register(link.link, selectors.EVENT_READ, link)

    def go(self, seconds: float, rate: float) -> None:
        start = time.monotonic()
        sent = 0
        while (now := time.monotonic()) < start + seconds and not self.done:
            if self.watched and self._ended():
                break
            if rate:
                while sent < (now - start) * rate:
                    self._send(self._links[sent % len(self._links)])
                    sent += 1
                self._wait(max(0.0, start + sent / rate - time.monotonic()))
            else:
                busy = [self._fill(link) for link in self._links]
                self._wait(0 if any(busy) else 0.01)
        until = time.monotonic() + PATIENCE_S
        while any(link.waiting for link in self._links) and time.monotonic() < until:
            self._wait(0.05)

    def _ended(self) -> bool:
        return bool(select.select([sys.stdin], [], [], 0)[0])

    @property
    def done(self) -> bool:
        return all(one.sent >= self._most and not one.waiting for one in self._links)

    def _fill(self, link: Link) -> bool:
        """As much as the window lets; whether anything was sent."""
        room = min(self._window - len(link.waiting), 64, self._most - link.sent)
        for _ in range(room):
            if link.stuck:
                break
            self._send(link)
        return room > 0 and not link.stuck

    def _send(self, link: Link) -> None:
        if self._since:
            stamp = b"%013d" % (self._since + link.sent * MINUTE_MS)
        else:
            stamp = b"%013d" % (time.time_ns() // 1_000_000)
        link.send(self._payloads[link.gateway].replace(STAMP, stamp))

    def _wait(self, patience: float) -> None:
        for key, _ in self._selector.select(patience):
            key.data.read()
        for link in self._links:
            link.flush()


def main() -> None:
    args = argparse.ArgumentParser(prog="bench.flooding", description=__doc__)
    args.add_argument("--protocol", choices=("mqtt", "http"), required=True)
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--gateways", type=int, default=50)
    args.add_argument("--first", type=int, default=0)
    args.add_argument("--last", type=int, default=0)
    args.add_argument("--rate", type=float, default=0)
    args.add_argument("--seconds", type=float, default=10)
    args.add_argument("--links", type=int, default=1)
    args.add_argument("--window", type=int, default=5000)
    args.add_argument("--tokens", type=Path, help="JSON: gateway -> token")
    args.add_argument("--behind", type=float, default=0, help="hours")
    args.add_argument("--heed", action="store_true")
    args.add_argument("--until-input-ends", action="store_true")
    args.add_argument("--nice", type=int, default=0)
    told = args.parse_args()
    os.nice(told.nice)
    plan = Plan(points=50 * told.gateways, gateways=told.gateways)
    tokens = json.loads(told.tokens.read_text()) if told.tokens else {}
    links: list[Link] = []
    for number in range(told.first, told.last + 1):
        gateway = plan.gateway(number)
        for link in range(told.links):
            token = tokens.get(gateway, "")
            if told.protocol == "http":
                links.append(HttpLink(gateway, told.port, token))
            else:
                kind = HeedingLink if told.heed else MqttLink
                name = f"{gateway}-{link}-{'late' if told.behind else 'live'}"
                links.append(kind(gateway, told.port, token, name))
    window = 1 if told.protocol == "http" else told.window
    if told.behind:
        most = round(told.behind * 60)
        since = time.time_ns() // 1_000_000 - most * MINUTE_MS
        run = Run(links, plan, window, since=since, most=most)
    else:
        run = Run(links, plan, window)
    run.watched = told.until_input_ends
    run.go(told.seconds, told.rate)
    counted: Counter[str] = Counter()
    for one in links:
        counted += one.told
    found = {
        "sent": sum(one.sent for one in links),
        "sent_by": {one.gateway: one.sent for one in links},
        "told": counted,
        "unanswered": sum(len(one.waiting) for one in links),
        "answers": [answer for one in links for answer in one.answers],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
