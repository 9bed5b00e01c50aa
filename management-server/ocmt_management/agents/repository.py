"""SQL of agents."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.models import FAILURE_CHARACTERS, Agent, Stage
from ocmt_management.auth.users import hold


class AgentRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_user(self, user_id: str) -> Agent | None:
        return await self._session.get(Agent, user_id)

    async def locked(self, user_id: str) -> Agent | None:
        """The user's agent, which no other server changes or makes until the unit of work ends."""
        # Where there is no agent yet, its user's row is what two can meet at.
        await hold(self._session, user_id)
        return await self._session.get(Agent, user_id, with_for_update=True)

    async def all(self) -> Sequence[Agent]:
        return (await self._session.scalars(select(Agent).order_by(Agent.since))).all()

    async def being_made(self) -> Sequence[str]:
        rows = await self._session.scalars(
            select(Agent.user_id).where(Agent.stage == Stage.PROVISIONING)
        )
        return rows.all()

    async def user_of(self, token_hash: bytes) -> str | None:
        return await self._session.scalar(
            select(Agent.user_id).where(Agent.token_hash == token_hash)
        )

    async def begin(self, user_id: str, token_hash: bytes, now: datetime) -> None:
        """The agent is to be made (again) under this token; any earlier token is worth nothing.

        Call `locked` before, in the same unit of work.
        """
        agent = await self.of_user(user_id)
        if agent is None:
            agent = Agent(user_id=user_id)
            self._session.add(agent)
        if agent.stage != Stage.PROVISIONING:
            agent.stage, agent.failure, agent.since = Stage.PROVISIONING, None, now
        agent.token_hash = token_hash

    async def settle(
        self, user_id: str, token_hash: bytes, stage: Stage, *, failure: str | None, now: datetime
    ) -> bool:
        """Note how making the agent under this token went; `False` when it has another by now."""
        settled = await self._session.scalars(
            update(Agent)
            .where(Agent.user_id == user_id, Agent.token_hash == token_hash)
            .values(
                stage=stage,
                failure=None if failure is None else failure[:FAILURE_CHARACTERS],
                # Another reason for the same wait does not make the wait younger.
                **({} if stage is Stage.PROVISIONING else {"since": now}),
            )
            .returning(Agent.user_id)
            .execution_options(synchronize_session=False)
        )
        return settled.first() is not None
