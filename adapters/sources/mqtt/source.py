"""MQTT: gateways' messages from a broker into the journal.

Promises: a message is acknowledged (PUBACK) only after the journal has synced it, on the
connection it came by; whatever ends in between, the broker sends it again. Who asked is told,
after the same sync, what became of the message (``replies.py``). What is in memory is bounded:
when the journal is behind, the socket is not read, and the broker holds the rest. A broker that
goes away is connected to again for ever, with a growing wait; what was wrong is told in one line,
through ``SourceState`` and the log.

A thread of its own reads, decodes and acknowledges; the intake calls back from its thread, and
wakes this one through a socket pair. The given clock tells when a message was received; keepalive
and waits between attempts are the network's and pass in real time even under a simulated clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import threading
import time
from collections.abc import Iterator
from typing import Final

from adapters.sources.mqtt.replies import Asked, Replies
from adapters.sources.mqtt.report import Report
from adapters.sources.mqtt.session import Session, SessionError
from adapters.sources.mqtt.settings import MqttSettings
from adapters.sources.mqtt.wake import Wake, Watch
from adapters.sources.mqtt.window import Lot, Window
from adapters.sources.mqttwire.frames import Publish
from adapters.sources.payload import Decoded, Message, PayloadDecoder, Receipt
from collector.model import Batch, SourceState
from collector.ports import Clock, Delivery, Intake, Urgency
from collector.telemetry import Telemetry

TURN_MESSAGES: Final = 512
TURN_BYTES: Final = 2 << 20
"""One turn of the loop reads at most about so much."""
_TURN_S: Final = 0.005
"""Under load a turn begins no sooner than this after the last."""
_OFFER_AGAIN_S: Final = 0.5
_IDLE_S: Final = 1.0
_STEADY_S: Final = 10.0
_TOPICS: Final = 10_000


class MqttSource:
    """A ``Source``. ``update`` takes a new decoder when the registry changed; any thread."""

    def __init__(
        self,
        settings: MqttSettings,
        decoder: PayloadDecoder,
        clock: Clock,
        telemetry: Telemetry,
        *,
        dice: random.Random | None = None,
    ) -> None:
        """Raises ``ConfigurationError`` when a certificate file cannot be used."""
        self.name = f"mqtt:{settings.name}"
        self._settings = settings
        self._tls = settings.tls_context()
        self._decoder = decoder
        self._clock = clock
        self._report = Report(self.name, settings, telemetry)
        self._dice = dice or random.Random()  # noqa: S311 - spreads reconnects, hides nothing
        self._window = Window(settings.max_unsynced_readings, settings.max_unsynced_bytes)
        self._replies = Replies(settings.version, settings.replies)
        self._proof = 0
        self._names: dict[bytes, str] = {}
        self._last_turn = 0.0
        self._stop = False
        self._wake = Wake()

    def update(self, decoder: PayloadDecoder) -> None:
        """From the next messages on, decode with this one."""
        self._decoder = decoder

    async def run(self, intake: Intake) -> None:
        """Until cancelled. Then what is under way is given a few seconds to sync and is
        acknowledged; anything else the broker sends again next time."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def finish(error: BaseException | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._work(intake)
            except BaseException as bug:  # noqa: BLE001 - carried to whoever awaits run()
                error = bug
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, error)

        self._stop = False
        self._wake.open()
        threading.Thread(target=work, name=self.name, daemon=True).start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._stop = True
            self._wake()
            await ended
            raise

    # The thread.

    def _work(self, intake: Intake) -> None:
        self._report.config()
        try:
            waits = self._waits()
            while not self._stop:
                session = Session(self._settings, self._tls)
                since = time.monotonic()
                try:
                    session.open(since)
                    self._serve(session, intake)
                except SessionError as fault:
                    self._replies.ended(time.monotonic())
                    self._tell(intake, False, str(fault))
                finally:
                    session.close()
                    self._window.forget(session)
                if time.monotonic() - since >= _STEADY_S:
                    waits = self._waits()
                if not self._stop:
                    self._rest(next(waits))
        finally:
            self._wake.close()

    def _serve(self, session: Session, intake: Intake) -> None:
        """One connection, until it ends (``SessionError``) or we are to stop."""
        up, offered, until = False, 0.0, 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake.reader, selectors.EVENT_READ)
            watched = Watch(selector, session)
            while True:
                now = time.monotonic()
                self._answer(session, now)
                if self._stop:
                    until = until or now + self._settings.finish
                    if not self._window.lots or self._window.deferred or now >= until:
                        return
                reading = not self._stop and not self._window.full
                session.care(now, reading=reading)
                if self._window.deferred and now - offered >= _OFFER_AGAIN_S:
                    offered = now
                    for lot in self._window.offer_again(intake.pressure()):
                        intake.submit(lot.delivery)
                watched.set(reading=reading, writing=session.wants_write)
                self._report.paused(not reading)
                wait = _OFFER_AGAIN_S if self._window.deferred else _IDLE_S
                ready = reading and session.more
                for key, events in selector.select(0 if ready else wait):
                    if key.fileobj is self._wake.reader:
                        self._wake.drain()
                        continue
                    if events & selectors.EVENT_WRITE:
                        session.flush()
                    ready |= bool(events & selectors.EVENT_READ)
                if ready:
                    self._gather(session, now)
                    self._turn(session, intake)
                    session.check()
                if session.up and not up:
                    up = True
                    self._proof = 0
                    self._replies.connected(session.receive_maximum, session.largest)
                    self._tell(intake, True, "")
                    self._report.granted(session.granted)

    def _answer(self, session: Session, now: float) -> None:
        """Acknowledge what is safe, and tell who asked."""
        done, put_off = self._window.settle(session)
        replies = self._replies
        for lots in (done, put_off):
            for lot in lots:
                if lot.asked:
                    aside = lot.delivery.kept_aside
                    replies.tell(lot.asked, stored=lots is done, kept_aside=aside)
        replies.taken(session.acknowledged())
        if mids := [mid for lot in done for mid in lot.mids]:
            session.acknowledge(mids, now)
        if self._proof and session.answered_pings >= self._proof:
            replies.proven()
            self._proof = 0
        # Replies go out only as fast as the broker takes them; acknowledgements never wait.
        if session.up and not session.wants_write:
            if packets := replies.packets(now):
                session.publish(packets, now)
            if replies.prove():
                self._proof = session.ping(now)
        if (figures := replies.figures()) is not None:
            self._report.replies(figures)

    def _gather(self, session: Session, now: float) -> None:
        """When turns follow each other closely, let messages gather for a moment: larger
        batches cost less, and each waits for the disk anyway. A single message never waits."""
        early = self._last_turn + _TURN_S - now
        if early > 0 and not session.more:
            time.sleep(early)  # of this thread alone: lets a batch gather, bounded by _TURN_S
        self._last_turn = time.monotonic()

    def _turn(self, session: Session, intake: Intake) -> None:
        """Read what is there, decode it as one batch, hand it over."""
        published = session.read(TURN_MESSAGES, TURN_BYTES, time.monotonic())
        received = self._clock.now()
        messages: list[Message] = []
        packets: list[Publish] = []
        for packet in published:
            topic = self._names.get(packet.topic) or self._topic(packet.topic)
            if packet.cut:
                self._too_large(session, intake, topic, packet, received)
            elif topic[:1] == "$":
                self._report.broker_says(topic, packet.payload)
            else:
                messages.append((topic, packet.payload, received))
                packets.append(packet)
        if not messages:
            return
        decoded = self._decoder.decode_many(messages)
        flags = decoded.batch.segments.backfill
        if flags.any() and not flags.all() and intake.pressure() > Urgency.BACKFILL:
            self._apart(session, intake, messages, packets)
        else:
            self._hand_over(session, intake, decoded, messages, packets)
        self._report.turn(messages, [packet.mid for packet in packets], self._window)

    def _apart(
        self, session: Session, intake: Intake, messages: list[Message], packets: list[Publish]
    ) -> None:
        """Live and late messages as deliveries of their own: the disk is nearly full, and the
        late ones will be refused first."""
        parts: dict[bool, tuple[list[Message], list[Publish]]] = {False: ([], []), True: ([], [])}
        for message, packet in zip(messages, packets, strict=True):
            late = parts[self._decoder.decode_many([message]).backfill]
            late[0].append(message)
            late[1].append(packet)
        for some, theirs in parts.values():
            if some:
                self._hand_over(session, intake, self._decoder.decode_many(some), some, theirs)

    def _too_large(
        self, session: Session, intake: Intake, topic: str, packet: Publish, received: int
    ) -> None:
        refusal = self._decoder.too_large(topic, packet.payload, packet.size, received)
        receipt = Receipt.of_refusal(refusal)
        decoded = Decoded(Batch.empty(), [refusal], False, [receipt])
        self._hand_over(session, intake, decoded, [(topic, b"", received)], [packet])

    def _hand_over(
        self,
        session: Session,
        intake: Intake,
        decoded: Decoded,
        messages: list[Message],
        packets: list[Publish],
    ) -> None:
        rows = len(decoded.batch)
        size = sum([len(payload) for _, payload, _ in messages])
        mids = [packet.mid for packet in packets if packet.mid]
        lot = Lot(session, mids, rows, size, self._asked(messages, packets, decoded))
        lot.since = time.monotonic()
        lot.delivery = Delivery(
            decoded.batch if rows else None,
            Urgency.BACKFILL if decoded.backfill else Urgency.PUSH,
            decoded.refusals,
            synced=lambda: self._answered(lot, synced=True),
            refused=lambda: self._answered(lot, synced=False),
        )
        self._window.add(lot)
        intake.submit(lot.delivery)

    def _asked(
        self, messages: list[Message], packets: list[Publish], decoded: Decoded
    ) -> list[Asked]:
        """Of these messages those whose sender is told."""
        topics = [topic for topic, _, _ in messages]
        return self._replies.choose(topics, packets, decoded.receipts, self._decoder.knows)

    def _answered(self, lot: Lot, *, synced: bool) -> None:
        """The intake's thread tells what became of a delivery."""
        if synced:
            self._report.synced(time.monotonic() - lot.since)
        self._window.finished(lot, synced=synced)
        self._wake()

    def _rest(self, seconds: float) -> None:
        """Wait before the next attempt to connect; answers are still taken in."""
        until = time.monotonic() + seconds
        while not self._stop and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._window.settle(None)  # their connection is gone: the broker sends them again

    def _waits(self) -> Iterator[float]:
        """Seconds before each next attempt: doubling, up to half of it left to chance, so that
        many clients of one broker do not come back at the same moment."""
        wait, longest = self._settings.first_wait, self._settings.longest_wait
        while True:
            yield wait * self._dice.uniform(0.5, 1.0)
            wait = min(wait * 2, longest)

    def _tell(self, intake: Intake, up: bool, reason: str) -> None:
        if self._report.state(up, reason):
            entry = SourceState(self._clock.now(), self._decoder.origin, up, reason)
            intake.submit(Delivery(None, Urgency.CONTROL, [entry]))

    def _topic(self, name: bytes) -> str:
        if len(self._names) >= _TOPICS:
            self._names.clear()
        topic = self._names[name] = name.decode("utf-8", errors="replace")
        return topic
