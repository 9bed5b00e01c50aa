"""One chat's connection to its user's gateway, and what it is subscribed to.

It is opened on first need, since opening it wakes the agent, and reopened when lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ocmt_management.agents.service import Agents, FileInPieces, Gateway, NoSuchAgent

_ROSTER = ""


class GatewayLink:
    """`on_event` gets every event of the gateway, `on_lost` the end of a connection."""

    def __init__(
        self,
        user_id: str,
        *,
        agents: Agents,
        group: asyncio.TaskGroup,
        on_event: Callable[[str, dict[str, Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._user_id = user_id
        self._agents = agents
        self._group = group
        self._on_event = on_event
        self._on_lost = on_lost
        self._gateway: Gateway | None = None
        self._attaching = asyncio.Lock()
        self._subscribed: set[str] = set()
        """Keys of the sessions whose messages the gateway sends; `_ROSTER` for the list."""
        self.last_event_at = 0.0
        """When the gateway's last event arrived, by the loop's clock."""

    async def request(self, key: str, method: str, /, **params: Any) -> dict[str, Any]:
        """A request about the session `key`, subscribed to its messages first. Raises `Problem`."""
        gateway = await self._attached(key)
        return await gateway.request(method, **params)

    async def send(
        self, key: str, message: dict[str, Any], files: Sequence[FileInPieces]
    ) -> dict[str, Any]:
        """Send a message of the user's to the session `key`. Raises `Problem`."""
        gateway = await self._attached(key)
        return await gateway.request("chat.send", files=files, **message)

    async def roster(self, **params: Any) -> dict[str, Any] | None:
        """`sessions.list`, subscribed to its changes; `None` from a gateway without one."""
        gateway = await self._attached(None)
        answer = await gateway.request("sessions.subscribe", **params)
        self._subscribed.add(_ROSTER)
        found = answer.get("list")
        return found if isinstance(found, dict) else None

    async def ask(self, method: str, /, **params: Any) -> dict[str, Any]:
        """A request about no session in particular. Raises `Problem`."""
        gateway = await self._attached(None)
        return await gateway.request(method, **params)

    def is_subscribed(self, key: str) -> bool:
        return self._alive() and key in self._subscribed

    @property
    def follows_roster(self) -> bool:
        return self.is_subscribed(_ROSTER)

    def forget_subscriptions(self) -> None:
        """The gateway ended: the next one, behind the same socket, knows of none."""
        self._subscribed.clear()

    async def _attached(self, key: str | None) -> Gateway:
        async with self._attaching:
            gateway = self._gateway
            try:
                if gateway is None or gateway.lost:
                    await self._agents.require_ready(self._user_id)
                    gateway = await Gateway.open(self._agents.server, self._user_id)
                    self._gateway = gateway
                    self._subscribed.clear()
                    self._group.create_task(self._listen(gateway))
                if key is not None and key not in self._subscribed:
                    await gateway.request("sessions.messages.subscribe", key=key)
                    self._subscribed.add(key)
            except NoSuchAgent:
                self._agents.reprovision(self._user_id)
                raise
            return gateway

    def _alive(self) -> bool:
        return self._gateway is not None and not self._gateway.lost

    async def _listen(self, gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        self.last_event_at = loop.time()
        try:
            async for name, payload in gateway.events():
                self.last_event_at = loop.time()
                self._on_event(name, payload)
        finally:
            await gateway.close()
        self._on_lost()
