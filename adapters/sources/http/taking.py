"""What is taken in: who may send, how much, in which form, and what becomes of it. ASGI endpoints.

Whatever is refused for what it *is* (no token, not its turn, too large, no room on the disk) is
refused by its header, before the body is read. A body that was taken is answered after the journal
has synced what it brought.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from adapters.sources.http.answers import SCHEMES, Answer, fault, message_of, too_many, unproven
from adapters.sources.http.report import Report
from adapters.sources.http.settings import HttpSettings
from adapters.sources.inlet.desk import GZIP_GAIN, Desk, Form, Wrong
from adapters.sources.inlet.limits import Room, Share, Strangers
from adapters.sources.payload import Receipt
from collector.model import Reason
from collector.ports import Credentials

_SAMPLE: Final = 64 << 10
_FULL_S: Final = 30.0
_STOPPING_S: Final = 5.0
_ENCODINGS: Final = {b"": False, b"identity": False, b"gzip": True, b"x-gzip": True}
_PRECISIONS: Final = ("ns", "us", "ms", "s")


class RefusedError(Exception):
    """The request is not served: ``answer`` says why, ``why`` in a word for the metrics."""

    def __init__(self, why: str, answer: Answer) -> None:
        super().__init__(why)
        self.why, self.answer = why, answer


@dataclasses.dataclass(slots=True)
class Service:
    """What the endpoints share. ``stopping``: nothing more is taken in."""

    settings: HttpSettings
    credentials: Credentials
    desk: Desk
    room: Room
    report: Report
    time: Callable[[], float]
    stopping: bool = False
    shares: dict[str, Share] = dataclasses.field(default_factory=dict)
    strangers: Strangers = dataclasses.field(default_factory=Strangers)

    def full(self) -> bool:
        """The disk takes no pushed readings."""
        return self.desk.full()

    def share(self, gateway: str) -> Share:
        """Of a gateway that has shown who it is: there are as many as have credentials."""
        found = self.shares.get(gateway)
        if found is None:
            settings = self.settings
            most = max(settings.max_body, settings.in_flight // 4)
            found = self.shares[gateway] = Share(
                settings.rates, self.time(), settings.per_gateway, most
            )
        return found


class Taking:
    """The endpoint of one API: takes a body, has it stored, answers."""

    def __init__(
        self,
        service: Service,
        form: str,
        told: Callable[[Receipt], Answer],
        types: tuple[bytes, ...] | None = None,
    ) -> None:
        self._service, self._form, self._told, self._types = service, form, told, types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(reversed(scope["headers"]))  # of two, the first
        address = scope["client"][0] if scope["client"] else ""
        gateway, why, asked, ended = "", "", False, False

        async def hear() -> Any:
            nonlocal asked, ended
            asked = True
            event = await receive()
            ended = not event.get("more_body", False)
            return event

        try:
            gateway = self._gateway(scope, headers)
            answer = await self._serve(gateway, headers, scope, hear)
        except RefusedError as refused:
            why, answer = refused.why, refused.answer
            if not asked:
                await self._hesitate(gateway, address, answer.status)
        except ClientGoneError:
            return
        if (not asked and b"expect" in headers) or (not ended and b"transfer-encoding" in headers):
            # Nobody can tell whether the body will still come, or where it will end.
            answer = dataclasses.replace(
                answer, headers=(*answer.headers, (b"connection", b"close"))
            )
        told = message_of(answer) if why else ""
        self._service.report.answered(answer.status, why, gateway or address, told)
        await respond(answer, send)

    def _gateway(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """Who asks, or why nobody is to be heard."""
        proven: str = scope["state"]["proven"]()
        authorization = headers.get(b"authorization", b"")
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        found: str | None = proven
        if scheme.lower() in SCHEMES:
            found = self._service.credentials.gateway_of(token.strip())
        if not found:
            raise RefusedError("unauthorized", unproven(authorization))
        if proven and found != proven:
            told = f"the certificate is {proven!r:.80}, the token that of another gateway"
            raise RefusedError("forbidden", fault(403, told))
        return found

    async def _hesitate(self, gateway: str, address: str, status: int) -> None:
        """Tell a client that is refused again and again a little later each time."""
        service, now = self._service, self._service.time()
        if status not in {401, 403, 429}:
            return
        denials = (
            service.share(gateway).denials if gateway else service.strangers.bucket(address, now)
        )
        late = denials.wait(now) > 0
        denials.take(0 if late else 1)
        if late:
            service.report.late()
            await asyncio.sleep(
                service.settings.hesitation
            )  # of this client alone, whose connection is not read meanwhile

    async def _serve(
        self, gateway: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive
    ) -> Answer:
        service, settings = self._service, self._service.settings
        share = service.share(gateway)
        self._can_take()
        gzip, length, form, wrong = self._checked(headers, scope)
        size = settings.max_body if length is None else length
        size = size if size <= settings.max_body else 0  # it will not be read
        reserve = min(settings.max_body, size * GZIP_GAIN) if gzip else size
        denied = share.denied(reserve, service.time())
        if denied is not None:
            raise RefusedError("rate", too_many(denied.limit, denied.wait))
        share.enter(reserve)
        try:
            if not await service.room.take(reserve, settings.patience):
                told = "more is under way than there is room for"
                raise RefusedError("room", fault(503, told, retry_after=_STOPPING_S))
            try:
                return await self._take(gateway, share, form, gzip, length, wrong, receive)
            finally:
                service.room.give(reserve)
        finally:
            share.leave(reserve)

    def _can_take(self) -> None:
        service = self._service
        if service.stopping:
            told = "meterwatch is shutting down"
            raise RefusedError("stopping", fault(503, told, retry_after=_STOPPING_S))
        if service.full():
            raise RefusedError("disk", _full())

    def _checked(
        self, headers: dict[bytes, bytes], scope: Scope
    ) -> tuple[bool, int | None, Form, Wrong | None]:
        """Whether it is packed, its length if that is known, its form, and why it is to be kept
        without being read: InfluxDB's clients throw away what they are told 400 for."""
        encoding = headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in _ENCODINGS:
            told = f"Content-Encoding {encoding.decode('latin-1')!r:.40}: send gzip, or none"
            raise RefusedError("form", fault(415, told))
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if self._types is not None and kind not in self._types:
            told = f"Content-Type {kind.decode('latin-1')!r:.40}: send application/json"
            raise RefusedError("form", fault(415, told))
        unit, wrong = "", None
        if self._form:
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            unit = query.get("precision", ["ns"])[-1]
            if unit not in _PRECISIONS:
                told = f"precision {unit!r:.40}: one of {', '.join(_PRECISIONS)}"
                unit, wrong = "", Wrong(Reason.PAYLOAD, told)
        if b"transfer-encoding" in headers:
            return _ENCODINGS[encoding], None, (self._form, unit), wrong
        if b"content-length" not in headers:
            raise RefusedError("form", fault(411, "send Content-Length, or the body in chunks"))
        return _ENCODINGS[encoding], int(headers[b"content-length"]), (self._form, unit), wrong

    async def _take(
        self,
        gateway: str,
        share: Share,
        form: Form,
        gzip: bool,
        length: int | None,
        wrong: Wrong | None,
        receive: Receive,
    ) -> Answer:
        """Read the body and have it stored; it is this request's turn, and there is room."""
        service, most = self._service, self._service.settings.max_body
        body = bytearray()
        size = length or 0
        more = size <= most
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > most:
                size = max(size, len(body))
                break
        excess = size if size > most else 0
        share.used(size=len(body))
        topic = f"meterwatch/v1/{gateway}/readings"
        head = bytes(body[:_SAMPLE] if excess else body)
        outcome = await service.desk.bring(form, topic, head, gzip=gzip, excess=excess, wrong=wrong)
        if outcome is None:
            raise RefusedError("disk", _full())
        share.used(readings=outcome.stored + sum([part.count for part in outcome.refused]))
        if self._form and outcome.remarks:  # of the write API, whose clients show none
            service.report.remarked(gateway, outcome.remarks)
        return self._told(outcome)


class ClientGoneError(Exception):
    """It closed the connection before its body was here: it will send it again."""


async def respond(answer: Answer, send: Send) -> None:
    headers = list(answer.headers)
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _full() -> Answer:
    return fault(
        503, "the disk is nearly full: keep the readings and come back", retry_after=_FULL_S
    )
