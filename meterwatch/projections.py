"""The external databases that the settings name: how each is opened, fed and told about.

Secrets are read whenever a projection is opened, and it is opened anew after every failure: a new
token works without a restart.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapters.stores.archive_reader import ArchiveReader
from collector import projections as settings
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.model import Refusal, Revision
from collector.ports import Delivery, Fold, Urgency
from collector.projections import ProjectionSettings
from collector.registry import Registry
from meterwatch import fleet as fleets

if TYPE_CHECKING:
    from adapters.projection.statements import PipelineState
    from meterwatch.app import Program

PREFIX: Final = "project-"
HOLDS: Final = 2
"""Times what a projection may hold of the journal, after which it is let go without being asked:
it is stopped, or runs in another process that is gone."""
SHARE: Final = 4
"""Of the journal's bound, at most the part that one projection may hold."""
NO_REGISTRY: Final = Registry({}, {}, {}, {}, {}, ())


def folds(
    program: Program, secret: Callable[[Any], str], imported: Callable[[str], Any]
) -> dict[str, Callable[[], Fold]]:
    """How each enabled projection is opened, by the name of its fold."""
    return {one.fold: partial(_opened, program, one, secret, imported) for one in _enabled(program)}


def _enabled(program: Program) -> list[ProjectionSettings]:
    return [one for one in program.fleet.settings.projections if one.enabled]


def _opened(
    program: Program,
    one: ProjectionSettings,
    secret: Callable[[Any], str],
    imported: Callable[[str], Any],
) -> Fold:
    fold = imported("adapters.projection.fold")
    surroundings = imported("adapters.projection.around")
    journal, data = program.journal, program.data
    around = surroundings.Around(
        journal=journal,
        first=journal.first,
        parse=_registry,
        archive=lambda: ArchiveReader(data / "archive.db"),
        refuse=partial(_refuse, program),
        held_bytes=journal.held_bytes,
        telemetry=program.telemetry,
        beside=partial(_statements, program, imported),
        origin=int(journal.origin_ids([one.origin])[0]),
    )
    opened: Fold = fold.Projection(
        data / f"{one.fold}.db",
        one.name,
        database(one, program, secret, imported),
        around,
        hold_bytes=_hold_bytes(program, one),
        max_series=one.max_series,
        reset=not program.foreign,
    )
    return opened


def database(
    one: ProjectionSettings,
    program: Any,
    secret: Callable[[Any], str],
    imported: Callable[[str], Any],
) -> Any:
    """The database itself. ``program``: whatever knows the fleet's ``folder``."""
    external = imported("adapters.stores.external")
    target = external.Target(
        name=one.name,
        kind=one.kind,
        url=one.url,
        version=one.version,
        bucket=one.bucket,
        org=one.org,
        policy=one.policy,
        user=one.user,
        password=secret(one.password) if one.password else "",
        token=secret(one.token) if one.token else "",
        gzip=one.gzip,
        ca_file=str(program.folder / one.ca_file) if one.ca_file else "",
    )
    module, name = _DATABASES[one.kind]
    return getattr(imported(module), name)(target)


_DATABASES: Final[Mapping[str, tuple[str, str]]] = {
    settings.VICTORIA: ("adapters.stores.victoria", "VictoriaDatabase"),
    settings.INFLUX: ("adapters.stores.influx", "InfluxDatabase"),
}


def looked_at(
    one: ProjectionSettings,
    program: Any,
    secret: Callable[[Any], str],
    imported: Callable[[str], Any],
) -> tuple[list[Fault], list[str]]:
    """What ``check`` says of a database: what makes it hold wrong numbers, and notes. One that
    cannot be asked now is a note: it may not be there yet."""
    try:
        opened = database(one, program, secret, imported)
        try:
            advice = opened.condition().advice
        finally:
            opened.close()
    except (TemporaryError, ConfigurationError) as fault:
        return [], [f"note: projection {one.name} was not checked: {fault}"]
    where = f"projection {one.name} at {one.url}"
    faults = [Fault(where, 0, tip.what, tip.todo) for tip in advice if tip.wrong]
    return faults, [
        f"note: projection {one.name}: {tip.what} -> {tip.todo}" for tip in advice if not tip.wrong
    ]


def _registry(revision: Revision | None) -> Registry:
    return NO_REGISTRY if revision is None else fleets.registry_of(revision.files)


def _refuse(program: Program, refusals: Sequence[Refusal]) -> None:
    """Through the journal, like every refusal; among the first to go when the disk is full: the
    readings themselves are in the archive."""
    program.intake.submit(Delivery(None, Urgency.PUSH, entries=refusals))


def _statements(program: Program, imported: Callable[[str], Any]) -> Any:
    statements = imported("adapters.projection.statements")
    knows = "intake" in program.options.only  # of the others' work it can say nothing
    return statements.Statements(
        program.data,
        socket.gethostname() or "meterwatch",
        pipeline=partial(_pipeline, program, statements) if knows else None,
        telemetry=program.telemetry,
    )


def _pipeline(program: Program, statements: Any) -> PipelineState:
    """The program about itself, for the dashboard of the same name."""
    told, value = program.health()[1], program.telemetry.value
    states: PipelineState = statements.PipelineState(
        journal_bytes=program.journal.live_bytes(),
        journal_max_bytes=program.fleet.settings.journal.max_bytes,
        readings=int(value("readings_received")),
        refused=int(value("readings_refused")),
        sources_up=told["sources"]["up"],
        sources_down=told["sources"]["down"],
        open_alerts=int(value("judge_open")),
        folds={
            name: statements.FoldState(one["lag_entries"], one["behind_ms"], one["healthy"])
            for name, one in told["folds"].items()
        },
    )
    return states


def _hold_bytes(program: Program, one: ProjectionSettings) -> int:
    """What it may hold of the journal, never so much that somebody would be refused for it."""
    return min(one.hold_mb << 20, program.fleet.settings.journal.max_bytes // SHARE)


def relieve(program: Program) -> None:
    """The journal keeps nothing for a projection that does not come for it: its history is in the
    archive (law 10)."""
    bounds = {one.fold: HOLDS * _hold_bytes(program, one) for one in _enabled(program)}
    for name, released in program.journal.consumers().items():
        if name.startswith(PREFIX) and program.journal.held_bytes(released) > bounds.get(name, 0):
            program.journal.forget(name)
            if name in bounds:
                program.telemetry.event(
                    "the journal keeps no more for a projection that does not come for it",
                    level="warning",
                    fold=name,
                    todo="see why it stands still; what it misses is fed from the archive",
                )
