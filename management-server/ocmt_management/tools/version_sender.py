"""Makes agents list their tools again after a change, through the agent server.

What was sent is stored, so a change whose sending failed, or that a crash overtook, is sent later.
An agent whose list is the same as before is left alone: OpenClaw reads its configuration anew.
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
"""For changes by another server process."""
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
        """Some user's tools changed. Call after the commit."""
        self._changed.set()

    async def sent(self) -> None:
        """Wait until what changed before is sent, or 3 s: it is then sent in the background.

        A message that reaches the agent after this has the new tools.
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
        """Send what is not sent yet; whether all was."""
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
