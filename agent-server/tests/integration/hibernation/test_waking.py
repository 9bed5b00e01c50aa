import asyncio
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import AGENT_TOKEN, open_host


async def test_twenty_requests_to_a_sleeping_agent_cause_one_wake(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.runtime.calls.clear()

        async def ask() -> None:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)

        await asyncio.gather(*(ask() for _ in range(20)))

        assert host.runtime.calls["start"] == 1
        assert host.parts.registry.get("ada").state is S.RUNNING


async def test_twenty_requests_to_an_agent_that_cannot_start_cause_one_attempt(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.runtime.calls.clear()
        host.runtime.faults["start"] = [RuntimeFailed("No such image.")]
        asked = [host.wakes.awake("ada", kind=ActivityKind.HTTP) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {getattr(a, "code", a) for a in answers} == {"runtime-failed"}
        assert host.runtime.calls["start"] == 1


async def test_a_running_agent_is_reached_without_querying_the_runtime(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.calls.clear()
        host.gateway.calls.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.runtime.calls
        assert not host.gateway.calls


async def test_after_a_thaw_the_gateway_is_resumed_before_anything_is_forwarded(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "pause")
        assert host.gateway.closed("ada")
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.gateway.closed("ada")


async def test_a_thawed_gateway_gets_one_call_which_is_sent_before_the_thaw(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.gateway.calls.clear()
        host.runtime.calls.clear()
        gate = host.runtime.hold("unpause")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        await asyncio.sleep(0.01)
        assert host.gateway.calls["resume"] == 1
        assert host.gateway.closed("ada")
        gate.open()
        await waking
        assert not host.gateway.closed("ada")
        assert host.gateway.calls == {"resume": 1}
        assert host.runtime.calls == {"unpause": 1}


async def test_a_gateway_that_answers_is_awake_whatever_the_engine_is_still_doing(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        gate = host.runtime.hold("unpause")
        host.runtime.faults["unpause"] = [RuntimeFailed("The engine lost count.")]
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        host.runtime.containers["ada"].status = ContainerStatus.RUNNING
        await asyncio.wait_for(waking, 60)
        assert agent.state is S.RUNNING
        gate.open()
        await host.sweep()
        assert agent.state is S.RUNNING


async def test_a_server_ends_though_the_engine_never_reports_a_thaw(tmp_path: Path) -> None:
    async with asyncio.timeout(30), open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "pause")
        gate = host.runtime.hold("unpause")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        host.runtime.containers["ada"].status = ContainerStatus.RUNNING
        await waking


async def test_a_thaw_that_fails_leaves_the_lease_to_be_given_back_by_the_next(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.runtime.faults["unpause"] = [RuntimeFailed("The freezer is stuck.")] * 2
        with pytest.raises(Problem, match="freezer is stuck"):
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.suspension_id is not None
        assert host.gateway.closed("ada")
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.gateway.closed("ada")


async def test_a_sleeper_without_a_line_is_looked_at_before_it_is_thawed(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.gateway.keeps_lines = False
        host.runtime.calls.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.runtime.calls == {"inspect": 1, "unpause": 1}
        assert agent.state is S.RUNNING


async def test_one_that_ended_in_its_sleep_unnoticed_is_booted_by_the_same_wake(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.runtime.containers["ada"].status = ContainerStatus.EXITED
        access = await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.access is access
        assert agent.state is S.RUNNING
        assert not host.gateway.closed("ada")


async def test_a_runtime_that_is_away_at_the_thaw_leaves_the_agent_asleep(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.runtime.down = "The engine is away."
        with pytest.raises(Problem, match="engine is away"):
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.state is S.PAUSED
        host.runtime.down = None
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.gateway.closed("ada")


async def test_an_agent_frozen_by_another_program_is_awake_once_it_answers(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.containers["ada"].status = ContainerStatus.PAUSED
        await host.sweep()
        host.gateway.calls.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        # Whether it lives, and, since it had no lease, whether it had started.
        assert host.gateway.calls == {"is_live": 2}


async def test_a_caller_that_disconnects_does_not_leave_the_agent_half_awake(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        gate = host.runtime.hold("start")
        caller = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.open()
        # The next one joins the same wake.
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.runtime.calls["start"] == 2


async def test_a_gateway_that_does_not_answer_in_time_is_stopped_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.gateway.silent = True
        with monkeypatch.context() as impatient:
            impatient.setattr(host.wakes, "_wake_timeout_s", 0.05)
            with pytest.raises(Problem) as refused:
                await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        agent = host.parts.registry.get("ada")
        assert refused.value.status == 504
        assert "WAKE_TIMEOUT_MS" in refused.value.detail
        assert (agent.state, agent.failure) == (S.FAILED, refused.value.detail)
        assert host.runtime.containers["ada"].status is ContainerStatus.EXITED

        host.gateway.silent = False
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.state is S.RUNNING
        assert agent.failure is None


@pytest.mark.parametrize(
    ("exit_code", "printed", "cure"),
    [
        (78, "bad config near {secret}", "openclaw doctor"),
        (78, "ENOSPC: no space left on device {secret}", "disk is full"),
        (78, "database disk image is malformed {secret}", "ocmt restore"),
        (1, "Error {secret}", "exit code 1"),
    ],
)
async def test_a_gateway_that_ends_while_starting_is_reported_with_cause_and_remedy(
    tmp_path: Path, exit_code: int, printed: str, cure: str
) -> None:
    """Only of this start, and without the agent's own words: chat and admins see it."""
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.gateway.silent = True
        host.runtime.earlier_log_text = "EACCES: permission denied\n"
        secret = f"{AGENT_TOKEN} {agent.gateway_token} rm -rf ~"
        host.runtime.log_text = printed.format(secret=secret)
        gate = host.runtime.hold("start")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await gate.reached.wait()
        gate.open()
        await asyncio.sleep(0)
        host.runtime.die("ada", exit_code=exit_code)
        with pytest.raises(Problem) as refused:
            await waking
        assert refused.value.status == 503
        assert cure in refused.value.detail
        for word in (AGENT_TOKEN, agent.gateway_token, "rm -rf"):
            assert word not in refused.value.detail
        assert agent.failure == refused.value.detail


async def test_a_gateway_that_exits_while_a_request_checks_it_is_started(tmp_path: Path) -> None:
    """A request may come before the engine has noticed the exit."""
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        agent.access = None
        host.gateway.silent = True
        host.gateway.calls.clear()
        gate = host.runtime.hold("start")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        # Its container is inspected before.
        while not host.gateway.calls["is_live"]:  # noqa: ASYNC110 (a call of a double)
            await asyncio.sleep(0.01)
        host.runtime.die("ada")
        async with asyncio.timeout(20):
            await gate.reached.wait()
        host.gateway.silent = False
        gate.open()
        await waking
        assert host.state() is S.RUNNING
        assert agent.failure is None


async def test_a_missing_runtime_is_503_and_changes_no_record(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.runtime.down = "Docker does not answer. Start it."
        with pytest.raises(Problem) as refused:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        assert "Start it" in refused.value.detail
        assert host.state() is S.STOPPED

        host.runtime.down = None
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.RUNNING


async def test_a_runtime_that_goes_in_the_middle_of_a_wake_leaves_the_record_as_it_was(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        agent = await host.orders.hibernate("ada", "stop")
        host.runtime.faults["start"] = [RuntimeUnavailable("Docker does not answer.")]
        with pytest.raises(Problem) as refused:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert (refused.value.code, refused.value.status) == ("runtime-unavailable", 503)
        assert agent.state is S.STOPPED


async def test_a_container_that_the_engine_lost_is_created_again(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "pause")
        host.runtime.containers.clear()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.runtime.containers["ada"].spec.agent_token == AGENT_TOKEN


async def test_a_failed_start_is_reported_and_retried(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.runtime.faults["start"] = [RuntimeFailed("No such image. Run `ocmt image build`.")]
        with pytest.raises(Problem, match="ocmt image build"):
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.FAILED
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.RUNNING


async def test_an_agent_that_does_not_exist_cannot_be_woken(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        with pytest.raises(Problem) as refused:
            await host.wakes.awake("nobody", kind=ActivityKind.HTTP)
        assert refused.value.status == 404
