import asyncio
from pathlib import Path

import pytest
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import AGENT_TOKEN, open_host

BODY = {"userId": "ada", "agentToken": AGENT_TOKEN}
OTHER_TOKEN = "another-agent-token"


async def test_two_provisions_at_once_make_one_container(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        answers = await asyncio.gather(
            *(host.client.post("/api/containers", json=BODY) for _ in range(2))
        )
        assert sorted(a.status_code for a in answers) == [200, 201]
        assert host.runtime.calls["create"] == 1
        assert host.runtime.calls["start"] == 1


async def test_repeating_a_provision_changes_nothing_and_wakes_no_agent(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        calls = dict(host.runtime.calls)
        answer = await host.client.post("/api/containers", json=BODY)
        assert answer.status_code == 200
        assert answer.json()["hibernationState"] == "paused"
        assert dict(host.runtime.calls) == calls
        assert agent.state is S.PAUSED


async def test_another_token_makes_the_container_anew_on_the_same_state(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        gateway_token = agent.gateway_token
        answer = await host.client.post("/api/containers", json={**BODY, "agentToken": OTHER_TOKEN})
        assert answer.status_code == 200
        spec = host.runtime.containers["ada"].spec
        assert (spec.agent_token, spec.gateway_token) == (OTHER_TOKEN, gateway_token)
        assert host.runtime.removed_state == []
        registry = host.parts.registry
        assert registry.is_agent_token(OTHER_TOKEN)
        assert not registry.is_agent_token(AGENT_TOKEN)


@pytest.mark.parametrize(
    ("call", "fault", "status"),
    [
        ("create", RuntimeFailed("No image. Run `ocmt image build`."), 503),
        ("start", RuntimeFailed("No address left."), 503),
        ("create", RuntimeUnavailable("Docker does not answer. Start it."), 503),
    ],
)
async def test_a_failed_provision_cleans_up_gives_the_reason_and_can_be_repeated(
    tmp_path: Path, call: str, fault: Exception, status: int
) -> None:
    async with open_host(tmp_path) as host:
        host.runtime.faults[call] = [fault]
        answer = await host.client.post("/api/containers", json=BODY)
        assert answer.status_code == status
        assert answer.json()["detail"] == str(fault)
        assert host.runtime.containers == {}
        assert host.runtime.removed_state == []
        shown = (await host.client.get("/api/containers/ada")).json()
        assert (shown["hibernationState"], shown["failure"]) == ("failed", str(fault))

        assert (await host.client.post("/api/containers", json=BODY)).status_code == 200
        shown = (await host.client.get("/api/containers/ada")).json()
        assert (shown["hibernationState"], shown["failure"]) == ("running", None)


async def test_an_agent_that_took_long_to_make_is_not_idle_when_it_is_there(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        gate = host.runtime.hold("start")
        making = asyncio.create_task(host.provision())
        await gate.reached.wait()
        host.clock.advance(minutes=20)
        gate.open()
        agent = await making
        assert agent.last_activity_at == host.clock.now()


async def test_a_caller_that_disconnects_does_not_cancel_a_provision(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        gate = host.runtime.hold("start")
        caller = asyncio.create_task(host.provision())
        await gate.reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.open()
        await host.provision()
        assert host.runtime.calls["create"] == 1
        assert host.parts.registry.get("ada").state is S.RUNNING


async def test_a_removed_agent_is_gone_and_can_be_provisioned_again(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        assert (await host.client.delete("/api/containers/ada")).status_code == 204
        assert host.runtime.containers == {}
        assert host.runtime.removed_state == []
        assert (await host.client.get("/api/containers/ada")).status_code == 404
        assert not host.parts.registry.is_agent_token(AGENT_TOKEN)
        assert (await host.client.post("/api/containers", json=BODY)).status_code == 201


async def test_the_users_folder_is_deleted_only_on_request(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        answer = await host.client.delete("/api/containers/ada", params={"state": "delete"})
        assert answer.status_code == 204
        assert host.runtime.removed_state == ["ada"]


@pytest.mark.parametrize("user_id", ["eve", "../ada", "ADA", "ada%2F..%2Feve"])
async def test_deleting_state_without_an_agent_deletes_what_an_earlier_removal_left(
    tmp_path: Path, user_id: str
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        answer = await host.client.delete(f"/api/containers/{user_id}", params={"state": "delete"})
        assert answer.status_code == (204 if user_id == "eve" else 404)
        assert host.runtime.removed_state == (["eve"] if user_id == "eve" else [])
        assert host.parts.registry.get("ada").state is S.RUNNING


async def test_a_restart_starts_the_gateway_afresh_from_any_state(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        for mode in (None, "pause", "stop"):
            if mode is not None:
                await host.client.post("/api/containers/ada/hibernate", json={"mode": mode})
            boot = host.runtime.containers["ada"].boot
            assert (await host.client.post("/api/containers/ada/restart")).status_code == 200
            assert host.runtime.containers["ada"].boot == boot + 1
            assert agent.state is S.RUNNING
