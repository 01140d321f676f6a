"""The connections of one listener: who may come in, how many, and how they are shown out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from adapters.sources.inlet.certificates import Certificates
from adapters.sources.inlet.desk import Desk
from adapters.sources.inlet.door import Door
from adapters.sources.inlet.limits import Room, Share, Strangers
from adapters.sources.inlet.tokens import misspelt
from adapters.sources.listener.mail import Mail, Session
from adapters.sources.listener.peer import Peer
from adapters.sources.listener.report import Report
from adapters.sources.listener.settings import ListenerSettings
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.packets import Connect
from collector.ports import Credentials

_SWEEPS: Final = 8
"""So many in the shortest of the timeouts, and one a second at least."""
_OTHER_NAMES: Final = "~"
"""Behind a gateway's id, and a number: its further names at a broker that knows one password for
each. Here they are the gateway."""


class Server:
    """See :class:`adapters.sources.inlet.source.Server`."""

    def __init__(
        self,
        settings: ListenerSettings,
        certificates: Certificates,
        credentials: Credentials,
        desk: Desk,
        room: Room,
        report: Report,
    ) -> None:
        self.settings, self.desk, self.room, self.report = settings, desk, room, report
        self.stopping = False
        self.held = 0
        """Bytes that were read and are no message yet."""
        self._credentials = credentials
        self._door = Door(
            settings,
            certificates,
            credentials,
            report,
            lambda address, proven: Peer(self, address, proven),
        )
        self._loop = asyncio.get_running_loop()
        self._peers: set[Peer] = set()
        self._of: dict[str, dict[str, Peer]] = {}
        """By gateway and client id, those in session."""
        self._shares: dict[str, Share] = {}
        self._strangers = Strangers()
        self._numbers = count(1)
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        return self._door.port

    @property
    def connections(self) -> int:
        return self._door.connections

    async def open(self) -> None:
        await self._door.open()

    async def serve(self) -> None:
        """End what is overdue, until cancelled."""
        shortest = min(self.settings.head_timeout, self.settings.silence, self.settings.watch)
        while True:
            now = self._loop.time()
            for peer in list(self._peers):
                peer.look(now)
                self._known(peer)
            self.report.connections(self.connections)
            await asyncio.sleep(min(1.0, shortest / _SWEEPS))

    def stop_listening(self) -> None:
        """No new connections, and nothing more is taken from those that are open."""
        self.stopping = True
        self._door.close()

    async def finish(self, seconds: float) -> None:
        """Wait so long until every message under way is answered, then end every connection."""
        until = self._loop.time() + seconds
        for peer in list(self._peers):
            if not peer.owes:
                peer.end(packets.SHUTTING_DOWN, "meterwatch is shutting down")
        while self._peers and (left := until - self._loop.time()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        for peer in list(self._peers):
            peer.transport.abort()
        await self._door.closed()

    # --- for connections ----------------------------------------------------------------------

    def came(self, peer: Peer) -> None:
        self._peers.add(peer)

    def over(self, peer: Peer) -> None:
        """Its session is over, if it had one."""
        peer.in_session = False
        mine = self._of.get(peer.gateway, {})
        if mine.get(peer.client_id) is peer:
            del mine[peer.client_id]

    def gone(self, peer: Peer) -> None:
        """Its connection is."""
        self.over(peer)
        self._peers.discard(peer)
        self._door.leave(peer.address)
        self._changed.set()

    def new_id(self) -> str:
        """For a client without one."""
        return f"meterwatch-{next(self._numbers)}"

    def mail(self, session: Session, due: Callable[[], object]) -> Mail:
        """What a session's messages go through."""
        share = self._share(session.gateway)
        return Mail(session, self.settings.window, share, self.desk, self.room, self.report, due)

    def admit(self, said: Connect, proven: str, address: str) -> tuple[int, str, str, str]:
        """0 and, third, the gateway that connects. Or a reason code, what is in the way in a
        word, whom it concerns, and what to do. ``proven``: the gateway of its certificate."""
        token = (said.password or b"").decode(errors="replace")
        found = self._credentials.gateway_of(token) if token else None
        name = said.user or ""
        user = name.partition(_OTHER_NAMES)[0]
        if self.stopping:
            return packets.UNAVAILABLE, "stopping", address, "meterwatch is shutting down"
        if not found and (token or not proven):
            why, told = _unproven(name, token)
            return packets.BAD_CREDENTIALS, why, address, told
        gateway = found or proven
        if (proven and gateway != proven) or (user and user != gateway):
            told = f"user {user!r:.80}, certificate and token are not of one gateway"
            return packets.NOT_AUTHORIZED, "forbidden", address, told
        if not said.client_id and said.version == packets.V311 and not said.clean:
            told = "set a client id, or a clean session"
            return packets.BAD_CLIENT_ID, "client-id", gateway, told
        others = self._of.get(gateway, {})
        if said.client_id not in others and len(others) >= self.settings.per_gateway:
            told = f"the gateway has {len(others)} connections already"
            return packets.QUOTA, "per-gateway", gateway, told
        return packets.SUCCESS, "", gateway, ""

    def _known(self, peer: Peer) -> None:
        """End a session whose token, or else certificate, is worth nothing any more."""
        if not peer.in_session:
            return
        token = peer.token
        found = self._credentials.gateway_of(token) if token else peer.proven()
        if found != peer.gateway:
            told = f"the {'token' if token else 'certificate'} is not valid any more"
            self.report.refused("unauthorized", peer.gateway, told)
            peer.end(packets.NOT_AUTHORIZED, told)

    def is_often(self, address: str) -> bool:
        """An address was told no so often that it is told late."""
        now = self._loop.time()
        denials = self._strangers.bucket(address, now)
        late = denials.wait(now) > 0
        denials.take(0 if late else 1)
        return late

    def _share(self, gateway: str) -> Share:
        """Of a gateway that has shown who it is: there are as many as have credentials."""
        found = self._shares.get(gateway)
        if found is None:
            settings = self.settings
            found = self._shares[gateway] = Share(
                settings.rates, self._loop.time(), settings.window, settings.in_flight
            )
        return found

    def begin(self, peer: Peer) -> None:
        """It is in session; who had its client id before is not any more (3.1.4)."""
        mine = self._of.setdefault(peer.gateway, {})
        before = mine.get(peer.client_id)
        mine[peer.client_id] = peer
        if before is not None:
            told = (
                f"client id {peer.client_id!r:.80} came again, from {peer.address}, and takes the"
                f" place of the connection from {before.address}; again and again these are two"
                " programs: give each an id of its own"
            )
            self.report.refused("taken-over", peer.gateway, told)
            before.end(packets.TAKEN_OVER, "another connection came with the same client id")


def _unproven(user: str, token: str) -> tuple[str, str]:
    """What is wrong with a name and a password that no gateway is known by: in a word, and what
    to do."""
    if not user and not token:
        told = "no user and no password came; set both, the gateway's id and its token"
        return "no-user", told
    if not token:
        return "no-password", f"user {user!r:.80} came without a password; set the gateway's token"
    who = f"user {user!r:.80}" if user else "no user"
    return (
        "unauthorized",
        f"{who}, and as password something else than its token; {misspelt(token)}",
    )
