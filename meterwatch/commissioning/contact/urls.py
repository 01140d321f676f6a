"""Connections as people write them, with one option changed. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def with_option(url: str, name: str, value: str) -> str:
    """``url`` with another ``name``, its other options kept."""
    options = [
        one for one in urlsplit(url).query.split("&") if one and not one.startswith(f"{name}=")
    ]
    head = url.partition("?")[0]
    return f"{head}?{'&'.join([f'{name}={value}', *options])}"


def has_option(url: str, name: str) -> bool:
    return any(one.startswith(f"{name}=") for one in urlsplit(url).query.split("&"))
