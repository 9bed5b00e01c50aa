"""Keeps the two servers running, both or none.

A server that crashes is restarted, after a delay that grows with repeated crashes. If a server
rejects its settings or never starts, a restart would not help, and the run ends with its last
output. Cancelling `run` stops the servers in order, and returns when they have ended.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.health import get
from ocmt_cli.up.run_state import ServerRecord
from ocmt_cli.up.server_log import ServerLog
from ocmt_cli.up.servers import Server

_SETTINGS_REFUSED = 78
_PORT_TAKEN = 75


@dataclass(frozen=True, slots=True)
class Patience:
    """Timeouts, shorter in tests."""

    first_answer_s: float = 120
    first_starts: int = 3
    """How many starts may end before a server's first answer; the last of them ends the run."""
    restart_after_s: float = 0.25
    restart_at_most_after_s: float = 15
    settled_after_s: float = 60
    """Seconds of running after which the count of crashes is reset."""
    stop_s: float = 30
    health_every_s: float = 0.1


class Supervisor:
    """Runs `servers`. `changed` is called with their processes, `notice` with events."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        logs: Path,
        notice: Callable[[str], None],
        changed: Callable[[dict[str, ServerRecord]], None],
        patience: Patience | None = None,
    ) -> None:
        self._servers = servers
        self._notice = notice
        self._changed = changed
        self._patience = patience or Patience()
        self._logs = {server.name: ServerLog(server.name, logs, notice) for server in servers}
        self._records: dict[str, ServerRecord] = {}
        self._answered: set[str] = set()
        self._in_a_hurry = asyncio.Event()

    def hurry(self) -> None:
        """Kill servers that are stopping, now or later, instead of waiting for them."""
        self._in_a_hurry.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Start all servers, call `ready` once they answer, and keep them running until cancelled.

        Raises `CommandFailed` if one cannot be kept running.
        """
        failed: CommandFailed | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._servers:
                    group.create_task(self._keep(server))
                await self._all_answer()
                ready()
        except* CommandFailed as failures:
            # Raised below, since older Pythons wrap it into a group again inside `except*`.
            failed = next(one for one in failures.exceptions if isinstance(one, CommandFailed))
        finally:
            for log in self._logs.values():
                log.close()
        if failed is not None:
            raise failed

    async def _all_answer(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience.first_answer_s
        for server in self._servers:
            while (answer := await asyncio.to_thread(get, server.health_url)).status != 200:
                if asyncio.get_running_loop().time() > deadline:
                    seen = f"its last answer was {answer.status} {answer.body}"
                    raise CommandFailed(
                        f"The {server.name} server did not become healthy within "
                        f"{self._patience.first_answer_s:.0f} s"
                        f"{f' ({seen})' if answer.status else ''}. "
                        f"Its log: {self._logs[server.name].path}"
                    )
                await asyncio.sleep(self._patience.health_every_s)
            self._answered.add(server.name)

    async def _keep(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        starts = crashes = 0
        while True:
            started = loop.time()
            starts += 1
            code = await self._run_once(server, restarts=starts - 1)
            crashes = 1 if loop.time() - started > self._patience.settled_after_s else crashes + 1
            self._give_up_if_hopeless(server, code, crashes)
            pause_s = min(
                self._patience.restart_after_s * 2 ** (crashes - 1),
                self._patience.restart_at_most_after_s,
            )
            self._notice(
                f"{server.name}: ended ({_ending(code)}); starting it again in {pause_s:g} s"
            )
            await asyncio.sleep(pause_s)

    def _give_up_if_hopeless(self, server: Server, code: int, crashes: int) -> None:
        log = self._logs[server.name]
        never_answered = server.name not in self._answered
        if code == _SETTINGS_REFUSED or (code == _PORT_TAKEN and never_answered):
            raise CommandFailed(
                log.last_words or f"The {server.name} server refused to start; see {log.path}",
                exit_code=code,
            )
        if never_answered and crashes >= self._patience.first_starts:
            raise CommandFailed(
                f"The {server.name} server does not start ({_ending(code)}). Its last output:\n"
                f"{log.last_words}\nIts log: {log.path}"
            )

    async def _run_once(self, server: Server, *, restarts: int) -> int:
        """Start the server and wait until it ends. Returns its exit code (negative: its signal)."""
        log = self._logs[server.name]
        log.forget()
        # Our own pipe: with asyncio's, `wait` also waits for grandchildren that hold it open.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *server.command,
                env=dict(server.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                # In its own session, so that Ctrl-C does not reach the servers: the supervisor
                # stops them in order.
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._records[server.name] = ServerRecord(process.pid, now, restarts)
        self._changed(dict(self._records))
        draining = asyncio.create_task(log.drain(reading))
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(self._stop(process))
            # The last output is still in the pipe, which a grandchild may hold open for longer.
            with suppress(TimeoutError):
                await asyncio.wait_for(draining, 1)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        gone = asyncio.create_task(process.wait())
        hurry = asyncio.create_task(self._in_a_hurry.wait())
        await asyncio.wait(
            {gone, hurry}, timeout=self._patience.stop_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurry.cancel()
        if not gone.done():
            with suppress(ProcessLookupError):
                process.kill()
        await gone


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
