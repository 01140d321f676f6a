"""One dashboard: is it there, is it as we left it, what is to be done with it.

Promises: what a person changed since we published it is reported, with who, when and which
version, and kept; with ``overwrite`` exactly that version is replaced, and stays in Grafana's
history. A dashboard that was moved to another folder is kept up to date where it is.

How a change by hand is known: every save of ours carries a message with a digest of what was sent.
Messages stand in Grafana's own version history, where neither its editor nor its migrations of old
dashboards touch them. The newest version is ours: nobody saved since. It is not, but the content
still has the digest of our last save: somebody moved it, nothing more. Else it was changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from collector.errors import ConfigurationError, Fault
from grafana.publish_client import Json, RefusedError, Server
from grafana.publish_steps import Step, Verdict

_MESSAGE: Final = "meterwatch publish, content {}"
_SIGNED: Final = re.compile(r"^meterwatch publish, content ([0-9a-f]{32})$")
UID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_ADDED: Final = ("id", "version")
"""What Grafana puts into a dashboard that it keeps."""


def digest(model: Mapping[str, Any]) -> str:
    """Of a dashboard's content, whatever Grafana added and in whichever order its keys stand."""
    told = json.dumps(_content(model), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _content(model: Mapping[str, Any]) -> Json:
    return {key: value for key, value in model.items() if key not in _ADDED}


def models_of(texts: Iterable[tuple[str, str]]) -> dict[str, Json]:
    """The dashboards by file name; faults of all of them at once."""
    faults: list[Fault] = []
    models: dict[str, Json] = {}
    uids: set[str] = set()
    for name, text in sorted(texts):
        try:
            model = json.loads(text)
        except ValueError as error:
            faults.append(Fault(name, 0, f"is no JSON: {error}", "build the dashboards again"))
            continue
        uid = model.get("uid") if isinstance(model, dict) else None
        if not isinstance(uid, str) or not UID.fullmatch(uid):
            faults.append(Fault(name, 0, "has no uid of 1 to 40 letters, digits, - or _"))
        elif not model.get("title"):
            faults.append(Fault(name, 0, "has no title"))
        elif uid in uids:
            faults.append(Fault(name, 0, f"another dashboard here has its uid {uid} too"))
        else:
            models[name] = model
            uids.add(uid)
    if faults:
        raise ConfigurationError(faults)
    return models


def dashboard_step(server: Server, model: Json, folder: str, *, overwrite: bool) -> Step:
    """What publishing does with one dashboard. Only reads; ``folder``: uid for a new one."""
    uid, name = str(model["uid"]), f"{model['title']} [{model['uid']}]"
    step = partial(Step, kind="dashboard", name=name)
    message = _MESSAGE.format(digest(model))

    def save(version: int, where: str) -> Callable[[], None]:
        body = {**_content(model), "id": None, "version": version}
        return partial(server.save, body, where, message)

    try:
        found = server.dashboard(uid)
        if found is None:
            return step(Verdict.CREATE, act=save(0, folder))
        there, meta = found["dashboard"], found["meta"]
        same = _content(there) == _content(model)
        history = [] if same else server.versions(uid)
    except RefusedError as refused:
        return step(Verdict.REFUSED, why=refused.what, todo=refused.todo)

    moved = _moved(meta, folder)
    version = int(meta.get("version") or there.get("version") or 0)
    if same or _as_sent(history, version, message):
        return step(Verdict.UNCHANGED, why=moved)
    if meta.get("provisioned"):
        file = meta.get("provisionedExternalId") or "a file"
        todo = "change it there, or take it out of the provisioning first"
        return step(Verdict.REFUSED, why=f"Grafana provisions it from {file}", todo=todo)
    act = save(version, str(meta.get("folderUid") or ""))
    if _untouched(there, history, version):
        return step(Verdict.UPDATE, why=moved, act=act)
    changed = _changed(meta, history, version)
    if overwrite:
        why = f"{changed}; that version stays in its history"
        return step(Verdict.UPDATE, why=why, act=act, replaces=True)
    return step(Verdict.KEPT, why=changed, todo="--overwrite replaces it")


def _signed(entry: Mapping[str, Any]) -> str:
    """The digest in a version's message, if the version is ours."""
    match = _SIGNED.match(str(entry.get("message") or ""))
    return match[1] if match else ""


def _as_sent(history: Sequence[Mapping[str, Any]], version: int, message: str) -> bool:
    """The version in force is the one that would be sent, whatever Grafana made of it since: it
    raises a refresh that is too fast, and brings old schemas up to date."""
    newest = history[0] if history else {}
    return newest.get("version") == version and newest.get("message") == message


def _untouched(there: Json, history: Sequence[Mapping[str, Any]], version: int) -> bool:
    """Nobody changed it since we published it."""
    ours = [one for one in history if _signed(one)]
    if not ours:
        return False
    return ours[0].get("version") == version or _signed(ours[0]) == digest(there)


def _moved(meta: Mapping[str, Any], folder: str) -> str:
    uid = str(meta.get("folderUid") or "")
    if uid == folder:
        return ""
    title = meta.get("folderTitle") or uid
    return f'it is in folder "{title}" and stays there'


def _changed(meta: Mapping[str, Any], history: Sequence[Mapping[str, Any]], version: int) -> str:
    """Who changed it, when, and what that version is."""
    newest = history[0] if history and history[0].get("version") == version else {}
    who = newest.get("createdBy") or meta.get("updatedBy") or "somebody"
    when = newest.get("created") or meta.get("updated") or "an unknown time"
    said = f', "{newest["message"]}"' if newest.get("message") else ""
    published = any(_signed(one) for one in history)
    since = "since it was published" if published else "and not published by this command before"
    return f"changed by {who} at {when} (version {version}{said}) {since}"
