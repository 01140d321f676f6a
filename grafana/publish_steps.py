"""What publishing does, one step for each thing: planned, told, carried out.

Promise: a plan is values; nothing happens until :func:`carry_out`, and then what was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from grafana.publish_client import RefusedError


class Verdict(StrEnum):
    """What happens to one thing. The last two are for a person to look at."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    REFUSED = "refused"


_DONE: Final = {Verdict.CREATE: "created", Verdict.UPDATE: "updated"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing, and what happens to it. ``act`` does it; ``done`` once that was done.
    ``replaces``: what a person did is lost to sight; ``why`` tells, and people read it first."""

    verdict: Verdict
    kind: str
    name: str
    why: str = ""
    todo: str = ""
    act: Callable[[], None] | None = field(default=None, repr=False)  # may hold a secret
    done: bool = False
    replaces: bool = False

    def __str__(self) -> str:
        word = _DONE.get(self.verdict, self.verdict) if self.done else self.verdict
        told = f"{word:<9}  {self.kind}  {self.name}"
        return (
            told + (f": {self.why}" if self.why else "") + (f" -> {self.todo}" if self.todo else "")
        )


def carry_out(steps: Iterable[Step]) -> Iterator[Step]:
    """Do what was planned, one by one; each as it came out. After a folder or data source that
    could not be made nothing else is tried. ``TemporaryError`` travels."""
    stopped = ""
    for step in steps:
        if stopped and step.act is not None:
            yield replace(step, verdict=Verdict.REFUSED, why=f"not tried without the {stopped}")
            continue
        try:
            if step.act is not None:
                step.act()
        except RefusedError as refused:
            outcome = replace(step, verdict=Verdict.REFUSED, why=refused.what, todo=refused.todo)
        else:
            outcome = replace(step, done=True)
        if outcome.verdict is Verdict.REFUSED and step.kind in {"folder", "data source"}:
            stopped = stopped or step.kind
        yield outcome


def summary(steps: Iterable[Step]) -> str:
    """How many of each, in one line."""
    counts = Counter(
        _DONE.get(one.verdict, one.verdict) if one.done else one.verdict for one in steps
    )
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing to publish"


def good(steps: Iterable[Step]) -> bool:
    """Whether all is as it was wanted."""
    return not any(one.verdict in {Verdict.KEPT, Verdict.REFUSED} for one in steps)
