"""`ocmt audit`: the audit trail, printed by the management server's command."""

from pathlib import Path
from typing import Annotated

import typer

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.management import installation, run_management

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    days: Annotated[
        int | None, typer.Option(min=1, help="Only the events of this many past days.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Only events by or about this user.")] = None,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Print the audit trail, oldest first: sign-ins, refusals, sessions, what admins did."""
    folder, port = installation(data)
    words = ["audit"]
    words += ["--json"] if as_json else []
    words += [] if days is None else ["--days", str(days)]
    words += [] if email is None else ["--email", email]
    run_management(
        folder, *words, port=port, stdout=None, failed="The audit trail could not be read"
    )
