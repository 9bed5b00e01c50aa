"""The agent server killed in the middle of pauses and wakes of a real agent, and started again."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from ocmt_common.agent_api import AUTH_HEADER
from ocmt_testing.agent_server.docker_agents import docker_agents, prepare
from ocmt_testing.agent_server.host import AGENT_TOKEN, TOKEN

LIMIT_S = 240


class Server:
    """The agent server as a process of its own, to kill."""

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
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            [sys.executable, "-m", "ocmt_agent"],
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    async def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Once it answers; a request that it died over is an `httpx2.TransportError`."""
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


async def test_a_server_killed_in_the_middle_of_a_pause_or_a_wake_is_followed_by_one_that_works(
    tmp_path: Path,
) -> None:
    prepare(tmp_path / "agents")
    server = Server(tmp_path)
    try:
        with server.running():
            provision = {"userId": "ada", "agentToken": AGENT_TOKEN}
            made = await server.ask("POST", "/api/containers", provision)
            assert made.status_code == 201, made.text
        for after_ms in (5, 30, 60, 110):
            for path, body in (("hibernate", {"mode": "pause"}), ("wake", None)):
                with server.running() as process:
                    await server.ask("GET", "/health")
                    asking = asyncio.create_task(
                        server.ask("POST", f"/api/containers/ada/{path}", body)
                    )
                    await asyncio.sleep(after_ms / 1000)
                    process.kill()
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
            with server.running():
                woken = await server.ask("POST", "/api/containers/ada/wake")
                assert woken.status_code == 200, woken.text
                probe = await server.ask("GET", "/api/containers/ada/proxy/healthz")
                assert probe.status_code == 200, probe.text
                models = await server.ask("GET", "/api/containers/ada/proxy/v1/models")
                assert models.status_code != 503, models.text
    finally:
        async with docker_agents(tmp_path / "agents"):
            pass
