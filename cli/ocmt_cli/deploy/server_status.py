"""`ocmt status` with an inventory: the releases and problems of the hosts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocmt_common.console import say, say_json

from ocmt_cli.checkout import command
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.inventory import ORDER, Role, load_inventory
from ocmt_cli.deploy.plan import frozen, unfinished_restore
from ocmt_cli.trust import ending

COMPONENT_TITLES: dict[Role, str] = {"mgmt": "management", "agent": "agent server", "ui": "page"}
HEALTHY = "healthy"
DEGRADED = "degraded"
NOT_REACHABLE = "NOT REACHABLE"


def show_servers(file: Path, *, as_json: bool) -> bool:
    """Show each host's releases and their health. Returns whether every one is healthy or degraded.

    A host that does not answer is listed as unreachable.
    """
    inventory = load_inventory(file)
    in_use = [role for role in ORDER if inventory.with_role(role)]
    deployer = Deployer(inventory, in_use, say)
    with deployer.connections() as connections:
        found, failures = deployer.each_that_answers(
            lambda role, name: connections[name].ask("status", role)
        )
    now = datetime.now(UTC)
    told = [
        server_line(role, host, found[role, host], now=now)
        if (role, host) in found
        else unreachable_line(role, host, str(failures[host]))
        for role, host in deployer.targets()
    ]
    if as_json:
        say_json(told)
    else:
        for one in told:
            say(f"{one['host']}: {COMPONENT_TITLES[one['component']]}: {one['state']}")
            if one["desired"]:
                running = ", ".join(one["running"]) or "nothing"
                good = one["lastGood"] or "none"
                say(f"  desired {one['desired']}, running {running}, last good {good}")
            if one["answer"] and one["state"] != HEALTHY:
                say(f"  {one['answer']}")
            for line in filter(None, (one["certificate"], one["frozen"])):
                say(f"  {line}")
        for line in differences(told):
            say(line)
    return all(one["state"] in (HEALTHY, DEGRADED) for one in told)


def differences(told: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each component whose hosts have different current releases."""
    lines = []
    for role in ORDER:
        hosts: dict[str, list[str]] = {}
        for one in told:
            if one["component"] == role and one["desired"]:
                hosts.setdefault(one["desired"], []).append(one["host"])
        if len(hosts) > 1:
            said = "; ".join(f"{', '.join(names)}: {release}" for release, names in hosts.items())
            cure = f"run `{command('deploy')}` or `{command('rollback')}`"
            lines.append(f"{COMPONENT_TITLES[role]}: the hosts differ ({said}): {cure}")
    return lines


def server_line(role: Role, host: str, status: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    """A component's line of `status`: its state, and the command to run if something is amiss.

    An unfinished restore or rollback takes precedence. A drifted component is healthy, but not
    settled (`hostside.steps.status`); a degraded one serves, and its problems are listed.
    """
    drifted = not status["settled"]
    if status["restore"]:
        state = (
            f"RESTORE UNFINISHED: {unfinished_restore(status['restore'])}; "
            f"run `{command('deploy')}`"
        )
    elif status["current"] is None:
        state = "nothing is deployed"
    elif status["unmigrated"]:
        state = f"restored: run `{command('deploy')}` to migrate its data and start it"
    elif pending := status["rollback"]:
        said = ", ".join(filter(None, (pending["who"], pending["at"], pending["why"])))
        state = (
            f"ROLLBACK UNFINISHED from {pending['from']} to {pending['to']} ({said}): "
            f"run `{command('rollback')}`"
        )
    elif not status["ok"]:
        state = f"NOT HEALTHY: run `{command('deploy')}` or `{command('rollback')}`"
    elif ending.has_ended(status["certificate"], now):
        state = "NOT HEALTHY: its certificate expired"
    elif drifted:
        state = f"drifted: run `{command('deploy')}`"
    elif status["settings_changed"]:
        state = f"its settings (.env) changed: run `{command('deploy')}` to apply them"
    else:
        state = DEGRADED if status["degraded"] else HEALTHY
    return {
        "component": role,
        "host": host,
        "state": state,
        "desired": status["current"],
        "running": [status["current"]] if role == "ui" and status["ok"] else status["running"],
        "lastGood": status["last_good"],
        "drift": drifted,
        "answer": status["answer"],
        "certificate": ending.warning(status["certificate"], now),
        "frozen": frozen(status["frozen"]) if status["frozen"] else "",
    }


def unreachable_line(role: Role, host: str, why: str) -> dict[str, Any]:
    """The line for a component on an unreachable host."""
    return {
        "component": role,
        "host": host,
        "state": NOT_REACHABLE,
        "desired": None,
        "running": [],
        "lastGood": None,
        "drift": None,
        "answer": why,
        "certificate": "",
        "frozen": "",
    }
