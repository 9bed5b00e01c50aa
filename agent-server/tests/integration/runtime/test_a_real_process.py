"""The real OpenClaw as a process: what the process runtime and the admin calls rely on.

One agent serves all tests: it answers, sleeps, wakes, is stopped and killed.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.base import ContainerStatus, Endpoint, SecretText
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits, dreams_at
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.real_gateway import access_to, boot, spec_of, until_open

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = spec_of("ada")


@dataclass
class Agent:
    """One agent for the whole file, which its tests leave running."""

    root: Path
    relay_port: int
    session: aiohttp.ClientSession
    runtime: ProcessRuntime
    access: GatewayAccess
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths that it asked for at the relay, and with which credential."""

    @property
    def control(self) -> OpenClawControl:
        return OpenClawControl(self.session)

    async def suspended(self) -> Suspended:
        """Retry until its own work after the boot is done."""
        async with asyncio.timeout(90):
            while True:
                answer = await self.control.suspend(self.access, request_id="test")
                if isinstance(answer, Suspended):
                    return answer
                await asyncio.sleep(min(answer.retry_after_s, 3))


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
            await runtime.create(SPEC)
            access = access_to(SPEC, await runtime.start("ada"))
            agent = Agent(root, relay.port, session, runtime, access, asked)
            async with asyncio.timeout(300):
                # Another process: there is no event of ours to wait for.
                while not await agent.control.is_started(access):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            yield agent
        finally:
            await runtime.remove("ada", with_state=True)
            await runtime.close()


async def until(probe: Callable[[GatewayAccess], Awaitable[bool]], access: GatewayAccess) -> None:
    """Repeat a probe until it succeeds; each attempt has a short timeout."""
    async with asyncio.timeout(60):
        while not await probe(access):  # noqa: ASYNC110 (no event of ours)
            await asyncio.sleep(0.1)


async def test_a_started_gateway_is_healthy_at_once(agent: Agent) -> None:
    # Not refused; the first such call of a process may take it seconds.
    await agent.control.call(agent.access, "health", timeout_s=60)


async def test_the_next_job_is_its_nightly_one_and_not_a_heartbeat(agent: Agent) -> None:
    now = datetime.now(UTC)
    due = await agent.control.next_job_at(agent.access)
    listed = (await agent.control.call(agent.access, "cron.list"))["jobs"]
    heartbeats = [j["nextRunAtMs"] for j in listed if j["payload"]["kind"] == "heartbeat"]
    assert due is not None
    assert now < due <= now + timedelta(days=1)
    minute, hour, *_ = dreams_at("ada").split()  # not when all do
    assert (due.astimezone().hour, due.astimezone().minute) == (int(hour), int(minute))
    assert due.timestamp() * 1000 not in heartbeats


async def test_a_users_jobs_are_listed_run_paused_and_deleted(agent: Agent) -> None:
    control, access = agent.control, agent.access
    added = await control.call(
        access,
        "cron.add",
        {
            "name": "News",
            "schedule": {"kind": "cron", "expr": "0 8 * * *", "tz": "Europe/Berlin"},
            "sessionTarget": "isolated",
            "wakeMode": "now",
            "payload": {"kind": "agentTurn", "message": "Tell me the news."},
        },
    )
    jobs = {job.id: job for job in await control.list_jobs(access)}
    job = jobs.pop(str(added["id"]))
    assert (job.name, job.task, job.cron, job.time_zone) == (
        "News", "Tell me the news.", "0 8 * * *", "Europe/Berlin",
    )  # fmt: skip
    assert (job.enabled, job.editable, job.next_run_at is not None) == (True, True, True)
    assert not any(own.editable for own in jobs.values()), jobs

    await control.enable_job(access, job.id, enabled=False)
    await control.run_job(access, job.id)
    [job] = [one for one in await control.list_jobs(access) if one.id == job.id]
    assert not job.enabled
    await control.remove_job(access, job.id)
    assert job.id not in {one.id for one in await control.list_jobs(access)}


async def test_a_heartbeat_is_turned_on_and_off_while_the_gateway_runs(agent: Agent) -> None:
    async def due_within(minutes: int) -> bool:
        at = await agent.control.next_job_at(agent.access, heartbeats=True)
        return at is not None and at <= datetime.now(UTC) + timedelta(minutes=minutes)

    # The nightly job may be due within minutes, too.
    nightly = await agent.control.next_job_at(agent.access)
    assert nightly is not None
    for minutes in (5, None):
        await agent.runtime.set_heartbeat("ada", minutes)
        async with asyncio.timeout(60):
            while await due_within(5) is not (minutes == 5):  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.2)  # it reads its configuration by itself
    assert await agent.control.next_job_at(agent.access) == nightly


async def test_a_suspended_gateway_takes_no_calls_until_it_is_resumed(
    agent: Agent,
) -> None:
    lease = await agent.suspended()
    with pytest.raises(GatewayRefused) as refused:
        await agent.control.next_job_at(agent.access)
    assert refused.value.passing
    await until(agent.control.is_live, agent.access)
    await agent.control.resume(agent.access, lease.suspension_id)
    await agent.control.next_job_at(agent.access)
    await until(agent.control.is_started, agent.access)


async def test_the_same_request_renews_the_same_lease(agent: Agent) -> None:
    first = await agent.suspended()
    assert await agent.suspended() == first
    await agent.control.resume(agent.access, first.suspension_id)


async def test_giving_a_lease_back_twice_or_a_lost_one_is_no_error(agent: Agent) -> None:
    lease = await agent.suspended()
    for _ in range(2):
        await agent.control.resume(agent.access, lease.suspension_id)
    await agent.control.resume(agent.access, "a-lease-of-an-earlier-process")


async def test_a_wrong_gateway_token_is_not_mistaken_for_a_starting_gateway(
    agent: Agent,
) -> None:
    access = agent.access
    wrong = GatewayAccess("ada", access.endpoint, SecretText("wrong"), access.device)
    with pytest.raises((GatewayRefused, GatewayUnreachable)) as refused:
        await agent.control.health(wrong)
    assert not getattr(refused.value, "passing", False)


async def test_an_address_without_a_gateway_is_unreachable(agent: Agent) -> None:
    nowhere = GatewayAccess(
        "ada", Endpoint("127.0.0.1", 9), agent.access.gateway_token, agent.access.device
    )
    assert not await agent.control.is_live(nowhere)
    assert not await agent.control.is_started(nowhere)
    with pytest.raises(GatewayUnreachable, match="health got no answer"):
        await agent.control.health(nowhere)


async def test_a_gateway_finds_its_model_and_its_tools_with_its_own_token(agent: Agent) -> None:
    """No tools are served here: the relay's 404 must neither delay nor break a conversation."""
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
    lease = (await agent.suspended()).suspension_id

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


async def test_a_stopped_gateway_has_ended(agent: Agent) -> None:
    await agent.runtime.stop("ada", grace_s=10)
    stopped = await agent.runtime.inspect("ada")
    assert stopped is not None
    assert stopped.status is ContainerStatus.EXITED
    assert stopped.endpoint is None


@pytest.mark.nightly  # two boots; in each change the end-to-end tests kill a gateway
async def test_a_killed_gateway_starts_again_on_its_state(agent: Agent) -> None:
    agent.access = await boot(agent.runtime, SPEC, agent.session)
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
