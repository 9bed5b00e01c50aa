"""Random sequences of making, claiming, losing and restarting, with invariants after each."""

import asyncio
import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host

USERS = st.sampled_from(["ada", "ben", "eve", "dan"])
CALLS = [
    *("create", "start", "pause", "unpause", "remove", "inspect", "is_current"),
    *("can_hold", "hold_gateway", "inherit"),
]


class SparesMachine(RuleBasedStateMachine):
    """Four users come and go on a host whose engine and server fail in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.runtime, self.clock = FakeRuntime(), FakeClock()
        self.gateway = FakeControl(self.runtime)
        self.owners: dict[str, str] = {}
        """Gateway token → the only user who ever had it."""
        self.written: dict[str, set[str]] = defaultdict(set)
        """User → what is in the state of their agent."""
        self.killed: set[str] = set()
        """Homes of containers that died since all were last looked at without a fault.

        A request may reach such an agent before its death is noticed, and then fails."""
        self.versions = 6

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def attempt(self, work: Coroutine[Any, Any, Any]) -> None:
        with contextlib.suppress(Problem, RuntimeFailed, RuntimeUnavailable):
            await work

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

    @initialize()
    def start(self) -> None:
        self.do(self.open_server())

    @rule(count=st.integers(1, 2))
    def some_are_made(self, count: int) -> None:
        self.clock.advance(minutes=10)
        self.do(self.host.make_spares(count))

    @rule(count=st.integers(1, 2))
    def some_are_held(self, count: int) -> None:
        self.clock.advance(minutes=10)
        self.do(self.host.make_spares(count, held=True))

    @rule(user=USERS)
    def an_agent_is_stopped(self, user: str) -> None:
        self.do(self.attempt(self.host.orders.hibernate(user, "stop", force=True)))

    @rule(users=st.lists(USERS, min_size=1, max_size=4))
    def users_come(self, users: list[str]) -> None:
        async def come() -> None:
            await asyncio.gather(
                *(self.attempt(self.host.provision(u, token=f"{AGENT_TOKEN}-{u}")) for u in users)
            )

        self.do(come())

    @rule(user=USERS)
    def a_user_writes(self, user: str) -> None:
        async def write() -> None:
            async with self.host.wakes.using(user, kind=ActivityKind.HTTP) as access:
                container = self.runtime.containers[self.gateway.home(user)]
                running = container.status is ContainerStatus.RUNNING
                assert running or self.gateway.home(user) in self.killed
                assert container.spec.gateway_token == access.gateway_token
                assert not self.gateway.closed(user)
                if running:
                    # What the user had written when the gateway last read its state.
                    assert container.read == self.written[user]
                    self.runtime.states[self.gateway.home(user)].add(user)
                    container.read = frozenset({user})
                    self.written[user] = {user}

        self.do(self.attempt(write()))

    @rule(user=USERS, with_state=st.booleans())
    def a_user_leaves(self, user: str, with_state: bool) -> None:
        async def leave() -> None:
            await self.host.parts.provisioning.remove(user, with_state=with_state)
            if with_state:
                self.written[user] = set()

        self.do(self.attempt(leave()))

    @rule(minutes=st.sampled_from([1, 31, 241]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)
        self.do(self.host.sweep())

    @rule(at=st.integers(0, 5))
    def a_container_is_killed(self, at: int) -> None:
        if self.runtime.containers:
            names = sorted(self.runtime.containers)
            self.killed.add(names[at % len(names)])
            self.runtime.die(names[at % len(names)])

    @rule(call=st.sampled_from(CALLS), gone=st.booleans())
    def the_runtime_will_fail(self, call: str, gone: bool) -> None:
        fault = RuntimeUnavailable("The engine is gone.") if gone else RuntimeFailed("It cannot.")
        self.runtime.faults.setdefault(call, []).append(fault)

    @rule()
    def another_image_comes(self) -> None:
        self.versions += 1
        self.runtime.openclaw = f"2026.9.{self.versions}"

    @rule()
    def the_server_restarts(self) -> None:
        async def restart() -> None:
            await self.stack.aclose()
            await self.open_server()

        self.do(restart())

    @rule()
    def all_faults_end_and_everybody_is_answered(self) -> None:
        self.runtime.faults.clear()
        self.clock.advance(minutes=10)
        self.do(self.host.sweep())
        self.do(self.host.make_spares(1))
        for agent in self.host.parts.registry.all():
            self.do(self.host.wakes.awake(agent.user_id, kind=ActivityKind.HTTP))
            container = self.runtime.containers[self.gateway.home(agent.user_id)]
            assert container.status is ContainerStatus.RUNNING
            assert container.read == self.written[agent.user_id]
            assert agent.old_home is None
        self.do(self.host.make_spares(1))
        homes = {self.gateway.home(a.user_id) for a in self.host.parts.registry.all()}
        homes |= {spare.user_id for spare in self.host.parts.registry.spares()}
        assert set(self.runtime.containers) <= homes, "a container is left behind"
        self.killed.clear()

    @invariant()
    def no_two_have_anything_in_common(self) -> None:
        if not hasattr(self, "host"):
            return
        registry = self.host.parts.registry
        agents = [*registry.all(), *registry.spares()]
        for of in (
            lambda agent: self.gateway.home(agent.user_id),
            lambda agent: agent.number,
            lambda agent: str(agent.gateway_token),
            lambda agent: agent.device.device_id,
        ):
            assert len({of(agent) for agent in agents}) == len(agents)
        for agent in registry.all():
            owner = self.owners.setdefault(str(agent.gateway_token), agent.user_id)
            assert owner == agent.user_id, "an agent was given to a second user"
            assert agent.agent_token == f"{AGENT_TOKEN}-{agent.user_id}"
            token = agent.container_token or agent.agent_token
            assert registry.token_for_management(token) == agent.agent_token
            states = self.runtime.states.get(self.gateway.home(agent.user_id), set())
            assert states <= {agent.user_id}, "a user's agent has another's state"
        for spare in registry.spares():
            assert not self.runtime.states.get(spare.user_id), "a spare has a user's state"
            assert str(spare.gateway_token) not in self.owners, "a user's agent became a spare"
            assert registry.token_for_management(str(spare.agent_token)) is None

    @invariant()
    def nothing_is_left_in_flight(self) -> None:
        if hasattr(self, "host"):
            registry = self.host.parts.registry
            assert not any(a.lock.locked() for a in (*registry.all(), *registry.spares()))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.do(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


TestSpares = SparesMachine.TestCase
TestSpares.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
