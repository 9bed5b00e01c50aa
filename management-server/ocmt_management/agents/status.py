"""The state of every agent, from the agent server's event stream.

States are kept in memory and watchers are notified of changes. While the stream is down, agents
are reported as unreachable instead of with a stale state.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from ocmt_common.agent_api import Container, HibernationState, StateEvent
from ocmt_common.problems import Problem

from ocmt_management.agents.client import AgentServer, AgentServerUnreachable, AgentsSnapshot
from ocmt_management.clock import Clock

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One agent as the agent server last reported it."""

    state: HibernationState
    since: datetime
    failure: str | None
    disabled: bool
    warning: str | None = None


class AgentStatuses:
    """The last known status of each agent. Run `follow` for the server's lifetime."""

    def __init__(
        self,
        server: AgentServer,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._clock = clock
        self._sleep = sleep
        self._statuses: dict[str, AgentStatus] = {}
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.unreachable: Problem | None = AgentServerUnreachable("no connection was made yet")
        """Why the stream is down; `None` while it is up."""
        self.unreachable_since = clock()
        self.connected = asyncio.Event()
        """Set whenever the stream connects. The reconciler clears it."""

    def of(self, user_id: str) -> AgentStatus | None:
        """The agent's status; `None` if the agent does not exist. Check `unreachable` first."""
        return self._statuses.get(user_id)

    def add(self, container: Container) -> None:
        """Add an agent that was just provisioned, unless the stream already reported it."""
        self._statuses.setdefault(container.user_id, _status(container))

    def set_disabled(self, container: Container) -> None:
        """Update `disabled`, which events lack, from an answer of the agent server.

        The state is not updated: a newer event may have arrived before the answer.
        """
        known = self._statuses.get(container.user_id, _status(container))
        self._statuses[container.user_id] = replace(known, disabled=container.disabled)
        self.notify(container.user_id)

    def disabled(self) -> frozenset[str]:
        """The users whose agents are disabled."""
        return frozenset(user_id for user_id, seen in self._statuses.items() if seen.disabled)

    def forget(self, user_id: str) -> None:
        """Drop the agent: it was removed, or the agent server does not have it."""
        self._statuses.pop(user_id, None)
        self.notify(user_id)

    @contextmanager
    def watch(self, user_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever this user's agent changes. The watcher clears it."""
        event = asyncio.Event()
        self._watchers[user_id].add(event)
        try:
            yield event
        finally:
            self._watchers[user_id].discard(event)
            if not self._watchers[user_id]:
                del self._watchers[user_id]

    def notify(self, user_id: str) -> None:
        """Set the events of this agent's watchers."""
        for event in self._watchers.get(user_id, ()):
            event.set()

    async def follow(self) -> None:
        """Read the stream and reconnect whenever it ends; never returns."""
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                async for event in self._server.events():
                    retry_s = _FIRST_RETRY_S
                    self._apply(event)
                self._disconnected(
                    AgentServerUnreachable("the agent server ended the event stream")
                )
            except Problem as problem:
                self._disconnected(problem)
            except Exception as error:
                log.exception("agent server event not valid")
                self._disconnected(AgentServerUnreachable(type(error).__name__))
            await self._sleep(retry_s)
            retry_s = min(retry_s * 2, _LAST_RETRY_S)

    def _apply(self, event: AgentsSnapshot | StateEvent) -> None:
        if isinstance(event, StateEvent):
            known = self._statuses.get(event.user_id)
            if event.from_state is event.to_state and known and known.state is event.to_state:
                # An event about memory or disk leaves the state and `since` as they are.
                status = replace(known, warning=event.warning)
                if status == known:
                    return
            else:
                disabled = known is not None and known.disabled
                status = AgentStatus(
                    event.to_state, event.at, event.failure, disabled, event.warning
                )
            self._statuses[event.user_id] = status
            self.notify(event.user_id)
            return
        self._statuses = {container.user_id: _status(container) for container in event.containers}
        if self.unreachable is not None:
            log.info("agent server connected", agents=len(self._statuses))
        self.unreachable = None
        self.connected.set()
        self._notify_all()

    def _disconnected(self, problem: Problem) -> None:
        if self.unreachable is None:
            self.unreachable_since = self._clock()
            log.warning("agent server lost", reason=problem.detail)
        self.unreachable = problem
        self._notify_all()

    def _notify_all(self) -> None:
        for user_id in self._watchers:
            self.notify(user_id)


def _status(container: Container) -> AgentStatus:
    return AgentStatus(
        container.hibernation_state,
        container.state_since,
        container.failure,
        container.disabled,
        container.warning,
    )
