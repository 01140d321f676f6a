"""Which gateway of the registry was probably meant by a name that is not in it. Pure.

Told to the operator only: whoever sends under a wrong name is not to learn the right ones, so the
refusal itself, which senders are told, does not say it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from collector.sections import near

_UNKNOWN: Final = re.compile(r"^no gateway '([^']+)' in the registry.*$", re.DOTALL)


def with_nearest(detail: str, gateways: Collection[str]) -> str:
    """``detail`` of a refusal, with the nearest of ``gateways`` where it names an unknown one."""
    found = _UNKNOWN.match(detail)
    meant = near(found[1], gateways) if found else ""
    return f"{detail}; {meant}" if meant else detail
