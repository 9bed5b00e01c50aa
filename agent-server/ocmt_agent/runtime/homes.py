"""Agents' homes: the names of their folders and containers, where these are not the user ids.

An agent that was made beforehand had its home before it had a user. A process cannot be given
another folder, nor a container another label or host name, so the agent keeps that home. A stopped
agent that goes on in a spare leaves its home for the spare's.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from ocmt_common.agent_api import AgentModel
from ocmt_common.user_ids import HOME_PREFIX

from ocmt_agent.runtime.base import (
    AgentSpec,
    Endpoint,
    Observed,
    Runtime,
    RuntimeEvent,
    Whereabouts,
)


def new_home() -> str:
    return HOME_PREFIX + secrets.token_hex(8)


class Homes:
    """User id → home, and back. A user without an entry has a home named by the user id."""

    def __init__(self) -> None:
        self._homes: dict[str, str] = {}
        self._users: dict[str, str] = {}

    def of(self, user_id: str) -> str:
        return self._homes.get(user_id, user_id)

    def user_of(self, home: str) -> str:
        return self._users.get(home, home)

    def is_current(self, home: str) -> bool:
        """Whether it is not one that its user has left."""
        return self.of(self.user_of(home)) == home

    def set(self, user_id: str, home: str) -> None:
        self._users.pop(self.of(user_id), None)
        self._homes[user_id] = home
        self._users[home] = user_id

    def forget(self, user_id: str) -> None:
        home = self._homes.pop(user_id, None)
        if home is not None:
            self._users.pop(home, None)


class HomedRuntime:
    """A `Runtime` that takes user ids, over one that is called with the agents' homes."""

    def __init__(self, runtime: Runtime, homes: Homes) -> None:
        self._runtime = runtime
        self._homes = homes
        self.name = runtime.name

    async def problems(self) -> list[str]:
        return await self._runtime.problems()

    async def relay_host(self) -> str:
        return await self._runtime.relay_host()

    def home(self, user_id: str) -> Path:
        return self._runtime.home(self._homes.of(user_id))

    def uid(self, number: int) -> int | None:
        return self._runtime.uid(number)

    async def openclaw_version(self) -> str:
        return await self._runtime.openclaw_version()

    async def create(self, spec: AgentSpec) -> None:
        await self._runtime.create(self._homed(spec))

    async def is_current(self, spec: AgentSpec) -> bool:
        return await self._runtime.is_current(self._homed(spec))

    async def set_tools_version(self, user_id: str, version: int) -> None:
        await self._runtime.set_tools_version(self._homes.of(user_id), version)

    async def set_heartbeat(self, user_id: str, minutes: int | None) -> None:
        await self._runtime.set_heartbeat(self._homes.of(user_id), minutes)

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        await self._runtime.set_model(self._homes.of(user_id), model)

    async def can_hold(self) -> bool:
        return await self._runtime.can_hold()

    async def hold_gateway(self, user_id: str) -> None:
        await self._runtime.hold_gateway(self._homes.of(user_id))

    async def inherit(self, spec: AgentSpec, source: str) -> None:
        await self._runtime.inherit(self._homed(spec), source)

    async def discard(self, home: str) -> None:
        """Remove a home that its user has left, with its container."""
        await self._runtime.remove(home, with_state=True)

    async def start(self, user_id: str) -> Endpoint:
        return await self._runtime.start(self._homes.of(user_id))

    async def pause(self, user_id: str) -> None:
        await self._runtime.pause(self._homes.of(user_id))

    async def unpause(self, user_id: str) -> None:
        await self._runtime.unpause(self._homes.of(user_id))

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        await self._runtime.stop(self._homes.of(user_id), grace_s=grace_s)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        await self._runtime.remove(self._homes.of(user_id), with_state=with_state)

    async def inspect(self, user_id: str) -> Observed | None:
        found = await self._runtime.inspect(self._homes.of(user_id))
        return None if found is None else replace(found, user_id=user_id)

    async def observe_all(self) -> dict[str, Observed]:
        found = await self._runtime.observe_all()
        current = {home: one for home, one in found.items() if self._homes.is_current(home)}
        users = {self._homes.user_of(home): one for home, one in current.items()}
        return {user_id: replace(one, user_id=user_id) for user_id, one in users.items()}

    async def cpu_seconds(self, user_id: str) -> float | None:
        return await self._runtime.cpu_seconds(self._homes.of(user_id))

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        return await self._runtime.whereabouts(self._homes.of(user_id))

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        home = self._homes.of(user_id)
        return await self._runtime.logs(home, lines=lines, this_start=this_start)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        async for event in self._runtime.events():
            if self._homes.is_current(event.user_id):
                yield replace(event, user_id=self._homes.user_of(event.user_id))

    async def close(self) -> None:
        await self._runtime.close()

    def _homed(self, spec: AgentSpec) -> AgentSpec:
        return replace(spec, user_id=self._homes.of(spec.user_id))
