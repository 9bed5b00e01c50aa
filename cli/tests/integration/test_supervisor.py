"""The supervisor with small servers that answer, crash and refuse as the test says."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.run_state import ServerRecord
from ocmt_cli.up.servers import Server
from ocmt_cli.up.supervisor import Patience, Supervisor
from ocmt_common.process_identity import start_ticks
from ocmt_testing.ports import free_ports

# Answers every GET, once it has said its words; EXIT makes it end instead, DEAF ignore SIGTERM.
STAND_IN = """
import http.server, os, signal, sys
with open(os.environ["STARTS"], "a") as starts:
    starts.write("x")
print(os.environ.get("WORDS", "here I am"), flush=True)
if "EXIT" in os.environ:
    sys.exit(int(os.environ["EXIT"]))
if "DEAF" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""

QUICK = Patience(
    first_answer_s=60, restart_after_s=0.01, restart_at_most_after_s=0.05, health_every_s=0.02
)


@dataclass
class Stage:
    """A supervisor's folder and ports, and everything that it reported."""

    folder: Path
    said: list[str] = field(default_factory=list)
    running: dict[str, ServerRecord] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def server(self, name: str, **environment: str) -> Server:
        (port,) = free_ports()
        return Server(
            name,
            (sys.executable, "-S", "-c", STAND_IN),
            {"PORT": str(port), "STARTS": str(self.folder / f"{name}.starts"), **environment},
            f"http://127.0.0.1:{port}/health",
        )

    def starts(self, name: str) -> int:
        return len((self.folder / f"{name}.starts").read_text())

    def on_change(self, running: dict[str, ServerRecord]) -> None:
        self.running = running
        self.changed.set()

    def supervisor(self, *servers: Server, patience: Patience = QUICK) -> Supervisor:
        return Supervisor(
            servers,
            logs=self.folder,
            notice=self.said.append,
            changed=self.on_change,
            patience=patience,
        )

    @asynccontextmanager
    async def playing(self, supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
        ready = asyncio.Event()
        task = asyncio.create_task(supervisor.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert not task.done(), task.exception()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_it_is_ready_once_all_answer_and_leaves_none_behind(stage: Stage) -> None:
    async with stage.playing(stage.supervisor(stage.server("agent"), stage.server("page"))):
        pids = [record.pid for record in stage.running.values()]
        assert len(pids) == 2
        assert all(start_ticks(pid) for pid in pids)
    assert not any(start_ticks(pid) for pid in pids)


async def test_a_killed_server_is_started_again(stage: Stage) -> None:
    async with stage.playing(stage.supervisor(stage.server("agent"))):
        first = stage.running["agent"].pid
        os.kill(first, signal.SIGKILL)
        await stage.until(lambda: stage.running["agent"].restarts == 1)
        assert stage.running["agent"].pid != first
        assert stage.said == ["agent: ended (signal 9); starting it again in 0.01 s"]


async def test_one_that_refuses_its_settings_ends_all_with_its_words(stage: Stage) -> None:
    refusing = stage.server("agent", EXIT="78", WORDS="AUTH_TOKEN is not set")
    with pytest.raises(CommandFailed, match="AUTH_TOKEN is not set") as caught:
        await stage.supervisor(refusing, stage.server("page")).run(lambda: None)
    assert caught.value.exit_code == 78
    assert stage.starts("agent") == 1
    assert not any(start_ticks(record.pid) for record in stage.running.values())


async def test_a_server_whose_port_is_taken_is_not_restarted(stage: Stage) -> None:
    with pytest.raises(CommandFailed, match="Port 3000 is taken") as caught:
        await stage.supervisor(stage.server("agent", EXIT="75", WORDS="Port 3000 is taken")).run(
            lambda: None
        )
    assert caught.value.exit_code == 75
    assert stage.starts("agent") == 1


async def test_a_server_that_never_starts_is_given_up_with_its_last_output(stage: Stage) -> None:
    with pytest.raises(CommandFailed, match="no such module") as caught:
        await stage.supervisor(stage.server("agent", EXIT="1", WORDS="no such module")).run(
            lambda: None
        )
    assert str(stage.folder / "agent.log") in str(caught.value)
    assert stage.starts("agent") == QUICK.first_starts


class Sick(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def sick_from_the_start() -> Iterator[str]:
    """The address of a server that answers, unhealthy, before any server is started."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Sick) as answering:
        thread = threading.Thread(target=answering.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{answering.server_port}/health"
        finally:
            answering.shutdown()
            thread.join()


async def test_one_that_stays_unhealthy_is_given_up_with_its_last_answer(stage: Stage) -> None:
    patience = Patience(first_answer_s=0.5, health_every_s=0.02)
    with sick_from_the_start() as health_url:
        sick = replace(stage.server("page"), health_url=health_url)
        with pytest.raises(CommandFailed, match="its last answer was 503"):
            await stage.supervisor(sick, patience=patience).run(lambda: None)
    assert not any(start_ticks(record.pid) for record in stage.running.values())


async def test_one_that_ignores_the_request_to_end_is_killed(stage: Stage) -> None:
    patience = Patience(stop_s=0.2, health_every_s=0.02)
    deaf = stage.server("agent", DEAF="yes")
    async with stage.playing(stage.supervisor(deaf, patience=patience)):
        pid = stage.running["agent"].pid
    assert start_ticks(pid) is None


async def test_in_a_hurry_it_does_not_wait(stage: Stage) -> None:
    patience = Patience(stop_s=3600, health_every_s=0.02)
    supervisor = stage.supervisor(stage.server("agent", DEAF="yes"), patience=patience)
    async with stage.playing(supervisor) as task:
        task.cancel()
        supervisor.hurry()
        async with asyncio.timeout(60):
            await asyncio.gather(task, return_exceptions=True)
    assert start_ticks(stage.running["agent"].pid) is None


async def test_what_servers_print_is_in_their_logs(stage: Stage) -> None:
    async with stage.playing(stage.supervisor(stage.server("agent", WORDS="good morning"))):
        pass
    assert "good morning" in (stage.folder / "agent.log").read_text()
