"""Packages that are being installed on an agent's host, so that the page can say so.

An installation takes up to minutes, longer than a request of the page should.
"""

import asyncio
from typing import Any

from ocmt_common.agent_api import ToolServerState
from ocmt_common.problems import Problem

from ocmt_management.agents.service import AgentServer
from ocmt_management.tools.connection import Connection

_LOOK_EVERY_S = 1.0


class Installations:
    def __init__(self, agent_server: AgentServer) -> None:
        self._agent_server = agent_server
        self._under_way: set[tuple[str, str]] = set()

    def is_under_way(self, user_id: str, server_id: str) -> bool:
        """Whether this process follows an installation for this connection."""
        return (user_id, server_id) in self._under_way

    async def begins(self, connection: Connection, reading: "asyncio.Future[Any]") -> bool:
        """Wait until `reading` ends, or the package for it is being installed; whether it is."""
        if connection.package is None:
            return False
        while True:
            done, _ = await asyncio.wait({reading}, timeout=_LOOK_EVERY_S)
            if done:
                return False
            if await self._installing(connection):
                self._under_way.add(connection.key)
                return True

    async def ended(self, connection: Connection) -> None:
        """Wait until the package is installed, or could not be."""
        try:
            while await self._installing(connection):  # noqa: ASYNC110 (only a request tells)
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._under_way.discard(connection.key)

    async def _installing(self, connection: Connection) -> bool:
        try:
            state = await self._agent_server.tool_server_state(
                connection.user_id, connection.server_id
            )
        except Problem:
            return False
        return state is ToolServerState.INSTALLING
