"""Where secrets are: named in settings, never written there. Pure: the reader is handed in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from collector.errors import ConfigurationError, Fault
from collector.sections import NO_SECRETS, Section

_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: an environment variable or a file, exactly one; and which line of
    which file says so."""

    env: str = ""
    file: str = ""
    said_in: str = field(default="", compare=False)
    said_at: int = field(default=0, compare=False)


class ReadSecret(Protocol):
    """The text of ``name``: an environment variable (``kind`` "env", ``KeyError`` when it is
    not set) or a file ("file", ``OSError`` when it cannot be read)."""

    def __call__(self, name: str, kind: str, /) -> str: ...


def secret(where: Secret, read: ReadSecret) -> str:
    """The secret's text, without blanks and line ends around it. Raises
    ``ConfigurationError``, which never holds the text, when there is none."""
    what, todo = "", ""
    text = ""
    try:
        text = read(where.env, "env") if where.env else read(where.file, "file")
    except KeyError:
        what, todo = f"environment variable {where.env} is not set", "set it before the start"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        what, todo = f"secret file {where.file} cannot be read: {reason}", "mend the file"
    if text.strip():
        return text.strip()
    what = what or f"the secret in {where.env or where.file} is empty"
    raise ConfigurationError(Fault(where.said_in, where.said_at, what, todo or "fill it in"))


def secret_of(section: Section, key: str, *, required: bool) -> Secret | None:
    """``key_env`` or ``key_file``; the secret itself under ``key`` is a fault."""
    env = section.text(f"{key}_env", pattern=_ENV, form="the name of an environment variable")
    file = section.text(f"{key}_file")
    todo = f"use {key}_env or {key}_file"
    given = [name for name in (f"{key}_env", f"{key}_file") if section.has(name)]
    if section.has(key):
        section.fault(key, f"{key} holds a secret: {NO_SECRETS}", todo)
    elif len(given) > 1:
        section.fault(given[1], f"both {given[0]} and {given[1]} are given", "keep one of them")
    elif not given and required:
        section.fault((), f"{key}_env is missing", todo)
    elif given and section.data[given[0]] == "":
        section.fault(given[0], f"{given[0]} is empty", "fill it in")
    if not env and not file:
        return None
    return Secret(env, file, section.file, section.line(given[0]))
