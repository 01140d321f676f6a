"""The acceptance sheet as one HTML page that prints on one A4 sheet. Pure.

Self-contained: no script, no font, no image and no style from anywhere else; the phasor diagram is
inline SVG. A verdict is told by a word and a sign, never by colour alone, so that it survives a
black-and-white printer. Everything that a person typed is escaped.
"""

from __future__ import annotations

import math
from html import escape
from typing import Final

from collector.quantities import quantities
from meterwatch.commissioning.findings import Check, Diagnosis, Level
from meterwatch.commissioning.sheet import Outcome, Proposal, Sheet
from meterwatch.commissioning.sheet_style import STYLE
from meterwatch.commissioning.sheet_words import (
    aligned,
    head,
    misfit,
    other_values,
    phase_table,
    remark,
    shown,
    word,
)
from meterwatch.commissioning.wiring_words import CHECKS, LEVEL_OF_FINDING, LEVELS, told

_STATE: Final = {None: "ok", Level.NOTE: "note", Level.DOUBT: "doubt", Level.FAULT: "fault"}
_SIGN: Final = {"ok": "✓", "note": "–", "doubt": "?", "fault": "✗"}
_PROPOSED: Final = {Proposal.ACCEPT: "ok", Proposal.CHECK: "doubt", Proposal.REFUSE: "fault"}
_OUTCOME: Final = {
    Outcome.AGREES: "ok",
    Outcome.PRIMARY: "ok",
    Outcome.DIFFERS: "fault",
    Outcome.UNREAD: "doubt",
}
_COLOURS: Final = ("#b8860b", "#2e7d4f", "#b23b3b")
"""The colours of the phases in China: yellow, green, red (GB 7947)."""


def page(sheet: Sheet, language: str) -> str:
    """The whole document."""
    lang = "zh-CN" if language == "zh" else "en"
    title = escape(" · ".join(part for part in (word("title", language), sheet.place) if part))
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            _header(sheet, language),
            _meta(sheet, language),
            _compared(sheet, language),
            _values(sheet, language),
            _wiring(sheet, language),
            _signatures(language),
            f"<footer>{word('made', language)}</footer>",
            "</main>\n</body>\n</html>",
        ]
    )


def _header(sheet: Sheet, language: str) -> str:
    state = _PROPOSED[sheet.proposal]
    whys = "".join(f"<p>{escape(line)}</p>" for line in misfit(sheet, language))
    return (
        f"<header><div><h1>{word('title', language)}</h1>"
        f'<p class="sub">{escape(sheet.site or sheet.place or sheet.url)}</p></div>'
        f'<div class="stamp {state}"><small>{word("proposal", language)}</small>'
        f"<strong>{_SIGN[state]} {word(sheet.proposal.value, language)}</strong>{whys}</div>"
        "</header>"
    )


def _meta(sheet: Sheet, language: str) -> str:
    wide = word("connection", language)
    cells = "".join(
        f"<div{' class=wide' if title == wide else ''}><dt>{escape(title)}</dt>"
        f"<dd>{escape(text) or '&nbsp;'}</dd></div>"
        for title, text in head(sheet, language)
    )
    return f'<dl class="meta">{cells}</dl>'


def _compared(sheet: Sheet, language: str) -> str:
    title = f"<h2>{word('display', language)}</h2>"
    if not sheet.compared:
        return f'<section>{title}<p class="none">{word("display_none", language)}</p></section>'
    names = ("quantity", "on_display", "in_system", "primary", "verdict")
    titles = "".join(
        f"<th{'' if name in {'quantity', 'verdict'} else ' class=n'}>{word(name, language)}</th>"
        for name in names
    )
    rows = []
    for one in sheet.compared:
        state = _OUTCOME[one.outcome]
        after = shown(one.primary, one.unit) if one.primary != one.system else "–"
        rows.append(
            f"<tr><td>{escape(quantities()[one.quantity].label(language))}</td>"
            f"<td class=n>{escape(one.typed)}</td><td class=n>{shown(one.system, one.unit)}</td>"
            f"<td class=n>{after}</td>"
            f"<td>{_badge(state)}{escape(remark(one, sheet, language))}</td></tr>"
        )
    return f"<section>{title}<table><tr>{titles}</tr>{''.join(rows)}</table></section>"


def _values(sheet: Sheet, language: str) -> str:
    table = phase_table(sheet, language)
    parts = [f"<section><h2>{word('values', language)}</h2>"]
    if table:
        names = ("A相", "B相", "C相") if language == "zh" else ("L1", "L2", "L3")
        titles = "".join(
            f'<th class=n><i style="background:{colour}"></i>{name}</th>'
            for name, colour in zip(names, _COLOURS, strict=True)
        )
        total = f"<th class=n>{word('total', language)}</th>"
        parts.append(f"<table><tr><th>{word('quantity', language)}</th>{titles}{total}</tr>")
        for label, unit, numbers in table:
            cells = "".join(f"<td class=n>{aligned(number, unit)}</td>" for number in numbers)
            name = f"{label} <small>{unit}</small>" if unit != "1" else label
            parts.append(f"<tr><td>{name}</td>{cells}</tr>")
        parts.append("</table>")
    parts.append('<dl class="more">')
    for value in other_values(sheet):
        label = quantities()[value.quantity].label(language)
        number, ratio = value.value, sheet.ratios.get(value.quantity, 1.0)
        after = f" <small>×{ratio:g} = {shown(number * ratio)}</small>" if ratio != 1 else ""
        parts.append(f"<div><dt>{label}</dt><dd>{shown(number, value.unit)}{after}</dd></div>")
    parts.append("</dl></section>")
    return "".join(parts)


def _wiring(sheet: Sheet, language: str) -> str:
    title = f"<h2>{word('wiring', language)}</h2>"
    zh = language == "zh"
    if sheet.wiring is None:
        return f'<section>{title}<p class="none">{word("wiring_none", language)}</p></section>'
    checks = "".join(
        f"<tr><td>{CHECKS[check][zh]}</td><td>{_badge(_STATE[level])}{LEVELS[level][zh]}</td></tr>"
        for check in Check
        for level in [sheet.wiring.level(check)]
    )
    drawing = _phasors(sheet.wiring, language)
    body = f'<div class="wiring"><table>{checks}</table>{drawing}</div>'
    found = []
    for finding in sheet.wiring.findings:
        one = told(finding, language)
        state = _STATE[finding.level]
        found.append(
            f'<li class="{state}">{_badge(state, LEVEL_OF_FINDING[finding.level][zh])}'
            f"<b>{escape(one.what)}</b> {escape(one.seen)} <em>{escape(one.todo)}</em></li>"
        )
    listed = f'<ul class="found">{"".join(found)}</ul>' if found else ""
    return f"<section>{title}{body}{listed}</section>"


def _badge(state: str, title: str = "") -> str:
    text = f"{_SIGN[state]} {title}".strip()
    return f'<span class="badge {state}">{text}</span>'


def _phasors(wiring: Diagnosis, language: str) -> str:
    """Voltages outside, currents by their angle; lengths relative to the largest. Nothing where
    no angle is known for sure."""
    known = [
        (phase, phase.angles()[0])
        for phase in wiring.phases
        if len(phase.angles()) == 1 and phase.amps > 0
    ]
    if not known:
        return ""
    volts = max(phase.volts for phase, _ in known)
    amps = max(phase.amps for phase, _ in known)
    lines = [
        '<circle cx="0" cy="0" r="92"/><circle cx="0" cy="0" r="46"/>',
        '<path d="M-98 0H98M0-98V98"/>',
    ]
    for phase, angle in known:
        colour = _COLOURS[phase.number - 1]
        at = -120.0 * (phase.number - 1)
        lines.append(_arrow(at, 92 * phase.volts / volts, colour, f"U{phase.number}", thin=True))
        length = 30 + 45 * phase.amps / amps
        lines.append(_arrow(at - angle, length, colour, f"I{phase.number}", thin=False))
    drawing = "".join(lines)
    note = word("phasors_note", language)
    return (
        '<figure><svg viewBox="-118 -112 236 224" role="img"'
        f' aria-label="{word("phasors", language)}">{drawing}</svg>'
        f"<figcaption>{note}</figcaption></figure>"
    )


def _arrow(angle: float, length: float, colour: str, name: str, *, thin: bool) -> str:
    """From the middle; ``angle`` anticlockwise from straight up, as such diagrams are drawn."""
    turn = math.radians(angle + 90)
    x, y = math.cos(turn), -math.sin(turn)
    tip_x, tip_y = length * x, length * y
    back = length - (7 if thin else 10)
    half = 2.6 if thin else 4.2
    left = f"{back * x - half * y:.1f},{back * y + half * x:.1f}"
    right = f"{back * x + half * y:.1f},{back * y - half * x:.1f}"
    dash = ' stroke-dasharray="4 3"' if thin else ""
    width = 1.2 if thin else 2.6
    far = length + 11
    return (
        f'<g stroke="{colour}" fill="{colour}">'
        f'<line x2="{back * x:.1f}" y2="{back * y:.1f}" stroke-width="{width}"{dash}/>'
        f'<polygon points="{tip_x:.1f},{tip_y:.1f} {left} {right}" stroke="none"/>'
        f'<text x="{far * x:.1f}" y="{far * y + 3.5:.1f}" stroke="none">{name}</text></g>'
    )


def _signatures(language: str) -> str:
    cells = "".join(
        f"<div><span>{word(who, language)}</span><p><small>{word('signature', language)}</small>"
        f"<small>{word('date', language)}</small></p></div>"
        for who in ("electrician", "operator", "supervisor")
    )
    remarks = f'<div class="remarks"><span>{word("remarks", language)}</span></div>'
    return f'<section class="sign">{remarks}<div class="lines">{cells}</div></section>'
