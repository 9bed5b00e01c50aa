"""All agents of this host in memory, written through to the database.

While the process runs, memory is authoritative: a full disk loses no change of state, since the
next flush repeats a failed write. Creating, removing, disabling and configuring an agent fail
without the database, since a restarted server cannot read these from the runtime.
"""

import asyncio
import hashlib
from collections import deque
from copy import copy
from datetime import datetime, timedelta

import structlog
from ocmt_common.agent_api import (
    Actor,
    AgentModel,
    AgentPolicy,
    HibernationCounts,
    HibernationState,
    PausedMemory,
    RefusedWake,
    StateEvent,
    WakeSample,
)
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.disk_limit import Standing
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.decisions.wake_lead_time import WakeTimes
from ocmt_agent.records import idle_clock
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.events import EventHub
from ocmt_agent.records.metrics import Metrics
from ocmt_agent.records.store import AgentStore, StoreError
from ocmt_agent.runtime.base import SecretText
from ocmt_agent.runtime.homes import Homes

log = structlog.get_logger(__name__)

_EVENTS_KEPT_FOR = timedelta(days=90)
_REFUSALS_KEPT = 200
_EVENTS_READ = 5000


class AgentRegistry:
    def __init__(
        self, store: AgentStore, *, hub: EventHub, clock: Clock, homes: Homes | None = None
    ) -> None:
        homes = homes or Homes()
        self.metrics = Metrics(self.counts)
        self.metrics.follow_sleepers(self._sleepers)
        self.problem: str | None = None
        """Why the database cannot be used now, and what to do; `None` if it works."""
        self._store = store
        self._hub = hub
        self._clock = clock
        self._agents: dict[str, Agent] = {}
        self._spares: dict[str, Agent] = {}
        """Agents made beforehand, by home."""
        self._homes = homes
        self._by_token: dict[bytes, Agent] = {}
        """Hash of the token that its container has → agent."""
        self._tidy_at_s = clock.monotonic()
        self.wake_times = WakeTimes()
        self._wake_times_unsaved = False
        self.refused_wakes: deque[RefusedWake] = deque(maxlen=_REFUSALS_KEPT)
        """The latest, oldest first."""

    async def load(self) -> None:
        self.wake_times = WakeTimes(await self._store.wake_times())
        for user_id, home in (await self._store.homes()).items():
            self._homes.set(user_id, home)
        for agent in await self._store.load():
            self.reserve(agent)
            self._by_token[_token_hash(_container_token(agent))] = agent

    def find(self, user_id: str) -> Agent | None:
        """The user's agent, or the spare with that home; `None` if there is neither."""
        return self._agents.get(user_id) or self._spares.get(user_id)

    def get(self, user_id: str) -> Agent:
        agent = self._agents.get(user_id)
        if agent is None:
            raise Problem(404, "no-such-agent", "This user has no agent here. Provision one first.")
        return agent

    def all(self) -> list[Agent]:
        """The users' agents."""
        return list(self._agents.values())

    def spares(self) -> list[Agent]:
        """The agents made beforehand that have no user yet."""
        return list(self._spares.values())

    def is_spare(self, agent: Agent) -> bool:
        """Whether it is one of `spares`: not claimed, taken or removed."""
        return self._spares.get(agent.user_id) is agent

    def counts(self) -> HibernationCounts:
        counts = HibernationCounts()
        for agent in self._agents.values():
            setattr(counts, agent.state, getattr(counts, agent.state) + 1)
        return counts

    def _sleepers(self, memory: PausedMemory | None) -> int:
        """How many paused agents have their memory there; `None` for those not measured."""
        paused = (a for a in self._agents.values() if a.state is HibernationState.PAUSED)
        return sum(agent.paused_memory is memory for agent in paused)

    def is_agent_token(self, token: str) -> bool:
        """Whether a container of this host has `token`, looked up by its hash."""
        return _token_hash(token) in self._by_token

    def token_for_management(self, token: str) -> str | None:
        """The agent token of the container that has `token`; `None` for a spare, or an unknown one.

        The two differ for an agent that was made beforehand.
        """
        agent = self._by_token.get(_token_hash(token))
        return None if agent is None or agent.spare else str(agent.agent_token)

    def touch(self, agent: Agent, kind: ActivityKind) -> None:
        """Record the user's activity; the next flush writes it to the database."""
        idle_clock.restart(agent, kind, now=self._clock.now())

    def reserve(self, agent: Agent) -> None:
        """Register a new agent before the first await: a concurrent caller finds this one."""
        (self._spares if agent.spare else self._agents)[agent.user_id] = agent

    async def is_new(self, user_id: str) -> bool:
        """Whether the user never had an agent here, or the last was removed with its state.

        Raises `Problem`.
        """
        try:
            return not await self._store.has_number(user_id)
        except StoreError as error:
            raise self._database_down(error) from error

    def claim(self, spare: Agent, user_id: str, *, agent_token: str) -> None:
        """Make a spare the user's agent in memory, before the first await. See `keep_claim`."""
        home = spare.user_id
        del self._spares[home]
        spare.claim(user_id, agent_token=agent_token, now=self._clock.now())
        self._homes.set(user_id, home)
        self._agents[user_id] = spare
        self.touch(spare, ActivityKind.PROVISION)

    async def keep_claim(self, agent: Agent) -> None:
        """Store a claim. If that fails, make the agent a spare again and raise a 503 `Problem`."""
        home = agent.claimed_home
        if home is None:
            return
        try:
            await self._store.keep_claim(agent, home)
        except BaseException as error:
            self._agents.pop(agent.user_id, None)
            self._homes.forget(agent.user_id)
            agent.unclaim()
            self.reserve(agent)
            if not isinstance(error, StoreError):
                raise
            raise self._database_down(error) from error
        agent.claimed_home = None

    async def move_into(self, agent: Agent, spare: Agent) -> None:
        """Store that an agent goes on in a spare: with its home, number and container's tokens.

        Its state is still to be moved, from `old_home`. If that fails, raise a 503 `Problem`; the
        agent and the spare are as before.
        """
        try:
            await _to_its_end(asyncio.create_task(self._move_into(agent, spare)))
        except StoreError as error:
            raise self._database_down(error) from error

    async def _move_into(self, agent: Agent, spare: Agent) -> None:
        moved = copy(agent)
        moved.number, moved.gateway_token = spare.number, spare.gateway_token
        moved.container_token, moved.old_home = spare.container_token, self._homes.of(agent.user_id)
        await self._store.keep_move(moved, spare.user_id)
        # Without an await from here on, so that no other write stores the fields as they were.
        self._by_token.pop(_token_hash(_container_token(agent)), None)
        agent.number, agent.gateway_token = moved.number, moved.gateway_token
        agent.container_token, agent.old_home = moved.container_token, moved.old_home
        self._by_token[_token_hash(_container_token(agent))] = agent
        self._homes.set(agent.user_id, spare.user_id)
        spare.removed = True

    async def moved(self, agent: Agent) -> None:
        """Store that the old home is gone."""
        agent.old_home = None
        await self.save(agent)

    def take_spare(self, spare: Agent) -> None:
        """Take a spare out of those that are ready, before the first await."""
        del self._spares[spare.user_id]

    async def insert(self, agent: Agent) -> None:
        """Store a reserved agent. If that fails, forget it and raise a 503 `Problem`."""
        try:
            await self._store.keep(agent)
        except StoreError as error:
            agent.removed = True
            self._drop(agent)
            raise self._database_down(error) from error
        self._by_token[_token_hash(_container_token(agent))] = agent

    def _drop(self, agent: Agent) -> None:
        (self._spares if agent.spare else self._agents).pop(agent.user_id, None)

    async def replace_token(self, agent: Agent, token: str) -> None:
        """Store another agent token. If that fails, keep the old one and raise a 503 `Problem`.

        From then on, the relay refuses the token that the container had.
        """
        before = agent.agent_token, agent.container_token
        held = _container_token(agent)
        agent.agent_token, agent.container_token = SecretText(token), None
        try:
            await self._store.keep(agent)
        except StoreError as error:
            agent.agent_token, agent.container_token = before
            raise self._database_down(error) from error
        self._by_token.pop(_token_hash(held), None)
        self._by_token[_token_hash(token)] = agent

    async def set_policy(self, agent: Agent, policy: AgentPolicy) -> None:
        """Store the user's policy. If that fails, keep the old one and raise a 503 `Problem`."""
        before = agent.policy
        agent.set_policy(policy)
        try:
            await self._store.keep(agent)
        except StoreError as error:
            agent.set_policy(before)
            raise self._database_down(error) from error

    async def set_disabled(self, agent: Agent, disabled: bool) -> None:
        """Store whether the agent is disabled. If that fails, raise a 503 `Problem`."""
        before, agent.disabled = agent.disabled, disabled
        try:
            await self._store.keep(agent)
        except StoreError as error:
            agent.disabled = before
            raise self._database_down(error) from error

    async def set_openclaw(self, agent: Agent, version: str) -> None:
        """Store the OpenClaw version of the agent's state. If that fails, raise a 503 `Problem`."""
        try:
            await self._store.keep_openclaw(agent.user_id, version)
        except StoreError as error:
            raise self._database_down(error) from error
        agent.openclaw = version

    async def set_tools_version(self, agent: Agent, version: int) -> None:
        """Store the version of the user's tools. If that fails, raise a 503 `Problem`."""
        try:
            await self._store.keep_tools_version(agent.user_id, version)
        except StoreError as error:
            raise self._database_down(error) from error
        agent.tools_version = version

    async def set_model(self, agent: Agent, model: AgentModel) -> None:
        """Store the shape of the user's model. If that fails, raise a 503 `Problem`."""
        try:
            await self._store.keep_model(agent.user_id, model)
        except StoreError as error:
            raise self._database_down(error) from error
        agent.model = model

    async def forget(self, agent: Agent, *, with_state: bool) -> None:
        """Remove the agent from the database and from memory. If that fails, raise a 503 `Problem`.

        Without `with_state`, the user keeps the agent's number for the state that stays.
        """
        agent.removed = True  # first: a later write of this agent would restore it
        try:
            await self._store.delete(agent.user_id, with_number=with_state)
        except StoreError as error:
            agent.removed = False
            raise self._database_down(error) from error
        self._drop(agent)
        self._by_token.pop(_token_hash(_container_token(agent)), None)
        if with_state:
            self._homes.forget(agent.user_id)

    async def move(
        self,
        agent: Agent,
        to: HibernationState,
        *,
        why: TransitionReason,
        duration_ms: float | None = None,
        failure: str | None = None,
    ) -> None:
        """Change the agent's state in memory and in the database, and publish an event.

        A spare has no events.
        """
        event = StateEvent(
            user_id=agent.user_id,
            at=self._clock.now(),
            from_state=agent.state if agent.state != to else None,
            to_state=to,
            who=why.who,
            why=why.why,
            duration_ms=duration_ms,
            memory_before_bytes=None if agent.memory is None else agent.memory.host,
            failure=failure,
            warning=agent.warning,
        )
        agent.state = to
        agent.state_who = why.who
        agent.state_why = why.why
        if to in (HibernationState.PAUSED, HibernationState.STOPPED):
            agent.asleep_since = agent.asleep_since or event.at
            if agent.rests_as is not HibernationState.STOPPED:
                agent.rests_as = to
            agent.woken_for = None
            if why.who is not Actor.RUNTIME:
                agent.self_wakes, agent.wake_again_at = 0, 0.0
        agent.state_since = event.at
        agent.failure = failure
        if to is not HibernationState.PAUSED:
            agent.paused_memory = None
        if to is not HibernationState.RUNNING:
            agent.access = None
            agent.blockers = []
            agent.cpu = None
        self.metrics.observe(event)
        await self._tell(agent, event)

    async def memory_moved(
        self,
        agent: Agent,
        *,
        why: TransitionReason,
        before_bytes: int,
        after_bytes: int,
        duration_ms: float,
    ) -> None:
        """Publish that an agent's memory was reclaimed or trimmed; its state does not change."""
        event = StateEvent(
            user_id=agent.user_id,
            at=self._clock.now(),
            from_state=agent.state,
            to_state=agent.state,
            who=why.who,
            why=why.why,
            duration_ms=duration_ms,
            memory_before_bytes=before_bytes,
            memory_after_bytes=after_bytes,
            warning=agent.warning,
        )
        await self._tell(agent, event)

    async def measured_disk(self, agent: Agent, found: Standing) -> None:
        """Record an agent's disk usage; publish an event if its warning changed."""
        before = agent.warning
        agent.disk = found
        if agent.warning == before:
            return
        event = StateEvent(
            user_id=agent.user_id,
            at=self._clock.now(),
            from_state=agent.state,
            to_state=agent.state,
            who=Actor.POLICY,
            why="it uses more of the disk" if agent.warning else "it uses less of the disk",
            warning=agent.warning,
        )
        await self._tell(agent, event)

    async def _tell(self, agent: Agent, event: StateEvent) -> None:
        if not agent.spare:
            self._hub.publish(event)
        log.info(
            "agent moved",
            user_id=agent.user_id,
            to=str(event.to_state),
            who=str(event.who),
            why=event.why,
            ms=round(event.duration_ms) if event.duration_ms is not None else None,
            failure=event.failure,
        )
        await self.save(agent, event=None if agent.spare else event)

    async def save(self, agent: Agent, *, event: StateEvent | None = None) -> None:
        """Write the agent and an event to the database.

        If that fails, the next flush writes the agent; the event is not stored.
        """
        agent.unsaved = False  # before the write: a change meanwhile is for the next flush
        try:
            await self._store.save(agent, event=event)
        except StoreError as error:
            agent.unsaved = True
            self._database_down(error)
            return
        except asyncio.CancelledError:
            agent.unsaved = True
            raise
        if self.problem is not None:  # it works again: write what is pending
            await self.flush()

    def shift_times(self, by: timedelta) -> None:
        """Shift the times from which durations count by a jump of the wall clock."""
        for agent in (*self._agents.values(), *self._spares.values()):
            idle_clock.shift(agent, by)

    def refused_wake(self, agent: Agent, why: str) -> None:
        """Record that a wake was refused; `why` is `memory` or `queue`."""
        self.metrics.refused(why)
        self.refused_wakes.append(RefusedWake(user_id=agent.user_id, at=self._clock.now(), why=why))

    async def wakes_since(self, moment: datetime) -> list[WakeSample]:
        """The wakes of all agents since `moment` with their durations, oldest first.

        As far as the latest `_EVENTS_READ` events show them. Raises `Problem`.
        """
        try:
            events = await self._store.events_since(moment, limit=_EVENTS_READ)
        except StoreError as error:
            raise self._database_down(error) from error
        before: dict[str, HibernationState | None] = {}
        wakes = []
        for event in events:
            if event.to_state is HibernationState.WAKING:
                before[event.user_id] = event.from_state
            elif event.to_state is HibernationState.RUNNING and event.duration_ms is not None:
                wakes.append(
                    WakeSample(
                        user_id=event.user_id,
                        at=event.at,
                        from_state=before.pop(event.user_id, None),
                        who=event.who,
                        duration_ms=event.duration_ms,
                    )
                )
        return wakes

    def woke(self, before: HibernationState, *, seconds: float) -> None:
        """Record how long a wake from the state `before` took."""
        self.metrics.woke(before, seconds=seconds)
        self.wake_times.add(before, seconds)
        self._wake_times_unsaved = True

    async def tidy(self) -> None:
        """Delete events older than `_EVENTS_KEPT_FOR`, at most once an hour."""
        now_s = self._clock.monotonic()
        if now_s < self._tidy_at_s:
            return
        self._tidy_at_s = now_s + 3600
        try:
            await self._store.drop_events(older_than=self._clock.now() - _EVENTS_KEPT_FOR)
        except StoreError as error:
            self._database_down(error)

    async def flush(self) -> None:
        """Write the agents that changed since their last write, in one transaction.

        If that fails, `problem` says why, and the next flush tries again.
        """
        # After a failure everything is written: only then does success clear the problem.
        known = (*self._agents.values(), *self._spares.values())
        to_write = [a for a in known if a.unsaved or self.problem is not None]
        for agent in to_write:
            agent.unsaved = False
        learned, self._wake_times_unsaved = self._wake_times_unsaved, False
        try:
            if to_write:
                await self._store.save_all(to_write)
            if learned:
                await self._store.save_wake_times(self.wake_times.kept())
            self.problem = None
        except BaseException as error:  # also when cancelled: the last flush writes it
            for agent in to_write:
                agent.unsaved = True
            self._wake_times_unsaved |= learned
            if not isinstance(error, StoreError):
                raise
            self._database_down(error)

    async def events(
        self, agent: Agent, *, limit: int, before: int | None = None
    ) -> list[StateEvent]:
        """The agent's latest `limit` events before the id `before`, oldest first.

        Raises `Problem`.
        """
        try:
            return await self._store.events(agent.user_id, limit=limit, before=before)
        except StoreError as error:
            raise self._database_down(error) from error

    def _database_down(self, error: StoreError) -> Problem:
        if self.problem is None:
            log.error("database does not work", reason=str(error))
        self.problem = str(error)
        return Problem(503, "database-unavailable", str(error), retry_after_s=10)


async def _to_its_end(storing: "asyncio.Task[None]") -> None:
    """Wait for a task even if this one is cancelled meanwhile; then raise the cancellation."""
    try:
        await asyncio.shield(storing)
    except asyncio.CancelledError:
        await asyncio.wait({storing})
        raise


def _container_token(agent: Agent) -> str:
    return agent.container_token or agent.agent_token


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
