"""A source that gateways themselves connect to: its thread, its listening, its end.

Promises, for whatever is spoken: a port that is taken is tried again for ever, with a growing wait,
and told through ``SourceState`` and the log. A renewed certificate is taken over. At the end
nothing more is let in, and what is under way is given a few seconds to sync and be answered.

A thread of its own has its own loop, so that neither a flood nor a slow handshake holds up polling,
ticks or warnings. The given clock tells when a message was received; timeouts are the network's and
pass in real time even under a simulated clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol

from adapters.sources.inlet.certificates import Certificates
from adapters.sources.inlet.desk import Desk
from adapters.sources.inlet.limits import Room
from adapters.sources.inlet.report import Report
from adapters.sources.inlet.settings import ListenSettings
from adapters.sources.payload import PayloadDecoder
from collector.errors import ConfigurationError
from collector.model import SourceState
from collector.ports import Clock, Delivery, Intake, Urgency


class Server(Protocol):
    """Who serves the connections. ``open`` raises ``OSError``; ``serve`` looks after them until
    cancelled; ``finish`` waits so long for what is due, then ends every one."""

    @property
    def port(self) -> int: ...

    @property
    def connections(self) -> int: ...

    async def open(self) -> None: ...

    async def serve(self) -> None: ...

    def stop_listening(self) -> None: ...

    async def finish(self, seconds: float) -> None: ...


class InletSource:
    """A ``Source`` but for ``_server``. ``update`` takes a new decoder when the registry changed;
    any thread."""

    def __init__(
        self,
        name: str,
        settings: ListenSettings,
        protocol: str,
        decoder: PayloadDecoder,
        clock: Clock,
        report: Report,
    ) -> None:
        """``protocol`` as TLS names it (ALPN). Raises ``ConfigurationError`` when a certificate
        file cannot be used."""
        self.name = name
        self.port = 0
        """Where it listens; 0 while it does not."""
        self.certificate_fault = ""
        """Why a renewed certificate is not in use."""
        self._room = Room(settings.in_flight)
        self._certificates = Certificates(settings, protocol)
        self._listening = settings
        self._clock, self._said = clock, report
        self._serving: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self.update(decoder)

    def _server(self, desk: Desk) -> Server:
        """What serves the connections, made in the loop that it is for."""
        raise NotImplementedError

    def update(self, decoder: PayloadDecoder) -> None:
        """From the next messages on, decode with this one."""
        self._origin = decoder.origin
        self._decoder = decoder

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._serving.connections if self._serving is not None else 0

    @property
    def under_way(self) -> int:
        """Bytes that are not synced yet."""
        return self._room.used

    async def run(self, intake: Intake) -> None:
        """Until cancelled. Then nothing more is let in, what is under way is given a few seconds
        to sync and is answered; anything else its senders have still."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        stop = threading.Event()

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
                asyncio.run(self._work(intake, stop))
            except BaseException as bug:  # noqa: BLE001 - carried to whoever awaits run()
                error = bug
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, error)

        threading.Thread(target=work, name=self.name, daemon=True).start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            stop.set()
            self._ring()
            await ended
            raise

    def _ring(self) -> None:
        """Let the thread's loop see that it is to stop."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)

    # The thread.

    async def _work(self, intake: Intake, stop: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if stop.is_set():
            return
        settings = self._listening
        desk = Desk(lambda: self._decoder, intake, self._clock, self._said, settings.largest)
        server = self._serving = self._server(desk)
        if not settings.cert_file and not _is_loopback(settings.host):
            self._said.plain(settings.address)
        stopping = asyncio.create_task(self._stopping.wait())
        works = [
            asyncio.create_task(one)
            for one in (desk.run(), self._listen(server, intake), server.serve(), self._watch())
        ]
        try:
            done, _ = await asyncio.wait({stopping, *works}, return_when=asyncio.FIRST_COMPLETED)
            for one in done - {stopping}:
                one.result()  # these end by a bug only
            server.stop_listening()
            self.port = 0
            await server.finish(settings.finish)
        finally:
            for one in (stopping, *works):
                one.cancel()
            await asyncio.gather(stopping, *works, return_exceptions=True)
            server.stop_listening()
            await server.finish(0)

    async def _listen(self, server: Server, intake: Intake) -> None:
        """Listen, however often it takes; then for ever."""
        wait = self._listening.first_wait
        while True:
            try:
                await server.open()
                break
            except OSError as fault:
                reason = f"cannot listen at {self._listening.address}: {_told(fault)}"
                self._tell(intake, False, reason)
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._listening.longest_wait)
        self.port = server.port
        self._tell(intake, True, "")
        await asyncio.Event().wait()

    async def _watch(self) -> None:
        """Take over renewed certificates; tell how much is under way."""
        while True:
            await asyncio.sleep(self._listening.watch)
            self._said.under_way(self._room.used)
            try:
                if not self._certificates.look():
                    continue
                self.certificate_fault = ""
            except ConfigurationError as fault:
                self.certificate_fault = str(fault)
            self._said.certificate(self.certificate_fault)

    def _tell(self, intake: Intake, up: bool, reason: str) -> None:
        if self._said.state(up, reason):
            entry = SourceState(self._clock.now(), self._origin, up, reason)
            intake.submit(Delivery(None, Urgency.CONTROL, [entry]))


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _told(fault: OSError) -> str:
    return fault.strerror or str(fault)
