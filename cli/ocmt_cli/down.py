"""`ocmt down`: stops the servers and agents, even after a killed `ocmt up`, and verifies it."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.failure import CommandFailed
from ocmt_cli.orphans import end_orphans
from ocmt_cli.processes import Process
from ocmt_cli.up.run_state import Record, note_record, read_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# The servers' grace period, the agents', and some reserve.
_STOPS_WITHIN_S = 60


@app.command()
def down(
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Stop the servers and all agents of this installation."""
    folder = data.resolve()
    record = read_record(folder)
    ran = record is not None and _stop_supervisor(record)
    # Even without a record, since the folder may have been removed while servers were running.
    ended = end_orphans(folder)
    if ended.left:
        raise CommandFailed(f"These could not be stopped: {', '.join(ended.left)}.")
    if record is None and not ended.found:
        say(
            f"Nothing is running from {folder}. If OCMT was started with --data, give the same "
            "folder here."
        )
        return
    if (after := read_record(folder)) and after.phase != "stopped":
        stopped = replace(after, phase="stopped", pid=0, started_ticks=0, servers={})
        note_record(folder, stopped)
    say("Stopped; nothing is left running." if ran or ended.found else "Nothing was running.")


def _stop_supervisor(record: Record) -> bool:
    """Send SIGTERM and wait, then SIGKILL. Returns whether a supervisor was running."""
    if not record.is_alive():
        return False
    try:
        process = Process(record.pid)
    except ProcessLookupError:
        return False
    try:
        # Check again, now that the pidfd pins the process.
        if not record.is_alive():
            return False
        process.send(signal.SIGTERM)
        if not process.wait(_STOPS_WITHIN_S):
            process.send(signal.SIGKILL)
            process.wait(_STOPS_WITHIN_S)
    finally:
        process.close()
    return True
