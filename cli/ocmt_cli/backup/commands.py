"""`ocmt backup` and `ocmt restore`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.backup.manifest import LeftOut
from ocmt_cli.backup.transfer import backup, restore
from ocmt_cli.deploy.inventory import DEFAULT_FILE, load_inventory
from ocmt_cli.failure import CommandFailed, explained

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
restore_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

INCOMPLETE = 3
"""Exit code: done, but for what is listed of single agents."""

InventoryOption = Annotated[Path, typer.Option("--inventory", help="The inventory of servers.")]


@app.command()
def backup_command(
    folder: Annotated[
        Path | None, typer.Argument(help="A new folder; default: backups/ and the time.")
    ] = None,
    max_agent_gb: Annotated[
        float, typer.Option("--max-agent-gb", min=0.001, help="An agent with more is left out.")
    ] = 20,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Copy databases and agents' state here, and apart from them the servers' keys."""
    now = datetime.now(UTC)
    target = folder or Path("backups") / now.strftime("%Y%m%d-%H%M%S")
    with explained(target.parent):
        made = backup(
            load_inventory(inventory),
            target,
            agent_bytes=int(max_agent_gb * 1e9),
            now=now,
            say=say,
        )
    size = sum(part.size for part in made.parts)
    say(f"{target}: {len(made.parts)} files, {size / 1e6:.1f} MB.")
    say(f"Keep {target / 'keys'} in another place than {target / 'data'}.")
    _tell("The backup is made, without this:", made.left_out)


@restore_app.command()
def restore_command(
    folder: Annotated[Path, typer.Argument(help="A backup that `ocmt backup` made.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace data that is there already.")
    ] = False,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Put a backup back on its servers; their servers and agents are stopped first."""
    lacking = restore(load_inventory(inventory), folder, force=force, say=say)
    say("Restored. Next: ocmt deploy")
    _tell("This is not restored:", lacking)


def _tell(what: str, lacking: Sequence[LeftOut]) -> None:
    """Raises `CommandFailed` when not all agents are whole; everything else is done by then."""
    if lacking:
        lines = "\n".join(f"  {one}" for one in lacking)
        raise CommandFailed(f"{what}\n{lines}", exit_code=INCOMPLETE)
