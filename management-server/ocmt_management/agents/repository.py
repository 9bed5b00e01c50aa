"""SQL of agents."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.models import FAILURE_CHARACTERS, Agent, Stage


class AgentRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_user(self, user_id: str) -> Agent | None:
        return await self._session.get(Agent, user_id)

    async def locked(self, user_id: str) -> Agent | None:
        """The user's agent, locked until the transaction ends; `None` if there is none.

        Lock the user's row first: the agent's row may not exist yet.
        """
        return await self._session.get(Agent, user_id, with_for_update=True)

    async def all(self) -> Sequence[Agent]:
        return (await self._session.scalars(select(Agent).order_by(Agent.since))).all()

    async def provisioning(self) -> Sequence[str]:
        rows = await self._session.scalars(
            select(Agent.user_id).where(Agent.stage == Stage.PROVISIONING)
        )
        return rows.all()

    async def user_of(self, token_hash: bytes) -> str | None:
        return await self._session.scalar(
            select(Agent.user_id).where(Agent.token_hash == token_hash)
        )

    async def begin(self, user_id: str, token_hash: bytes, now: datetime) -> None:
        """Start provisioning under this token, which revokes any earlier one.

        Call `locked` first, in the same transaction.
        """
        agent = await self.of_user(user_id)
        if agent is None:
            agent = Agent(user_id=user_id)
            self._session.add(agent)
        if agent.stage != Stage.PROVISIONING:
            agent.stage, agent.failure, agent.since = Stage.PROVISIONING, None, now
        agent.token_hash = token_hash

    async def finish(
        self, user_id: str, token_hash: bytes, stage: Stage, *, failure: str | None, now: datetime
    ) -> bool:
        """Record how far provisioning is; `False` if there is no agent with this token by now."""
        settled = await self._session.scalars(
            update(Agent)
            .where(Agent.user_id == user_id, Agent.token_hash == token_hash)
            .values(
                stage=stage,
                failure=None if failure is None else failure[:FAILURE_CHARACTERS],
                # Still provisioning: keep `since`, change only the failure text.
                **({} if stage is Stage.PROVISIONING else {"since": now}),
            )
            .returning(Agent.user_id)
            .execution_options(synchronize_session=False)
        )
        return settled.first() is not None
