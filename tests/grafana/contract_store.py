"""What a Grafana keeps and how it answers, after its documented HTTP API; no network here.

Written from Grafana's documentation of its HTTP API (11.6 and 13: folder, dashboard, dashboard
versions, data source, annotations, search) and, for messages and order of checks, from its public
source. ``docs/grafana.md`` names the pages. It is not Grafana: it holds our reading of them, so
that a client that breaks that reading fails.

``Grafana`` is the state with what people do in the browser (``person_...``); ``Refusal`` is any
answer that is no success.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

ALL = "*"
_READ = {
    "orgs:read": ALL,
    "annotations:read": ALL,
}
ROLES: Mapping[str, Mapping[str, str]] = {
    "Viewer": {**_READ, "folders:read": "existing", "dashboards:read": "existing"},
    "Editor": {
        **_READ,
        "annotations:create": ALL,
        "annotations:write": ALL,
        "folders:read": "existing",
        "folders:create": ALL,
        "dashboards:read": "existing",
        "dashboards:create": ALL,
        "dashboards:write": ALL,
    },
    "Admin": {
        **_READ,
        "annotations:create": ALL,
        "annotations:write": ALL,
        "folders:read": ALL,
        "folders:create": ALL,
        "dashboards:read": ALL,
        "dashboards:create": ALL,
        "dashboards:write": ALL,
        "datasources:read": ALL,
        "datasources:create": ALL,
        "datasources:write": ALL,
    },
}
"""Action -> on what. Basic roles get folders and dashboards through each that exists, so that for
them one that does not exist is one that they may not see."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    def __init__(self, code: int, message: str, **more: Any) -> None:
        self.code = code
        self.body: Json = {"message": message, **more}
        super().__init__(message)


@dataclass
class Account:
    """A service account behind a token."""

    login: str
    permissions: dict[str, str]

    def need(self, action: str, *, exists: bool = True) -> None:
        granted = self.permissions.get(action)
        if granted is None or (granted == "existing" and not exists):
            told = "You'll need additional permissions to perform this action. Permissions needed: "
            raise Refusal(403, told + action, title="Access denied", accessErrorId="ACE0123456789")


@dataclass
class Kept:
    """A dashboard with its history."""

    number: int
    model: Json
    folder: str
    versions: list[Json] = field(default_factory=list)
    provisioned: str = ""
    plugin: str = ""
    deleted: bool = False

    @property
    def version(self) -> int:
        return int(self.versions[-1]["version"])


class Grafana:
    """``unique_titles``: until Grafana 10 a folder held a title once. ``versions_in_object``:
    since 11.6 the list of versions lies in an object. ``schema``: what dashboards are brought up
    to when they are read, as Grafana does since 12 (0: never)."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.folders: dict[str, Json] = {}
        self.dashboards: dict[str, Kept] = {}
        self.sources: dict[str, Json] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.annotations: dict[int, Json] = {}
        self.unique_titles = False
        self.versions_in_object = True
        self.schema = 0
        self._number = 0
        self._clock = 0

    def token(self, role: str, *less: str) -> str:
        """A service account's token with a basic role, without some of its permissions."""
        granted = {key: value for key, value in ROLES[role].items() if key not in less}
        number = len(self.accounts) + 1
        made = f"glsa_{role}_{number}"
        self.accounts[made] = Account(f"sa-{number}-meterwatch", granted)
        return made

    # -- folders ---------------------------------------------------------------------------

    def get_folder(self, who: Account, uid: str) -> Json:
        who.need("folders:read", exists=uid in self.folders)
        if uid not in self.folders:
            raise Refusal(404, "folder not found", status="not-found")
        return self.folders[uid]

    def create_folder(self, who: Account, body: Json) -> Json:
        who.need("folders:create")
        uid, title = str(body.get("uid") or f"made{self._next()}"), str(body.get("title") or "")
        if not title:
            raise Refusal(400, "folder title cannot be empty")
        if uid in self.folders:
            raise Refusal(409, "a folder with the same uid already exists")
        at_root = [one["title"] for one in self.folders.values() if not one.get("parentUid")]
        if title in at_root:
            raise Refusal(409, "a folder with the same name already exists in the current location")
        return self.person_makes_folder(title, uid, who.login)

    def search_folders(self, who: Account, query: str) -> list[Json]:
        found = [
            {
                "id": one["id"],
                "uid": one["uid"],
                "title": one["title"],
                "type": "dash-folder",
                **({"folderUid": one["parentUid"]} if one.get("parentUid") else {}),
            }
            for one in self.folders.values()
            if query.casefold() in one["title"].casefold()
        ]
        return found if "folders:read" in who.permissions else []

    # -- dashboards ------------------------------------------------------------------------

    def get_dashboard(self, who: Account, uid: str) -> Json:
        kept = self.dashboards.get(uid)
        who.need("dashboards:read", exists=kept is not None)
        if kept is None:
            raise Refusal(404, "Dashboard not found")
        model = copy.deepcopy(kept.model)
        if 0 < int(model.get("schemaVersion", 0)) < self.schema:
            model["schemaVersion"] = self.schema
        model |= {"id": kept.number, "version": kept.version}
        newest, oldest = kept.versions[-1], kept.versions[0]
        folder = self.folders.get(kept.folder, {"title": "General"})
        meta = {
            "type": "db",
            "canSave": "dashboards:write" in who.permissions,
            "url": f"/d/{uid}/x",
            "created": oldest["created"],
            "createdBy": oldest["createdBy"],
            "updated": newest["created"],
            "updatedBy": newest["createdBy"],
            "version": kept.version,
            "folderUid": kept.folder,
            "folderTitle": folder["title"],
            "provisioned": bool(kept.provisioned),
            "provisionedExternalId": kept.provisioned,
        }
        return {"dashboard": model, "meta": meta}

    def get_versions(self, who: Account, uid: str, limit: int) -> Json | list[Json]:
        who.need("dashboards:write", exists=uid in self.dashboards)
        if uid not in self.dashboards:
            raise Refusal(404, "Dashboard not found")
        newest_first = self.dashboards[uid].versions[::-1][:limit]
        told = [{key: value for key, value in one.items() if key != "data"} for one in newest_first]
        return {"continueToken": "", "versions": told} if self.versions_in_object else told

    def save_dashboard(self, who: Account, body: Json) -> Json:
        """In the order of Grafana's own checks; see its ``ValidateDashboardBeforeSave``."""
        model = body.get("dashboard")
        if not isinstance(model, dict):
            raise Refusal(400, "bad request data")
        uid, title = str(model.get("uid") or ""), str(model.get("title") or "")
        folder, message = str(body.get("folderUid") or ""), str(body.get("message") or "")
        kept = self.dashboards.get(uid)
        who.need("dashboards:create" if kept is None else "dashboards:write")
        if not title:
            raise Refusal(400, "Dashboard title cannot be empty", status="empty-name")
        if len(uid) > 40:
            raise Refusal(400, "uid too long, max 40 characters")
        if len(message) > 500:
            raise Refusal(400, "message too long, max 500 characters")
        if kept is not None and kept.provisioned:
            raise Refusal(400, "Cannot save provisioned dashboard")
        if folder and folder not in self.folders:
            raise Refusal(400, "folder not found")
        overwrite = body.get("overwrite") is True
        if kept is not None:
            if int(model.get("version") or 0) != kept.version and not overwrite:
                told = "The dashboard has been changed by someone else"
                raise Refusal(412, told, status="version-mismatch")
            if kept.plugin and not overwrite:
                told = f"The dashboard belongs to plugin {kept.plugin}."
                raise Refusal(412, told, status="plugin-dashboard")
        self._check_title(uid, title, folder, overwrite=overwrite)
        return self._write(uid, model, folder, message, who.login)

    def _check_title(self, uid: str, title: str, folder: str, *, overwrite: bool) -> None:
        for other, kept in list(self.dashboards.items()):
            same = kept.folder == folder and kept.model["title"] == title and other != uid
            if self.unique_titles and same and not overwrite:
                told = "A dashboard with the same name in the folder already exists"
                raise Refusal(412, told, status="name-exists")
            if self.unique_titles and same:
                del self.dashboards[other]  # what "overwrite" did to a dashboard of somebody else

    def _write(self, uid: str, model: Json, folder: str, message: str, login: str) -> Json:
        content = {key: value for key, value in model.items() if key not in {"id", "version"}}
        kept = self.dashboards.get(uid)
        if kept is None:
            kept = self.dashboards[uid] = Kept(self._next(), content, folder)
        kept.model, kept.folder = copy.deepcopy(content), folder
        number = kept.version + 1 if kept.versions else 1
        self._clock += 1
        kept.versions.append(
            {
                "id": self._next(),
                "uid": uid,
                "dashboardId": kept.number,
                "parentVersion": number - 1,
                "restoredFrom": 0,
                "version": number,
                "created": f"2026-11-22T08:{self._clock // 60:02}:{self._clock % 60:02}Z",
                "createdBy": login,
                "message": message,
                "data": copy.deepcopy(content),
            }
        )
        del kept.versions[:-20]  # versions_to_keep
        return {
            "id": kept.number,
            "uid": uid,
            "url": f"/d/{uid}/x",
            "status": "success",
            "version": number,
            "slug": "x",
        }

    # -- data sources ----------------------------------------------------------------------

    def get_source(self, who: Account, *, uid: str = "", name: str = "") -> Json:
        who.need("datasources:read")
        for one in self.sources.values():
            if one["uid"] == uid or one["name"] == name:
                return self._shown(one)
        raise Refusal(404, "Data source not found")

    def _shown(self, source: Json) -> Json:
        set_ones = dict.fromkeys(self.secrets.get(source["uid"], {}), True)
        return {**copy.deepcopy(source), "secureJsonFields": set_ones}

    def create_source(self, who: Account, body: Json) -> Json:
        who.need("datasources:create")
        if any(one["name"] == body["name"] for one in self.sources.values()):
            raise Refusal(409, "data source with the same name already exists")
        if body["uid"] in self.sources:
            raise Refusal(409, "data source with the same uid already exists")
        return self._put_source(body, {"id": self._next(), "version": 1}, "Datasource added")

    def update_source(self, who: Account, uid: str, body: Json) -> Json:
        who.need("datasources:write")
        there = self.sources.get(uid)
        if there is None:
            raise Refusal(404, "Data source not found")
        if there["readOnly"]:
            raise Refusal(403, "Cannot update read-only data source")
        if int(body.get("version") or there["version"]) != there["version"]:
            told = (
                "Datasource has already been updated by someone else. Please reload and try again"
            )
            raise Refusal(409, told)
        more = {"id": there["id"], "version": there["version"] + 1}
        return self._put_source({**body, "uid": uid}, more, "Datasource updated")

    def _put_source(self, body: Json, more: Json, message: str) -> Json:
        # Grafana keeps the secrets that a request does not name.
        self.secrets.setdefault(body["uid"], {}).update(body.get("secureJsonData") or {})
        source = {
            "orgId": 1,
            "uid": body["uid"],
            "name": body["name"],
            "type": body["type"],
            "typeLogoUrl": "public/img/icn-datasource.svg",
            "access": body.get("access") or "proxy",
            "url": body.get("url") or "",
            "user": body.get("user") or "",
            "database": body.get("database") or "",
            "basicAuth": bool(body.get("basicAuth")),
            "basicAuthUser": body.get("basicAuthUser") or "",
            "withCredentials": bool(body.get("withCredentials")),
            "isDefault": bool(body.get("isDefault")),
            "jsonData": copy.deepcopy(body.get("jsonData") or {}),
            "readOnly": False,
            **more,
        }
        self.sources[body["uid"]] = source
        return {
            "message": message,
            "id": source["id"],
            "name": source["name"],
            "datasource": self._shown(source),
        }

    # -- annotations -----------------------------------------------------------------------

    def find_annotations(self, who: Account, query: Mapping[str, list[str]]) -> list[Json]:
        who.need("annotations:read")
        start, end = (int(query.get(key, ["0"])[0]) for key in ("from", "to"))
        tags, limit = query.get("tags", []), int(query.get("limit", ["100"])[0])
        found = [
            one
            for one in self.annotations.values()
            if (not start or one["timeEnd"] >= start)
            and (not end or one["time"] <= end)
            and set(tags) <= set(one["tags"])
        ]
        found.sort(key=lambda one: (one["time"], one["timeEnd"]), reverse=True)
        return copy.deepcopy(found[:limit])

    def add_annotation(self, who: Account, body: Json) -> Json:
        who.need("annotations:create")
        number = self._next()
        self._put_annotation(number, body)
        return {"message": "Annotation added", "id": number}

    def update_annotation(self, who: Account, number: int, body: Json) -> Json:
        who.need("annotations:write")
        if number not in self.annotations:
            raise Refusal(404, "Annotation not found")
        self._put_annotation(number, body)
        return {"message": "Annotation updated"}

    def _put_annotation(self, number: int, body: Json) -> None:
        tags = list(body.get("tags") or [])
        if not body.get("text"):
            raise Refusal(400, "Failed to save annotation")
        if any(len(part) > 100 for tag in tags for part in tag.split(":", 1)):
            raise Refusal(500, "Failed to save annotation")  # longer than the column
        if sum(map(len, tags)) > 500:
            raise Refusal(500, "Failed to save annotation")
        time = int(body.get("time") or 0)
        self.annotations[number] = {
            "id": number,
            "alertId": 0,
            "dashboardId": body.get("dashboardId") or 0,
            "panelId": body.get("panelId") or 0,
            "userId": 1,
            "time": time,
            "timeEnd": int(body.get("timeEnd") or time),
            "text": body["text"],
            "tags": tags,
            "data": {},
        }

    # -- what people do in the browser -----------------------------------------------------

    def person_makes_folder(
        self, title: str, uid: str, login: str = "alice", parent: str = ""
    ) -> Json:
        self.folders[uid] = {
            "id": self._next(),
            "uid": uid,
            "title": title,
            "url": f"/dashboards/f/{uid}/x",
            "canSave": True,
            "createdBy": login,
            "updatedBy": login,
            "version": 1,
            **({"parentUid": parent} if parent else {}),
        }
        return self.folders[uid]

    def person_edits(
        self, uid: str, login: str = "alice", message: str = "", **change: Any
    ) -> None:
        """Change keys of a dashboard and save it, as Grafana's editor does."""
        kept = self.dashboards[uid]
        self._write(uid, {**kept.model, **change}, kept.folder, message, login)

    def person_moves(self, uid: str, folder: str, login: str = "alice") -> None:
        """Into another folder; this too saves a version."""
        self._write(uid, self.dashboards[uid].model, folder, "", login)

    def person_saves(self, model: Json, folder: str = "", login: str = "alice") -> None:
        """A dashboard of somebody's own, or one imported by hand."""
        self._write(str(model["uid"]), model, folder, "", login)

    def _next(self) -> int:
        self._number += 1
        return self._number
