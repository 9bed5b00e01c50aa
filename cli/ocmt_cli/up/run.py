"""Runs an installation from start to end, in the foreground or in the background.

In both cases, this process writes the record, supervises the servers, and finally stops servers and
agents.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.orphans import end_orphans
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.run_state import Record, ServerRecord, note_record
from ocmt_cli.up.servers import servers
from ocmt_cli.up.supervisor import Supervisor

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    data: DataFolder,
    *,
    port: int,
    runtime: str,
    notice: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP, then stop servers and agents; a second signal kills.

    The caller holds the data folder's lock. Raises `CommandFailed` if a server cannot be kept
    running or a process cannot be stopped.
    """
    record = Record("starting", port, runtime).mine()
    try:
        asyncio.run(_supervise(data, record, notice=notice, ready=ready))
    finally:
        note_record(data.root, replace(record, phase="stopping"))
        left = end_orphans(data.root).left
        note_record(data.root, replace(record, phase="stopped", pid=0, started_ticks=0))
    if left:
        raise CommandFailed(f"These could not be stopped: {', '.join(left)}.")


async def _supervise(
    data: DataFolder,
    record: Record,
    *,
    notice: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    current = record

    def tell(text: str) -> None:
        # A log on a full disk or a closed terminal must not end the supervisor.
        with suppress(OSError):
            notice(text)

    def keep(**changes: object) -> None:
        nonlocal current
        current = replace(current, **changes)  # type: ignore[arg-type]
        if trouble := note_record(data.root, current):
            tell(trouble)

    def on_change(running: dict[str, ServerRecord]) -> None:
        keep(servers=running)

    def on_ready() -> None:
        keep(phase="running")
        ready()

    keep()
    with explained(data.root):
        supervisor = Supervisor(
            servers(data, port=record.port, runtime=record.runtime),
            logs=data.logs,
            notice=tell,
            changed=on_change,
        )
    running = asyncio.create_task(supervisor.run(on_ready))
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            supervisor.hurry()
            return
        stopping = True
        tell("stopping (a second signal kills the servers)")
        running.cancel()

    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        if not stopping:
            raise
