"""An operator's order by force: nothing holds it up, and it says what it cuts short."""

from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import Busy, GatewayUnreachable
from ocmt_agent.hibernation.sleep import Mode
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import Host, open_host

DEPTHS: list[tuple[Mode, S]] = [("pause", S.PAUSED), ("stop", S.STOPPED)]


async def order(host: Host, mode: str, *, force: bool = False) -> tuple[int, dict[str, object]]:
    path = "/api/containers/ada/hibernate" + ("/force" if force else "")
    answer = await host.client.post(path, json={"mode": mode})
    return answer.status_code, dict(answer.json())


@pytest.mark.parametrize(("mode", "depth"), DEPTHS)
async def test_a_busy_agent_is_refused_with_when_to_come_back_and_forced_says_what_it_cuts(
    tmp_path: Path, mode: Mode, depth: S
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.busy["ada"] = Busy(["1 active run", "2 background commands"], 20)
        answer = await host.client.post("/api/containers/ada/hibernate", json={"mode": mode})
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "20")
        assert "by force" in answer.json()["detail"]
        assert host.state() is S.RUNNING

        status, shown = await order(host, mode, force=True)
        assert (status, shown["hibernationState"]) == (200, str(depth))
        why = "ordered by force, cutting short: 1 active run; 2 background commands"
        assert why in str(shown["because"])
        events = (await host.client.get("/api/containers/ada/events")).json()["events"]
        assert (events[-1]["who"], events[-1]["why"]) == ("operator", why)

        host.gateway.busy.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.RUNNING
        assert not host.gateway.closed("ada")


@pytest.mark.parametrize(("mode", "depth"), DEPTHS)
async def test_a_request_that_is_being_served_does_not_hold_it_up(
    tmp_path: Path, mode: Mode, depth: S
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        async with host.wakes.using("ada", kind=ActivityKind.HTTP):
            assert (await order(host, mode))[0] == 409
            _, shown = await order(host, mode, force=True)
            assert host.state() is depth
            assert "cutting short: 1 request(s) being served" in str(shown["because"])
        # It was not busy: it has its lease, and gives it back as after any sleep.
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.gateway.closed("ada")


@pytest.mark.parametrize(("mode", "depth"), DEPTHS)
async def test_a_gateway_that_does_not_answer_is_frozen_or_stopped_all_the_same(
    tmp_path: Path, mode: Mode, depth: S, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_agent.hibernation.sleep._FORCE_WAITS_S", 0.05)
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        for access in (agent.access, None):  # known to answer a moment ago, and not verified yet
            agent.access = access
            host.gateway.silent = True
            _, shown = await order(host, mode, force=True)
            assert "its gateway does not answer" in str(shown["because"])
            assert host.state() is depth
            host.gateway.silent = False
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)


async def test_without_force_a_gateway_that_does_not_answer_is_a_refusal_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path, WAKE_TIMEOUT_MS="60000") as host:
        agent = await host.provision()
        monkeypatch.setattr(host.parts.hibernation.reconciler, "_wake_timeout_s", 0.1)
        agent.access = None
        host.gateway.silent = True
        status, shown = await order(host, "pause")
        assert (status, shown["code"], host.state()) == (503, "runtime-failed", S.RUNNING)
        assert "did not answer within 0.1 s. Restart the agent" in str(shown["detail"])


async def test_an_idle_agent_loses_nothing_and_a_sleeper_can_be_stopped(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await order(host, "pause", force=True)
        assert (host.state(), agent.state_why) == (S.PAUSED, "ordered by force")
        assert agent.suspension_id is not None
        await order(host, "stop", force=True)
        assert (host.state(), agent.state_why) == (S.STOPPED, "ordered by force")
        assert (await order(host, "stop", force=True))[0] == 200
        assert (await order(host, "pause", force=True))[0] == 409


async def test_a_freeze_that_fails_leaves_an_agent_that_works(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.busy["ada"] = Busy(["1 active run"], 20)
        host.runtime.faults["pause"] = [RuntimeFailed("It cannot.")]
        status, answer = await order(host, "pause", force=True)
        assert (status, answer["code"]) == (409, "agent-busy")
        assert "could not be frozen" in str(answer["detail"])
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.runtime.containers["ada"].status is ContainerStatus.RUNNING
        assert host.state() is S.RUNNING


async def test_an_order_without_force_is_as_careful_as_before(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.faults["suspend"] = [GatewayUnreachable("Nothing answers.")]
        assert (await order(host, "pause"))[0] == 409
        assert (await order(host, "sleep", force=True))[0] == 422
        assert host.state() is S.RUNNING
