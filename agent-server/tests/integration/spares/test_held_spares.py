"""Stopped agents go on in spares whose gateways are held before they read a state."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.store import StoreError
from ocmt_agent.runtime.base import AgentSpec, ContainerStatus, RuntimeFailed
from ocmt_common.agent_api import AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime, Gate
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host

GIB = 1024 * MIB
ROOMY = HostFigures(64 * GIB, 60 * GIB, 64 * GIB, 64 * GIB, None, swap_disk=64 * GIB)


async def stopped(host: Host, user_id: str = "ada") -> Agent:
    """A user's agent that has a state of its own, and is stopped."""
    agent = await host.provision(user_id, token=f"{AGENT_TOKEN}-{user_id}")
    host.runtime.states[host.gateway.home(user_id)] = {user_id}
    await host.orders.hibernate(user_id, "stop")
    return agent


async def use(host: Host, user_id: str = "ada") -> None:
    """The user's gateway answers; it has read the user's state, and nothing else."""
    async with host.wakes.using(user_id, kind=ActivityKind.HTTP) as access:
        container = host.runtime.containers[host.gateway.home(user_id)]
        assert container.status is ContainerStatus.RUNNING
        assert container.spec.gateway_token == access.gateway_token
        assert container.read == {user_id}
    # The old home is removed after the first request was answered.
    await asyncio.gather(*host.parts.hibernation.transitions._tasks)


def of_users(host: Host) -> set[str]:
    """The homes with a container that no spare has."""
    return set(host.runtime.containers) - {s.user_id for s in host.parts.registry.spares()}


async def whys(host: Host, user_id: str = "ada") -> list[str]:
    agent = host.parts.registry.get(user_id)
    return [event.why for event in await host.parts.registry.events(agent, limit=50)]


async def test_a_stopped_agent_goes_on_in_one_with_its_own_state(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        ada = await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        home, tokens = spare.user_id, (spare.gateway_token, spare.container_token)
        assert (spare.state, host.runtime.states[home]) == (S.PAUSED, set())
        before = (ada.device.device_id, ada.number, ada.gateway_token)
        own_token = ada.container_token or ada.agent_token
        starts = host.runtime.calls["start"]
        learned = host.parts.registry.wake_times.kept()

        await use(host)

        assert host.runtime.calls["start"] == starts
        assert of_users(host) == {home}
        assert host.runtime.removed_state == ["ada"]
        assert (ada.gateway_token, ada.container_token) == tokens
        assert (ada.device.device_id, ada.number) == (before[0], spare.number)
        registry = host.parts.registry
        assert registry.token_for_management(str(tokens[1])) == ada.agent_token
        assert not registry.is_agent_token(str(own_token))
        assert (ada.old_home, host.parts.spares.ready(held=True)) == (None, [])
        shown = (await host.client.get("/api/containers/ada")).json()
        assert (shown["home"], shown["hibernationState"]) == (home, "running")
        assert (await whys(host))[-2:] == ["http request, in a spare"] * 2
        metrics = (await host.client.get("/metrics")).text
        assert 'ocmt_agent_spare_starts_total{outcome="claimed"} 1.0' in metrics
        # It says nothing of how long a boot takes, so that a job's next wake is early enough.
        assert registry.wake_times.kept() == learned

        # It sleeps, stops and starts there as any other, also after a restart of the server.
        await host.orders.hibernate("ada", "stop")
        await use(host)
        await host.orders.hibernate("ada", "pause")
    async with open_host(tmp_path, runtime=host.runtime, gateway=host.gateway) as host:
        await use(host)
        assert host.parts.registry.get("ada").number == spare.number
        assert host.runtime.calls["start"] == starts + 1


async def test_what_changed_while_it_was_stopped_is_in_its_configuration(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        ada = await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        await host.parts.registry.set_policy(ada, AgentPolicy(heartbeat_minutes=30))
        await host.parts.registry.set_tools_version(ada, 7)
        await use(host)
        assert host.runtime.tools_versions[spare.user_id] == 7
        assert host.runtime.heartbeats[spare.user_id] == 30


@pytest.mark.parametrize("minutes", [1, 7])
@pytest.mark.parametrize("how", ["closed", "killed", "gone"])
async def test_a_gateway_that_was_killed_keeps_its_host_name_until_its_lease_ends(
    tmp_path: Path, how: str, minutes: int
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.states["ada"] = {"ada"}
        match how:
            case "closed":
                await host.orders.hibernate("ada", "stop")
            case "killed":
                host.runtime.die("ada")
            case "gone":
                del host.runtime.containers["ada"]
        await host.sweep()
        await host.make_spares(1, held=True)
        host.clock.advance(minutes=minutes)
        starts = host.runtime.calls["start"]
        await use(host)
        booted = host.runtime.calls["start"] > starts
        assert booted is (how != "closed" and minutes < 5)


@pytest.mark.parametrize(
    ("call", "claimed"),
    [("is_current", False), ("inherit", True), ("unpause", True), ("inspect", True)],
)
async def test_one_that_does_not_work_is_replaced_by_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, claimed: bool
) -> None:
    async with open_host(tmp_path) as host:
        ada = await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        faults: list[Exception] = [RuntimeFailed("It cannot.")]
        if call == "inspect":  # the first is that of the wake itself
            inherit = host.runtime.inherit

            async def inherit_and_fail(spec: AgentSpec, source: str) -> None:
                await inherit(spec, source)
                monkeypatch.undo()
                host.runtime.faults[call] = faults

            monkeypatch.setattr(host.runtime, "inherit", inherit_and_fail)
            await use(host)
        else:
            host.runtime.faults[call] = faults
            await use(host)
        assert (ada.old_home, host.state()) == (None, S.RUNNING)
        assert (host.gateway.home("ada") == spare.user_id) is claimed
        said = [why for why in await whys(host) if "the spare is not used" in why]
        assert said == (["the spare is not used: It cannot."] if claimed else [])
        host.clock.advance(minutes=10)
        await host.make_spares(1, held=True)  # also retires what cannot be used
        assert of_users(host) == {host.gateway.home("ada")}


async def test_one_whose_gateway_does_not_answer_is_replaced_by_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path, WAKE_TIMEOUT_MS="60000") as host:
        await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        stop = host.runtime.stop

        async def stop_and_answer(user_id: str, *, grace_s: float) -> None:
            monkeypatch.undo()  # the boot that follows has its time
            await stop(user_id, grace_s=grace_s)
            host.gateway.silent = False

        monkeypatch.setattr(host.runtime, "stop", stop_and_answer)
        host.gateway.silent = True
        monkeypatch.setattr(host.wakes, "_wake_timeout_s", 0.1)
        await use(host)
        assert host.gateway.home("ada") == spare.user_id
        assert any("did not answer in time" in why for why in await whys(host))


async def test_a_database_that_cannot_be_written_costs_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path) as host:
        ada = await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        before = (ada.number, ada.gateway_token)

        async def full(*_: object) -> None:
            raise StoreError("The disk is full.")

        monkeypatch.setattr(host.parts.registry._store, "keep_move", full)
        await use(host)
        assert (ada.number, ada.gateway_token) == before
        assert host.parts.spares.ready(held=True) == [spare]
        assert host.gateway.home("ada") == "ada"


async def test_one_that_a_wake_is_taking_is_not_removed_by_a_look_that_began_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path, figures=ROOMY) as host:
        ada = await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        store, runtime = host.parts.registry._store, host.runtime
        is_current, keep_move = runtime.is_current, store.keep_move
        checked, stored = Gate(), Gate()
        boot = runtime.containers[spare.user_id].boot

        async def not_at_first(spec: AgentSpec) -> bool:
            if spec.user_id == spare.user_id and not checked.reached.is_set():
                await checked.passed()
                raise RuntimeFailed("The engine is busy.")
            return await is_current(spec)

        async def held_up(agent: Agent, home: str) -> None:
            await stored.passed()
            await keep_move(agent, home)

        monkeypatch.setattr(runtime, "is_current", not_at_first)
        monkeypatch.setattr(store, "keep_move", held_up)
        look = asyncio.create_task(host.parts.spares.look())
        await checked.reached.wait()
        wake = asyncio.create_task(use(host))
        await stored.reached.wait()
        checked.open()
        await asyncio.wait({look}, timeout=0.2)
        stored.open()
        await asyncio.gather(look, wake)

        assert host.gateway.home("ada") == spare.user_id
        assert runtime.removed_state == ["ada"]
        assert runtime.containers[spare.user_id].boot == boot
        assert host.parts.registry.is_agent_token(str(ada.container_token))


async def test_of_many_that_come_at_once_as_many_get_one_as_there_are(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(30)]
    async with open_host(tmp_path, SPARE_AGENTS="2", WAKE_TIMEOUT_MS="60000") as host:
        agents = [await stopped(host, user) for user in users]
        spares = await host.make_spares(2, held=True)
        assert len(spares) == 2
        starts = host.runtime.calls["start"]
        await asyncio.gather(*(use(host, user) for user in users))
        assert host.runtime.calls["start"] == starts + 28
        homes = {host.gateway.home(user) for user in users}
        assert len(homes) == len({agent.number for agent in agents}) == 30
        assert {spare.user_id for spare in spares} < homes
        assert of_users(host) == homes


async def test_as_many_are_kept_as_stopped_agents_are_started(tmp_path: Path) -> None:
    async with open_host(tmp_path, figures=ROOMY, SPARE_AGENTS="3") as host:
        keeper = host.parts.spares

        async def look(times: int = 3) -> int:
            for _ in range(times):
                await keeper.look()
            return len(keeper.ready(held=True))

        assert await look() == 0  # none is stopped
        agents = [await stopped(host, user) for user in ("ada", "ben", "eve", "dan")]
        assert await look() == 1
        for agent in agents[:2]:
            agent.next_job_at = host.clock.now() + timedelta(minutes=50)
        assert await look() == 2
        host.room.figures = None
        assert await look() == 0
        host.room.figures, host.runtime.holds = ROOMY, False
        assert await look() == 0
        health = (await host.client.get("/health")).json()["spares"]["held"]
        assert (health["ready"], health["wanted"]) == (0, 0)
        assert "cannot be held" in health["why"]


async def test_a_gateway_that_cannot_be_held_is_tried_ever_less_often(tmp_path: Path) -> None:
    async with open_host(tmp_path, figures=ROOMY) as host:
        await stopped(host)
        for _ in range(12):
            host.runtime.faults["hold_gateway"] = [RuntimeFailed("It cannot.")] * 2
            host.clock.advance(minutes=10)
            await host.parts.spares.look()
        assert 6 <= host.runtime.calls["hold_gateway"] <= 10
        # Those for new users are made as before.
        assert len(host.parts.spares.ready()) == 1
        host.runtime.faults.clear()
        host.clock.advance(hours=24)
        await host.parts.spares.look()
        assert len(host.parts.spares.ready(held=True)) == 1


async def test_a_gateway_with_an_open_state_is_restarted_once_more(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await stopped(host)
        host.runtime.faults["hold_gateway"] = [RuntimeFailed("It has a database open.")]
        (spare,) = await host.make_spares(1, held=True)
        assert host.runtime.calls["hold_gateway"] == 2
        assert host.runtime.containers[spare.user_id].on_hold
        await use(host)


@pytest.mark.parametrize("with_state", [True, False])
async def test_a_user_who_leaves_during_a_move_leaves_nothing(
    tmp_path: Path, with_state: bool
) -> None:
    async with open_host(tmp_path) as host:
        await stopped(host)
        (spare,) = await host.make_spares(1, held=True)
        host.runtime.faults["inherit"] = [RuntimeFailed("It cannot.")] * 2
        with pytest.raises(Problem):
            await use(host)
        ada = host.parts.registry.get("ada")
        assert ada.old_home == "ada"
        await host.parts.provisioning.remove("ada", with_state=with_state)
        assert of_users(host) == set()
        assert "ada" not in host.runtime.states
        assert host.runtime.states.get(spare.user_id) == (None if with_state else {"ada"})
        await host.provision()
        container = host.runtime.containers[host.gateway.home("ada")]
        assert container.read == (set() if with_state else {"ada"})


async def test_one_is_used_once_its_agent_is_on_the_same_openclaw(tmp_path: Path) -> None:
    """After an upgrade every stopped agent gets a new container anyway: a spare's."""
    runtime = FakeRuntime()
    async with open_host(tmp_path, runtime=runtime) as host:
        await stopped(host)
        runtime.openclaw = "2026.9.7"
        await host.make_spares(1, held=True)
        starts = runtime.calls["start"]
        await use(host)
        assert runtime.calls["start"] == starts
        assert host.parts.registry.get("ada").openclaw == "2026.9.7"


async def test_one_with_an_openclaw_for_which_the_state_was_not_copied_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image may be replaced while the agent waits for memory."""
    runtime = FakeRuntime()
    async with open_host(tmp_path, runtime=runtime) as host:
        ada = await stopped(host)
        runtime.openclaw, before = "2026.9.7", runtime.openclaw
        (spare,) = await host.make_spares(1, held=True)
        prepare = host.wakes._states.prepare

        async def prepare_before_it_was_replaced(agent: Agent) -> None:
            await prepare(agent)
            agent.openclaw = before

        monkeypatch.setattr(host.wakes._states, "prepare", prepare_before_it_was_replaced)
        with pytest.raises(Problem, match="Try again"):
            await use(host)
        assert (host.gateway.home("ada"), ada.old_home) == ("ada", None)
        assert host.parts.spares.ready(held=True) == [spare]
        monkeypatch.undo()
        await use(host)
        assert ada.openclaw == "2026.9.7"


async def test_a_held_gateway_which_handles_no_signal_is_not_waited_for_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, graces = FakeRuntime(), {}
    stop = runtime.stop

    async def noted(user_id: str, *, grace_s: float) -> None:
        graces[user_id] = grace_s
        await stop(user_id, grace_s=grace_s)

    async with open_host(tmp_path, runtime=runtime, STOP_AGENTS_ON_EXIT="true") as host:
        await stopped(host)
        (held,) = await host.make_spares(1, held=True)
        (other, *_) = host.parts.spares.ready()
        monkeypatch.setattr(runtime, "stop", noted)
    assert graces[held.user_id] == 0
    assert graces[other.user_id] > 0


async def test_a_spare_of_either_kind_is_for_its_own_kind(tmp_path: Path) -> None:
    runtime, clock = FakeRuntime(), FakeClock()
    gateway = FakeControl(runtime)
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        await stopped(host)
        (held,) = await host.make_spares(1, held=True)
        spares = await host.make_spares(1)
        assert held not in spares
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        keeper = host.parts.spares
        assert [s.user_id for s in keeper.ready(held=True)] == [held.user_id]
        assert {s.user_id for s in keeper.ready()} == {s.user_id for s in spares}
        await host.provision("ben")
        assert host.gateway.home("ben") in {s.user_id for s in spares}
        await use(host)
        assert host.gateway.home("ada") == held.user_id
