"""`ocmt doctor`: print the checks. Exits with 1 when `ocmt up` cannot run here."""

from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say, say_json

from ocmt_cli.checkout import DEFAULT_DATA, command
from ocmt_cli.doctor.checks import all_checks
from ocmt_cli.up.data_folder import DataFolder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_MARKS = {"ok": "✓", "note": "–", "missing": "✗"}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    port: Annotated[int, typer.Option(min=1024, max=64000, help="The page's port.")] = 3000,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Check what this machine has and lacks. Exits with 1 when `up` cannot run here."""
    checks = list(all_checks(DataFolder(data.resolve()), port=port))
    able = all(check.level != "missing" for check in checks)
    if as_json:
        say_json({"ok": able, "checks": [check.as_json() for check in checks]})
    else:
        for check in checks:
            say(f"{_MARKS[check.level]} {check.name:<11} {check.found}")
            if check.cure:
                say(f"              → {check.cure}")
        up = command("up", data=data)
        say(f"`{up}` can run here." if able else f"`{up}` cannot run here yet: see ✗ above.")
    if not able:
        raise typer.Exit(1)
