"""`ocmt deploy`, `ocmt rollback`, `ocmt releases` and `ocmt logs`."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ocmt_cli.checkout import DEFAULT_DATA, ROOT
from ocmt_cli.console import say
from ocmt_cli.deploy.deploying import Deployer, deploy, plan, rollback
from ocmt_cli.deploy.inventory import DEFAULT_FILE, ORDER, Role, load_inventory
from ocmt_cli.deploy.source import read_source
from ocmt_cli.failure import CommandFailed

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
    typer.Option("--pull", metavar="HOST", help="This machine is HOST; deploy to it, by no ssh."),
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
        bool, typer.Option("--plan", help="Tell what would be done, and do nothing.")
    ] = False,
    as_json: JsonOption = False,
    pull: PullOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Bring the servers to this commit, with no request lost; a failed gate changes nothing."""
    deployer = _deployer(inventory, what, quiet=as_json, local=pull)
    source = read_source(ROOT)
    if plan_only:
        with deployer.sessions() as sessions:
            steps = plan(deployer, source, sessions)
    else:
        steps = deploy(deployer, source, builds=DEFAULT_DATA / "builds")
    if as_json:
        told = [step.to_json() for step in steps]
        say(json.dumps({"commit": source.commit, "plan": plan_only, "steps": told}, indent=2))
        return
    for step in steps:
        if plan_only or step.action == "unchanged":
            say(f"{step.host}: {_TITLES[step.role]}: {step.action} ({step.why})")
        else:
            say(f"{step.host}: {_TITLES[step.role]}: {step.current} serves")


@rollback_app.command()
def rollback_command(
    what: WhatArgument = What.all,
    to: Annotated[str | None, typer.Option(help="A release that `ocmt releases` lists.")] = None,
    pull: PullOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Go back to the last healthy release, through the same gate."""
    if to is not None and what is What.all:
        raise CommandFailed(
            "A release is of one component: name it, such as ocmt rollback mgmt.", exit_code=2
        )
    for role, host, release in rollback(_deployer(inventory, what, local=pull), to=to):
        say(f"{host}: {_TITLES[role]}: {release} serves")


@releases_app.command()
def releases_command(
    what: WhatArgument = What.all,
    as_json: JsonOption = False,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """List the releases on the servers, the oldest first."""
    deployer = _deployer(inventory, what)
    with deployer.sessions() as sessions:
        found = deployer.each(lambda role, name: sessions[name].ask("releases", role))
    if as_json:
        told = [{"component": r, "host": h, "releases": found[r, h]} for r, h in found]
        say(json.dumps(told, indent=2))
        return
    for role, host in deployer.targets():
        say(f"{host}: {_TITLES[role]}")
        for one in found[role, host]:
            marks = [word for word in ("current", "healthy") if one[word]]
            say(f"  {one['release']}  {', '.join(marks)}".rstrip())


def show_servers(file: Path, *, as_json: bool) -> None:
    """`ocmt status --inventory`: what every host runs, should run, and how it is."""
    deployer = _deployer(file, What.all)
    with deployer.sessions() as sessions:
        found = deployer.each(lambda role, name: sessions[name].ask("status", role))
    told = [server_line(role, host, found[role, host]) for role, host in deployer.targets()]
    if as_json:
        say(json.dumps(told, indent=2))
        return
    for one in told:
        say(f"{one['host']}: {_TITLES[one['component']]}: {one['state']}")
        say(f"  desired {one['desired']}, last good {one['lastGood']}, running {one['running']}")
        if one["answer"] and one["state"] != "healthy":
            say(f"  {one['answer']}")


def server_line(role: Role, host: str, status: dict[str, Any]) -> dict[str, Any]:
    """One component's state: healthy, drifted (something else runs than should) or not healthy."""
    if status["current"] is None:
        state = "nothing is deployed"
    elif not status["ok"]:
        state = "NOT HEALTHY"
    elif not status["settled"]:
        state = "drifted: `ocmt deploy` puts it right"
    else:
        state = "healthy"
    return {
        "component": role,
        "host": host,
        "state": state,
        "desired": status["current"],
        "running": status["running"],
        "lastGood": status["last_good"],
        "answer": status["answer"],
    }


@logs_app.command()
def logs_command(
    what: WhatArgument = What.all,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    request: Annotated[str, typer.Option(help="Only lines of this request id.")] = "",
    lines: Annotated[int, typer.Option(min=1, max=100_000, help="How many of each server.")] = 100,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Show the servers' log lines, merged by their times."""
    deployer = _deployer(inventory, what)
    shown: set[tuple[str, str, str]] = set()
    with deployer.sessions() as sessions:
        while True:
            found = deployer.each(
                lambda role, name: (
                    [] if role == "ui" else sessions[name].ask("logs", role, lines, request)
                )
            )
            merged = sorted(
                (line["at"], host, role, line["text"])
                for (role, host), told in found.items()
                for line in told
            )
            for at, host, role, text in merged:
                if (at, host, text) not in shown:
                    shown.add((at, host, text))
                    say(f"{host} {role} {text}")
            if not follow:
                return
            time.sleep(_LOG_POLL_S)
