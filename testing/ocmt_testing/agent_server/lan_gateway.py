"""The real OpenClaw at a LAN address, since it is less strict over loopback.

Over loopback it accepts any connection with the right token; from any other address, even the
machine's own, it requires a paired device. Its model is a double with a fixed answer.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from ocmt_agent.gateway.probe import is_started
from ocmt_agent.runtime.base import AgentSpec, Endpoint, SecretText
from ocmt_agent.runtime.spec import OpenClawSettings, gateway_config, gateway_environment

from ocmt_testing.agent_server.gateway_double import REPLY
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary

_BOOT_S = 300


def own_address() -> str:
    """A non-loopback address of this machine, found without sending a packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


class LanGateway:
    """A gateway's process; `kill` and `start` keep its state and address."""

    def __init__(self, folder: Path, *, token: str, model_url: str) -> None:
        with socket.socket() as probe:
            probe.bind((own_address(), 0))
            self.endpoint = Endpoint(*probe.getsockname())
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        config = folder / "openclaw.json"
        settings = OpenClawSettings(llm_url=model_url, mcp_url=model_url)
        given = gateway_config(settings, user_id="ada", bind="lan", port=self.endpoint.port)
        config.write_text(json.dumps(given))
        spec = AgentSpec("ada", SecretText(token), SecretText("agent-token-0123456789"), 1)
        self._environment = gateway_environment(
            spec, state_dir=str(folder / "state"), config_path=str(config)
        ) | {"HOME": str(folder), "PATH": f"{node_binary().parent}:/usr/bin:/bin"}

    async def start(self) -> Endpoint:
        """Start the gateway, and wait until it accepts calls."""
        with (self._folder / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(node_binary()),
                str(installed_openclaw() / "node_modules/openclaw/openclaw.mjs"),
                *("gateway", "--bind", "lan", "--port", str(self.endpoint.port)),
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(_BOOT_S), aiohttp.ClientSession() as session:
            while not await is_started(session, self.endpoint):  # noqa: ASYNC110 (there is no event)
                await asyncio.sleep(0.1)
        return self.endpoint

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signum)

    async def _end(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._signal(signum)
            await self._process.wait()


@asynccontextmanager
async def lan_gateway(folder: Path, *, token: str) -> AsyncIterator[LanGateway]:
    async with _model() as url:
        gateway = LanGateway(folder, token=token, model_url=url)
        try:
            await gateway.start()
            yield gateway
        finally:
            await gateway.kill()


@asynccontextmanager
async def _model() -> AsyncIterator[str]:
    """An OpenAI-compatible model on loopback that always answers `REPLY`."""

    async def complete(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for text in REPLY:
            await answer.write(_chunk({"role": "assistant", "content": text}, None))
        await answer.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        return answer

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/chat/completions", complete)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    frame = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "default",
        "choices": [choice],
    }
    return b"data: " + json.dumps(frame).encode() + b"\n\n"
