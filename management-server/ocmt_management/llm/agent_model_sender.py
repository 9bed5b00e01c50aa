"""Sends what each agent has to know of its user's model to the agent server.

The agent server says what its agents have, so nothing is stored here: what differs is sent after a
change, and periodically.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from ocmt_common.agent_api import AgentModel
from ocmt_common.problems import Problem

from ocmt_management.agents.service import AgentServer, NoSuchAgent
from ocmt_management.db import Database
from ocmt_management.llm.choice import DEMO, ChosenModel
from ocmt_management.llm.repository import ModelRepository

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 60.0
"""For changes by another server process, new agents, and what could not be sent."""
_AWAITED_S = 3.0


class AgentModelSender:
    """Enter `running` for the server's lifetime."""

    def __init__(
        self,
        database: Database,
        server: AgentServer,
        model_of: Callable[[ChosenModel], AgentModel],
    ) -> None:
        self._database = database
        self._server = server
        self._model_of = model_of
        self._due = asyncio.Event()

    async def send(self, user_id: str) -> None:
        """Send a user's model after a change, or give up after 3 s: it is then sent later.

        A message that reaches the agent after this is sent in the right shape. Call after the
        commit.
        """
        try:
            async with asyncio.timeout(_AWAITED_S):
                async with self._database.read() as session:
                    row = await ModelRepository(session).choice(user_id)
                chosen = DEMO if row is None else ChosenModel.of(row)
                await self._server.set_model(user_id, self._model_of(chosen))
        except NoSuchAgent:
            return
        except (Problem, TimeoutError) as error:
            log.warning("model not sent to the agent yet", user_id=user_id, reason=str(error))
            self._due.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_sending())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def send_all(self) -> None:
        """Send to every agent that has something else. Raises `Problem`."""
        agents = await self._server.containers()
        async with self._database.read() as session:
            rows = await ModelRepository(session).choices()
        chosen = {row.user_id: ChosenModel.of(row) for row in rows}
        for agent in agents:
            model = self._model_of(chosen.get(agent.user_id, DEMO))
            if agent.model is not None and agent.model != model:
                await self._server.set_model(agent.user_id, model)

    async def _keep_sending(self) -> None:
        while True:
            self._due.clear()
            try:
                await self.send_all()
            except Problem as problem:
                log.info("models of agents not compared", reason=problem.detail)
            except Exception:
                # A bug must not stop the sending for good.
                log.exception("models of agents not compared")
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_EVERY_S):
                    await self._due.wait()
                    await asyncio.sleep(_AWAITED_S)
