"""`ocmt up`: set up and start an installation on this machine, and print its address."""

import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say
from ocmt_common.file_lock import FileLock

from ocmt_cli.checkout import DEFAULT_DATA, ROOT, command
from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.link import sign_in_link
from ocmt_cli.orphans import end_orphans
from ocmt_cli.ports import require_free
from ocmt_cli.up.data_folder import DataFolder, open_data_folder
from ocmt_cli.up.prepare import choose_runtime, prepare
from ocmt_cli.up.run import run
from ocmt_cli.up.run_state import Record, read_record, try_run_lock, write_record
from ocmt_cli.up.servers import OWNER, agent_port, refuse_ineffective_settings, relay_port

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class RuntimeChoice(StrEnum):
    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


DataOption = Annotated[Path, typer.Option("--data", help="The installation's data folder.")]


@app.command()
def up(
    runtime: Annotated[
        RuntimeChoice,
        typer.Option(help="auto: Docker if its engine and image are available, else processes."),
    ] = RuntimeChoice.AUTO,
    port: Annotated[
        int, typer.Option(min=1024, max=64000, help="The page's port; +1000 and +1001 too.")
    ] = 3000,
    data: DataOption = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
) -> None:
    """Set up and start everything on this machine. Later starts take seconds."""
    folder = open_data_folder(data)
    refuse_ineffective_settings(folder)
    lock = try_run_lock(folder.root)
    if lock is None:
        _already_running(folder, detach=detach)
        return
    say(f"Data folder: {folder.root}")
    _clear_away(folder)
    # Recorded before preparing, so that `down` finds the processes if this one is killed.
    os.environ[OWNER] = str(folder.root)
    chosen = choose_runtime(runtime.value, data=folder.root)
    write_record(folder.root, Record("preparing", port, chosen).mine())
    require_free(
        {
            port: "the page",
            agent_port(port): "the agent server",
            **({relay_port(port): "the relay"} if chosen == "process" else {}),
        },
        instead=lambda free: command(f"up --port {free}", data=folder.root),
    )
    prepare(folder, runtime=chosen)
    if detach:
        _start_in_background(folder, lock, port=port, runtime=chosen)
        _tell_ready(folder, port=port)
        say("Running in the background. Stop it with: " + command("down", data=folder.root))
        return
    run(
        folder,
        port=port,
        runtime=chosen,
        notice=say,
        ready=lambda: _tell_ready(folder, port=port, until="Press Ctrl-C to stop."),
    )
    say("Stopped; nothing is left running.")


def _clear_away(data: DataFolder) -> None:
    """Stop the servers and agents that a killed run left behind."""
    last = read_record(data.root)
    if last is None or last.phase == "stopped":
        return
    ended = end_orphans(data.root)
    if ended.left:
        raise CommandFailed(f"These could not be stopped: {', '.join(ended.left)}.")
    if ended.found:
        say(f"Stopped {ended.found} processes or containers that an earlier run had left running.")


def _tell_ready(data: DataFolder, *, port: int, until: str = "") -> None:
    say()
    say(f"OCMT is running: {_public_address(data, port)}")
    if not data.setting(data.management_env, "SMTP_HOST"):
        say("No mail server is set, so use this link to sign in, once:")
        say(f"  {sign_in_link(data, port=port)}")
        say("For another link: " + command("link", data=data.root))
    if until:
        say(until)


def _public_address(data: DataFolder, port: int) -> str:
    return data.setting(data.management_env, "BASE_URL") or f"http://127.0.0.1:{port}"


def _already_running(data: DataFolder, *, detach: bool) -> None:
    record = read_record(data.root)
    if record is None or record.phase in ("preparing", "starting", "stopping"):
        doing = "starting" if record is None or record.phase != "stopping" else "stopping"
        who = f" (pid {record.pid})" if record else ""
        raise CommandFailed(f"Another ocmt{who} is {doing} {data.root}. Try again in a moment.")
    text = (
        f"OCMT is already running at {_public_address(data, record.port)} (pid {record.pid}).\n"
        f"Stop it with: {command('down', data=data.root)}"
    )
    if not detach:
        raise CommandFailed(text)
    say(text)


def _start_in_background(data: DataFolder, lock: FileLock, *, port: int, runtime: str) -> None:
    """Start the supervisor in a new session, and wait until it reports healthy servers.

    Raises `CommandFailed`.
    """
    reading, writing = os.pipe()
    words = (
        sys.executable, "-m", "ocmt_cli.up.background",
        "--data", str(data.root), "--port", str(port), "--runtime", runtime,
        "--report-fd", str(writing),
    )  # fmt: skip
    with explained(data.root), (data.logs / "ocmt.log").open("ab") as log:
        supervisor = subprocess.Popen(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # The supervisor inherits the lock, so that no other `up` can take it in between.
            pass_fds=(lock.fd, writing),
        )
    os.close(writing)
    lock.release()
    say("Starting the servers")
    with os.fdopen(reading, encoding="utf-8") as report:
        said = report.read()
    if not said:
        raise CommandFailed(f"The start failed; see {data.logs / 'ocmt.log'}")
    outcome = json.loads(said)
    if "failed" in outcome:
        # The supervisor has stopped everything, but holds the lock until it exits.
        supervisor.wait()
        raise CommandFailed(outcome["failed"], exit_code=outcome["exitCode"])
