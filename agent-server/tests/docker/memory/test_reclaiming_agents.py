"""A real agent's memory while it sleeps: the whole server, the real engine, the real OpenClaw."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.wiring import open_parts
from ocmt_cli.openclaw.commands import build_image
from ocmt_common.agent_api import HibernationState, PausedMemory, ProvisionRequest
from ocmt_common.openclaw import default_image
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import AGENT_TOKEN, settings_for
from ocmt_testing.agent_server.openclaw import installed_openclaw
from ocmt_testing.agent_server.swap import some_swap

MB = 1 << 20
_ANSWER = "awake and well"


@pytest.fixture(scope="module", autouse=True)
def swap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with some_swap(tmp_path_factory.mktemp("swap")):
        yield


async def _complete(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    answer = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "default"}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": _ANSWER}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(answer | {"object": "chat.completion", "choices": [choice]})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for delta, ended in (({"role": "assistant", "content": _ANSWER}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": ended}
        await response.write(f"data: {json.dumps(answer | {'choices': [choice]})}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def agent_server(tmp_path: Path) -> AsyncIterator[Parts]:
    """A server with Docker, and a model at the relay's address that answers at once."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o711)  # a container's user passes through to its own folder
    build_image(installed_openclaw())
    model = web.Application()
    model.router.add_post("/llm/v1/chat/completions", _complete)
    runner = web.AppRunner(model)
    await runner.setup()
    probe = DockerRuntime(
        image=default_image(),
        state_root=tmp_path,
        limits=Limits(2048, 2.0, 512),
        relay_host=None,
        relay_port=9,
    )
    site = web.TCPSite(runner, await probe.relay_host(), 0)
    await probe.close()
    await site.start()
    host, port = runner.addresses[0]
    runtime = DockerRuntime(
        image=default_image(),
        state_root=tmp_path,
        limits=Limits(2048, 2.0, 512),
        relay_host=host,
        relay_port=port,
    )
    settings = settings_for(tmp_path / "data", WAKE_TIMEOUT_MS="240000")
    settings.data_dir.mkdir()
    try:
        async with open_parts(settings, runtime=runtime, clock=SystemClock()) as parts:
            yield parts
            await parts.provisioning.remove("ada", with_state=True)
    finally:
        for user_id in await runtime.observe_all():
            await runtime.remove(user_id, with_state=True)
        await runtime.close()
        await runner.cleanup()


async def chat(parts: Parts) -> str:
    access = await parts.hibernation.wakes.awake("ada", kind=ActivityKind.HTTP)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{access.endpoint.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {access.gateway_token}"},
            json={"model": "openclaw", "user": "u", "messages": [{"role": "user", "content": "?"}]},
        ) as response,
    ):
        return str((await response.json())["choices"][0]["message"]["content"])


async def pause(parts: Parts) -> None:
    """Retry until the gateway agrees: it may still work after an answer."""
    async with asyncio.timeout(120):
        while True:
            try:
                await parts.hibernation.orders.hibernate("ada", "pause")
                return
            except Problem as problem:
                if problem.code != "agent-busy":
                    raise
                await asyncio.sleep(3)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 (what it waits for has no event)
            await asyncio.sleep(0.02)


def reclaimed(agent: Agent) -> bool:
    return agent.paused_memory is PausedMemory.RECLAIMED


async def test_a_sleeping_agent_costs_little_and_wakes_whole_whenever_it_is_needed(
    tmp_path: Path,
) -> None:
    async with agent_server(tmp_path) as parts:
        request = ProvisionRequest(user_id="ada", agent_token=AGENT_TOKEN)
        agent, _ = await parts.provisioning.provision(request)
        assert await chat(parts) == _ANSWER
        await parts.memory.look()
        assert agent.memory is not None
        awake = agent.memory
        assert awake.anon > 300 * MB

        await pause(parts)
        await until(lambda: reclaimed(agent))
        assert agent.memory.anon < 0.2 * awake.anon
        assert agent.memory.swap > 0.6 * awake.anon
        assert await chat(parts) == _ANSWER
        assert agent.state is HibernationState.RUNNING

        # Woken while its memory is being reclaimed: the wake has priority, and nothing is lost.
        await pause(parts)
        assert await chat(parts) == _ANSWER
        assert agent.paused_memory is None
