"""All tool servers of this host's users.

Definitions have credentials, so they are only in memory. After a restart, management sends them
again, and the containers of the previous server process are removed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog
from ocmt_common.agent_api import ToolServer, ToolServerDefinition, ToolServerState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable
from ocmt_agent.tool_servers.containers import ToolContainers
from ocmt_agent.tool_servers.packages import Packages
from ocmt_agent.tool_servers.server import UserToolServer

log = structlog.get_logger(__name__)

MOST_A_USER = 16
_LOOK_EVERY_S = 15.0
_LEFTOVERS_EVERY_S = 60.0


class ToolServers:
    def __init__(
        self, containers: ToolContainers | None, *, has_room: Callable[[], bool], clock: Clock
    ) -> None:
        """With `containers=None`, for a runtime without containers, every definition is refused."""
        self._containers = containers
        self._packages = None if containers is None else Packages(containers)
        self._has_room = has_room
        self._clock = clock
        self._servers: dict[str, dict[str, UserToolServer]] = {}

    async def define(
        self, user_id: str, server_id: str, definition: ToolServerDefinition, *, number: int
    ) -> ToolServer:
        """Define a user's tool server, without starting it. `number` is that of the user's agent.

        An equal definition changes nothing; another one ends the running server. Raises `Problem`.
        """
        if self._containers is None or self._packages is None:
            raise Problem(
                409,
                "tool-servers-need-docker",
                "Tool servers over stdio run in containers only. Use one over HTTP, or run this "
                "host's agents in Docker (RUNTIME=docker).",
            )
        servers = self._servers.setdefault(user_id, {})
        before = servers.get(server_id)
        if before is not None and before.definition == definition:
            return before.shown()
        if before is None and len(servers) >= MOST_A_USER:
            raise Problem(
                409,
                "too-many-tool-servers",
                f"This user has {MOST_A_USER} tool servers over stdio. Remove one first.",
            )
        server = servers[server_id] = UserToolServer(
            definition,
            user_id=user_id,
            server_id=server_id,
            number=number,
            containers=self._containers,
            packages=self._packages,
            has_room=self._has_room,
            clock=self._clock,
        )
        if before is not None:
            await before.close("its definition was changed")
        return server.shown()

    def get(self, user_id: str, server_id: str) -> UserToolServer:
        server = self._servers.get(user_id, {}).get(server_id)
        if server is None:
            raise Problem(
                404,
                "no-such-tool-server",
                "This tool server is not defined here, or this server was restarted. Send its "
                "definition first (PUT).",
            )
        return server

    def counts(self) -> Mapping[ToolServerState, int]:
        """State → number of tool servers; a state that none is in may be missing."""
        servers = (one for of_user in self._servers.values() for one in of_user.values())
        return Counter(server.state() for server in servers)

    async def remove(self, user_id: str, server_id: str) -> None:
        servers = self._servers.get(user_id, {})
        server = servers.pop(server_id, None)
        if server is not None:
            await server.close("it was removed")

    async def remove_all(self, user_id: str) -> None:
        """End all tool servers of a user whose agent is removed."""
        await self._close(self._servers.pop(user_id, {}), "its user's agent was removed")

    async def run(self) -> None:
        """Stop idle servers, and remove what ended ones left behind, until cancelled."""
        if self._containers is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remove_leftovers(self._containers))
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                self.stop_idle()

    def stop_idle(self) -> None:
        for servers in self._servers.values():
            for server in servers.values():
                server.stop_if_idle()

    async def close(self) -> None:
        everything, self._servers = self._servers, {}
        await asyncio.gather(
            *(self._close(servers, "this server stops") for servers in everything.values())
        )
        if self._packages is not None and self._containers is not None:
            await self._packages.close()
            await self._containers.close()

    async def _close(self, servers: dict[str, UserToolServer], reason: str) -> None:
        await asyncio.gather(
            *(server.close(reason) for server in servers.values()), return_exceptions=True
        )

    async def _remove_leftovers(self, containers: ToolContainers) -> None:
        while True:
            try:
                await containers.remove_leftovers()
            except (RuntimeUnavailable, RuntimeFailed) as error:
                log.warning("removing leftovers of tool servers", reason=str(error))
            await asyncio.sleep(_LEFTOVERS_EVERY_S)
