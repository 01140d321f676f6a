"""Dashboards into a running Grafana: look first, say what would be done, then do it.

Promises: publishing twice changes nothing the second time. Only our folders, the data source that
the dashboards name and annotations with our tag are ever written, and nothing is deleted. What a
person changed since we published it is reported, and left as it is unless ``overwrite`` was asked
for (see :mod:`grafana.publish_dashboards`). What people named, moved or set beside it stays theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from collector.errors import ConfigurationError, Fault
from grafana.publish_annotations import TAG, Note, differs, known
from grafana.publish_client import ANNOTATIONS_READ, Json, RefusedError, Server
from grafana.publish_dashboards import UID, dashboard_step, models_of
from grafana.publish_sources import INFLUXDB, VICTORIA_METRICS, Source
from grafana.publish_steps import Step, Verdict

FOLDERS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    (INFLUXDB, "zh"): ("meterwatch-influxql-zh", "能源与排放监测（InfluxDB）"),
    (INFLUXDB, "en"): ("meterwatch-influxql-en", "Energy and emissions (InfluxDB)"),
    (VICTORIA_METRICS, "zh"): ("meterwatch-promql-zh", "能源与排放监测（VictoriaMetrics）"),
    (VICTORIA_METRICS, "en"): ("meterwatch-promql-en", "Energy and emissions (VictoriaMetrics)"),
}
"""Database and language -> uid and title of the folder; as in ``grafana/provisioning``."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of ours with its dashboards: file name -> JSON text."""

    uid: str
    title: str
    dashboards: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that is to be in Grafana. ``source``: ``None`` leaves data sources alone. ``renew``: send
    its secrets even where Grafana has some. ``notes``: warnings."""

    folders: Sequence[Folder]
    source: Source | None = None
    renew: bool = False
    notes: Sequence[Note] = ()
    overwrite: bool = False


def plan(server: Server, wanted: Wanted) -> list[Step]:
    """What publishing would do. Only reads. Raises as :mod:`grafana.publish_client` does, and
    ``ConfigurationError`` for dashboards that are none."""
    for folder in wanted.folders:
        _check(folder)
    texts = [(name, text) for one in wanted.folders for name, text in one.dashboards.items()]
    models = models_of(texts)
    steps = [] if wanted.source is None else [_source(server, wanted, wanted.source)]
    for folder in wanted.folders:
        steps.append(_folder(server, folder))
        steps += [
            dashboard_step(server, models[name], folder.uid, overwrite=wanted.overwrite)
            for name in sorted(folder.dashboards)
        ]
    return steps + _annotations(server, wanted.notes)


def _check(folder: Folder) -> None:
    if not UID.fullmatch(folder.uid):
        what, todo = f"{folder.uid!r} is no uid of a folder", "it stands in its address"
        raise ConfigurationError(Fault("--folder-uid", 0, what, todo))
    if not folder.title.strip():
        raise ConfigurationError(Fault("--folder", 0, "the folder has no title", "give one"))


def _folder(server: Server, folder: Folder) -> Step:
    uid, title = folder.uid, folder.title
    step = partial(Step, kind="folder", name=f"{title} [{uid}]")
    found = server.folder(uid)
    if found is not None:
        renamed = found.get("title") != title
        return step(
            Verdict.UNCHANGED, why=f'its title is "{found.get("title")}"' if renamed else ""
        )
    others = server.folders_titled(title)
    if others:
        why = f'a folder "{title}" is there that is not ours (uid {others[0].get("uid")})'
        todo = "choose another title with --folder, or name that one with --folder-uid"
        return step(Verdict.REFUSED, why=why, todo=todo)
    return step(Verdict.CREATE, act=partial(server.create_folder, title, uid))


def _source(server: Server, wanted: Wanted, source: Source) -> Step:
    step = partial(Step, kind="data source", name=f"{source.name} [{source.uid}]")
    try:
        there = server.source(source.uid)
        other = server.source_named(source.name) if there is None else None
    except RefusedError as refused:
        todo = f"{refused.todo}; or leave data sources alone with --no-data-source"
        return step(Verdict.REFUSED, why=refused.what, todo=todo)
    if there is None:
        if other is not None:
            why = f"a data source of this name is there that is not ours (uid {other.get('uid')})"
            return step(Verdict.REFUSED, why=why, todo="rename that one in Grafana")
        body = _with_secrets(source.new(), source, list(source.secrets))
        return step(Verdict.CREATE, act=partial(server.create_source, body))
    secrets = list(source.secrets) if wanted.renew else source.unset(there)
    differs_in = source.differs(there)
    if not differs_in and not secrets:
        return step(Verdict.UNCHANGED)
    why = ", ".join([*differs_in, *(f"{name} (secret)" for name in secrets)])
    if there.get("readOnly"):
        todo = "change that file, or leave data sources alone with --no-data-source"
        return step(Verdict.REFUSED, why=f"Grafana provisions it from a file ({why})", todo=todo)
    changed = bool(differs_in) and source.touched(there)
    if changed:
        why = f"changed in Grafana: {why}"
    if changed and not wanted.overwrite:
        return step(Verdict.KEPT, why=why, todo="--overwrite replaces it")
    act = partial(server.update_source, _with_secrets(source.over(there), source, secrets))
    return step(Verdict.UPDATE, why=why, act=act, replaces=changed)


def _with_secrets(body: Json, source: Source, names: Sequence[str]) -> Json:
    if not names:
        return body  # Grafana keeps the secrets that a request does not name
    return {**body, "secureJsonData": {name: source.secrets[name] for name in names}}


def _annotations(server: Server, notes: Sequence[Note]) -> list[Step]:
    if not notes:
        return []
    start, end = min(note.start for note in notes), max(note.end for note in notes)
    told = server.annotations(start, end, [TAG])
    there = known(told)
    if len(told) >= ANNOTATIONS_READ:  # not all of them: ask for the others one by one
        for note in notes:
            if note.alert not in there:
                there |= known(server.annotations(note.start, note.end, [note.tag]))
    steps = []
    unchanged = 0
    for note in notes:
        found = there.get(note.alert)
        step = partial(Step, kind="annotation", name=f"{note.text.splitlines()[0]} [{note.alert}]")
        if found is None:
            body = note.start, note.end, list(note.tags), note.text
            steps.append(step(Verdict.CREATE, act=partial(server.add_annotation, *body)))
        elif differs(note, found):
            change = int(found["id"]), note.start, note.end, list(note.tags), note.text
            steps.append(step(Verdict.UPDATE, act=partial(server.update_annotation, *change)))
        else:
            unchanged += 1
    if unchanged:
        steps.append(Step(Verdict.UNCHANGED, "annotations", str(unchanged)))
    return steps
