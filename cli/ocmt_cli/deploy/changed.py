"""`ocmt changed`: lists the components that differ from the last deploy.

Each component is compared with the commit of its newest deploy or rollback tag. Unlike a list of
the last commit's changed files, this is correct after a push of many commits or over 300 files, and
after a failed deploy.
"""

import json
from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import ORDER, Role
from ocmt_cli.deploy.release_tags import last_deployed, release_tags
from ocmt_cli.deploy.source import Source, git

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def changed(tags: Iterable[str], *, now: str, content: Callable[[str, Role], str]) -> list[Role]:
    """The components to deploy at commit `now`, in order.

    `content(commit, role)` returns a digest of a component's sources; empty if the checkout lacks
    the commit. That counts as changed: a deploy of equal content does nothing.
    """
    last = last_deployed(tags)
    return [
        role
        for role in ORDER
        if role not in last or content(last[role], role) != content(now, role)
    ]


@app.command()
def changed_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False,
) -> None:
    """Show which components differ from the last deploy."""
    tags = release_tags(ROOT)
    known = set(git(ROOT, "rev-list", "--all", "--abbrev-commit", "--abbrev=12").split())

    def content(commit: str, role: Role) -> str:
        # Git lengthens an ambiguous abbreviation.
        if commit != "HEAD" and commit not in known:
            return ""
        return Source(ROOT, commit).content(role)

    roles = changed(tags, now="HEAD", content=content)
    say(json.dumps(roles) if as_json else "\n".join(roles) or "nothing")
