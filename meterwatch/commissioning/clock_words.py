"""What a meter's clock shows and by how much it is off, Chinese and English. Pure."""

from __future__ import annotations

from typing import Final

from meterwatch.commissioning.contact.ports import Identified

CLOCK_TOLERANCE_S: Final = 60.0
"""Beyond this, energy is booked to the wrong tariff and the wrong day for longer than the minute
that day data may be off."""
_SPANS: Final = ((86_400, "d", "天"), (3_600, "h", "小时"), (60, "min", "分钟"))
_ADVICE: Final = {
    "en": ": have it set, tariffs and days go by it",
    "zh": "：请校时，费率和日数据以表内时钟为准",
}


def clock_told(identified: Identified, language: str, *, advice: bool = True) -> str:
    """``2026-11-22 10:00:05, 5 s ahead``; empty for a meter that tells no time. With ``advice``
    what is to be done where that is too much."""
    if identified.clock is None:
        return ""
    told = f"{identified.clock:%Y-%m-%d %H:%M:%S}, {_off(identified.clock_off, language)}"
    if not (advice and is_off(identified.clock_off)):
        return told
    return told + _ADVICE["zh" if language == "zh" else "en"]


def is_off(seconds: float) -> bool:
    """Whether the clock should be set; NaN, where it is not known, is not off."""
    return abs(seconds) > CLOCK_TOLERANCE_S


def _off(seconds: float, language: str) -> str:
    amount = abs(seconds)
    size, unit, zh = next((one for one in _SPANS if amount >= 2 * one[0]), (1, "s", "秒"))
    number = f"{amount / size:.0f}" if size == 1 else f"{amount / size:.3g}"
    if language == "zh":
        return f"{'快' if seconds > 0 else '慢'} {number} {zh}"
    return f"{number} {unit} {'ahead' if seconds > 0 else 'behind'}"
