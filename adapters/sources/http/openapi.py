"""The OpenAPI 3.1 document of what is served, as ``GET /openapi.json`` gives it. Pure."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from adapters.sources.http.settings import HttpSettings
from adapters.sources.payload.ids import LONGEST_ID

_OLDEST: Final = 946_684_800_000
_NEWEST: Final = 253_402_300_799_999


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answers(*statuses: int, **others: dict[str, Any]) -> dict[str, Any]:
    """By status; ``s200=...`` for those with a form of their own."""
    found: dict[str, Any] = {name[1:]: told for name, told in others.items()}
    for status in statuses:
        headers: dict[str, Any] = {}
        if status in {429, 503}:
            seconds = {"type": "integer", "minimum": 1}
            headers = {"Retry-After": {"description": "Seconds.", "schema": seconds}}
        if status == 401:
            headers = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        if status == 405:
            headers = {"Allow": {"schema": {"type": "string"}}}
        found[str(status)] = {
            "description": _MEANS[status],
            "headers": headers,
            "content": _json(_reference("Fault")),
        }
    return dict(sorted(found.items()))


_MEANS: Final = {
    400: "It cannot be read. Do not send it again as it is. (Write API: or part of it was refused; "
    "the rest is stored.)",
    401: "No token, or one that is not known.",
    403: "Whose token this is may not send: the gateway is not in the registry.",
    405: "Another method.",
    408: "The header did not come in time.",
    411: "Neither a length nor chunks.",
    413: "The body is too large, as sent or unpacked: send fewer readings in each.",
    415: "An encoding or type that is not taken.",
    422: "Nothing of it could be used; the refused rows are kept.",
    429: "More than this gateway may send: again after Retry-After.",
    431: "The header is too large.",
    503: "Nothing was kept: again after Retry-After.",
}
_TAKING: Final = (400, 401, 403, 405, 408, 411, 413, 415, 429, 431, 503)


def document(settings: HttpSettings) -> dict[str, Any]:
    """The whole of it, with the bounds of this listener."""
    try:
        ours = version("meterwatch")
    except PackageNotFoundError:  # run from a folder without being installed
        ours = "0"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "meterwatch: readings over HTTPS",
            "version": ours,
            "description": "Answers come after the readings, or why they were refused, are synced "
            "to disk. Sending the same reading again is harmless.",
        },
        "paths": {
            "/v1/readings": {"post": _readings(settings)},
            "/api/v2/write": {"post": _write(settings)},
            "/healthz": {"get": _shown("Does it take readings?", _reference("Health"), full=True)},
            "/health": {
                "get": _shown("The same, as InfluxDB says it.", _reference("Pass"), full=True)
            },
            "/ping": {
                "get": {
                    "summary": "As InfluxDB answers it.",
                    "responses": _answers(405, s204={"description": "It is there."}),
                }
            },
            "/openapi.json": {"get": _shown("This document.", {"type": "object"})},
        },
        "components": {
            "securitySchemes": {
                "gateway": {"type": "http", "scheme": "bearer", "description": "Its token."}
            },
            "schemas": _schemas(),
        },
    }


def _readings(settings: HttpSettings) -> dict[str, Any]:
    return {
        "summary": "Readings of a gateway's devices.",
        "description": "With the security of a client certificate no token is needed. The body "
        f"has {settings.max_body:,} bytes at most, as sent and unpacked.",
        "security": [{"gateway": []}],
        "parameters": [_encoding()],
        "requestBody": {"required": True, "content": _json(_reference("Message"))},
        "responses": _answers(
            *_TAKING,
            422,
            s200={
                "description": "Synced. What was refused of it is named, and kept.",
                "content": _json(_reference("Receipt")),
            },
        ),
    }


def _write(settings: HttpSettings) -> dict[str, Any]:
    text = {"type": "string"}
    precision = {"type": "string", "enum": ["ns", "us", "ms", "s"], "default": "ns"}
    return {
        "summary": "Line protocol, as InfluxDB 2 takes it.",
        "description": f"At most {settings.max_body:,} bytes, as sent and unpacked.",
        "security": [{"gateway": []}],
        "parameters": [
            {"name": "org", "in": "query", "description": "Not used.", "schema": text},
            {"name": "bucket", "in": "query", "description": "Not used.", "schema": text},
            {"name": "precision", "in": "query", "schema": precision},
            _encoding(),
        ],
        "requestBody": {"required": True, "content": {"text/plain": {"schema": text}}},
        "responses": _answers(
            *_TAKING,
            s204={
                "description": "Synced.",
                "headers": {
                    "Meterwatch-Remarks": {
                        "description": "What to mend although it is stored.",
                        "schema": text,
                    }
                },
            },
        ),
    }


def _encoding() -> dict[str, Any]:
    return {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body is packed.",
        "schema": {"type": "string", "enum": ["gzip", "identity"]},
    }


def _shown(summary: str, schema: dict[str, Any], *, full: bool = False) -> dict[str, Any]:
    told = {"description": "Yes, or so.", "content": _json(schema)}
    answers = _answers(405, s200=told)
    if full:
        answers["503"] = {"description": "Not at present.", "content": _json(schema)}
    return {"summary": summary, "responses": answers}


def _schemas() -> dict[str, Any]:
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    remarks = {"type": "array", "items": text, "description": "What else to mend."}
    value = {"type": ["number", "boolean", "null"]}
    refused = {
        "type": "object",
        "required": ["reason", "detail", "count", "rows"],
        "properties": {
            "reason": text,
            "detail": text,
            "count": count,
            "rows": {"type": "array", "items": count, "description": "From 0; the first of them."},
            "todo": {"type": ["string", "null"]},
        },
    }
    row = {
        "type": "object",
        "required": ["device", "time", "values"],
        "properties": {
            "device": {**text, "description": "Its id in the registry, within the site."},
            "time": {
                "description": "When it was measured: ISO 8601, or milliseconds since 1970.",
                "oneOf": [
                    {"type": "string", "format": "date-time"},
                    {"type": "integer", "minimum": _OLDEST, "maximum": _NEWEST},
                ],
            },
            "values": {
                "type": "object",
                "description": "Quantity -> what the device shows.",
                "minProperties": 1,
                "additionalProperties": value,
            },
            "serial": {"type": ["string", "integer", "null"]},
            "units": {"type": ["object", "null"], "additionalProperties": text},
            "flags": {"type": ["object", "null"], "additionalProperties": text},
        },
    }
    identity = {"type": ["string", "integer", "null"], "maxLength": LONGEST_ID}
    return {
        "Message": {
            "type": "object",
            "required": ["readings"],
            "properties": {
                "readings": {"type": "array", "minItems": 1, "items": _reference("Row")},
                "id": identity,
                "backfill": {"type": "boolean", "default": False},
            },
        },
        "Row": row,
        "Receipt": {
            "type": "object",
            "required": ["id", "stored", "refused"],
            "properties": {
                "id": identity,
                "stored": count,
                "refused": {"type": "array", "items": _reference("Refused")},
                "remarks": remarks,
            },
        },
        "Refused": refused,
        "Fault": {
            "type": "object",
            "required": ["code", "message", "reasons"],
            "properties": {
                "code": text,
                "message": text,
                "reasons": {"type": "array", "items": _reference("Refused")},
                "stored": count,
                "id": identity,
                "remarks": remarks,
            },
        },
        "Health": {
            "type": "object",
            "required": ["status", "message"],
            "properties": {
                "status": {"type": "string", "enum": ["ok", "failing"]},
                "message": text,
            },
        },
        "Pass": {
            "type": "object",
            "required": ["name", "status", "message"],
            "properties": {
                "name": text,
                "status": {"type": "string", "enum": ["pass", "fail"]},
                "message": text,
                "version": text,
                "checks": {"type": "array"},
            },
        },
    }
