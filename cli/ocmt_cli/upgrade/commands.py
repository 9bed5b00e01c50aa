"""`ocmt upgrade check` and `revert`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common.console import say, say_json
from ocmt_common.openclaw import openclaw_version
from ocmt_common.openclaw.versions import parse_version

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.upgrade.agents import agents_by_version
from ocmt_cli.upgrade.npm import read_changelog, read_offers
from ocmt_cli.upgrade.reverting import revert_agents
from ocmt_cli.upgrade.versions import between, changelog_sections

upgrade_app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Follow OpenClaw's releases.",
)  # fmt: skip


@upgrade_app.callback()
def _group() -> None:
    """Follow OpenClaw's releases."""


@upgrade_app.command()
def check(
    tag: Annotated[str, typer.Option(help="The npm tag to compare with.")] = "latest",
    changes: Annotated[bool, typer.Option(help="Download and show what changed.")] = True,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare the pinned OpenClaw with npm. Changes nothing."""
    report = compare(openclaw_version(), tag=tag, changes=changes, data=DataFolder(data.resolve()))
    if as_json:
        say_json(report)
    else:
        _show(report)


@upgrade_app.command()
def revert(
    users: Annotated[
        list[str] | None, typer.Argument(help="The ids of the users whose agents to revert.")
    ] = None,
    all_agents: Annotated[bool, typer.Option("--all", help="Every agent that needs it.")] = False,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """After a rollback, restore the copies of agents' state that this OpenClaw can read.

    The newer OpenClaw's state is kept for 14 days.
    """
    if bool(users) == all_agents:
        raise CommandFailed("Name the users whose agents to revert, or use --all.")
    if not revert_agents(DataFolder(data.resolve()), users or None):
        raise typer.Exit(1)


def compare(pinned: str, *, tag: str, changes: bool, data: DataFolder) -> dict[str, Any]:
    """The report of `check`. `newer` has all stable releases after the pinned one, oldest first."""
    offers = read_offers()
    offered = offers.tags.get(tag)
    newer = between(offers.published, pinned, offered) if offered else []
    sections = changelog_sections(read_changelog(newer[-1]), newer) if newer and changes else {}
    mine, theirs = parse_version(pinned), parse_version(offered or "")
    return {
        "pinned": pinned,
        "pinnedPublished": offers.published.get(pinned),
        "tag": tag,
        "offered": offered,
        "upToDate": mine is not None and theirs is not None and mine >= theirs,
        "newer": [
            {"version": v, "published": offers.published[v], "changes": sections.get(v)}
            for v in newer
        ],
        "agents": agents_by_version(data),
    }


def _show(report: dict[str, Any]) -> None:
    say(f"pinned {report['pinned']}; npm's {report['tag']} is {report['offered'] or 'not set'}")
    if report["upToDate"]:
        say("The pin is up to date.")
    for release in report["newer"]:
        say(f"\n{release['version']}  ({release['published'][:10]})")
        if release["changes"]:
            say(release["changes"])
    say()
    for version, count in report["agents"].items():
        say(f"{count} agent{'' if count == 1 else 's'} on {version}")
    if not report["agents"]:
        say("There are no agents here yet.")
    if report["newer"]:
        say("To raise the pin, see common/ocmt_common/openclaw/__init__.py.")
