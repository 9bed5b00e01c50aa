"""Runs the management server's commands for an installation on this machine."""

import subprocess
import sys
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.run_state import read_record
from ocmt_cli.up.servers import management_environment


def installation(data: Path) -> tuple[DataFolder, int]:
    """The installation's data folder and port. Raises `CommandFailed` if there is none."""
    folder = DataFolder(data.resolve())
    record = read_record(folder.root)
    if record is None:
        start = command("up", data=folder.root)
        raise CommandFailed(f"{folder.root} is not a data folder yet. Start with: {start}")
    return folder, record.port


def run_management(
    data: DataFolder, *words: str, port: int, stdout: int | None, failed: str
) -> str | None:
    """Run `python -m ocmt_management WORDS`. Returns its output if `stdout` is a pipe.

    Raises `CommandFailed` with `failed` and the command's error message.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ocmt_management", *words, "--env-file", str(data.management_env)],
        env=management_environment(data, port=port),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        # In its own session, so that Ctrl-C in the terminal ends `up` only after the link is made.
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{failed}: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: str) -> str:
    """The command's error message, without its usage or a traceback."""
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    if not lines:
        return "the management server's command gave no reason."
    if lines[0].startswith(("usage:", "Traceback")):
        return lines[-1].partition("error: ")[2] or lines[-1]
    return "\n".join(lines)
