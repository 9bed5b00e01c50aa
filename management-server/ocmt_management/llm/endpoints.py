"""Choosing one's model and keeping the keys for it."""

from typing import Annotated

from fastapi import APIRouter, Depends

from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Db, Server
from ocmt_management.llm.choice import Models
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.llm.schemas import ModelAnswer, ModelRequest

router = APIRouter(prefix="/api/model")


def _models(user: CurrentUser, server: Server, db: Db) -> Models:
    return Models(db, server.keys, server.clock, user.user_id)


UsersModels = Annotated[Models, Depends(_models)]


@router.get("")
async def show_model(models: UsersModels) -> ModelAnswer:
    return await models.answer()


@router.put("")
async def choose_model(
    body: ModelRequest, models: UsersModels, user: CurrentUser, server: Server, db: Db
) -> ModelAnswer:
    await models.choose(body)
    after_commit(db, lambda: server.llm.user_changed(user.user_id))
    return await models.answer()


@router.delete("/keys/{provider}", status_code=204)
async def delete_key(
    provider: ProviderId, models: UsersModels, user: CurrentUser, server: Server, db: Db
) -> None:
    await models.delete_key(PROVIDERS[provider])
    after_commit(db, lambda: server.llm.user_changed(user.user_id))
