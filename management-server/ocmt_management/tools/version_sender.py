"""Makes agents list their tools again after a change, through the agent server.

The version sent is stored, so a version that could not be sent, or was lost in a crash, is sent
later. If an agent's list is unchanged, nothing is sent: OpenClaw would reload its configuration.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.service import AgentServer, NoSuchAgent
from ocmt_management.db import Database
from ocmt_management.tools.models import ToolCatalogue
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.snapshot import NOTHING_LISTED
from ocmt_management.tools.snapshots import Snapshots

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 60.0
"""The delay after which changes by another server process are sent."""
_RETRY_S = 5.0
_AWAITED_S = 3.0
_BATCH = 100


class VersionSender:
    """Enter `running` for the server's lifetime."""

    def __init__(self, database: Database, server: AgentServer, snapshots: Snapshots) -> None:
        self._database = database
        self._server = server
        self._snapshots = snapshots
        self._changed = asyncio.Event()
        self._awaiting: list[asyncio.Future[None]] = []

    def changed(self) -> None:
        """Schedule sending, after the commit of a change to a user's tools."""
        self._changed.set()

    async def sent(self) -> None:
        """Wait until earlier changes are sent, at most 3 s; later they are sent in the background.

        The agent then has the new tools for its next message.
        """
        passed = asyncio.get_running_loop().create_future()
        self._awaiting.append(passed)
        self._changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_AWAITED_S):
                await passed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_sending())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def send_all(self) -> bool:
        """Send the versions that are not sent yet. Returns whether all were sent."""
        async with self._database.read() as session:
            waiting = await ToolRepository(session).unsent(limit=_BATCH)
        sent = [await self._send(catalogue) for catalogue in waiting]
        return all(sent) and len(waiting) < _BATCH

    async def _send(self, catalogue: ToolCatalogue) -> bool:
        user_id = catalogue.user_id
        tools = await self._snapshots.of_user(user_id)
        version = max(catalogue.version, tools.version)
        if tools.digest != (catalogue.sent_digest or NOTHING_LISTED):
            try:
                await self._server.set_tools_version(user_id, version)
            except NoSuchAgent:  # it lists its tools when it is made
                pass
            except Problem as problem:
                log.warning("version of tools not sent", user_id=user_id, reason=problem.detail)
                return False
        async with self._database.write() as session:
            await ToolRepository(session).mark_sent(user_id, version, tools.digest)
        return True

    async def _keep_sending(self) -> None:
        while True:
            self._changed.clear()
            awaiting, self._awaiting = self._awaiting, []
            try:
                all_sent = await self.send_all()
            except Problem as problem:
                log.warning("versions of tools not sent", reason=problem.detail)
                all_sent = False
            except Exception:
                # A bug must not stop the sending for good.
                log.exception("versions of tools not sent")
                all_sent = False
            for passed in awaiting:
                if not passed.done():
                    passed.set_result(None)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_EVERY_S if all_sent else _RETRY_S):
                    await self._changed.wait()
