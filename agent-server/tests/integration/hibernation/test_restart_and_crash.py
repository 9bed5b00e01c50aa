"""The server, the engine and gateways end in every order; the record follows the runtime."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.hibernation.sleep import Mode
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed
from ocmt_agent.wiring import watching
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import PausedMemory
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeContainer, FakeRuntime, Gate
from ocmt_testing.agent_server.host import Host, open_host


class Machine:
    """The parts that outlive the server: its data folder, the engine, the gateways, the clock."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.runtime = FakeRuntime()
        self.gateway = FakeControl(self.runtime)
        self.clock = FakeClock()

    def server(self, *, stop_agents_on_exit: bool = False) -> AbstractAsyncContextManager[Host]:
        return open_host(
            self.data_dir,
            runtime=self.runtime,
            gateway=self.gateway,
            clock=self.clock,
            STOP_AGENTS_ON_EXIT=str(stop_agents_on_exit),
        )


async def killed_before_the_freeze(machine: Machine) -> Gate:
    """Kill the server between the gateway's consent and the freeze, which the gate holds up."""
    async with machine.server() as host:
        await host.provision()
        gate = machine.runtime.hold("pause")
        pausing = asyncio.create_task(host.orders.hibernate("ada", "pause"))
        await gate.reached.wait()
    await asyncio.gather(pausing, return_exceptions=True)
    return gate


async def test_agents_and_their_times_asleep_survive_a_restart(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        for user in ("ada", "ben", "eve"):
            await host.provision(user)
        await host.orders.hibernate("ben", "pause")
        await host.orders.hibernate("eve", "stop")
        before = [a.container(now=machine.clock.now()) for a in host.parts.registry.all()]
    machine.clock.advance(hours=4)
    async with machine.server() as host:
        after = [a.container(now=machine.clock.now()) for a in host.parts.registry.all()]
        assert [c.state_since for c in after] == [c.state_since for c in before]
        assert [c.last_activity for c in after] == [c.last_activity for c in before]
        await host.sweep()
        # Paused before the restart, for four hours by now.
        assert host.parts.registry.get("ben").state is S.STOPPED
        await host.wakes.awake("eve", kind=ActivityKind.HTTP)


async def test_a_restarted_server_checks_a_gateway_before_it_uses_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        await host.provision()
    async with machine.server() as host:
        machine.gateway.calls.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert machine.gateway.calls["health"] == 1
        assert machine.runtime.calls["start"] == 1


Change = Callable[[FakeContainer], None]


def restarted(container: FakeContainer) -> None:
    """`docker restart`, `docker start`: another boot."""
    container.status, container.boot = ContainerStatus.RUNNING, container.boot + 100


def thawed(container: FakeContainer) -> None:
    container.status = ContainerStatus.RUNNING


@pytest.mark.parametrize(
    ("mode", "change"),
    [("pause", restarted), ("pause", thawed), ("stop", restarted)],
    ids=["paused, restarted", "paused, thawed", "stopped, started"],
)
async def test_an_agent_started_behind_our_back_is_waking_until_its_gateway_answers(
    tmp_path: Path, mode: Mode, change: Change
) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", mode)
        if mode == "pause":
            agent.paused_memory = PausedMemory.RECLAIMED
        change(machine.runtime.containers["ada"])
        machine.gateway.silent = True  # it boots
        looking = asyncio.create_task(host.sweep())
        while host.state() is not S.WAKING:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
        container = (await host.client.get("/api/containers/ada")).json()
        assert (container["hibernationState"], container["pausedMemory"]) == ("waking", None)
        request = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        machine.gateway.silent = False
        await asyncio.gather(looking, request)
        assert host.state() is S.RUNNING
        assert agent.state_why == "its container was found running"
        assert agent.access is not None
        assert not machine.gateway.closed("ada")


async def test_one_that_never_answers_is_not_waking_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "stop")
        restarted(machine.runtime.containers["ada"])
        machine.gateway.silent = True
        monkeypatch.setattr(host.parts.hibernation.reconciler, "_wake_timeout_s", 0.05)
        await host.sweep()
        assert (host.state(), agent.access) == (S.RUNNING, None)
        machine.gateway.silent = False
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)


@pytest.mark.parametrize("mode", ["pause", "stop"])
async def test_one_that_is_disabled_is_stopped_and_not_awaited(tmp_path: Path, mode: Mode) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", mode)
        await host.parts.registry.set_disabled(agent, True)
        restarted(machine.runtime.containers["ada"])
        machine.gateway.silent = True
        await host.sweep()
        assert host.state() is S.STOPPED


async def test_a_sleeper_that_was_killed_is_not_shown_with_its_memory(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        agent.paused_memory = PausedMemory.RECLAIMED
        agent.memory = AgentMemory(1, 1, 0, 1, 0)
        machine.runtime.die("ada")
        await host.sweep()
        container = (await host.client.get("/api/containers/ada")).json()
        assert container["hibernationState"] == "stopped"
        assert (container["pausedMemory"], container["memory"]) == (None, None)


async def test_an_agent_in_use_until_the_restart_is_not_idle_after_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        await host.provision()
        machine.clock.advance(minutes=29)
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
    async with machine.server() as host:
        agent = await host.fall_asleep()
        assert agent.state is S.PAUSED
        assert agent.last_activity_kind is ActivityKind.HTTP


async def test_an_agent_frozen_by_a_killed_server_is_thawed_and_opened(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    gate = await killed_before_the_freeze(machine)
    # The engine still carried out the freeze.
    gate.open()
    await machine.runtime.pause("ada")
    async with machine.server() as host:
        agent = host.parts.registry.get("ada")
        await host.sweep()
        assert agent.state is S.PAUSED
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not machine.gateway.closed("ada")


async def test_a_gateway_closed_by_a_killed_server_is_opened_by_the_next(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await killed_before_the_freeze(machine)
    assert machine.gateway.closed("ada")
    async with machine.server() as host:
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not machine.gateway.closed("ada")


async def test_a_request_thaws_what_a_killed_server_left_half_frozen(tmp_path: Path) -> None:
    """The engine reports it as running; only the recorded lease shows that a freeze had begun."""
    machine = Machine(tmp_path)
    await killed_before_the_freeze(machine)
    thaw = machine.runtime.unpause
    machine.gateway.silent = True

    async def thaws(user_id: str) -> None:
        await thaw(user_id)
        machine.gateway.silent = False

    machine.runtime.unpause = thaws  # type: ignore[method-assign]
    async with machine.server() as host:
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not machine.gateway.closed("ada")


async def test_a_wake_cut_short_by_a_crash_is_resolved(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        gate = machine.runtime.hold("start")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        async with asyncio.timeout(60):
            while (await host.parts.registry._store.load())[0].state is not S.WAKING:
                pass
    await asyncio.gather(waking, return_exceptions=True)
    gate.open()
    async with machine.server() as host:
        assert host.state() is S.WAKING
        await host.sweep()
        assert host.state() is S.STOPPED
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.RUNNING


async def test_a_provision_cut_short_by_a_crash_can_be_repeated(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        gate = machine.runtime.hold("create")
        making = asyncio.create_task(host.provision())
        await gate.reached.wait()
    await asyncio.gather(making, return_exceptions=True)
    gate.open()
    async with machine.server() as host:
        await host.sweep()
        agent = host.parts.registry.get("ada")
        assert host.state() is S.FAILED
        assert "Provision it again" in (agent.failure or "")
        await host.provision()
        assert host.state() is S.RUNNING


async def test_a_killed_gateway_is_noticed_at_once_and_started_by_the_next_request(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host, watching(host.parts):
        agent = await host.provision()
        with host.parts.hub.subscribed() as news:
            host.runtime.die("ada", exit_code=137)
            async with asyncio.timeout(60):
                event = await news.next()
        assert event is not None
        assert event.to_state is S.STOPPED
        assert "exit code 137" in (agent.failure or "")
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.state is S.RUNNING
        assert agent.failure is None


async def test_a_report_that_cannot_be_followed_up_makes_the_next_request_look(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.die("ada")
        host.runtime.faults["inspect"] = [RuntimeFailed("busy")]
        with pytest.raises(RuntimeFailed):
            await host.parts.hibernation.reconciler.settle(host.parts.registry.get("ada"))
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert str(host.runtime.containers["ada"].status) == "running"


async def test_the_first_look_after_the_engine_comes_back_finds_what_was_missed(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben"):
            await host.provision(user)
        host.runtime.down = "Docker does not answer. Start it."
        await host.sweep()
        health = (await host.client.get("/health")).json()
        assert health["status"] == "degraded"
        assert health["problems"] == ["Docker does not answer. Start it."]

        host.runtime.down = None
        host.runtime.die("ada")
        host.runtime.containers.pop("ben")
        host.clock.advance(seconds=3)
        await host.sweep()
        assert {a.state for a in host.parts.registry.all()} == {S.STOPPED}
        assert (await host.client.get("/health")).json()["status"] == "ok"


async def test_a_stopping_server_leaves_its_agents_alone_unless_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.server() as host:
        await host.provision()
        await host.provision("ben")
        await host.orders.hibernate("ben", "pause")
    statuses = {u: str(c.status) for u, c in machine.runtime.containers.items()}
    assert statuses == {"ada": "running", "ben": "paused"}

    async with machine.server(stop_agents_on_exit=True):
        pass
    statuses = {u: str(c.status) for u, c in machine.runtime.containers.items()}
    assert statuses == {"ada": "exited", "ben": "exited"}
    async with machine.server() as host:
        assert {a.state for a in host.parts.registry.all()} == {S.STOPPED}
