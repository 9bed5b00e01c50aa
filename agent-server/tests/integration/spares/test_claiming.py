"""Agents made beforehand: made when the host is quiet, claimed once, and then like any other."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.store import StoreError
from ocmt_agent.runtime.base import AgentSpec, ContainerStatus, RuntimeFailed
from ocmt_agent.spares.warm_up import NotWarm
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_runtime import FakeRuntime, Gate
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host

GIB = 1024 * MIB
ROOMY = HostFigures(64 * GIB, 60 * GIB, 64 * GIB, 64 * GIB, None, swap_disk=64 * GIB)


async def chat(host: Host, user_id: str) -> None:
    """A request is answered by the user's own gateway, which is open."""
    async with host.wakes.using(user_id, kind=ActivityKind.HTTP) as access:
        home = host.gateway.home(user_id)
        container = host.runtime.containers[home]
        assert container.status is ContainerStatus.RUNNING
        assert container.spec.gateway_token == access.gateway_token
        assert not host.gateway.closed(user_id)


async def events(host: Host, user_id: str = "ada") -> list[tuple[str, str]]:
    answer = (await host.client.get(f"/api/containers/{user_id}/events")).json()
    return [(event["toState"], event["why"]) for event in answer["events"]]


async def refused_by_relay(host: Host, token: str) -> bool:
    registry = host.parts.registry
    async with open_session() as session:
        relay = relay_app(
            "http://127.0.0.1:9",  # unreachable: a token that is passed on gets a 503
            registry.is_agent_token,
            session,
            for_management=registry.token_for_management,
        )
        transport = httpx2.ASGITransport(app=relay)
        async with httpx2.AsyncClient(transport=transport, base_url="http://relay") as container:
            answer = await container.post("/mcp", headers={"authorization": f"Bearer {token}"})
    return (answer.status_code, answer.json()["code"]) == (424, "unknown-token")


async def test_a_new_user_gets_one_without_a_boot_and_it_is_theirs(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        home, token = spare.user_id, spare.container_token
        assert (spare.state, spare.agent_token) == (S.PAUSED, token)
        boots = host.runtime.calls["start"]
        host.clock.advance(hours=2)

        answer = await host.client.post(
            "/api/containers", json={"userId": "ada", "agentToken": AGENT_TOKEN}
        )
        assert answer.status_code == 201
        assert host.runtime.calls["start"] == boots
        assert list(host.runtime.containers) == [home]
        ada = host.parts.registry.get("ada")
        assert (ada, ada.spare, ada.agent_token) == (spare, False, AGENT_TOKEN)
        shown = answer.json()
        assert (shown["userId"], shown["hibernationState"]) == ("ada", "running")
        assert shown["home"] == home
        assert (shown["idleMinutes"], shown["lastActivityKind"]) == (0, "provision")
        assert await events(host) == [
            ("waking", "provision of an agent made beforehand"),
            ("running", "provision of an agent made beforehand"),
        ]
        await host.provision("bea", token=f"{AGENT_TOKEN}-bea")  # without a spare
        listed = (await host.client.get("/api/containers")).json()
        assert {one["userId"]: one["home"] for one in listed} == {"ada": home, "bea": "bea"}
        await chat(host, "ada")
        # Its container has a token of its own, which the relay replaces by the user's.
        registry = host.parts.registry
        assert token is not None
        assert registry.is_agent_token(token)
        assert registry.token_for_management(token) == AGENT_TOKEN
        assert not registry.is_agent_token(AGENT_TOKEN)


async def test_a_spare_is_seen_and_reached_by_nobody(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        with host.parts.hub.subscribed() as heard:
            (spare,) = await host.make_spares(1)
            home = spare.user_id
            assert (await host.client.get("/api/containers")).json() == []
            health = (await host.client.get("/health")).json()
            assert (health["containers"], health["spares"]["ready"]) == (0, 1)
            assert "no swap" in health["spares"]["why"]
            for method, path in [
                ("GET", ""),
                ("POST", "/wake"),
                ("GET", "/logs"),
                ("GET", "/events"),
                ("DELETE", "?state=delete"),
                ("GET", "/proxy/healthz"),
            ]:
                answer = await host.client.request(method, f"/api/containers/{home}{path}")
                assert answer.status_code in (204, 404), path
            body = {"userId": home, "agentToken": AGENT_TOKEN}
            assert (await host.client.post("/api/containers", json=body)).status_code == 422
            assert host.runtime.containers[home].status is ContainerStatus.PAUSED
            assert host.parts.registry.token_for_management(str(spare.agent_token)) is None
            heard.end()
            assert await heard.next() is None, "an event of a spare was published"


async def test_fifty_sign_ins_in_a_minute_with_five_made_beforehand(tmp_path: Path) -> None:
    async with open_host(tmp_path, WAKE_TIMEOUT_MS="600000") as host:
        assert len(await host.make_spares(5)) == 5
        boots = host.runtime.calls["start"]
        users = [f"u{n:02}" for n in range(50)]
        # Some ask twice at once, as a page that is loaded again.
        asked = [*users, *users[:10]]
        answers = await asyncio.gather(
            *(
                host.client.post(
                    "/api/containers", json={"userId": u, "agentToken": f"{AGENT_TOKEN}-{u}"}
                )
                for u in asked
            )
        )
        assert Counter(a.status_code for a in answers) == {201: 50, 200: 10}
        assert host.runtime.calls["start"] == boots + 45
        agents = host.parts.registry.all()
        assert len({host.gateway.home(a.user_id) for a in agents}) == 50
        assert len({a.number for a in agents}) == 50
        for secret in ("gateway_token", "agent_token"):
            assert len({str(getattr(a, secret)) for a in agents}) == 50
        assert len({a.device.device_id for a in agents}) == 50
        await asyncio.gather(*(chat(host, user) for user in users))
        assert host.parts.registry.spares() == []
        metrics = (await host.client.get("/metrics")).text
        assert 'ocmt_agent_claims_total{outcome="claimed"} 5.0' in metrics
        assert 'ocmt_agent_claims_total{outcome="none"} 45.0' in metrics
        assert "ocmt_spare_agents 0.0" in metrics


async def test_a_claimed_agent_sleeps_restarts_and_is_found_again_like_any_other(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        home = spare.user_id
        agent = await host.provision()
        await host.fall_asleep()
        assert host.state() is S.PAUSED
        await chat(host, "ada")
        await host.orders.restart("ada")
        assert host.runtime.containers[home].spec.user_id == home
        await host.orders.hibernate("ada", "stop")
        runtime, gateway, clock = host.runtime, host.gateway, host.clock
        number = agent.number
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        agent = host.parts.registry.get("ada")
        assert (agent.number, host.state()) == (number, S.STOPPED)
        await chat(host, "ada")
        runtime.die(home)
        await host.sweep()
        assert host.state() is S.STOPPED
        await chat(host, "ada")
        assert list(runtime.containers) == [home]
        # The state stays with the user, and goes with the user.
        await host.client.delete("/api/containers/ada")
        await host.make_spares(1)
        await host.provision()
        assert home in runtime.containers
        assert len(host.parts.registry.spares()) == 1
        await host.client.delete("/api/containers/ada?state=delete")
        assert runtime.removed_state == [home]
        await host.provision()
        assert host.parts.registry.spares() == []


async def test_another_agent_token_revokes_the_one_of_the_container(tmp_path: Path) -> None:
    other = "another-agent-token"
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        home, old = spare.user_id, str(spare.container_token)
        await host.provision()
        await host.provision(token=other)
        assert await refused_by_relay(host, old)
        assert host.parts.registry.token_for_management(other) == other
        assert host.runtime.containers[home].spec.agent_token == other
        assert host.runtime.removed_state == []
        assert host.state() is S.RUNNING
        await chat(host, "ada")
        runtime, gateway, clock = host.runtime, host.gateway, host.clock
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        assert await refused_by_relay(host, old)
        assert host.parts.registry.token_for_management(other) == other


async def test_a_token_that_cannot_be_stored_leaves_the_one_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        old = str(spare.container_token)
        await host.provision()
        registry = host.parts.registry

        async def full(agent: Agent) -> None:
            raise StoreError("The disk is full.")

        monkeypatch.setattr(registry._store, "keep", full)
        with pytest.raises(Problem):
            await host.provision(token="another-agent-token")
        assert registry.token_for_management(old) == AGENT_TOKEN
        assert not registry.is_agent_token("another-agent-token")
        assert registry.get("ada").spec().agent_token == old


async def test_a_user_whose_state_is_here_goes_on_with_it(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.client.delete("/api/containers/ada")
        await host.make_spares(1)
        await host.provision()
        assert "ada" in host.runtime.containers
        assert len(host.parts.registry.spares()) == 1


@pytest.mark.parametrize("what", ["image", "died", "gone", "hangs", "does not start"])
async def test_a_claim_that_fails_is_made_in_the_usual_way_and_the_events_say_so(
    tmp_path: Path, what: str
) -> None:
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        home = spare.user_id
        match what:
            case "image":
                host.runtime.openclaw = "2026.9.7"
            case "died":
                host.runtime.die(home)
            case "gone":
                del host.runtime.containers[home]
            case "hangs":
                host.runtime.faults["unpause"] = [RuntimeFailed("It cannot.")] * 2
            case "does not start":
                host.runtime.die(home)
                host.runtime.faults["start"] = [RuntimeFailed("It cannot.")]
        await host.provision()
        assert host.state() is S.RUNNING
        await chat(host, "ada")
        whys = [why for _, why in await events(host)]
        fell_back = any(why.startswith("the agent made beforehand is not used") for why in whys)
        assert fell_back is (what in ("image", "gone", "hangs", "does not start"))
        if fell_back:
            assert home in host.runtime.removed_state


async def test_without_room_for_a_wake_the_claim_is_kept_and_the_next_request_wakes_it(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.make_spares(1)
        host.room.figures = HostFigures(16 * GIB, 0, 8 * GIB, 8 * GIB, None)
        with pytest.raises(Problem) as refused:
            await host.provision()
        assert refused.value.code == "host-full"
        assert host.state() is S.PAUSED
        host.room.figures = None
        await chat(host, "ada")


# Making them


async def test_they_are_made_one_at_a_time_when_wanted_and_not_otherwise(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        keeper = host.parts.spares
        await keeper.look()
        assert host.runtime.containers == {}
        host.room.figures = ROOMY
        for _ in range(3):
            await keeper.look()
        assert len(keeper.ready()) == 1  # without arrivals one is enough
        for user in ("ada", "ben", "eve"):
            await host.provision(user)
        for _ in range(4):
            await keeper.look()
        assert len(keeper.ready()) == 3
        host.clock.advance(hours=2)
        await keeper.look()
        assert len(keeper.ready()) == 1
        host.room.figures = None
        await keeper.look()
        assert keeper.ready() == []
        assert set(host.runtime.containers) == {
            host.gateway.home(user) for user in ("ada", "ben", "eve")
        }


@pytest.mark.parametrize("what", ["image", "job", "killed", "thawed", "removed"])
async def test_one_that_is_outdated_or_broken_is_replaced(tmp_path: Path, what: str) -> None:
    async with open_host(tmp_path) as host:
        (spare,) = await host.make_spares(1)
        home = spare.user_id
        match what:
            case "image":
                host.runtime.openclaw = "2026.9.7"
            case "job":
                spare.next_job_at = host.clock.now() + timedelta(hours=1)
                host.clock.advance(hours=2)
            case "killed":
                host.runtime.die(home)
            case "thawed":
                host.runtime.containers[home].status = ContainerStatus.RUNNING
            case "removed":
                del host.runtime.containers[home]
        host.room.figures = ROOMY
        await host.parts.spares.look()
        (other,) = host.parts.spares.ready()
        assert other.user_id != home
        assert list(host.runtime.containers) == [other.user_id]
        assert home in host.runtime.removed_state


async def test_one_that_is_claimed_is_not_removed_by_a_look_that_began_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path, figures=ROOMY) as host:
        (spare,) = await host.make_spares(1)
        home, runtime = spare.user_id, host.runtime
        is_current, checked = runtime.is_current, Gate()

        async def not_at_first(spec: AgentSpec) -> bool:
            if not checked.reached.is_set():
                await checked.passed()
                raise RuntimeFailed("The engine is busy.")
            return await is_current(spec)

        monkeypatch.setattr(runtime, "is_current", not_at_first)
        look = asyncio.create_task(host.parts.spares.look())
        await checked.reached.wait()
        claim = asyncio.create_task(host.provision())
        while host.parts.registry.is_spare(spare):  # noqa: ASYNC110 (without an event)
            await asyncio.sleep(0)
        checked.open()
        await asyncio.gather(look, claim)
        assert host.gateway.home("ada") == home
        assert runtime.removed_state == []
        await chat(host, "ada")


@pytest.mark.parametrize("call", ["create", "start", "pause", "remove"])
async def test_one_that_cannot_be_made_leaves_nothing_and_is_tried_again_later(
    tmp_path: Path, call: str
) -> None:
    async with open_host(tmp_path, figures=ROOMY) as host:
        host.runtime.faults[call] = [RuntimeFailed("It cannot.")]
        if call == "remove":
            host.runtime.faults["start"] = [RuntimeFailed("It cannot.")]
        for _ in range(3):
            host.clock.advance(minutes=10)
            await host.parts.spares.look()
        (spare,) = host.parts.spares.ready()
        assert list(host.runtime.containers) == [spare.user_id]


async def test_a_wake_is_never_delayed_by_one_that_is_being_made(tmp_path: Path) -> None:
    async with open_host(tmp_path, figures=ROOMY) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        answering = asyncio.Event()

        async def never(access: GatewayAccess) -> None:
            answering.set()
            await asyncio.Event().wait()

        host.parts.spares._warm_up = never
        looking = asyncio.create_task(host.parts.spares.look())
        await answering.wait()
        gate = host.runtime.hold("start")
        waking = asyncio.create_task(chat(host, "ada"))
        await gate.reached.wait()
        await looking  # given up while the user's agent boots
        assert host.parts.registry.spares() == []
        gate.open()
        await waking
        assert list(host.runtime.containers) == ["ada"]


async def test_a_gateway_that_does_not_answer_is_no_spare(tmp_path: Path) -> None:
    async def silent(access: GatewayAccess) -> None:
        raise NotWarm("its gateway did not answer")

    async with open_host(tmp_path, warm_up=silent) as host:
        assert await host.make_spares(1) == []
        assert host.runtime.containers == {}
        starts = host.runtime.calls["start"]
        await host.make_spares(1)
        assert host.runtime.calls["start"] == starts, "tried again at once"


async def test_one_that_a_killed_server_was_making_is_removed_by_the_next(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    answering = asyncio.Event()

    async def never(access: GatewayAccess) -> None:
        answering.set()
        await asyncio.Event().wait()

    async with open_host(tmp_path, runtime=runtime, warm_up=never, figures=ROOMY) as host:
        looking = asyncio.create_task(host.parts.spares.look())
        await answering.wait()
        runtime.down = "The server is being killed."
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    runtime.down = None
    assert len(runtime.containers) == 1
    async with open_host(tmp_path, runtime=runtime) as host:
        await host.parts.spares.look()
        assert runtime.containers == {}
        assert host.parts.registry.spares() == []
