"""Random sequences of requests, sweeps, crashes and faults, with invariants checked after each."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable
from ocmt_agent.hibernation.sleep import Mode
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import Host, open_host
from ocmt_testing.agent_server.interception import Interception, When

GIB = 1024**3
RUNTIME_CALLS = ["create", "start", "pause", "unpause", "stop", "inspect", "observe_all"]
CHANGES = ["create", "start", "pause", "unpause", "stop", "remove"]
GATEWAY_CALLS = ["health", "next_job_at", "suspend", "resume"]
SHOWN = {
    ContainerStatus.RUNNING: S.RUNNING,
    ContainerStatus.PAUSED: S.PAUSED,
    ContainerStatus.EXITED: S.STOPPED,
}


async def outcome(work: Coroutine[Any, Any, None]) -> Problem | None:
    try:
        await work
    except Problem as problem:
        return problem
    return None


class HibernationMachine(RuleBasedStateMachine):
    """One user on a host whose engine, gateway, clock and server fail in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.runtime = FakeRuntime()
        self.gateway = FakeControl(self.runtime)
        self.clock = FakeClock()
        self.under_way: set[str] = set()
        self.overlapped: list[str] = []
        for call in CHANGES:
            setattr(self.runtime, call, self.one_at_a_time(call, getattr(self.runtime, call)))

    def one_at_a_time(self, call: str, change: Callable[..., Any]) -> Callable[..., Any]:
        """Records when two changes of the container overlap."""

        async def changing(*args: Any, **kwargs: Any) -> Any:
            self.overlapped += [f"{call} during {other}" for other in self.under_way]
            self.under_way.add(call)
            try:
                return await change(*args, **kwargs)
            finally:
                self.under_way.discard(call)

        return changing

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def open_server(self) -> None:
        self.stack = AsyncExitStack()
        self.host: Host = await self.stack.enter_async_context(
            open_host(
                self.folder,
                runtime=self.runtime,
                gateway=self.gateway,
                clock=self.clock,
                WAKE_TIMEOUT_MS="10000",
            )
        )

    def reported(self) -> None:
        """The engine reports an event of the container."""

        async def settle() -> None:
            with contextlib.suppress(RuntimeFailed, RuntimeUnavailable):  # the watch logs them
                await self.host.parts.hibernation.reconciler.settle(self.agent)

        self.do(settle())

    @initialize()
    def provision(self) -> None:
        async def start() -> None:
            await self.open_server()
            self.agent = await self.host.provision()

        self.do(start())

    @rule(callers=st.integers(1, 5), kind=st.sampled_from(list(ActivityKind)))
    def requests_arrive(self, callers: int, kind: ActivityKind) -> None:
        """Each is answered by a working agent, or refused with what to do."""

        async def request() -> None:
            async with self.host.wakes.using("ada", kind=kind):
                container = self.runtime.containers["ada"]
                assert container.status is ContainerStatus.RUNNING
                assert not self.gateway.closed("ada")

        async def requests() -> None:
            boots = self.runtime.calls["start"]
            results = await asyncio.gather(
                *(request() for _ in range(callers)), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    assert isinstance(result, Problem), repr(result)
                    assert result.status in (503, 504)
            assert self.runtime.calls["start"] <= boots + 1

        self.do(requests())

    @rule(minutes=st.sampled_from([1, 31, 241]))
    def time_passes_and_the_sweep_looks(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)
        self.do(self.host.sweep())

    @rule(mode=st.sampled_from(["pause", "stop"]), force=st.booleans())
    def an_operator_orders(self, mode: Mode, force: bool) -> None:
        async def order() -> None:
            await self.host.orders.hibernate("ada", mode, force=force)

        refused = self.do(outcome(order()))
        assert refused is None or refused.status in (409, 503)

    @rule()
    def a_request_races_an_order(self) -> None:
        async def race() -> None:
            hibernation = self.host.parts.hibernation
            results = await asyncio.gather(
                hibernation.orders.hibernate("ada", "pause"),
                hibernation.wakes.awake("ada", kind=ActivityKind.HTTP),
                self.host.sweep(),
                return_exceptions=True,
            )
            for result in results:
                assert result is None or not isinstance(result, AssertionError)

        self.do(race())

    @rule()
    def the_gateway_is_killed(self) -> None:
        if "ada" in self.runtime.containers:
            self.runtime.die("ada", exit_code=137)
            self.reported()

    @rule()
    def it_is_killed_in_its_sleep_and_nobody_reports_it(self) -> None:
        container = self.runtime.containers.get("ada")
        if container is not None and container.status is ContainerStatus.PAUSED:
            self.runtime.die("ada", exit_code=137)

    @rule(kept=st.booleans())
    def sockets_outlive_a_sleep_or_not(self, kept: bool) -> None:
        self.gateway.keeps_lines = kept

    @rule()
    def somebody_freezes_the_container_by_hand(self) -> None:
        container = self.runtime.containers.get("ada")
        if container is not None and container.status is ContainerStatus.RUNNING:
            container.status = ContainerStatus.PAUSED
            self.reported()

    @rule()
    def the_container_is_removed_by_hand(self) -> None:
        self.runtime.containers.clear()
        self.reported()

    @rule(call=st.sampled_from(RUNTIME_CALLS), gone=st.booleans())
    def the_runtime_will_fail(self, call: str, gone: bool) -> None:
        fault = RuntimeUnavailable("The engine is gone.") if gone else RuntimeFailed("It cannot.")
        self.runtime.faults.setdefault(call, []).append(fault)

    @rule(call=st.sampled_from(GATEWAY_CALLS), gone=st.booleans())
    def the_gateway_will_fail(self, call: str, gone: bool) -> None:
        fault: Exception = GatewayUnreachable("Nothing answers.")
        if not gone:
            fault = GatewayRefused("UNAVAILABLE", "starting", retry_after_s=0.1)
        self.gateway.faults.setdefault(call, []).append(fault)

    @rule(busy=st.booleans())
    def the_gateway_works_or_rests(self, busy: bool) -> None:
        self.gateway.busy = {"ada": Busy(["1 active request"], 20)} if busy else {}

    @rule(hours=st.integers(-50, 50))
    def the_wall_clock_is_set(self, hours: int) -> None:
        self.clock.jump(timedelta(hours=hours))
        self.do(self.host.sweep())

    @rule(swap_free=st.integers(0, 8))
    def swap_gets_short_or_free(self, swap_free: int) -> None:
        self.agent.memory = AgentMemory(0, 0, 0, GIB, 0)
        self.host.room.figures = HostFigures(
            16 * GIB, 8 * GIB, 8 * GIB, swap_free * GIB, None, swap_disk=8 * GIB
        )

    @rule(full=st.booleans())
    def the_host_has_memory_or_not(self, full: bool) -> None:
        self.host.room.figures = HostFigures(16 * GIB, 0 if full else 8 * GIB, 0, 0, None)

    @rule(
        policy=st.sampled_from(
            [
                AgentPolicy(),
                AgentPolicy(never_sleep=True),
                AgentPolicy(max_awake_ms=60_000),
                AgentPolicy(pause_after_ms=1000, stop_after_ms=1000),
            ]
        )
    )
    def the_user_sets_a_policy(self, policy: AgentPolicy) -> None:
        self.do(self.host.parts.registry.set_policy(self.agent, policy))

    @rule(after=st.integers(0, 12))
    def a_caller_leaves(self, after: int) -> None:
        async def leave() -> None:
            asked = asyncio.ensure_future(self.host.wakes.awake("ada", kind=ActivityKind.HTTP))
            for _ in range(after):
                await asyncio.sleep(0)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError, Problem):
                await asked
            if self.agent.waking is not None:  # no caller waits for it any more; it continues
                with contextlib.suppress(Problem):
                    await asyncio.shield(self.agent.waking)

        self.do(leave())

    @rule(at=st.integers(1, 12), when=st.sampled_from(["before", "after"]), gone=st.booleans())
    def a_call_of_a_transition_fails(self, at: int, when: When, gone: bool) -> None:
        """A request and an order at the same time, with the nth outside call cut."""
        fault: dict[str, Exception] = {
            "runtime": RuntimeUnavailable("gone") if gone else RuntimeFailed("cannot"),
            "gateway": GatewayUnreachable("gone"),
        }
        cut = Interception(at, when, fault, armed=True)

        async def work() -> None:
            hibernation = self.host.parts.hibernation
            await asyncio.gather(
                hibernation.orders.hibernate("ada", "pause"),
                hibernation.wakes.awake("ada", kind=ActivityKind.HTTP),
                return_exceptions=True,
            )
            await asyncio.gather(
                hibernation.orders.hibernate("ada", "stop"), return_exceptions=True
            )

        with cut.into(self.host.parts.hibernation):
            self.do(work())

    @rule(hours=st.none() | st.integers(0, 30))
    def the_user_plans_a_job(self, hours: int | None) -> None:
        self.gateway.jobs = {}
        if hours is not None:
            self.gateway.jobs["ada"] = self.clock.now() + timedelta(hours=hours)

    @rule()
    def the_server_restarts(self) -> None:
        async def restart() -> None:
            activity = self.agent.last_activity_at
            await self.stack.aclose()
            await self.open_server()
            self.agent = self.host.parts.registry.get("ada")
            assert self.agent.last_activity_at == activity

        self.do(restart())

    @rule()
    def all_faults_end_and_a_request_is_answered(self) -> None:
        """From any state, it recovers by itself."""
        self.runtime.faults.clear()
        self.gateway.faults.clear()
        self.host.room.figures = None
        self.do(self.host.sweep())
        container = self.runtime.containers.get("ada")
        if self.agent.state is not S.FAILED:
            shown = S.STOPPED if container is None else SHOWN[container.status]
            assert self.agent.state is shown
        if self.agent.state is S.RUNNING:
            assert not self.gateway.closed("ada")
        self.do(self.host.wakes.awake("ada", kind=ActivityKind.HTTP))
        assert self.agent.state is S.RUNNING
        assert self.agent.failure is None
        assert not self.gateway.closed("ada")

    @invariant()
    def only_a_sleeper_s_memory_is_shown_as_asleep(self) -> None:
        agent = getattr(self, "agent", None)
        if agent is not None and agent.paused_memory is not None:
            assert agent.state is S.PAUSED

    @invariant()
    def access_is_only_to_what_runs(self) -> None:
        agent = getattr(self, "agent", None)
        if agent is not None and agent.access is not None:
            assert self.runtime.containers["ada"].status is ContainerStatus.RUNNING
            assert agent.state is S.RUNNING
            assert not self.gateway.closed("ada")

    @invariant()
    def one_change_at_a_time(self) -> None:
        assert self.overlapped == []

    @invariant()
    def nothing_is_left_in_flight(self) -> None:
        agent = getattr(self, "agent", None)
        if agent is not None:
            assert agent.in_flight == 0
            assert not agent.lock.locked()
            assert agent.state not in (S.WAKING, S.PROVISIONING)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.do(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


TestHibernation = HibernationMachine.TestCase
TestHibernation.settings = settings(max_examples=25, stateful_step_count=25)
