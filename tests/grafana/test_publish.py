"""Publishing against the contract server: what is written, what is left alone, what is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError, TemporaryError
from grafana.publish import Folder, Wanted, plan
from grafana.publish_client import Address, Server
from grafana.publish_dashboards import digest
from grafana.publish_sources import victoria_metrics
from grafana.publish_steps import Step, Verdict, carry_out, good, summary
from tests.grafana import contract_server
from tests.grafana.contract_server import Answer, GrafanaServer

Model = dict[str, Any]


def board(uid: str, title: str, **more: Any) -> Model:
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 41,
        "panels": [{"id": 1, "type": "stat", "title": "功率"}],
        **more,
    }


BOARDS = {"a.json": board("mw-a", "Overview"), "b.json": board("mw-b", "排放口")}


def wanted(
    boards: dict[str, Model] = BOARDS,
    folder: str = "meterwatch",
    folder_uid: str = "meterwatch",
    **more: Any,
) -> Wanted:
    texts = {name: json.dumps(model, ensure_ascii=False) for name, model in boards.items()}
    return Wanted([Folder(folder_uid, folder, texts)], **{"source": victoria_metrics(), **more})


served = contract_server.served


@pytest.fixture
def reach(served: GrafanaServer) -> Iterator[Callable[[str], Server]]:
    opened: list[Server] = []

    def open_as(role: str, *less: str) -> Server:
        opened.append(Server(Address(served.url, served.grafana.token(role, *less), timeout=5)))
        return opened[-1]

    yield open_as
    for one in opened:
        one.close()


@pytest.fixture
def admin(reach: Callable[[str], Server]) -> Server:
    return reach("Admin")


def publish(server: Server, what: Wanted) -> list[Step]:
    return list(carry_out(plan(server, what)))


def verdicts(steps: list[Step]) -> list[str]:
    return [str(one.verdict) for one in steps]


def step_of(steps: list[Step], part: str) -> Step:
    (found,) = (one for one in steps if part in one.name)
    return found


def changed(**more: Any) -> dict[str, Model]:
    """A newer build of the first dashboard."""
    return {**BOARDS, "a.json": board("mw-a", "Overview", refresh="1m", **more)}


# -- twice is once -------------------------------------------------------------------------------


def test_everything_is_made_and_the_second_time_nothing_is_written(
    served: GrafanaServer, admin: Server
) -> None:
    first = publish(admin, wanted())
    assert verdicts(first) == ["create"] * 4
    assert good(first)
    assert summary(first) == "4 created"
    assert served.grafana.dashboards["mw-b"].folder == "meterwatch"
    assert served.grafana.dashboards["mw-b"].model["title"] == "排放口"
    before = len(served.writes())
    second = publish(admin, wanted())
    assert verdicts(second) == ["unchanged"] * 4
    assert served.writes()[before:] == []
    assert summary(second) == "4 unchanged"


def test_a_plan_writes_nothing(served: GrafanaServer, admin: Server) -> None:
    steps = plan(admin, wanted())
    assert verdicts(steps) == ["create"] * 4
    assert str(steps[1]) == "create     folder  meterwatch [meterwatch]"
    assert served.writes() == []


def test_a_new_build_replaces_what_we_published(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    steps = publish(admin, wanted(changed()))
    assert verdicts(steps) == ["unchanged", "unchanged", "update", "unchanged"]
    kept = served.grafana.dashboards["mw-a"]
    assert kept.version == 2
    assert kept.model["refresh"] == "1m"
    assert verdicts(publish(admin, wanted(changed()))) == ["unchanged"] * 4


def test_what_grafana_makes_of_a_dashboard_is_no_change_by_hand(
    served: GrafanaServer, admin: Server
) -> None:
    publish(admin, wanted())
    served.grafana.schema = 42  # reads bring it up to date, as a newer Grafana does
    assert verdicts(publish(admin, wanted())) == ["unchanged"] * 4
    assert verdicts(publish(admin, wanted(changed())))[2] == "update"


def test_the_list_of_versions_is_read_in_its_older_form_too(
    served: GrafanaServer, admin: Server
) -> None:
    served.grafana.versions_in_object = False
    publish(admin, wanted())
    served.grafana.person_edits("mw-a", title="Mine")
    assert verdicts(publish(admin, wanted()))[2] == "kept"


def test_two_folders_one_data_source(served: GrafanaServer, admin: Server) -> None:
    folders = [
        Folder(uid, uid.upper(), {f"{uid}.json": json.dumps(board(f"mw-{uid}", "Same title"))})
        for uid in ("zh", "en")
    ]
    served.grafana.unique_titles = True
    steps = publish(admin, Wanted(folders, victoria_metrics()))
    assert [one.kind for one in steps] == ["data source", *["folder", "dashboard"] * 2]
    assert good(steps)
    assert served.grafana.dashboards["mw-en"].folder == "en"


def test_a_deleted_dashboard_comes_back(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    del served.grafana.dashboards["mw-a"]
    assert verdicts(publish(admin, wanted()))[2] == "create"


# -- what a person changed -----------------------------------------------------------------------


def test_a_change_by_hand_is_told_and_kept(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    served.grafana.person_edits("mw-a", "li.na", "bigger", title="Mine")
    steps = publish(admin, wanted(changed()))
    step = step_of(steps, "mw-a")
    assert step.verdict is Verdict.KEPT
    assert step.why.startswith("changed by li.na at 2026-11-22T08:00:03Z (version 2")
    assert '"bigger"' in step.why
    assert "since it was published" in step.why
    assert step.todo == "--overwrite replaces it"
    assert not good(steps)
    assert served.grafana.dashboards["mw-a"].model["title"] == "Mine"


def test_overwrite_replaces_it_after_telling(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    served.grafana.person_edits("mw-a", "li.na", title="Mine")
    steps = publish(admin, wanted(overwrite=True))
    step = step_of(steps, "mw-a")
    assert step.verdict is Verdict.UPDATE
    assert "changed by li.na" in step.why
    assert "that version stays in its history" in step.why
    assert step.replaces
    kept = served.grafana.dashboards["mw-a"]
    assert kept.model["title"] == "Overview"
    assert [one["data"]["title"] for one in kept.versions] == ["Overview", "Mine", "Overview"]
    assert verdicts(publish(admin, wanted())) == ["unchanged"] * 4


def test_a_change_between_the_plan_and_the_save_is_not_lost(
    served: GrafanaServer, admin: Server
) -> None:
    publish(admin, wanted())
    served.grafana.person_edits("mw-a", title="Mine")
    edit = served.grafana.person_edits
    served.then("POST /dashboards/db", lambda: edit("mw-a", "wang", title="Newer"))
    steps = publish(admin, wanted(overwrite=True))
    step = step_of(steps, "mw-a")
    assert step.verdict is Verdict.REFUSED
    assert "changed by someone else (412)" in step.why
    assert "publish again" in step.todo
    assert served.grafana.dashboards["mw-a"].model["title"] == "Newer"
    assert "changed by wang" in step_of(publish(admin, wanted()), "mw-a").why


def test_one_made_between_the_plan_and_the_save_is_not_lost(
    served: GrafanaServer, admin: Server
) -> None:
    mine = {"uid": "mw-a", "title": "Mine"}
    served.then("POST /dashboards/db", lambda: served.grafana.person_saves(mine))
    assert step_of(publish(admin, wanted()), "mw-a").verdict is Verdict.REFUSED
    assert served.grafana.dashboards["mw-a"].model == {"title": "Mine", "uid": "mw-a"}


def test_one_with_our_uid_that_we_never_published_is_kept(
    served: GrafanaServer, admin: Server
) -> None:
    served.grafana.person_saves(board("mw-a", "Imported"))
    step = step_of(publish(admin, wanted()), "mw-a")
    assert step.verdict is Verdict.KEPT
    assert "not published by this command before" in step.why


def test_one_imported_by_hand_and_equal_is_as_wanted(served: GrafanaServer, admin: Server) -> None:
    served.grafana.person_saves(BOARDS["a.json"], "meterwatch")
    served.grafana.person_makes_folder("meterwatch", "meterwatch")
    assert step_of(publish(admin, wanted()), "mw-a").verdict is Verdict.UNCHANGED


def test_a_moved_dashboard_is_told_and_kept_up_to_date_where_it_is(
    served: GrafanaServer, admin: Server
) -> None:
    publish(admin, wanted())
    served.grafana.person_makes_folder("Boilers", "boilers")
    served.grafana.person_moves("mw-a", "boilers")
    steps = publish(admin, wanted())
    assert step_of(steps, "mw-a").why == 'it is in folder "Boilers" and stays there'
    assert verdicts(steps) == ["unchanged"] * 4
    steps = publish(admin, wanted(changed()))
    assert step_of(steps, "mw-a").verdict is Verdict.UPDATE
    kept = served.grafana.dashboards["mw-a"]
    assert (kept.folder, kept.model["refresh"]) == ("boilers", "1m")


def test_moved_and_changed_is_changed(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    served.grafana.person_edits("mw-a", title="Mine")
    served.grafana.person_moves("mw-a", "")
    assert step_of(publish(admin, wanted()), "mw-a").verdict is Verdict.KEPT


def test_a_long_history_of_changes_hides_nothing(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    for number in range(30):  # ours has left the history
        served.grafana.person_edits("mw-a", title=f"Mine {number}")
    step = step_of(publish(admin, wanted()), "mw-a")
    assert step.verdict is Verdict.KEPT
    assert "(version 31)" in step.why


def test_overwrite_is_never_sent_so_that_nobody_elses_dashboard_gives_way(
    served: GrafanaServer, admin: Server
) -> None:
    served.grafana.unique_titles = True
    served.grafana.person_makes_folder("meterwatch", "meterwatch")
    served.grafana.person_saves(board("hers", "Overview"), "meterwatch")
    steps = publish(admin, wanted(overwrite=True))
    step = step_of(steps, "mw-a")
    assert step.verdict is Verdict.REFUSED
    assert "same name in the folder" in step.why
    assert "rename" in step.todo
    assert served.grafana.dashboards["hers"].model["title"] == "Overview"
    saves = [one for one in served.writes() if one.path == "/dashboards/db"]
    assert [one.body["overwrite"] for one in saves] == [False, False]


# -- what Grafana provisions ---------------------------------------------------------------------


def test_a_provisioned_dashboard_is_told_before_it_is_tried(
    served: GrafanaServer, admin: Server
) -> None:
    publish(admin, wanted())
    served.grafana.dashboards["mw-a"].provisioned = "overview.json"
    assert good(publish(admin, wanted()))
    before = len(served.writes())
    step = step_of(publish(admin, wanted(changed())), "mw-a")
    assert step.verdict is Verdict.REFUSED
    assert "overview.json" in step.why
    assert served.writes()[before:] == []


def test_one_that_became_provisioned_meanwhile(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    kept = served.grafana.dashboards["mw-a"]
    served.then("POST /dashboards/db", lambda: setattr(kept, "provisioned", "overview.json"))
    step = step_of(publish(admin, wanted(changed())), "mw-a")
    assert step.verdict is Verdict.REFUSED
    assert "Cannot save provisioned dashboard" in step.why
    assert "provisioning file" in step.todo


def test_a_plugins_dashboard_is_left(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    served.grafana.dashboards["mw-a"].plugin = "acme"
    step = step_of(publish(admin, wanted(changed())), "mw-a")
    assert (step.verdict, "plugin" in step.todo) == (Verdict.REFUSED, True)


# -- folders -------------------------------------------------------------------------------------


def test_a_renamed_folder_keeps_its_name(served: GrafanaServer, admin: Server) -> None:
    publish(admin, wanted())
    served.grafana.folders["meterwatch"]["title"] = "能耗"
    steps = publish(admin, wanted())
    assert steps[1].why == 'its title is "能耗"'
    assert served.grafana.folders["meterwatch"]["title"] == "能耗"
    assert good(steps)


def test_a_folder_of_the_same_title_is_somebody_elses(served: GrafanaServer, admin: Server) -> None:
    served.grafana.person_makes_folder("Meterwatch", "x1")
    steps = publish(admin, wanted())
    assert verdicts(steps) == ["create", *["refused"] * 3]
    assert "(uid x1)" in steps[1].why
    assert "--folder" in steps[1].todo
    assert steps[2].why == "not tried without the folder"
    assert served.grafana.dashboards == {}
    assert good(publish(admin, wanted(folder="能耗 & VOC #1")))
    assert served.grafana.folders["meterwatch"]["title"] == "能耗 & VOC #1"


@pytest.mark.parametrize("title", ["A+B", "50% & more #1", "能耗"])
def test_a_title_is_searched_as_it_is_written(
    served: GrafanaServer, admin: Server, title: str
) -> None:
    served.grafana.person_makes_folder(title, "x1")
    assert "(uid x1)" in plan(admin, wanted(folder=title))[1].why


def test_the_same_title_below_another_folder_is_no_obstacle(
    served: GrafanaServer, admin: Server
) -> None:
    served.grafana.person_makes_folder("Plant", "plant")
    served.grafana.person_makes_folder("meterwatch", "x1", parent="plant")
    assert good(publish(admin, wanted()))


def test_a_folder_of_somebody_can_be_named(served: GrafanaServer, admin: Server) -> None:
    served.grafana.person_makes_folder("Plant", "plant")
    assert good(publish(admin, wanted(folder_uid="plant")))
    assert served.grafana.dashboards["mw-a"].folder == "plant"
    assert list(served.grafana.folders) == ["plant"]


# -- permissions ---------------------------------------------------------------------------------


def test_an_editors_token_publishes_dashboards(
    served: GrafanaServer, reach: Callable[..., Server]
) -> None:
    editor = reach("Editor")  # gets 403 for a folder that does not exist
    assert verdicts(publish(editor, wanted(source=None))) == ["create"] * 3
    assert verdicts(publish(editor, wanted(source=None))) == ["unchanged"] * 3


def test_an_editors_token_is_told_what_a_data_source_needs(
    served: GrafanaServer, reach: Callable[..., Server]
) -> None:
    step = step_of(publish(reach("Editor"), wanted()), "VictoriaMetrics")
    assert step.verdict is Verdict.REFUSED
    assert "the permission datasources:read" in step.todo
    assert "--no-data-source" in step.todo


@pytest.mark.parametrize(
    ("less", "part", "named"),
    [
        ("folders:create", "[meterwatch]", "folders:create"),
        ("dashboards:create", "mw-a", "dashboards:create"),
        ("datasources:create", "VictoriaMetrics", "datasources:create"),
    ],
)
def test_a_missing_permission_is_named(
    reach: Callable[..., Server], less: str, part: str, named: str
) -> None:
    step = step_of(publish(reach("Admin", less), wanted()), part)
    assert step.verdict is Verdict.REFUSED
    assert f"the permission {named};" in step.todo


def test_a_dashboard_that_may_not_be_written_does_not_stop_the_others(
    served: GrafanaServer, admin: Server, reach: Callable[..., Server]
) -> None:
    publish(admin, wanted())
    boards = {**changed(), "c.json": board("mw-c", "New")}
    steps = publish(reach("Admin", "dashboards:write"), wanted(boards))
    assert step_of(steps, "mw-a").verdict is Verdict.REFUSED
    assert step_of(steps, "mw-c").verdict is Verdict.CREATE


def test_a_server_in_trouble_stops_and_publishing_again_goes_on(
    served: GrafanaServer, admin: Server
) -> None:
    served.then("POST /folders", Answer(503, "upstream"))
    done: list[Step] = []
    with pytest.raises(TemporaryError, match="Grafana said 503"):
        done.extend(carry_out(plan(admin, wanted())))
    assert verdicts(publish(admin, wanted())) == ["unchanged", "create", "create", "create"]


# -- dashboards that are none --------------------------------------------------------------------


def test_every_fault_of_the_dashboards_is_told_before_a_request(
    served: GrafanaServer, admin: Server
) -> None:
    boards = {
        "a.json": board("mw-a", "A"),
        "b.json": board("mw-a", "B"),
        "c.json": board("with space", "C"),
        "d.json": board("mw-d", ""),
    }
    with pytest.raises(ConfigurationError) as caught:
        plan(admin, wanted(boards))
    assert [fault.file for fault in caught.value.faults] == ["b.json", "c.json", "d.json"]
    with pytest.raises(ConfigurationError, match="no JSON"):
        plan(admin, Wanted([Folder("f", "F", {"x.json": "{"})]))
    assert served.requests == []


# -- the digest ----------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), _JSON, max_size=5), st.integers(0, 99))
def test_a_digest_knows_the_content_and_nothing_else(model: Model, version: int) -> None:
    backwards = dict(reversed(model.items()))
    assert digest({**backwards, "id": 7, "version": version}) == digest(model)
    content = {key: value for key, value in model.items() if key not in {"id", "version"}}
    assert digest({**model, "title": [content]}) != digest(model)
