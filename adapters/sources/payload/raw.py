"""What bytes that are no JSON probably are, and what to send instead. Pure.

Only beginnings are looked at, so it costs the same however long a message is.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import Final

_HEAD: Final = 512
_SHOWN: Final = 40
"""Characters of a payload that are repeated to its sender."""
_ZLIB: Final = tuple(b"\x78" + second for second in (b"\x01", b"\x5e", b"\x9c", b"\xda"))
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}\s*")
_CSV: Final = re.compile(r"[,;\t]")


def excerpt(payload: bytes, at: int = 0) -> str:
    """The first characters, or those about byte ``at``, in quotes."""
    start = max(0, at - _SHOWN // 2)
    return repr(payload[start : start + _SHOWN].decode("utf-8", "replace"))


def packed(payload: bytes) -> str:
    """What is not text in UTF-8, and is not gzip (which was unpacked before); else empty."""
    head = payload[:_HEAD]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b'{\0"\0' in head or b'\0{\0"' in head:
        return "this is UTF-16: send UTF-8"
    if head[:2] == b"\x1f\x8b":
        return "this is gzip within gzip: pack it once"
    if head[:2] in _ZLIB or _inflates(head):
        return "this is zlib or deflate: pack it with gzip, or not at all"
    if head[:1] and 0x80 <= head[0] <= 0xBF:  # a map or a list of both; no character begins so
        return "this looks like CBOR or MessagePack: send JSON"
    try:
        payload.decode()
    except UnicodeDecodeError as wrong:
        return f"the message is not UTF-8 (byte {wrong.start}): is it GBK?"
    if any(byte < 32 and byte not in b"\t\n\r" for byte in head):
        return f"this is not text: it begins with {head[:8].hex(' ')}"
    return ""


def _inflates(head: bytes) -> bool:
    try:
        return zlib.decompressobj(wbits=-15).decompress(head, 2)[:1] in (b"{", b"[")
    except zlib.error:
        return False


def no_object(payload: bytes) -> str:
    """What a text is that begins like no object and no list of JSON; empty where it does."""
    head = payload[:_HEAD].strip()
    if head[:1] in (b"{", b"["):
        return ""
    begins = f": it begins with {excerpt(head)}"
    if head[:1] == b"<":
        return f"this looks like XML{begins}"
    if head[:2] == b"##":
        return f"this looks like HJ 212{begins}"
    if _encodes(head):
        return "this looks like base64: send what was encoded"
    lines = head.decode("utf-8", "replace").splitlines()
    parts = lines[0].split(" ")
    if 2 <= len(parts) <= 3 and "=" in parts[1]:
        return (
            "this looks like line-protocol; the gateway's format in the registry decides: enter "
            'format = "line-protocol"'
        )
    if len(lines) > 1 and _CSV.search(lines[0]):
        return f"this looks like CSV{begins}"
    return f"this is not JSON{begins}"


def _encodes(head: bytes) -> bool:
    if _BASE64.fullmatch(head) is None:
        return False
    try:
        return base64.b64decode(head[:24])[:1] in (b"{", b"[", b"\x1f")
    except binascii.Error:
        return False


_WORD: Final = re.compile(
    rb"(?<=[:\[,\s])(?:(-?(?:nan|inf(?:inity)?)|none|undefined)|(true|false))\b(?!\")",
    re.IGNORECASE,
)
_BEFORE, _BEHIND = 6, 10
"""Bytes about the place where the parser stumbled, in or just behind such a word."""
_COMMA: Final = re.compile(rb":\s*(-?\d{1,15}),(\d{1,15})\s*[,}\]]")
_FAR: Final = 40
_OPENS: Final = re.compile(rb"[{\[]")


def near(payload: bytes, place: int, told: str) -> str:
    """What people do wrong where a parser stumbled at byte ``place`` with words ``told``; empty
    where that is not foreseen."""
    found = _WORD.search(payload[max(place - _BEFORE, 0) : place + _BEHIND])
    if found is not None:
        word = found[0].decode()
        return f"{word} is not JSON: send {'null' if found[1] else word.lower()}"
    if "trailing comma" in told:
        return f"this is not JSON: a comma without anything behind it (byte {place})"
    if payload[place : place + 1] == b"'":
        return (
            f"keys and texts need double quotes (byte {place}): is this Python's print of a dict?"
        )
    comma = _COMMA.search(payload[max(place - _FAR, 0) : place + _BEHIND])
    if comma is not None:
        whole, rest = comma[1].decode(), comma[2].decode()
        return f"{whole},{rest} is not JSON: is it a decimal comma? Send {whole}.{rest}"
    if "trailing characters" in told and _OPENS.search(
        payload[max(place - 1, 0) : place + 1]  # a parser may be one byte further
    ):
        return f"these are two messages in one (byte {place}): send each by itself"
    return ""
