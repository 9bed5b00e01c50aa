"""Faults of real containers: each is reported as what it was, and the agent answers afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiodocker
import aiohttp
import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.runtime.base import Runtime, RuntimeFailed
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.docker_freezer import freezers
from ocmt_agent.wiring import open_parts, watching
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import ProvisionRequest
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.docker_agents import docker_agents, runtime_on
from ocmt_testing.agent_server.engine_socket import EngineSocket
from ocmt_testing.agent_server.host import AGENT_TOKEN, settings_for
from ocmt_testing.agent_server.real_gateway import until_open

LIMIT_S = 240
_HOG = "const held = []; for (;;) held.push(Buffer.alloc(1 << 24, 1))"


@asynccontextmanager
async def server_on(tmp_path: Path, runtime: Runtime, *users: str) -> AsyncIterator[Parts]:
    settings = settings_for(tmp_path, HIBERNATION_CHECK_INTERVAL="1000", WAKE_TIMEOUT_MS="240000")
    async with open_parts(settings, runtime=runtime, clock=SystemClock()) as parts:
        requests = (ProvisionRequest(user_id=user, agent_token=AGENT_TOKEN) for user in users)
        await asyncio.gather(*(parts.provisioning.provision(request) for request in requests))
        async with watching(parts):
            yield parts


@asynccontextmanager
async def another_on(root: Path) -> AsyncIterator[DockerRuntime]:
    runtime = runtime_on(root)
    try:
        yield runtime
    finally:
        await runtime.close()


@asynccontextmanager
async def container_of(
    runtime: DockerRuntime, user_id: str
) -> AsyncIterator[aiodocker.containers.DockerContainer]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield await docker.containers.get(runtime._name(user_id))


async def until(parts: Parts, user_id: str, state: S) -> None:
    agent = parts.registry.get(user_id)
    async with asyncio.timeout(LIMIT_S):
        while agent.state is not state:  # noqa: ASYNC110 (the watch tells nobody)
            await asyncio.sleep(0.1)


async def until_the_engine_is_missed(parts: Parts) -> None:
    async with asyncio.timeout(LIMIT_S):
        while parts.hibernation.loop.problem is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def pause(parts: Parts, user_id: str) -> None:
    """Retry until the gateway agrees: it may still work after its boot."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await parts.hibernation.orders.hibernate(user_id, "pause")
                return
            except Problem as problem:
                if problem.code != "agent-busy":
                    raise
                await asyncio.sleep(2)


async def use(parts: Parts, *users: str) -> None:
    await asyncio.gather(
        *(parts.hibernation.wakes.awake(user, kind=ActivityKind.HTTP) for user in users)
    )
    async with aiohttp.ClientSession() as session:
        for user in users:
            agent = parts.registry.get(user)
            assert agent.state is S.RUNNING
            assert agent.access is not None
            await until_open(agent.access, session)


async def fail_half_way(
    parts: Parts, runtime: DockerRuntime, direct: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A freeze of ada's container that fails and leaves its processes frozen."""

    async def stuck(user_id: str) -> None:
        where = await direct.whereabouts(user_id)
        assert where is not None
        await asyncio.to_thread(freeze_behind_docker, where.leader.pid)
        raise RuntimeFailed("the freezer is stuck")

    with monkeypatch.context() as patch:
        patch.setattr(runtime, "pause", stuck)
        async with asyncio.timeout(LIMIT_S):
            while True:
                with pytest.raises(Problem, match="is awake because") as refused:
                    await parts.hibernation.orders.hibernate("ada", "pause")
                if "it could not be frozen: the freezer is stuck" in refused.value.detail:
                    return
                await asyncio.sleep(2)  # its gateway is still at something


def freeze_behind_docker(pid: int) -> None:
    file, *_ = freezers(Path(f"/proc/{pid}/cgroup").read_text())[0]
    file.write_text("1" if file.name == "cgroup.freeze" else "FROZEN")


async def run_out_of_memory(runtime: DockerRuntime, user_id: str) -> None:
    """A program in the container exceeds its memory limit, and the kernel kills the gateway."""
    where = await runtime.whereabouts(user_id)
    assert where is not None
    assert where.memory is not None
    lower_limit(where.memory)
    for pid in where.pids():
        set_oom_score(pid)
    async with container_of(runtime, user_id) as container:
        hog = await container.exec(["node", "-e", _HOG])
        await hog.start(detach=True)


def lower_limit(folder: Path) -> None:
    """Lower the limit to slightly above the usage, swap included."""
    v2 = (folder / "memory.max").exists()
    held = int((folder / ("memory.current" if v2 else "memory.usage_in_bytes")).read_text())
    limit = str(held + (64 << 20))
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    limits = {"memory.max": limit, "memory.swap.max": "0"} if v2 else dict.fromkeys(names, limit)
    for name, value in limits.items():
        (folder / name).write_text(value)


def set_oom_score(pid: int) -> None:
    with contextlib.suppress(OSError):  # it ended meanwhile
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


@pytest.mark.nightly
async def test_containers_half_frozen_killed_removed_or_lost_with_the_engine_all_answer_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the engine: it is away for a while, and its containers do not run afterwards."""
    through, root = tmp_path / "engine.sock", tmp_path / "agents"
    async with docker_agents(root) as direct:
        await direct.observe_all()  # connected before a client is sent through the test's socket
        monkeypatch.setenv("DOCKER_HOST", f"unix://{through}")
        async with (
            EngineSocket(through),
            another_on(root) as runtime,
            server_on(tmp_path, runtime, "ada", "ben") as parts,
        ):
            ada = parts.registry.get("ada")
            await fail_half_way(parts, runtime, direct, monkeypatch)
            await use(parts, "ada")

            await run_out_of_memory(direct, "ada")
            await until(parts, "ada", S.STOPPED)
            assert "AGENT_MEMORY_MB" in (ada.failure or "")
            await use(parts, "ada")
            assert ada.failure is None

            await pause(parts, "ben")
            async with container_of(direct, "ben") as container:
                await container.delete(force=True)
            await until(parts, "ben", S.STOPPED)
            assert await direct.inspect("ben") is None
            await use(parts, "ben")

            await pause(parts, "ben")

        async with another_on(root) as runtime, server_on(tmp_path, runtime) as parts:
            await until_the_engine_is_missed(parts)
            assert (await parts.health.read()).status == "degraded"
            with pytest.raises(Problem) as refused:
                await parts.hibernation.wakes.awake("ben", kind=ActivityKind.HTTP)
            assert (refused.value.code, refused.value.status) == ("runtime-unavailable", 503)
            assert refused.value.retry_after_s
            states = [parts.registry.get(user).state for user in ("ada", "ben")]
            assert states == [S.RUNNING, S.PAUSED]  # no event was seen, so nothing is assumed
            for user in ("ada", "ben"):
                async with container_of(direct, user) as container:
                    await container.kill()
            async with EngineSocket(through):
                for user in ("ada", "ben"):
                    await until(parts, user, S.STOPPED)
                assert parts.hibernation.loop.problem is None
                await use(parts, "ada", "ben")
