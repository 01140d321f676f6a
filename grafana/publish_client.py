"""One Grafana server over its HTTP API: each request a method, each refusal told in words.

Promises: a request either brings what it asked for, or raises what the caller should do about it.
``TemporaryError``: not reached, or not able at the moment. ``RefusedError``: Grafana said no, with
its own words and what a person can do. The token goes to the address that was given and nowhere
else: redirects are not followed. It is in no message. ``overwrite`` is never sent: a save carries
the version that was read, so that what somebody saved meanwhile is refused, not lost.

The requests go through grafana-client 3.11. Three things are done around it, each with its reason
below: the path of a URL, the quoting of queries, the list of versions.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import requests
from grafana_client import GrafanaApi  # type: ignore[import-untyped]
from grafana_client.client import GrafanaException  # type: ignore[import-untyped]

from collector.errors import ConfigurationError, Fault, TemporaryError

T = TypeVar("T")
Json = dict[str, Any]

VERSIONS_READ: Final = 50
"""Versions of a dashboard that are looked at, the newest; Grafana itself keeps 20 by default."""
ANNOTATIONS_READ: Final = 5_000
"""Annotations asked for at once; Grafana's own default is 100."""

_NEEDED: Final = re.compile(r"[Pp]ermissions needed: *(.+)", re.DOTALL)


class RefusedError(ConfigurationError):
    """Grafana refused one request; a person must do something about it."""

    def __init__(self, where: str, status: int, what: str, todo: str) -> None:
        self.status = status
        self.what = what
        self.todo = todo
        super().__init__(Fault(where, 0, what, todo))


@dataclass(frozen=True, slots=True)
class Address:
    """Where Grafana is, and who asks. ``ca_file``: PEM of the authority that signed its
    certificate, where the system does not know it. ``clear_text``: the token may cross the network
    unencrypted."""

    url: str
    token: str = field(repr=False)
    ca_file: str = ""
    clear_text: bool = False
    timeout: float = 15.0


class Server:
    """Grafana's API as far as publishing needs it. A ``get`` answers ``None`` for what is not
    there."""

    def __init__(self, address: Address) -> None:
        """Opens no connection. Raises ``ConfigurationError`` for what cannot be meant."""
        self.url = address.url.rstrip("/")
        parts = _parts(address.url, clear_text=address.clear_text)
        _check(address)
        # The client puts "api" straight behind the path: without this slash it would ask for
        # /grafanaapi/health.
        prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._api = GrafanaApi(
            address.token,
            host=host,
            port=parts.port,
            protocol=parts.scheme,
            url_path_prefix=prefix,
            verify=address.ca_file or True,
            timeout=address.timeout,
        )
        # requests would repeat a POST behind a redirect as a GET.
        self._api.client.s.max_redirects = 0

    def close(self) -> None:
        self._api.client.s.close()

    # -- the server ------------------------------------------------------------------------

    def version(self) -> str:
        """Of Grafana; empty where it does not tell strangers. Also: is it Grafana at all?"""
        told = self._get("ask for its health", self._api.health.check)
        if not isinstance(told, dict) or "database" not in told:
            raise self._refused(200, "there is no Grafana at this address", _PATH)
        if told["database"] != "ok":
            raise TemporaryError(f"{self.url}: Grafana's own database is {told['database']}")
        return str(told.get("version", ""))

    def organisation(self) -> str:
        """Name of the organisation that the token belongs to. The first request that shows it."""
        told = self._ask("name the organisation", self._api.organization.get_current_organization)
        return str(told.get("name", ""))

    # -- folders ---------------------------------------------------------------------------

    def folder(self, uid: str) -> Json | None:
        read = self._api.folder.get_folder
        return self._seen(f"read folder {uid}", lambda: read(quote(uid, "")))

    def folders_titled(self, title: str) -> list[Json]:
        """Folders at the root with exactly this title, in any case."""
        # The client does not quote what it puts into a query.
        search = self._api.search.search_dashboards
        found = self._ask(
            "search folders",
            lambda: search(query=quote(title, ""), type_="dash-folder", limit=1000),
        )
        at_root = [one for one in found if not one.get("folderUid")]
        return [one for one in at_root if one.get("title", "").casefold() == title.casefold()]

    def create_folder(self, title: str, uid: str) -> None:
        self._ask(f'create folder "{title}"', lambda: self._api.folder.create_folder(title, uid))

    # -- data sources ----------------------------------------------------------------------

    def source(self, uid: str) -> Json | None:
        read = self._api.datasource.get_datasource_by_uid
        return self._get(f"read data source {uid}", lambda: read(quote(uid, "")))

    def source_named(self, name: str) -> Json | None:
        read = self._api.datasource.get_datasource_by_name
        return self._get(f'look for a data source "{name}"', lambda: read(quote(name, "")))

    def create_source(self, source: Json) -> None:
        doing = f"create data source {source['uid']}"
        self._ask(doing, lambda: self._api.datasource.create_datasource(source))

    def update_source(self, source: Json) -> None:
        doing = f"update data source {source['uid']}"
        update = self._api.datasource.update_datasource_by_uid
        self._ask(doing, lambda: update(quote(source["uid"], ""), source))

    # -- dashboards ------------------------------------------------------------------------

    def dashboard(self, uid: str) -> Json | None:
        """``dashboard`` (the model) and ``meta`` (version, folderUid, updatedBy ...)."""
        read = self._api.dashboard.get_dashboard
        return self._seen(f"read dashboard {uid}", lambda: read(quote(uid, "")))

    def versions(self, uid: str) -> list[Json]:
        """The newest first: ``version``, ``message``, ``created``, ``createdBy``."""
        # The client sends the limit in the body of a GET, where no Grafana looks for it.
        path = f"/dashboards/uid/{quote(uid, '')}/versions?limit={VERSIONS_READ}"
        told = self._ask(f"read the versions of {uid}", lambda: self._api.client.GET(path))
        # A list until Grafana 11; since then an object that holds the list.
        found = told.get("versions", []) if isinstance(told, dict) else told
        return sorted(found, key=lambda one: int(one.get("version", 0)), reverse=True)

    def save(self, model: Json, folder: str, message: str) -> None:
        """``model["version"]``: the version that this save follows, 0 for a new dashboard."""
        body = {"dashboard": model, "folderUid": folder, "message": message, "overwrite": False}
        doing = f"save dashboard {model['uid']}"
        self._ask(doing, lambda: self._api.dashboard.update_dashboard(body))

    # -- annotations -----------------------------------------------------------------------

    def annotations(self, start: int, end: int, tags: Sequence[str]) -> list[Json]:
        """The newest ``ANNOTATIONS_READ`` that have all of ``tags`` and touch ``start .. end`` (UTC
        ms, both included)."""
        read = self._api.annotations.get_annotation
        return self._ask(
            "read annotations",
            lambda: read(
                time_from=start,
                time_to=end,
                tags=[quote(tag, "") for tag in tags],
                ann_type="annotation",
                limit=ANNOTATIONS_READ,
            ),
        )

    def add_annotation(self, start: int, end: int, tags: list[str], text: str) -> None:
        add = self._api.annotations.add_annotation
        self._ask(
            "add an annotation", lambda: add(time_from=start, time_to=end, tags=tags, text=text)
        )

    def update_annotation(
        self, number: int, start: int, end: int, tags: list[str], text: str
    ) -> None:
        update = self._api.annotations.update_annotation
        self._ask(
            f"update annotation {number}",
            lambda: update(number, time_from=start, time_to=end, tags=tags, text=text),
        )

    # -- one request -----------------------------------------------------------------------

    def _get(self, doing: str, request: Callable[[], Json]) -> Json | None:
        try:
            return self._ask(doing, request)
        except RefusedError as refused:
            if refused.status == 404:
                return None
            raise

    def _seen(self, doing: str, request: Callable[[], Json]) -> Json | None:
        """As :meth:`_get`; also ``None`` for what the token may not see. A token that does not see
        everything gets the same 403 for what is hidden and for what does not exist. Nothing is
        lost by trying to make it: what is there after all is refused, because we never overwrite.
        """
        try:
            return self._get(doing, request)
        except RefusedError as refused:
            if refused.status == 403:
                return None
            raise

    def _ask(self, doing: str, request: Callable[[], T]) -> T:
        """Its answer as JSON; every way to fail as one of our errors."""
        try:
            told = request()
        except GrafanaException as error:
            raise self._no(doing, int(error.status_code), error.response) from error
        except requests.exceptions.SSLError as error:
            what = f"its certificate is not trusted: {_innermost(error)}"
            todo = "give --ca-file with the PEM of the authority that signed it"
            raise self._refused(0, what, todo) from error
        except requests.exceptions.TooManyRedirects as error:
            target = (
                error.response.headers.get("Location", "") if error.response is not None else ""
            )
            what = f"it sends to {target or 'another address'}, and the token follows nobody"
            raise self._refused(0, what, "give the address that it sends to as --url") from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._refused(200, f"could not {doing}: its answer is no JSON", _PATH) from error
        except requests.exceptions.RequestException as error:
            what = f"{self.url}: Grafana was not reached: {_innermost(error)}"
            raise TemporaryError(f"{what} -> is it running, and is --url right?", 30) from error
        if isinstance(told, str):  # a login page, a proxy's greeting
            raise self._refused(200, f"could not {doing}: it answered with a page", _PATH)
        return told

    def _no(self, doing: str, status: int, answer: object) -> Exception:
        body: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        said = str(body.get("message") or "").strip() or f"HTTP {status}"
        if status >= 500 or status == 429:
            what = f"{self.url}: could not {doing}: Grafana said {status}: {said[:300]}"
            return TemporaryError(f"{what} -> try again; if it stays, see Grafana's log", 30)
        todo = _todo(status, said, str(body.get("status") or ""))
        if _NEEDED.search(said):
            said = "access denied"  # the permission stands in what to do
        return self._refused(status, f"could not {doing}: {said[:300]} ({status})", todo)

    def _refused(self, status: int, what: str, todo: str) -> RefusedError:
        return RefusedError(self.url, status, what, todo)


_PATH: Final = "give --url as in the browser's address line, up to before /d/ or /dashboards"


def _todo(status: int, said: str, reason: str) -> str:
    """What a person can do about a refusal. ``reason``: Grafana's short word for it."""
    if status == 401:
        return "make a new token for the service account; it may be wrong, expired or revoked"
    if status == 403:
        if "read-only" in said:
            return "it comes from a provisioning file: change that file instead"
        needed = _NEEDED.search(said)
        what = f"the permission {' '.join(needed[1].split())}" if needed else "the permission"
        return f"give the token's service account {what}; see docs/grafana.md for its role"
    if "provisioned" in said.lower():
        return "it comes from a provisioning file: change that file, or remove it there first"
    if reason == "name-exists":
        return "rename the other one, or publish to a folder of its own with --folder-uid"
    if reason == "plugin-dashboard":
        return "it belongs to a plugin: remove it there"
    if status == 412 or (status == 409 and "someone else" in said):
        return "it was changed meanwhile: publish again to see by whom"
    if status == 409:
        return "another one has this name or id: rename it, or choose another name"
    if status == 404:
        return "it is gone, or the token may not see it: publish again"
    return "see Grafana's log for why"


def _parts(url: str, *, clear_text: bool) -> SplitResult:
    """The parts of a URL that can be meant; else ``ConfigurationError``, without a password."""
    what, todo = "", 'write it as "https://grafana.example:3000"'
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(Fault("--url", 0, f"this is no address: {error}", todo)) from error
    if "@" in parts.netloc:
        what, todo = "the address holds a user or a password", "use --token-env or --token-file"
    elif parts.scheme not in {"http", "https"} or not parts.hostname:
        what = f"{url} is no address of a Grafana"
    elif parts.query or parts.fragment:
        what = f"{url} has something behind its path"
    elif parts.scheme == "http" and not _near(parts.hostname) and not clear_text:
        what = "the token would go over the network in clear text"
        todo = "write https:// in the address, or give --allow-clear-text"
    if what:
        raise ConfigurationError(Fault("--url", 0, what, todo))
    return parts


def _check(address: Address) -> None:
    """Raises ``ConfigurationError`` for what no request could be made with."""
    if not re.fullmatch(r"[!-~]+", address.token):
        what, todo = "the token is not one line of plain letters and digits", "copy it again"
        raise ConfigurationError(Fault("--token-env or --token-file", 0, what, todo))
    if address.ca_file:
        try:
            ssl.create_default_context(cafile=address.ca_file)
        except OSError as error:  # an SSLError too
            what = f"{address.ca_file} is no certificate file: {error.strerror or error}"
            raise ConfigurationError(Fault("--ca-file", 0, what, "give a PEM file")) from error


def _near(host: str) -> bool:
    """Whether it is this machine itself."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _innermost(error: BaseException) -> str:
    """The plainest of the reasons that libraries wrap into each other."""
    for _ in range(12):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((one for one in error.args if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    told = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
    return str(told).partition(">: ")[2] or str(told)
