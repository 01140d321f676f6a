"""What ``meterwatch gateway list`` shows: each gateway with what it has, or that it has nothing."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from adapters.identity.broker import Broker
from adapters.identity.credentials import Credential, Credentials, Held
from meterwatch.clock import moment
from meterwatch.fleet import Fleet
from meterwatch.gateway_words import WORDS
from meterwatch.inspect import entry

SOON_MS: Final = 30 * 86_400_000
"""So long before its end a credential is told to run out soon."""


def print_list(
    fleet: Fleet, held: Credentials, broker: Broker, now: int, every: bool, lang: str
) -> None:
    """Every gateway of the registry, then those that are no longer in it and have something in
    force. ``every``: credentials that have ended, too."""
    words, zone = WORDS[lang], ZoneInfo(fleet.settings.program.zone)
    registry = fleet.registry
    by_hand = set(broker.passwords_by_hand())
    gone = [
        name
        for name, one in held.gateways.items()
        if name not in registry.gateways and (every or one.in_force(now))
    ]
    for name in (*registry.gateways, *gone):
        one = held.gateways.get(name, Held())
        head = [name]
        if name in registry.gateways:
            site = registry.sites[registry.gateways[name].site]
            head.append(site.name_zh if lang == "zh" else site.name)
        else:
            head.append(words["gone"])
        if one.rotated:
            head.append(words["rotated"].format(moment(one.rotated, zone)))
        shown = [each for each in one.credentials if every or each.in_force(now)]
        lines = [_line(each, now, zone, words) for each in shown]
        if not one.in_force(now):
            lines.insert(0, words["by_hand" if name in by_hand else "none"])
        entry(head, lines)
    for user in broker.stale(held, now):
        entry([words["stale"].format(user, fleet.files.folder)], [])
    if not registry.gateways and not gone:
        entry([words["nobody"]], [])


def _line(one: Credential, now: int, zone: ZoneInfo, words: dict[str, str]) -> str:
    parts = [f"{words[f'{one.kind}_']} {one.id}"]
    if one.in_force(now):
        soon = one.expires and one.expires - now < SOON_MS
        parts.append(words["soon" if soon else "in_force"])
    else:
        end = moment(one.ended(now), zone)
        parts.append(words["was_revoked" if one.revoked else "ended"].format(end))
    if one.user:
        parts.append(words["user"].format(one.user))
    parts.append(words["since"].format(moment(one.created, zone)))
    if one.expires and one.in_force(now):
        parts.append(words["until"].format(moment(one.expires, zone)))
    return "  ".join(parts)
