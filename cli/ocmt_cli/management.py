"""The management server's own commands, run on an installation of this machine."""

import subprocess
import sys
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.run_state import read_record
from ocmt_cli.up.servers import management_environment


def installation(data: Path) -> tuple[DataFolder, int]:
    """The data folder and the port of what `ocmt up` set up there; raises `CommandFailed`."""
    folder = DataFolder(data.resolve())
    record = read_record(folder.root)
    if record is None:
        start = command("up", data=folder.root)
        raise CommandFailed(f"{folder.root} is no data folder yet. Start with: {start}")
    return folder, record.port


def run_management(
    data: DataFolder, *words: str, port: int, stdout: int | None, failed: str
) -> str | None:
    """Run `python -m ocmt_management WORDS` to its end; what it printed if `stdout` is a pipe.

    Raises `CommandFailed` with `failed` and the sentence that the command said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ocmt_management", *words, "--env-file", str(data.management_env)],
        env=management_environment(data, port=port),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        # Ctrl-C is this process's: it ends `up` after the link, not the making of the link.
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{failed}: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: str) -> str:
    """The sentence of the management server's command, without its usage or a traceback."""
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    if not lines:
        return "the management server's command ended without a word."
    if lines[0].startswith(("usage:", "Traceback")):
        return lines[-1].partition("error: ")[2] or lines[-1]
    return "\n".join(lines)
