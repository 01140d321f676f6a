"""What people read: the words of a warning, of a group, of a digest, of late data. Pure.

Promises: every message says how urgent (一般 较重 严重 紧急), what, where, which value against
which limit and unit, since when in local time, what to do, and ends with its id. It never
fails: what ``data`` lacks is left out. It is never longer than ``max_bytes`` in UTF-8, title
and body together (WeCom cuts at 2,048): names that do not fit are counted instead.

The keys of ``data`` are those of :mod:`rules.book`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from collector.alerts import (
    ATTACHED,
    FIRING,
    FOUND_LATE,
    LEVEL_LABELS,
    Level,
)
from collector.notices import Draft, Item
from collector.ports import Notice
from rules.message_words import WORDS, Words

_ZH, _EN = 0, 1
LANGUAGES: Final = frozenset(WORDS)

_FEW: Final = 5
"""So many others of a group get a line of their own."""
_LONGEST_TEXT: Final = 240
"""Characters of one text that a person wrote (title, advice, note) that a message repeats."""


def _as_it_is(detail: str, language: str) -> str:  # noqa: ARG001 as ``wording`` calls it
    return detail


def wording(
    language: str = "zh",
    zone: str = "Asia/Shanghai",
    max_bytes: int = 2_000,
    refusal: Callable[[str, str], str] = _as_it_is,
) -> Callable[[Draft], Notice]:
    """Gives drafts their words. ``language``: one of ``LANGUAGES``; ``zone``: IANA, of times;
    ``refusal``: puts the detail of a refusal, which is journalled in English, into a language.

    Raises ``KeyError`` for another language, ``ZoneInfoNotFoundError`` for another zone.
    """
    return _Writer(WORDS[language], language, ZoneInfo(zone), max_bytes, refusal).notice


@dataclass(frozen=True, slots=True)
class _Writer:
    words: Words
    language: str
    zone: ZoneInfo
    max_bytes: int
    refusal: Callable[[str, str], str]

    # -- whole messages --------------------------------------------------------------------

    def notice(self, draft: Draft) -> Notice:
        told = [item for item in draft.items if item.state != ATTACHED] or list(draft.items)
        tags = {"state": "over" if all(item.over for item in told) else "open"}
        if draft.digest:
            title, lines, must = self._digest(draft, told)
        else:
            title, lines, must = self._one_cause(draft, told)
        must.append(self.words.id.format(draft.id))
        title = _cut(title, 120)
        return Notice(draft.id, draft.level, title, self._fit(title, lines, must), tags)

    def _one_cause(self, draft: Draft, told: Sequence[Item]) -> tuple[str, list[str], list[str]]:
        head = told[0]
        others = [item for item in draft.items if item is not head]
        lines = self._about(head)
        told_too = [item for item in others if item.state != ATTACHED]
        if 0 < len(told_too) <= _FEW:
            lines += [f"+ {self._short(item)}" for item in told_too]
            others = [item for item in others if item.state == ATTACHED]
        if others:
            lines.append(self._names(others))
        return self._title(draft.level, head, len(told)), lines, self._advice(head)

    def _digest(self, draft: Draft, told: Sequence[Item]) -> tuple[str, list[str], list[str]]:
        words = self.words
        title = words.bracket.format(self._level(draft.level)) + words.digest.format(draft.causes)
        counts = Counter(item.level for item in told)
        summary = words.listing.join(
            f"{self._level(level)} {counts[level]}" for level in sorted(counts, reverse=True)
        )
        lines = [words.merged.format(summary)]
        must = [words.advice.format(words.in_turn)]
        room = self.max_bytes - len(title.encode()) - 220
        for at, item in enumerate(told):
            line = f"{at + 1}. {self._short(item)}"
            room -= len(line.encode()) + 1
            if room < 0:
                must.insert(0, words.look.format(len(told) - at))
                break
            lines.append(line)
        return title, lines, must

    def _fit(self, title: str, lines: Sequence[str], must: Sequence[str]) -> str:
        """Lines in order, ``must`` last and whole; of the others what the bytes allow."""
        room = self.max_bytes - sum(len(line.encode()) + 1 for line in (title, *must))
        kept: list[str] = []
        for line in lines:
            size = len(line.encode()) + 1
            if size > room:
                if room > 30:
                    kept.append(_cut_bytes(line, room - 1))
                break
            kept.append(line)
            room -= size
        return "\n".join((*kept, *must))

    def _advice(self, head: Item) -> list[str]:
        words = self.words
        if head.over:
            text = words.settled
        elif head.state == FOUND_LATE:
            text = words.check_late
        else:
            text = self._text(head.data, "advice") or words.check
        return self._cut_line(words.advice, text)

    # -- parts of one alert ----------------------------------------------------------------

    def _title(self, level: int, head: Item, count: int) -> str:
        words = self.words
        state = words.states.get(head.state, words.states[FIRING])
        where = self._whereabouts(head)
        more = f"（{words.more.format(count)}）" if count > 1 and self.language == "zh" else ""
        more = f" ({words.more.format(count)})" if count > 1 and not more else more
        place = f"{words.comma}{where}" if where else ""
        return (
            words.bracket.format(self._level(level))
            + state
            + words.colon
            + self._what(head)
            + place
            + more
        )

    def _short(self, item: Item) -> str:
        words = self.words
        state = words.states.get(item.state, "")
        began = self._began(item)
        parts = [
            words.bracket.format(self._level(item.level)) + self._what(item),
            self._whereabouts(item),
            self._measured(item),
            "" if item.state == FIRING else state,
            words.since.format(self._time(began)) if began else "",
        ]
        return words.comma.join(_cut(part, 90) for part in parts if part)

    def _about(self, item: Item) -> list[str]:
        words, data = self.words, item.data
        where = self._whereabouts(item)
        lines = [words.where.format(where)] if where else []
        if measured := self._measured(item):
            whole = data.get("kind") in {"absence", "refusals"}
            lines.append(measured if whole else words.value.format(measured))
        detail = self.refusal(str(data.get("detail") or ""), self.language)
        lines += self._cut_line(words.example, detail)
        if item.state == FOUND_LATE:
            lines.append(self._late(data))
        elif began := self._began(item):
            lines.append(words.since.format(self._time(began)))
            if item.over and item.time >= began:
                lasted = words.lasted.format(self._span(item.time - began))
                lines.append(words.until.format(self._time(item.time)) + lasted)
        if covers := _number(data.get("covers")):
            lines.append(words.covers.format(round(covers)))
        lines += self._cut_line(words.by, str(data.get("who") or ""))
        lines += self._cut_line(words.note, str(data.get("note") or ""))
        reason = str(data.get("fault") or data.get("reason") or "")
        lines += self._cut_line(words.cause, reason if reason != data.get("note") else "")
        subjects = data.get("subjects")
        if isinstance(subjects, list | tuple) and subjects:
            lines.append(self._listed([self._named(str(one)) for one in subjects], len(subjects)))
        return lines

    def _names(self, others: Sequence[Item]) -> str:
        names = [self._whereabouts(item) or item.alert for item in others]
        return self._listed(list(dict.fromkeys(names)), len(others))

    def _listed(self, names: Sequence[str], count: int) -> str:
        words = self.words
        kept: list[str] = []
        room = self.max_bytes // 2
        for name in names:
            short = _cut(name, 60)
            room -= len(short.encode()) + 3
            if room < 0:
                break
            kept.append(short)
        text = words.listing.join(kept)
        more = f" {words.more.format(count)}" if len(kept) < count else ""
        return words.among.format(text + more)

    def _what(self, item: Item) -> str:
        data = item.data
        title = self._text(data, "title")
        kind = FOUND_LATE if item.state == FOUND_LATE else str(data.get("kind", ""))
        named = self.words.kinds.get(kind) or str(data.get("rule") or "") or item.alert
        if item.state == FOUND_LATE:
            named = named.format(round(_number(data.get("count")) or 1))
        return _cut(title or named, 80)

    def _where(self, data: Mapping[str, Any]) -> str:
        site = self._text(data, "site_name") or str(data.get("site") or "")
        place = self._text(data, "place_name") or str(data.get("place") or "").rpartition("/")[2]
        return self.words.comma.join(_cut(one, 60) for one in (site, place) if one)

    def _whereabouts(self, item: Item) -> str:
        """The place; of who is silent (and has none), its site and what it is."""
        where, subject = self._where(item.data), str(item.data.get("subject") or "")
        origin = subject.partition(":")[0] in self.words.origins
        if where and (not origin or self._text(item.data, "place_name")):
            return where
        return self.words.comma.join(one for one in (where, self._subject(item)) if one)

    def _subject(self, item: Item) -> str:
        return self._named(str(item.data.get("subject") or item.data.get("origin") or ""))

    def _named(self, subject: str) -> str:
        kind, colon, name = subject.partition(":")
        pattern = self.words.origins.get(kind) if colon else None
        return pattern.format(name) if pattern else subject

    def _measured(self, item: Item) -> str:
        """The value against its limit, in the words of the rule's kind; "" when there is none."""
        words, data = self.words, item.data
        value = _number(data.get("value"))
        if value is None or "fault" in data:  # a rule that broke measures nothing
            return ""
        lasting = _number(data.get("for_ms"))
        kind = data.get("kind")
        if kind == "absence":
            if str(data.get("subject")).startswith(("notifier:", "projection:")):
                return ""  # it fails, it is not silent; "since" says all there is
            total = _number(data.get("worst")) if item.over else None
            return words.silent.format(self._span((total or value) * 1000))
        if kind == "refusals":
            total = _number(data.get("worst")) if item.over else None
            return words.refused.format(round(total or value))
        unit = str(data.get("unit") or "")
        quantity = str(data.get(f"quantity_{self.language}") or "")
        shown = self._amount(value, unit)
        parts = [f"{quantity} {shown}".strip()]
        if kind == "rate" and (per := _number(data.get("per_ms"))):
            return words.comma.join(self._moved(item, quantity, unit, value, per))
        if kind == "flatline" and lasting:
            parts.append(words.flat.format(self._span(lasting)))
        limit = data.get("limit")
        if limit is not None:
            way = str(data.get("direction") or "")
            pattern = words.limit.get(way, words.limit[""])
            parts.append(pattern.format(self._amount(limit, unit)))
        worst, now = _number(data.get("worst")), _number(data.get("now"))
        if worst is not None and worst != value and item.over:
            parts.append(words.worst.format(self._amount(worst, unit)))
        if now is not None and item.over and kind != "flatline":
            parts.append(words.now.format(self._amount(now, unit)))
        return words.comma.join(parts)

    def _moved(self, item: Item, quantity: str, unit: str, value: float, per: float) -> list[str]:
        """What changed in which time, where that is known, and per window what is compared."""
        words, data = self.words, item.data
        window = self._span(per)
        limit = _number(data.get("limit"))

        def rate(number: float) -> str:
            return words.within.format(self._amount(number, unit), window)

        change, elapsed = _number(data.get("change")), _number(data.get("elapsed_ms"))
        if change is not None and elapsed:
            way = words.moved["fall" if change < 0 else "rise"]
            told = way.format(self._span(elapsed), self._amount(abs(change), unit))
            if limit and elapsed != per:
                told += words.alike.format(rate(value))
        else:
            told = words.change.format(window, self._amount(value, unit))
        parts = [f"{quantity} {told}".strip()]
        if limit is not None:
            never = words.never.get(str(data.get("direction") or "")) if limit == 0 else None
            parts.append(never or words.limit[""].format(rate(limit)))
        worst, now = _number(data.get("worst")), _number(data.get("now"))
        if item.over and worst is not None and worst != value:
            parts.append(words.worst.format(rate(worst)))
        if item.over and now is not None:
            parts.append(words.now.format(rate(now)))
        return parts

    def _late(self, data: Mapping[str, Any]) -> str:
        start, end = _number(data.get("start")), _number(data.get("end"))
        return self.words.late.format(self._time(start or 0), self._time(end or 0))

    # -- words and numbers -----------------------------------------------------------------

    def _level(self, level: int) -> str:
        zh_en = LEVEL_LABELS[Level(min(max(level, 1), 4))]
        return zh_en[_ZH] if self.language == "zh" else zh_en[_EN].capitalize()

    def _text(self, data: Mapping[str, Any], key: str) -> str:
        """A text in the reader's language, else in the other."""
        plain, zh = data.get(key), data.get(f"{key}_zh")
        wanted, other = (zh, plain) if self.language == "zh" else (plain, zh)
        return " ".join(str(wanted or other or "").split())

    def _cut_line(self, pattern: str, text: str) -> list[str]:
        return [pattern.format(_cut(" ".join(text.split()), _LONGEST_TEXT))] if text else []

    def _began(self, item: Item) -> float | None:
        return _number(item.data.get("started")) or _number(item.data.get("start"))

    def _time(self, ms: float) -> str:
        try:
            at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(self.zone)
        except (OverflowError, OSError, ValueError):
            return "?"
        return at.strftime("%Y-%m-%d %H:%M:%S")

    def _span(self, ms: float) -> str:
        """A duration in its two largest units."""
        left, parts = round(max(ms, 0) / 1000) * 1000, list[str]()
        for size, word in self.words.units:
            count, left = divmod(left, size)
            if count:
                parts.append(word.format(count))
            elif parts:
                break
        return " ".join(parts[:2]) or self.words.units[-1][1].format(0)

    def _amount(self, value: object, unit: str) -> str:
        number = _number(value)
        shown = _cut(str(value), 40) if number is None else _plain(number)
        if self.language == "zh":
            unit = unit.replace("degC", "℃")
        unit = unit.replace("degC", "°C").replace("m3", "m³")
        return f"{shown} {unit}".rstrip()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if value == value and abs(value) < 1e300 else None  # noqa: PLR0124 - NaN


def _plain(number: float) -> str:
    """As a person writes it: at most 7 digits that matter, no exponent for what meters show."""
    text = f"{number:.7g}"
    return f"{number:.0f}" if "e" in text and 1 <= abs(number) < 1e15 else text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut_bytes(text: str, most: int) -> str:
    return text.encode()[: max(0, most - 3)].decode("utf-8", "ignore") + "…"
