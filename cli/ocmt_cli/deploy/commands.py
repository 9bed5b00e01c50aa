"""`ocmt deploy`, `ocmt rollback`, `ocmt releases` and `ocmt logs`."""

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common.console import say, say_json

from ocmt_cli.checkout import DEFAULT_DATA, ROOT, command
from ocmt_cli.deploy.inventory import DEFAULT_FILE, ORDER, Role, load_inventory
from ocmt_cli.deploy.orchestration import Deployer, deploy, plan
from ocmt_cli.deploy.pulling import pull as pull_checkout
from ocmt_cli.deploy.pulling import start_anew
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.source import read_source
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust import ending

_TITLES: dict[Role, str] = {"mgmt": "management", "agent": "agent server", "ui": "page"}
_LOG_POLL_S = 1.0


class What(StrEnum):
    mgmt = "mgmt"
    agent = "agent"
    ui = "ui"
    all = "all"


WhatArgument = Annotated[What, typer.Argument(help="Which component.")]
InventoryOption = Annotated[Path, typer.Option("--inventory", help="The inventory of servers.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]
PullOption = Annotated[
    str | None,
    typer.Option(
        "--pull",
        metavar="HOST",
        help="Deploy to this machine, which is HOST, without ssh, from its checkout's origin.",
    ),
]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
rollback_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
releases_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
logs_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _deployer(file: Path, what: What, *, quiet: bool = False, local: str | None = None) -> Deployer:
    inventory = load_inventory(file)
    if local is not None:
        inventory.host(local)
    in_use = [role for role in ORDER if inventory.with_role(role)]
    roles = in_use if what is What.all else [role for role in ORDER if role == what.value]
    return Deployer(inventory, roles, (lambda text: None) if quiet else say, local)


@app.command()
def deploy_command(
    what: WhatArgument = What.all,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print the steps without running them.")
    ] = False,
    as_json: JsonOption = False,
    pull: PullOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Deploy this commit without losing requests. A failed health check changes nothing."""
    deployer = _deployer(inventory, what, quiet=as_json, local=pull)
    if pull is not None and not plan_only and pull_checkout(ROOT, deployer.inventory.pull):
        start_anew(ROOT)
    source = read_source(ROOT)
    if plan_only:
        with deployer.sessions() as sessions:
            steps = plan(deployer, source, sessions)
    else:
        steps = deploy(deployer, source, builds=DEFAULT_DATA / "builds")
    if as_json:
        told = [step.to_json() for step in steps]
        say_json({"commit": source.commit, "plan": plan_only, "steps": told})
        return
    for step in steps:
        if plan_only or step.action == "unchanged":
            say(f"{step.host}: {_TITLES[step.role]}: {step.action} ({step.why})")
            if step.migrations:
                say(f"  migrations: {', '.join(step.migrations)}")
        else:
            say(f"{step.host}: {_TITLES[step.role]}: {step.current} serves")


@rollback_app.command()
def rollback_command(
    what: WhatArgument = What.all,
    to: Annotated[str | None, typer.Option(help="The release; see `releases`.")] = None,
    pull: Annotated[
        str | None,
        typer.Option("--pull", metavar="HOST", help="This machine is HOST; do not use ssh."),
    ] = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Roll back to the last healthy release, with the same health check."""
    if to is not None and what is What.all:
        raise CommandFailed(
            f"A release belongs to one component. Name it, as in: {command('rollback mgmt')}",
            exit_code=2,
        )
    for role, host, release in rollback(_deployer(inventory, what, local=pull), to=to):
        say(f"{host}: {_TITLES[role]}: {release} serves")


@releases_app.command()
def releases_command(
    what: WhatArgument = What.all,
    as_json: JsonOption = False,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """List the releases on the servers, oldest first."""
    deployer = _deployer(inventory, what)
    with deployer.sessions() as sessions:
        found, failures = deployer.each_that_answers(
            lambda role, name: sessions[name].ask("releases", role)
        )
    if as_json:
        told = [{"component": r, "host": h, "releases": found[r, h]} for r, h in found]
        say_json(told)
    else:
        for (role, host), listed in found.items():
            say(f"{host}: {_TITLES[role]}")
            for one in listed:
                marks = [word for word in ("current", "healthy") if one[word]]
                say(f"  {one['release']}  {', '.join(marks)}".rstrip())
    if failures:
        raise CommandFailed("\n".join(str(failure) for failure in failures.values()))


def show_servers(file: Path, *, as_json: bool) -> bool:
    """`ocmt status` with an inventory: each host's releases and their health.

    Returns whether all is well. A host that does not answer does not hide the others.
    """
    deployer = _deployer(file, What.all)
    with deployer.sessions() as sessions:
        found, failures = deployer.each_that_answers(
            lambda role, name: sessions[name].ask("status", role)
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
            say(f"{one['host']}: {_TITLES[one['component']]}: {one['state']}")
            if one["state"] != NOT_REACHABLE:
                running = ", ".join(one["running"]) or "nothing"
                say(f"  desired {one['desired']}, running {running}, last good {one['lastGood']}")
            if one["answer"] and one["state"] != HEALTHY:
                say(f"  {one['answer']}")
            if one["certificate"]:
                say(f"  {one['certificate']}")
    return all(one["state"] in (HEALTHY, DEGRADED) for one in told)


HEALTHY = "healthy"
DEGRADED = "degraded"
NOT_REACHABLE = "NOT REACHABLE"


def server_line(role: Role, host: str, status: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    """One component's state: healthy, drifted (another release runs than `current`) or not healthy.

    A degraded one serves, and reports its problems.
    """
    drifted = not status["settled"]
    if status["current"] is None:
        state = "nothing is deployed"
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
    }


def unreachable_line(role: Role, host: str, why: str) -> dict[str, Any]:
    """The line of an unreachable host."""
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
    }


@logs_app.command()
def logs_command(
    what: WhatArgument = What.all,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow new lines.")] = False,
    request: Annotated[str, typer.Option(help="Only lines with this request id.")] = "",
    lines: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many lines of each server.")
    ] = 100,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Show the servers' log lines, merged by time."""
    deployer = _deployer(inventory, what)
    after: dict[tuple[Role, str], Any] = {}

    def ask(role: Role, name: str) -> Any:
        if role == "ui":
            return {"lines": [], "after": None}
        return sessions[name].ask("logs", role, lines, request, after.get((role, name)))

    with deployer.sessions() as sessions:
        while True:
            found = deployer.each(ask)
            after = {target: told["after"] for target, told in found.items()}
            for line in merged(found):
                say(line)
            if not follow:
                return
            time.sleep(_LOG_POLL_S)


def merged(found: dict[tuple[Role, str], Any]) -> list[str]:
    """The lines of all servers sorted by time, keeping each server's order."""
    lines = [
        (line["at"], f"{host} {role} {line['text']}")
        for (role, host), told in found.items()
        for line in told["lines"]
    ]
    return [text for _, text in sorted(lines, key=lambda line: line[0])]
