"""The real OpenClaw as a process: one agent that is talked to, sleeps, wakes and is killed."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.base import ContainerStatus
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.real_gateway import boot, spec_of, suspend, until_open

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = spec_of("ada")


@dataclass
class Agent:
    """One agent of the whole file, which its tests leave running."""

    root: Path
    relay_port: int
    session: aiohttp.ClientSession
    runtime: ProcessRuntime
    access: GatewayAccess
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths that it asked for at the relay, and with which credential."""


def runtime_on(root: Path, relay_port: int) -> ProcessRuntime:
    return ProcessRuntime(
        node=node_binary(),
        openclaw_dir=installed_openclaw(),
        state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host="127.0.0.1",
        relay_port=relay_port,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    root = tmp_path_factory.mktemp("agents")
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers.get("Authorization")))
        if request.path != "/llm/v1/chat/completions":
            raise web.HTTPNotFound
        body = await request.json()
        assert body["model"] == "default"
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "default"}
        said: list[dict[str, object]] = [
            {"delta": {"role": "assistant", "content": "I am here."}, "finish_reason": None},
            {"delta": {}, "finish_reason": "stop"},
        ]
        lines = [json.dumps({**chunk, "choices": [{"index": 0, **choice}]}) for choice in said]
        text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        return web.Response(text=text, content_type="text/event-stream")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as relay, aiohttp.ClientSession() as session:
        assert relay.port is not None
        runtime = runtime_on(root, relay.port)
        try:
            access = await boot(runtime, SPEC, session)
            yield Agent(root, relay.port, session, runtime, access, asked)
        finally:
            await runtime.remove("ada", with_state=True)
            await runtime.close()


async def test_a_gateway_finds_its_model_and_its_tools_with_its_own_token(agent: Agent) -> None:
    """Nobody serves tools here: the relay's 404 must neither hold up nor break a conversation."""
    reply = await agent.session.post(
        f"{agent.access.endpoint.url}/v1/chat/completions",
        json={"model": "openclaw", "messages": [{"role": "user", "content": "There?"}]},
        headers={"Authorization": f"Bearer {SPEC.gateway_token}"},
    )
    said = (await reply.json())["choices"][0]["message"]["content"]

    assert said == "I am here."
    bearer = f"Bearer {SPEC.agent_token}"
    assert ("/llm/v1/chat/completions", bearer) in agent.asked
    assert ("/mcp", bearer) in agent.asked


async def test_a_gateway_sleeps_outlives_its_server_and_wakes_with_its_lease(agent: Agent) -> None:
    control = OpenClawControl(agent.session)
    lease = await suspend(agent.access, agent.session)

    await agent.runtime.pause("ada")
    observed = await agent.runtime.inspect("ada")
    assert observed is not None
    assert observed.status is ContainerStatus.PAUSED
    used_s = await agent.runtime.cpu_seconds("ada")
    assert not await control.is_live(agent.access)
    assert await agent.runtime.cpu_seconds("ada") == used_s

    await agent.runtime.close()
    agent.runtime = runtime_on(agent.root, agent.relay_port)
    assert (await agent.runtime.observe_all())["ada"].status is ContainerStatus.PAUSED
    await agent.runtime.unpause("ada")
    await control.resume(agent.access, lease)
    await until_open(agent.access, agent.session)


async def test_a_killed_gateway_starts_again_on_its_state_and_a_stopped_one_has_ended(
    agent: Agent,
) -> None:
    database = agent.root / "ada" / "state" / "state" / "openclaw.sqlite"
    made = database.stat().st_ino
    record = agent.runtime._running("ada")
    assert record is not None
    reports = agent.runtime.events()
    reported = asyncio.ensure_future(anext(reports))
    await asyncio.sleep(0)  # it listens now
    os.kill(record.process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert (await reported).kind == "die"

    agent.access = await boot(agent.runtime, SPEC, agent.session)
    assert database.stat().st_ino == made

    await agent.runtime.stop("ada", grace_s=10)
    stopped = await agent.runtime.inspect("ada")
    assert stopped is not None
    assert stopped.status is ContainerStatus.EXITED
    assert stopped.endpoint is None
