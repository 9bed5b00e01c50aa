"""`ocmt link`: a sign-in link without mail, for the operator or for somebody they help."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ocmt_cli.checkout import DEFAULT_DATA, command
from ocmt_cli.console import say
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.record import read_record
from ocmt_cli.up.servers import management_environment

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def link(
    email: Annotated[str | None, typer.Option(help="For whom; default: the first admin.")] = None,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Make a link that signs in once, in any browser."""
    folder = DataFolder(data.resolve())
    record = read_record(folder.root)
    if record is None:
        start = command("up", data=folder.root)
        raise CommandFailed(f"{folder.root} is no data folder yet. Start with: {start}")
    say(sign_in_link(folder, port=record.port, email=email))


def sign_in_link(data: DataFolder, *, port: int, email: str | None = None) -> str:
    """Have the management server's own command make the link; raises `CommandFailed`."""
    words = [sys.executable, "-m", "ocmt_management", "sign-in-link"]
    if email is not None:
        words += ["--email", email]
    done = subprocess.run(
        [*words, "--env-file", str(data.management_env)],
        env=management_environment(data, port=port),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        # Ctrl-C is this process's: it ends `up` after the link, not the making of the link.
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CommandFailed(f"No link could be made: {_reason(done.stderr)}")
    return done.stdout.strip()


def _reason(stderr: str) -> str:
    """The sentence of the management server's command, without its usage or a traceback."""
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    if not lines:
        return "the management server's command ended without a word."
    if lines[0].startswith(("usage:", "Traceback")):
        return lines[-1].partition("error: ")[2] or lines[-1]
    return "\n".join(lines)
