"""`ocmt changed`: which components differ from what was deployed last.

Each component is compared at the commit that its newest `deploy/COMPONENT/…` tag names, so a push
of many commits, one of more than 300 files and one after a deploy that failed are all told right;
the files of the event's last commit, which the seed's workflow asked for, tell none of these.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import ORDER, Role
from ocmt_cli.deploy.source import Source, git

_TAG = re.compile(r"deploy/(mgmt|agent|ui)/(\d{8}T\d{6}Z)-([0-9a-f]{12})")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def last_deployed(tags: Iterable[str]) -> dict[str, str]:
    """Component → the first 12 digits of the commit that its newest tag names."""
    newest: dict[str, tuple[str, str]] = {}
    for tag in tags:
        if found := _TAG.fullmatch(tag):
            role, at, commit = found.groups()
            newest[role] = max(newest.get(role, ("", "")), (at, commit))
    return {role: commit for role, (_, commit) in newest.items()}


def changed(tags: Iterable[str], *, now: str, content: Callable[[str, Role], str]) -> list[Role]:
    """The components to deploy at commit `now`, in the deploy's order.

    `content(commit, role)` is a digest of what a component is made from; empty for a commit that is
    not here, which counts as changed: a deploy of the same content says "unchanged" by itself.
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
    """Tell which components differ from what was deployed last."""
    tags = git(ROOT, "tag", "--list", "deploy/*").split()
    known = set(git(ROOT, "rev-list", "--all", "--abbrev-commit", "--abbrev=12").split())

    def content(commit: str, role: Role) -> str:
        # Git makes an abbreviation longer than asked when it would mean two commits.
        if commit != "HEAD" and commit not in known:
            return ""
        return Source(ROOT, commit).content(role)

    roles = changed(tags, now="HEAD", content=content)
    say(json.dumps(roles) if as_json else "\n".join(roles) or "nothing")
