"""`ocmt deploy`, `rollback`, `releases` and `journal`."""

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say, say_json

from ocmt_cli.checkout import DEFAULT_DATA, ROOT, command
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.inventory import DEFAULT_FILE, ORDER, Role, load_inventory
from ocmt_cli.deploy.orchestration import deploy, plan
from ocmt_cli.deploy.pulling import pull as pull_checkout
from ocmt_cli.deploy.pulling import start_anew
from ocmt_cli.deploy.release_tags import tag_rollback
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.rollback_plan import Move
from ocmt_cli.deploy.server_status import COMPONENT_TITLES
from ocmt_cli.deploy.source import read_source
from ocmt_cli.failure import CommandFailed, interruptible

_MOST_COMMITS = 20


class What(StrEnum):
    mgmt = "mgmt"
    agent = "agent"
    ui = "ui"
    all = "all"


WhatArgument = Annotated[What, typer.Argument(help="Which component.")]
InventoryOption = Annotated[Path, typer.Option("--inventory", help="The inventory of servers.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PullOption = Annotated[
    str | None,
    typer.Option(
        "--pull",
        metavar="HOST",
        help="Deploy to this machine, which is HOST, without ssh, from its checkout's origin.",
    ),
]

HostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="HOST",
        help="Only this host of the inventory, or those that match, as in 'u*'; repeatable.",
    ),
]
_CONTINUES = (
    "A step that a host has begun continues there to its end. `{status}` shows what serves; the "
    "same command, run again, continues from there."
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
rollback_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
releases_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
journal_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def deployer_for(
    file: Path,
    what: What,
    *,
    hosts: Sequence[str] | None = None,
    quiet: bool = False,
    local: str | None = None,
) -> Deployer:
    inventory = load_inventory(file)
    if local is not None:
        inventory.host(local)
    in_use = [role for role in ORDER if inventory.with_role(role)]
    roles = in_use if what is What.all else [role for role in ORDER if role == what.value]
    report = (lambda text: None) if quiet else say
    return Deployer(inventory, roles, report, local, tuple(hosts or ()))


@app.command()
def deploy_command(
    what: WhatArgument = What.all,
    *,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print the steps without running them.")
    ] = False,
    as_json: JsonOption = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also deploy an older commit, or one that was rolled back."),
    ] = False,
    pull: PullOption = None,
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Deploy this commit without losing requests. If its health check fails, the old one serves."""
    deployer = deployer_for(inventory, what, hosts=host, quiet=as_json, local=pull)
    if pull is not None and not plan_only and pull_checkout(ROOT, deployer.inventory.pull):
        start_anew(ROOT)
    source = read_source(ROOT)
    began = time.monotonic()
    if plan_only:
        with deployer.connections() as connections:
            steps = plan(deployer, source, connections, force=force)
    else:
        with interruptible(_CONTINUES.format(status=command("status"))):
            steps = deploy(deployer, source, builds=DEFAULT_DATA / "builds", force=force)
    if as_json:
        told = [step.to_json() for step in steps]
        say_json({"commit": source.commit, "plan": plan_only, "steps": told})
        return
    for step in steps:
        if plan_only or step.action == "unchanged":
            say(f"{step.host}: {COMPONENT_TITLES[step.role]}: {step.action} ({step.why})")
            if step.migrations:
                say(f"  migrations: {', '.join(step.migrations)}")
            for commit in step.commits[:_MOST_COMMITS]:
                say(f"  {commit}")
            if len(step.commits) > _MOST_COMMITS:
                say(f"  … and {len(step.commits) - _MOST_COMMITS} more commits")
        else:
            say(f"{step.host}: {COMPONENT_TITLES[step.role]}: {step.current} serves")
    if not plan_only:
        say(f"{time.monotonic() - began:.1f} s in all")


@rollback_app.command()
def rollback_command(
    what: WhatArgument = What.all,
    *,
    to: Annotated[str | None, typer.Option(help="The release; see `releases`.")] = None,
    reason: Annotated[
        str, typer.Option(help="Why, for the journal and the tag.", metavar="TEXT")
    ] = "",
    pull: Annotated[
        str | None,
        typer.Option("--pull", metavar="HOST", help="This machine is HOST; do not use ssh."),
    ] = None,
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Undo the last deploy: go back to the releases before it, with the same health check.

    An interrupted rollback is resumed.
    """
    if to is not None and what is What.all:
        raise CommandFailed(
            f"A release belongs to one component. Name it, as in: {command('rollback mgmt')}",
            exit_code=2,
        )

    def tag(role: Role, release: str, why: str) -> None:
        tag_rollback(say, ROOT, role, release, why)

    deployer = deployer_for(inventory, what, hosts=host, local=pull)
    with interruptible(_CONTINUES.format(status=command("status"))):
        outcome = rollback(deployer, to=to, why=reason, tag=tag)
    for done in outcome:
        told = f"{done.release} serves" if isinstance(done, Move) else f"left alone: {done.why}"
        say(f"{done.host}: {COMPONENT_TITLES[done.role]}: {told}")


@releases_app.command()
def releases_command(
    what: WhatArgument = What.all,
    as_json: JsonOption = False,
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """List the releases on the servers, oldest first."""
    deployer = deployer_for(inventory, what, hosts=host)
    with deployer.connections() as connections:
        found, failures = deployer.each_that_answers(
            lambda role, name: connections[name].ask("releases", role)
        )
    if as_json:
        told = [{"component": r, "host": h, "releases": found[r, h]} for r, h in found]
        say_json(told)
    else:
        for (role, name), listed in found.items():
            say(f"{name}: {COMPONENT_TITLES[role]}")
            for one in listed:
                marks = [word for word in ("current", "healthy") if one[word]]
                say(f"  {one['release']}  {', '.join(marks)}".rstrip())
    if failures:
        raise CommandFailed("\n".join(str(failure) for failure in failures.values()))


@journal_app.command()
def journal_command(
    what: WhatArgument = What.all,
    lines: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many events of each server.")
    ] = 20,
    as_json: JsonOption = False,
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Show who deployed, rolled back and restored what, when and why, oldest first."""
    deployer = deployer_for(inventory, what, hosts=host)
    with deployer.connections() as connections:
        found, failures = deployer.each_that_answers(
            lambda role, name: connections[name].ask("journal", role, lines)
        )
    told = [
        {**event, "host": host, "component": role}
        for (role, host), events in found.items()
        for event in events
    ]
    told.sort(key=lambda event: event["at"])
    if as_json:
        say_json(told)
    else:
        for event in told:
            why = f" ({event['why'].splitlines()[0]})" if event["why"] else ""
            place = f"{event['host']} {event['component']}"
            say(f"{event['at']}  {place}  {event['who']}  {event['what']}{why}")
    if failures:
        raise CommandFailed("\n".join(str(failure) for failure in failures.values()))
