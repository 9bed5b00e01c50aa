"""`ToolContainers` as plain processes of `tool_program.py`, with counts and gates for tests."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from ocmt_agent.tool_servers.containers import Launch, Package
from ocmt_agent.tool_servers.stdio_session import Exit, Output, StdioProcess

from ocmt_testing.agent_server import tool_program

PROGRAM = Path(tool_program.__file__)
_PIECE = 32 * 1024  # as the engine sends it


class LocalToolContainers:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.running: set[asyncio.subprocess.Process] = set()
        self.installed: set[Package] = set()
        self.launches: list[Launch] = []
        self.faults: dict[str, list[Exception]] = {}
        """Method → errors that its next calls raise, one each."""
        self.gates: dict[str, asyncio.Event] = {}
        """Method → an event that its calls wait for."""
        self.closed = False

    async def _called(self, method: str) -> None:
        self.calls[method] += 1
        if method in self.gates:
            await self.gates[method].wait()
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    async def is_installed(self, package: Package) -> bool:
        await asyncio.sleep(0)
        return package in self.installed

    async def install(self, package: Package) -> None:
        await self._called("install")
        self.installed.add(package)

    async def start(self, launch: Launch) -> StdioProcess:
        await self._called("start")
        self.launches.append(launch)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *launch.arguments,
            env=dict(launch.environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.running.add(process)
        return _LocalProcess(process, self.running)

    async def remove_leftovers(self) -> None:
        await self._called("remove_leftovers")

    async def close(self) -> None:
        self.closed = True


class _LocalProcess:
    def __init__(
        self, process: asyncio.subprocess.Process, running: set[asyncio.subprocess.Process]
    ) -> None:
        self._process = process
        self._running = running
        self._output: asyncio.Queue[Output | None] = asyncio.Queue(maxsize=4)
        self._pumps = asyncio.gather(self._pump("stdout"), self._pump("stderr"))
        self._pumps.add_done_callback(lambda _: self._ended.set())
        self._ended = asyncio.Event()

    async def _pump(self, kind: str) -> None:
        stream = self._process.stdout if kind == "stdout" else self._process.stderr
        assert stream is not None
        while data := await stream.read(_PIECE):
            await self._output.put(("stdout" if kind == "stdout" else "stderr", data))

    async def read(self) -> Output | None:
        getting = asyncio.ensure_future(self._output.get())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({getting, ended}, return_when=asyncio.FIRST_COMPLETED)
            return await getting if getting.done() or not self._output.empty() else None
        finally:
            getting.cancel()
            ended.cancel()

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def end(self) -> Exit:
        ended_itself = self._ended.is_set() and self._process in self._running
        self._pumps.cancel()
        await asyncio.gather(self._pumps, return_exceptions=True)
        if not ended_itself and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        # asyncio detects the process's end only once the pipes are read to their end.
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            while await stream.read(_PIECE):
                pass
        await self._process.wait()
        self._running.discard(self._process)
        assert self._process.stdin is not None
        self._process.stdin.close()
        return Exit(self._process.returncode if ended_itself else None)
