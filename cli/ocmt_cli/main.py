"""The `ocmt` command. It imports only the subcommand that runs, so that help is instant."""

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from ocmt_common.console import complain, give_up_output, reader_is_gone, say

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed, of_the_machine


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand: its Typer app is `attribute` of `module`; `summary` is for the overview."""

    summary: str
    module: str
    attribute: str = "app"


COMMANDS = {
    "up": Entry("Set up and start everything on this machine", "ocmt_cli.up.command"),
    "down": Entry("Stop the servers and all agents", "ocmt_cli.down"),
    "status": Entry("Show the servers and all agents", "ocmt_cli.status"),
    "link": Entry("Make a one-time sign-in link", "ocmt_cli.link"),
    "audit": Entry("Show the audit trail of accounts", "ocmt_cli.audit"),
    "vault": Entry("Show or replace the key of the vault", "ocmt_cli.vault_key"),
    "doctor": Entry("Check what this machine has and lacks", "ocmt_cli.doctor.command"),
    "capacity": Entry(
        "Estimate how many users a machine holds", "ocmt_cli.capacity.command", "capacity_app"
    ),
    "memory": Entry("Set up swap for sleeping agents", "ocmt_cli.memory.command", "memory_app"),
    "image": Entry("Build or pull the container image", "ocmt_cli.openclaw.commands", "image_app"),
    "changed": Entry("Show what differs from the last deploy", "ocmt_cli.deploy.changed"),
    "setup": Entry("Prepare a server for deploys", "ocmt_cli.setup.command"),
    "renew": Entry("Replace certificates and token between hosts", "ocmt_cli.trust.command"),
    "deploy": Entry("Deploy this commit to the servers", "ocmt_cli.deploy.commands"),
    "rollback": Entry("Undo the last deploy", "ocmt_cli.deploy.commands", "rollback_app"),
    "releases": Entry("List the servers' releases", "ocmt_cli.deploy.commands", "releases_app"),
    "journal": Entry(
        "Show who deployed what, when and why", "ocmt_cli.deploy.commands", "journal_app"
    ),
    "logs": Entry("Show the servers' logs, merged", "ocmt_cli.deploy.logs_command", "logs_app"),
    "freeze": Entry("Refuse deploys, with a message", "ocmt_cli.deploy.freezing", "freeze_app"),
    "unfreeze": Entry("Allow deploys again", "ocmt_cli.deploy.freezing", "unfreeze_app"),
    "backup": Entry("Back up the servers to this machine", "ocmt_cli.backup.commands"),
    "restore": Entry("Restore a backup to its servers", "ocmt_cli.backup.commands", "restore_app"),
    "sync": Entry("Follow upstream OpenClaw", "ocmt_sync.commands", "sync_app"),
    "upgrade": Entry(
        "Compare the pinned OpenClaw with npm", "ocmt_cli.upgrade.commands", "upgrade_app"
    ),
    "bench": Entry("Run a benchmark", "ocmt_cli.bench.command"),
    "test": Entry("Run the checks and tests", "ocmt_cli.testing.command"),
}


def overview() -> str:
    lines = [f"  {name:<8} {entry.summary}" for name, entry in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: ocmt COMMAND [OPTIONS]",
            "",
            "An OpenClaw agent for each user: asleep when idle, awake on the next message.",
            "",
            "Commands:",
            *lines,
            "",
            "Run `ocmt COMMAND --help` for details. Start with: " + command("up"),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except CommandFailed as failure:
        complain(str(failure))
        return failure.exit_code
    except ModuleNotFoundError as error:
        # A missing module of an OCMT package is a bug. A missing package was added by an update of
        # the checkout while servers run, and is not installed yet.
        if error.name is None or (error.name.startswith("ocmt") and "." in error.name):
            raise
        complain(
            f"The package {error.name} is not installed. ./ocmt installs packages only while no "
            "process runs from this checkout: stop it (./ocmt down, or kill the process that "
            "./ocmt names), then run this again."
        )
        return 1
    except OSError as error:
        complain(f"ocmt {' '.join(words[:1])}: {of_the_machine(error)}")
        give_up_output()
        return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        say(overview())
        return 0
    name, *rest = words
    entry = COMMANDS.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean `{command(close[0])}`?" if close else f"See: {command('--help')}"
        complain(f"There is no command {name!r}. {hint}")
        return 2
    from typer.main import get_command  # noqa: PLC0415 (100 ms that the overview does not need)

    program = get_command(getattr(import_module(entry.module), entry.attribute))
    try:
        program.main(args=rest, prog_name=f"ocmt {name}", standalone_mode=True)
    except SystemExit as ended:
        # Typer takes any broken pipe for that of standard output, and would exit silently.
        if isinstance(ended.__context__, BrokenPipeError) and not reader_is_gone(sys.stdout):
            raise ended.__context__ from None
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
