"""``check`` tells every fault of a fleet folder, with file and line, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collector.check import check
from collector.errors import ConfigurationError, Fault
from collector.registry import Registry
from tests.collector.fleet import DATA, PROFILES, texts

PLANTED = """\
meterwatch.toml:2: unknown time zone "Asia/Tianshui"
meterwatch.toml:3: unknown key "languge"
meterwatch.toml:4: late_after "soon" is no duration
meterwatch.toml:7: retention_days is 90
meterwatch.toml:12: url holds a user or password
meterwatch.toml:14: password holds a secret
meterwatch.toml:19: url holds a secret
meterwatch.toml:20: unknown at_least "crimson"
registry/a-print.toml:4: county "62050" is malformed
registry/a-print.toml:6: unknown time zone "Asia/Lanzhou"
registry/a-print.toml:13: unknown line "press-2"
registry/a-print.toml:21: outlet is a text
registry/a-print.toml:25: place "print/main" stands twice, first at registry/a-print.toml:16
registry/a-print.toml:33: "to" is not after "from"
registry/a-print.toml:35: both connection and gateway are given
registry/a-print.toml:40: unknown profile "meterr"
registry/a-print.toml:41: unknown key "conection"
registry/a-print.toml:45: unknown place "mian"
registry/a-print.toml:47: serial is a number
registry/a-print.toml:48: a connection holds a user or password
registry/a-print.toml:54: interval "10 seconds" is no duration
registry/a-print.toml:55: current_ratio is -40
registry/a-print.toml:56: gateway "gw-hospital" is of another site
registry/a-print.toml:57: unknown quantity "voc.nmhc.concentraton"
registry/a-print.toml:59: device "print/nmhc" (registry/a-print.toml:50) and "print/o2" both serve
registry/a-print.toml:65: password holds a secret
registry/b-hospital.toml:2: site "print" stands twice, first at registry/a-print.toml:2
registry/b-hospital.toml:11: id "Boiler House" is malformed
registry/b-hospital.toml:13: profile "push" does not say what is measured
registry/b-hospital.toml:17: unknown gateway "gw-hospitl"
registry/c-cement.toml:3: is not TOML
rules/r.toml:5: unknown kind
""".splitlines()


def settings(fleet: str) -> str:
    return (DATA / fleet / "meterwatch.toml").read_text("utf-8")


def test_a_sound_fleet_has_no_fault_and_its_rules_see_its_registry() -> None:
    seen: list[Registry | None] = []

    def rules(files: Mapping[str, str], registry: Registry | None) -> Sequence[Fault]:
        assert files == {"rules/r.toml": "x"}
        seen.append(registry)
        return []

    assert check(settings("fleet"), texts("fleet"), {"rules/r.toml": "x"}, PROFILES, rules) == []
    assert seen[0] is not None
    assert "print/stack" in seen[0].places


def test_every_planted_fault_is_told_once_with_file_and_line() -> None:
    def rules(_files: Mapping[str, str], registry: Registry | None) -> Sequence[Fault]:
        assert registry is None  # what is not sound, rules are not held against
        raise ConfigurationError(Fault("rules/r.toml", 5, "unknown kind", "as told"))

    found = check(settings("faulty"), texts("faulty"), {}, PROFILES, rules)
    assert found == sorted(found)
    assert len(found) == len(PLANTED)
    for fault, planted in zip(found, PLANTED, strict=True):
        assert str(fault).startswith(planted)
        assert fault.todo
    assert "hunter2" not in "".join(str(fault) for fault in found)


def test_what_the_rules_return_and_what_they_raise_count_alike() -> None:
    fault = Fault("rules/r.toml", 5, "unknown kind")
    assert check("", {}, {}, {}, lambda _files, _registry: [fault, fault]) == [fault]
