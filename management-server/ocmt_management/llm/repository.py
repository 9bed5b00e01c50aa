"""SQL of model choices and usage. Every query names the user."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.llm.models import ModelChoice, Usage
from ocmt_management.llm.usage import UsageKey, UsageSum


class ModelRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def choice(self, user_id: str) -> ModelChoice | None:
        return await self._session.get(ModelChoice, user_id)

    async def choose(self, user_id: str, *, provider: str, model: str, now: datetime) -> None:
        chosen = ModelChoice(user_id=user_id, provider=provider, model=model, updated_at=now)
        await self._session.merge(chosen)

    async def add_usage(self, key: UsageKey, used: UsageSum) -> None:
        row = await self._session.get(Usage, (key.user_id, key.day, key.provider, key.model))
        if row is None:
            row = Usage(
                user_id=key.user_id,
                day=key.day,
                provider=key.provider,
                model=key.model,
                requests=0,
                unmeasured=0,
                tokens_in=0,
                tokens_out=0,
            )
            self._session.add(row)
        row.requests += used.requests
        row.unmeasured += used.unmeasured
        row.tokens_in += used.tokens_in
        row.tokens_out += used.tokens_out
