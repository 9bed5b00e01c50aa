"""`ocmt freeze` and `ocmt unfreeze`: refuse deploys for a while, with a message."""

from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import command
from ocmt_cli.deploy.commands import HostOption, InventoryOption, What, WhatArgument, deployer_for
from ocmt_cli.deploy.host_connection import deployer_name
from ocmt_cli.deploy.inventory import DEFAULT_FILE
from ocmt_cli.deploy.server_status import COMPONENT_TITLES

freeze_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
unfreeze_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@freeze_app.command()
def freeze_command(
    what: WhatArgument = What.all,
    *,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Why, for those whose deploys are refused.")
    ],
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Refuse deploys until `unfreeze`, also those of pipelines and timers. Rollbacks still work."""
    deployer = deployer_for(inventory, what, hosts=host)
    with deployer.connections() as connections:
        for role, name in deployer.targets():
            connections[name].lock(role, what="freeze")
        for role, name in deployer.targets():
            connections[name].ask("freeze", role, message, deployer_name())
            say(f"{name}: {COMPONENT_TITLES[role]}: frozen. `{command('unfreeze')}` ends that.")


@unfreeze_app.command()
def unfreeze_command(
    what: WhatArgument = What.all,
    host: HostOption = None,
    inventory: InventoryOption = DEFAULT_FILE,
) -> None:
    """Allow deploys again."""
    deployer = deployer_for(inventory, what, hosts=host)
    with deployer.connections() as connections:
        for role, name in deployer.targets():
            connections[name].lock(role, what="unfreeze")
            connections[name].ask("unfreeze", role)
            say(f"{name}: {COMPONENT_TITLES[role]}: not frozen")
