"""`ocmt logs`: the servers' log lines, merged by time."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from ocmt_common.console import complain, say

from ocmt_cli.deploy.commands import (
    HostOption,
    InventoryOption,
    What,
    WhatArgument,
    deployer_for,
)
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import DEFAULT_FILE, Role
from ocmt_cli.failure import CommandFailed

_LOG_POLL_S = 1.0
_pause = time.sleep
_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

logs_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@logs_app.command()
def logs_command(
    what: WhatArgument = What.all,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow new lines.")] = False,
    request: Annotated[str, typer.Option(help="Only lines with this request id.")] = "",
    lines: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many lines of each server.")
    ] = 100,
    since: Annotated[
        str,
        typer.Option(help="Only lines from this time on: 90s, 10m, 2h, 3d, or ISO 8601 in UTC."),
    ] = "",
    grep: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only lines that match this expression.")
    ] = "",
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Show the servers' log lines, merged by time."""
    if what is What.ui:
        raise CommandFailed(
            "The page has no log of its own: see the web server's on its host, such as "
            "`journalctl -u caddy` or /var/log/nginx.",
            exit_code=2,
        )
    _require_expression(grep)
    wanted = {
        "request": request,
        "since": begin_of(since, datetime.now(UTC)),
        "pattern": grep,
    }
    deployer = deployer_for(inventory, what, hosts=host)
    after: dict[tuple[Role, str], Any] = {}

    def ask(role: Role, name: str) -> Any:
        if role == "ui":
            return {"lines": [], "after": None}
        return connections[name].ask("logs", role, lines, wanted, after.get((role, name)))

    away: dict[str, HostFailed] = {}
    with deployer.connections() as connections:
        while True:
            found, failures = deployer.each_that_answers(ask)
            after |= {target: told["after"] for target, told in found.items()}
            for line in merged(found):
                say(line)
            if not follow:
                break
            for name, failure in failures.items():
                if name not in away:
                    complain(f"{failure}\nIts log follows as soon as it answers.")
                connections[name].disconnect()
            for name in away.keys() - failures.keys():
                complain(f"{name} answers again.")
            away = failures
            _pause(_LOG_POLL_S)
    if failures:
        raise CommandFailed("\n".join(str(failure) for failure in failures.values()))


def begin_of(since: str, now: datetime) -> str:
    """The time that `--since` names, as the log lines have it; empty for all lines."""
    if not since:
        return ""
    ago = _AGO.fullmatch(since)
    try:
        at = (
            now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            if ago
            else datetime.fromisoformat(since)
        )
    except (ValueError, OverflowError) as error:
        raise CommandFailed(
            f"--since {since} is no time. Write how long ago, as in 10m or 2h, or the time in UTC, "
            f"as in {now:%Y-%m-%dT%H:%M}.",
            exit_code=2,
        ) from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}"


def _require_expression(grep: str) -> None:
    try:
        re.compile(grep)
    except re.error as error:
        raise CommandFailed(
            f"--grep {grep} is no regular expression: {error}. Put a backslash before characters "
            "such as ( and [.",
            exit_code=2,
        ) from error


def merged(found: dict[tuple[Role, str], Any]) -> list[str]:
    """The lines of all servers sorted by time, keeping each server's order."""
    lines = [
        (line["at"], f"{host} {role} {line['text']}")
        for (role, host), told in found.items()
        for line in told["lines"]
    ]
    return [text for _, text in sorted(lines, key=lambda line: line[0])]
