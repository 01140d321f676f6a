"""``[broker]`` of ``meterwatch.toml``: the files of an MQTT broker on this machine that
``meterwatch gateway`` writes, and how the broker is told. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from collector.sections import Section


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Paths are relative to the fleet folder; "" for a file that is not written.

    ``run_as``: the user that the broker reads them as. ``user``: our own name there (of the MQTT
    sources, if left out). ``reload_command`` or ``pid_file``: what makes it read them again.
    """

    password_file: str = ""
    acl_file: str = ""
    crl_file: str = ""
    run_as: str = "mosquitto"
    user: str = ""
    reload_command: str = ""
    pid_file: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(one for one in (self.password_file, self.acl_file, self.crl_file) if one)


def parse_broker(section: Section) -> BrokerSettings:
    """The settings in ``[broker]``; faults go where the section says."""
    default = BrokerSettings()
    found = BrokerSettings(
        password_file=section.text("password_file"),
        acl_file=section.text("acl_file"),
        crl_file=section.text("crl_file"),
        run_as=section.text("run_as", default.run_as),
        user=section.text("user"),
        reload_command=section.text("reload_command"),
        pid_file=section.text("pid_file"),
    )
    section.close()
    if bool(found.password_file) != bool(found.acl_file):
        given = "password_file" if found.password_file else "acl_file"
        todo = "give both: a password says who somebody is, the access list what that one may do"
        section.fault(given, "password_file and acl_file belong together", todo)
    if found.reload_command and found.pid_file:
        section.fault("pid_file", "reload_command is given too", "keep one of them")
    if (found.reload_command or found.pid_file) and not found.files:
        key = "reload_command" if found.reload_command else "pid_file"
        section.fault(key, "no file of the broker is named", "add password_file and acl_file")
    try:
        shlex.split(found.reload_command)
    except ValueError as error:
        section.fault(
            "reload_command", f"reload_command cannot be read: {error}", "mend its quotes"
        )
    return found
