"""`ocmt link`: a sign-in link without mail, for the operator or another user."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.management import installation, run_management
from ocmt_cli.up.data_folder import DataFolder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def link(
    email: Annotated[
        str | None, typer.Option(help="The user's address; default: the first admin.")
    ] = None,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Make a sign-in link. It works once, in any browser."""
    folder, port = installation(data)
    say(sign_in_link(folder, port=port, email=email))


def sign_in_link(data: DataFolder, *, port: int, email: str | None = None) -> str:
    """Make a sign-in link with the management server's command. Raises `CommandFailed`."""
    words = ["sign-in-link"] if email is None else ["sign-in-link", "--email", email]
    link = run_management(
        data, *words, port=port, stdout=subprocess.PIPE, failed="The link could not be made"
    )
    return (link or "").strip()
