"""`ocmt backup` and `ocmt restore`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.backup.manifest import LeftOut
from ocmt_cli.backup.restoring import restore
from ocmt_cli.backup.transfer import backup
from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import DEFAULT_FILE, load_inventory
from ocmt_cli.failure import CommandFailed, explained

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
restore_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

INCOMPLETE = 3
"""The exit code if all is done except for the listed parts of some agents."""

InventoryOption = Annotated[Path, typer.Option("--inventory", help="The inventory of servers.")]


@app.command()
def backup_command(
    folder: Annotated[
        Path | None, typer.Argument(help="A new folder; default: backups/TIME.")
    ] = None,
    max_agent_gb: Annotated[
        float,
        typer.Option(
            "--max-agent-gb", min=0.001, help="Leave out agents with more data than this."
        ),
    ] = 20,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Back up databases, agents' state and the servers' keys to this machine."""
    now = datetime.now(UTC)
    target = folder or Path("backups") / now.strftime("%Y%m%d-%H%M%S")
    with explained(target.parent, another_by=f"`{command('backup FOLDER')}`"):
        made = backup(
            load_inventory(inventory),
            target,
            agent_bytes=int(max_agent_gb * 1e9),
            now=now,
            say=say,
        )
    size = sum(part.size for part in made.parts)
    say(f"{target}: {len(made.parts)} files, {size / 1e6:.1f} MB.")
    say(f"Store {target / 'keys'} in a different place from {target / 'data'}.")
    _tell("The backup was made, without:", made.left_out)


@restore_app.command()
def restore_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    force: Annotated[bool, typer.Option("--force", help="Replace existing data.")] = False,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Restore a backup to its hosts, whose servers and agents are stopped first."""
    lacking = restore(load_inventory(inventory), folder, force=force, say=say)
    say(f"Restored. Next: {command('deploy')}")
    _tell("These were not restored:", lacking)


def _tell(what: str, lacking: Sequence[LeftOut]) -> None:
    """Raise `CommandFailed` with the list of missing parts, if any; the rest is done."""
    if lacking:
        lines = "\n".join(f"  {one}" for one in lacking)
        raise CommandFailed(f"{what}\n{lines}", exit_code=INCOMPLETE)
