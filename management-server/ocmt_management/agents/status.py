"""What every agent does right now, from the agent server's one stream of events.

Kept in memory for whoever asks, told to whoever watches, and honest when the stream is down: an
old state is then nobody's answer.
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

from ocmt_management.agents.client import AgentServer, AgentServerUnreachable, Snapshot
from ocmt_management.clock import Clock

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One agent as the agent server last described it."""

    state: HibernationState
    since: datetime
    failure: str | None
    disabled: bool
    warning: str | None = None


class AgentStatuses:
    """Run `follow` as long as the server lives."""

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
        self._seen: dict[str, Seen] = {}
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.trouble: Problem | None = AgentServerUnreachable("it was not asked yet")
        """Why nothing is known at the moment; `None` while the stream is up."""
        self.trouble_since = clock()
        self.connected = asyncio.Event()
        """Set whenever the agent server began to tell. Clear it."""

    def of(self, user_id: str) -> Seen | None:
        """The agent's state, or `None` when the agent server has none. Ask `trouble` first."""
        return self._seen.get(user_id)

    def learn(self, container: Container) -> None:
        """An agent that was just made; the stream may not have told of it yet."""
        self._seen.setdefault(container.user_id, _seen(container))

    def note_disabled(self, container: Container) -> None:
        """Take `disabled`, which no event tells, from an answer of the agent server.

        Not the state: an event that is newer than the answer may have come before it.
        """
        known = self._seen.get(container.user_id, _seen(container))
        self._seen[container.user_id] = replace(known, disabled=container.disabled)
        self.tell(container.user_id)

    def disabled(self) -> frozenset[str]:
        """Whose agents are kept stopped, as far as is known."""
        return frozenset(user_id for user_id, seen in self._seen.items() if seen.disabled)

    def forget(self, user_id: str) -> None:
        """The agent server told elsewhere that it does not have this user's agent."""
        self._seen.pop(user_id, None)
        self.tell(user_id)

    @contextmanager
    def watch(self, user_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something about this user's agent changed. Clear it."""
        event = asyncio.Event()
        self._watchers[user_id].add(event)
        try:
            yield event
        finally:
            self._watchers[user_id].discard(event)
            if not self._watchers[user_id]:
                del self._watchers[user_id]

    def tell(self, user_id: str) -> None:
        """Something about this user's agent changed."""
        for event in self._watchers.get(user_id, ()):
            event.set()

    async def follow(self) -> None:
        """Keep the stream up for ever."""
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                async for said in self._server.events():
                    retry_s = _FIRST_RETRY_S
                    self._take(said)
                self._lose(AgentServerUnreachable("it ended its stream"))
            except Problem as problem:
                self._lose(problem)
            except Exception as error:
                log.exception("agent server's events not understood")
                self._lose(AgentServerUnreachable(type(error).__name__))
            await self._sleep(retry_s)
            retry_s = min(retry_s * 2, _LAST_RETRY_S)

    def _take(self, said: Snapshot | StateEvent) -> None:
        if isinstance(said, StateEvent):
            known = self._seen.get(said.user_id)
            if said.from_state is said.to_state and known and known.state is said.to_state:
                # Told of its memory or disk: its state is as it was, and since when.
                seen = replace(known, warning=said.warning)
                if seen == known:
                    return
            else:
                disabled = known is not None and known.disabled
                seen = Seen(said.to_state, said.at, said.failure, disabled, said.warning)
            self._seen[said.user_id] = seen
            self.tell(said.user_id)
            return
        self._seen = {container.user_id: _seen(container) for container in said.containers}
        if self.trouble is not None:
            log.info("agent server is there", agents=len(self._seen))
        self.trouble = None
        self.connected.set()
        self._tell_all()

    def _lose(self, problem: Problem) -> None:
        if self.trouble is None:
            self.trouble_since = self._clock()
            log.warning("agent server lost", reason=problem.detail)
        self.trouble = problem
        self._tell_all()

    def _tell_all(self) -> None:
        for user_id in self._watchers:
            self.tell(user_id)


def _seen(container: Container) -> Seen:
    return Seen(
        container.hibernation_state,
        container.state_since,
        container.failure,
        container.disabled,
        container.warning,
    )
