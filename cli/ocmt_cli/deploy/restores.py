"""Switches the hosts of a restore to the new data together, also after an interruption.

All new data is staged on its hosts, then recorded on each of them, and only then put in place. So a
restore that every host has recorded is completed by the next deploy, rollback or restore, and one
that a host lacks is withdrawn: no host has begun it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ocmt_cli.checkout import command
from ocmt_cli.deploy.deployer import Report
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.rollback_plan import Facts
from ocmt_cli.failure import CommandFailed

Records = Mapping[tuple[Role, str], dict[str, Any]]
"""Component and host → the record of its unfinished restore (`hostside.restored_data`)."""


def switch_data(
    connections: Mapping[str, HostConnection], records: Records, report: Report
) -> None:
    """Record a restore on all its hosts, whose locks are held, then put its data in place.

    Raises `HostFailed`; the restore is then completed or withdrawn by the next command.
    """
    for (role, host), record in records.items():
        connections[host].ask("begin_restore", role, record["backup"], record)
    _finish(connections, records, report)


def _finish(connections: Mapping[str, HostConnection], records: Records, report: Report) -> None:
    for (role, host), record in records.items():
        report(f"{host}: {role}: stop")
        connections[host].ask("halt", role, record["data"])
    for role, host in records:
        for line in connections[host].ask("finish_restore", role):
            report(f"{host}: {role}: {line}")
    for line in next(iter(records.values()))["lacking"]:
        report(f"not restored: {line}")


def unfinished_restores(facts: Facts) -> Records:
    """The records of the hosts' unfinished restores; empty if there are none."""
    return {target: known["restore"] for target, known in facts.items() if known["restore"]}


def all_have_recorded(facts: Facts, records: Records) -> bool:
    """Whether every host of an unfinished restore has recorded it, or has completed it already.

    Raises `CommandFailed` for a host that `facts` lacks.
    """
    for record in records.values():
        for role, host in record["targets"]:
            if (role, host) not in facts:
                raise CommandFailed(
                    f"The restore of the backup of {record['backup']} is unfinished, and {host} "
                    f"({role}) belongs to it. Run `{command('deploy')}` for all components and "
                    "hosts: it completes the restore."
                )
            known = facts[role, host]
            recorded = known["restore"]["id"] if known["restore"] else known["restored"]
            if recorded != record["id"]:
                return False
    return True


def facts_after_restores(
    connections: Mapping[str, HostConnection], read: Callable[[], Facts], report: Report
) -> Facts:
    """Complete or withdraw an unfinished restore, if any. Returns the hosts' facts after it.

    Raises `CommandFailed`, also if `read` lacks a host of the restore.
    """
    facts = read()
    if not unfinished_restores(facts):
        return facts
    for role, host in unfinished_restores(facts):
        connections[host].lock(role, what="restore")
    facts = read()  # another deployer may have had the lock before
    records = unfinished_restores(facts)
    if not records:
        return facts
    said = f"the restore of the backup of {next(iter(records.values()))['backup']}"
    if all_have_recorded(facts, records):
        report(f"complete {said}")
        _finish(connections, records, report)
    else:
        report(f"withdraw {said}: the data before it stays")
        for role, host in records:
            connections[host].ask("withdraw_restore", role)
    return read()
