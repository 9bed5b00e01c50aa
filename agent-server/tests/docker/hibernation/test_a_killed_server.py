"""The agent server is killed at each step of a real agent's pause and wake, and restarted."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from ocmt_common.agent_api import AUTH_HEADER
from ocmt_testing.agent_server.docker_agents import docker_agents, prepare
from ocmt_testing.agent_server.host import AGENT_TOKEN, TOKEN

LIMIT_S = 240
# The server, killed right before or after a call that a transition makes to Docker or the gateway.
_KILLED = """
import os, runpy, signal, sys
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.docker import DockerRuntime

when, call = sys.argv.pop(1), sys.argv.pop(1)
owner = OpenClawControl if hasattr(OpenClawControl, call) else DockerRuntime
called = getattr(owner, call)

async def cut(*args, **kwargs):
    if when == "after":
        await called(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, call, cut)
runpy.run_module("ocmt_agent", run_name="__main__", alter_sys=True)
"""
PAUSE = ("suspend", "pause")
WAKE = ("resume", "unpause")


class Server:
    """The agent server as a separate process that a test can kill."""

    def __init__(self, data: Path) -> None:
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                ports.append(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._environ = {
            "PATH": os.environ["PATH"],
            "AUTH_TOKEN": TOKEN,
            "DATA_DIR": str(data),
            "PORT": str(ports[0]),
            "RELAY_PORT": str(ports[1]),
            "RUNTIME": "docker",
            "WAKE_TIMEOUT_MS": "240000",
        }

    @contextmanager
    def running(self, *killed_at: str) -> Iterator[subprocess.Popen[bytes]]:
        """`killed_at` is "before" or "after", and the call."""
        program = ("-c", _KILLED, *killed_at) if killed_at else ("-m", "ocmt_agent")
        with subprocess.Popen(
            [sys.executable, *program],
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    async def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Retry until it answers; a request during the kill raises `httpx2.TransportError`."""
        async with httpx2.AsyncClient(
            base_url=self.url, headers={AUTH_HEADER: TOKEN}, timeout=LIMIT_S
        ) as client:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    try:
                        await client.get("/health")
                        break
                    except httpx2.ConnectError:
                        await asyncio.sleep(0.05)
            return await client.request(method, path, json=body)


@pytest.mark.nightly
async def test_a_server_killed_at_any_step_of_a_pause_or_a_wake_is_followed_by_one_that_works(
    tmp_path: Path,
) -> None:
    prepare(tmp_path / "agents")
    server = Server(tmp_path)
    try:
        with server.running():
            provision = {"userId": "ada", "agentToken": AGENT_TOKEN}
            made = await server.ask("POST", "/api/containers", provision)
            assert made.status_code == 201, made.text
            await paused(server)
        for call in (*PAUSE, *WAKE):
            for when in ("before", "after"):
                with server.running():
                    # What the transition starts from.
                    if call in PAUSE:
                        await awake(server)
                    else:
                        await paused(server)
                with server.running(when, call) as process:
                    asked = "hibernate" if call in PAUSE else "wake"
                    with pytest.raises(httpx2.TransportError):
                        await server.ask("POST", f"/api/containers/ada/{asked}", {"mode": "pause"})
                    assert process.wait(60) == -signal.SIGKILL, (when, call)
                with server.running():
                    await awake(server)
    finally:
        async with docker_agents(tmp_path / "agents"):
            pass


async def awake(server: Server) -> None:
    woken = await server.ask("POST", "/api/containers/ada/wake")
    assert woken.status_code == 200, woken.text
    probe = await server.ask("GET", "/api/containers/ada/proxy/healthz")
    assert probe.status_code == 200, probe.text
    models = await server.ask("GET", "/api/containers/ada/proxy/v1/models")
    assert models.status_code != 503, models.text


async def paused(server: Server) -> None:
    """Retry until the gateway agrees: it may still work after its boot."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer = await server.ask("POST", "/api/containers/ada/hibernate", {"mode": "pause"})
            if answer.status_code == 200:
                return
            assert answer.status_code == 409, answer.text
            await asyncio.sleep(3)  # it answers 30 times a minute
