"""The paths that are served, as an ASGI application."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.sources.http import openapi
from adapters.sources.http.answers import CODES, fault, of_readings, of_write
from adapters.sources.http.taking import Service, Taking
from adapters.sources.payload.formats import LINE_PROTOCOL

READINGS: Final = "/v1/readings"
WRITE: Final = "/api/v2/write"
VERSION: Final = "2.7.0"
"""What clients of InfluxDB that ask for its version are told: the API, not the product."""
_JSON_TYPES: Final = (b"", b"application/json")


def application(service: Service) -> Starlette:
    """Everything that is served."""
    document = msgspec.json.encode(openapi.document(service.settings))

    def shown(status: int, body: bytes, **headers: str) -> Response:
        service.report.answered(status, "", "")
        kind = "application/json" if body else None
        return Response(body, status, headers=headers, media_type=kind)

    async def described(_: Request) -> Response:
        return shown(200, document)

    async def ping(_: Request) -> Response:
        versions = {"X-Influxdb-Version": VERSION, "X-Influxdb-Build": "meterwatch"}
        return shown(204, b"", **versions)

    async def health(request: Request) -> Response:
        full = service.full()
        well = not (service.stopping or full)
        told = "takes readings" if well else "the disk is full" if full else "shutting down"
        if request.url.path == "/healthz":
            body: dict[str, Any] = {"status": "ok" if well else "failing", "message": told}
        else:
            body = {"name": "meterwatch", "status": "pass" if well else "fail", "message": told}
            body |= {"checks": [], "version": VERSION}
        return shown(200 if well else 503, msgspec.json.encode(body))

    async def refused(request: Request, found: Exception) -> Response:
        assert isinstance(found, HTTPException)
        status = found.status_code if found.status_code in CODES else 400
        told = CODES[status]
        if status == 404:
            told = f"there is nothing at this path: POST {READINGS}, or line protocol to {WRITE}"
        if found.headers and "Allow" in found.headers:
            told = f"here only {found.headers['Allow']}"
        answer = fault(status, told)
        address = request.client.host if request.client else ""
        service.report.answered(status, "path", address, f"{request.method} {request.url.path}")
        return Response(answer.body, status, headers=found.headers, media_type="application/json")

    async def failed(_: Request, bug: Exception) -> Response:
        service.report.bug(bug)
        answer = fault(500, "the program failed on this request: see its log")
        return Response(answer.body, 500, media_type="application/json")

    routes = [
        Route(READINGS, Taking(service, "", of_readings, _JSON_TYPES), methods=["POST"]),
        Route(WRITE, Taking(service, LINE_PROTOCOL, of_write), methods=["POST"]),
        Route("/healthz", health),
        Route("/health", health),
        Route("/ping", ping),
        Route("/openapi.json", described),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refused, Exception: failed})
    app.router.redirect_slashes = False
    return app
