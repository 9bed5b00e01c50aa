"""One container of the real OpenClaw: it sleeps, is killed, frozen and removed."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiodocker
import aiohttp
import pytest
import pytest_asyncio
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.accounts import host_account
from ocmt_agent.runtime.base import ContainerStatus
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.docker_cpu import ask_cpu_seconds
from ocmt_agent.runtime.docker_freezer import freezers
from ocmt_testing.agent_server.docker_agents import docker_agents, runtime_on
from ocmt_testing.agent_server.real_gateway import boot, spec_of, suspend, until_open

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = spec_of("bob", number=7)


@dataclass
class Agent:
    """One container for the whole file; every test but the last leaves it running."""

    root: Path
    session: aiohttp.ClientSession
    runtime: DockerRuntime
    access: GatewayAccess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    root = tmp_path_factory.mktemp("docker") / "agents"
    async with docker_agents(root) as runtime, aiohttp.ClientSession() as session:
        yield Agent(root, session, runtime, await boot(runtime, SPEC, session))


async def state_of(agent: Agent) -> dict[str, object]:
    async with aiodocker.Docker() as docker:
        container = await docker.containers.get(agent.runtime._name("bob"))
        state = (await container.show())["State"]
        assert isinstance(state, dict)
        return state


async def freeze_behind_docker(agent: Agent) -> None:
    state = await state_of(agent)

    def freeze() -> None:
        file, *_ = freezers(Path(f"/proc/{state['Pid']}/cgroup").read_text())[0]
        file.write_text("1" if file.name == "cgroup.freeze" else "FROZEN")

    await asyncio.to_thread(freeze)


async def test_no_traffic_passes_between_containers(agent: Agent) -> None:
    runtime, first = agent.runtime, agent.access
    await runtime.create(spec_of("two", number=8))
    await runtime.start("two")

    async with aiodocker.Docker() as docker:
        container = await docker.containers.get(runtime._name("two"))
        url = f"http://{first.endpoint.host}:{first.endpoint.port}/healthz"
        probe = await container.exec(["curl", "-s", "-m", "3", "-o", "/dev/null", url])
        async with probe.start(detach=False) as stream:
            while await stream.read_out() is not None:
                pass
        assert (await probe.inspect())["ExitCode"] in (7, 28)  # refused or no answer
    with socket.create_connection((first.endpoint.host, first.endpoint.port), 3):
        pass  # while the host itself reaches it
    await runtime.remove("two", with_state=True)


async def test_a_container_sleeps_is_found_again_and_wakes_with_its_lease(agent: Agent) -> None:
    runtime, control = agent.runtime, OpenClawControl(agent.session)
    state = agent.root / "bob" / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert state.stat().st_uid == host_account(7).uid
    lease = await suspend(agent.access, agent.session)

    await runtime.pause("bob")
    await runtime.pause("bob")  # what is already so is no error
    used_s = await runtime.cpu_seconds("bob")
    assert used_s is not None
    assert not await control.is_live(agent.access)
    assert await runtime.cpu_seconds("bob") == used_s

    restarted = runtime_on(agent.root)
    found = (await restarted.observe_all())["bob"]
    assert found.status is ContainerStatus.PAUSED
    assert found.endpoint == agent.access.endpoint
    await restarted.unpause("bob")
    await restarted.unpause("bob")
    await restarted.close()
    await control.resume(agent.access, lease)
    await until_open(agent.access, agent.session)


async def test_a_killed_gateway_is_noticed_and_restarts_on_its_state(agent: Agent) -> None:
    runtime = agent.runtime
    database = agent.root / "bob" / "state" / "state" / "openclaw.sqlite"
    made = database.stat().st_ino

    async with aiodocker.Docker() as docker:
        container = await docker.containers.get(runtime._name("bob"))
        await container.kill(signal="SIGKILL")
        await container.wait()
    observed = await runtime.inspect("bob")
    assert observed is not None
    assert observed.status is ContainerStatus.EXITED
    assert observed.exit_code == 128 + signal.SIGKILL
    assert observed.endpoint is None
    assert (await runtime.observe_all())["bob"].status is ContainerStatus.EXITED
    assert await runtime.cpu_seconds("bob") is None

    # At once: under the same host name its lease is its own.
    agent.access = await boot(runtime, SPEC, agent.session)
    assert database.stat().st_ino == made
    used_s = await runtime.cpu_seconds("bob")
    async with aiodocker.Docker() as docker:
        asked_s = await ask_cpu_seconds(docker.containers.container(runtime._ids["bob"]))
    assert used_s is not None
    assert asked_s is not None
    assert used_s == pytest.approx(asked_s, abs=5)


async def test_a_container_frozen_without_docker_is_thawed(agent: Agent) -> None:
    """The state after a pause that failed half-way, or during which the engine was killed."""
    runtime, control = agent.runtime, OpenClawControl(agent.session)

    async def freeze() -> None:
        await freeze_behind_docker(agent)
        assert not await control.is_live(agent.access)
        seen = await runtime.inspect("bob")
        assert seen is not None
        assert seen.status is ContainerStatus.RUNNING

    await freeze()
    await runtime.unpause("bob")
    await until_open(agent.access, agent.session)
    await freeze()
    await runtime.stop("bob", grace_s=10)
    seen = await runtime.inspect("bob")
    assert seen is not None
    assert seen.status is ContainerStatus.EXITED
    await runtime.unpause("bob")  # nothing to thaw in one that does not run
    await runtime.start("bob")
    await runtime.pause("bob")
    await runtime.stop("bob", grace_s=10)
    stopped = await runtime.inspect("bob")
    assert stopped is not None
    assert stopped.status is ContainerStatus.EXITED
    assert not stopped.oom_killed
    await runtime.start("bob")
    await freeze_behind_docker(agent)
    await runtime.remove("bob", with_state=True)
    assert await runtime.inspect("bob") is None
