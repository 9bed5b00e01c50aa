"""The user's model choice and the keys for it."""

from fastapi import APIRouter

from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Transaction
from ocmt_management.llm.dependencies import Llm, UserModelChoice
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.llm.schemas import ModelAnswer, ModelRequest

router = APIRouter(prefix="/api/model")


@router.get("")
async def show_model(choice: UserModelChoice) -> ModelAnswer:
    return await choice.answer()


@router.put("")
async def choose_model(
    body: ModelRequest, choice: UserModelChoice, user: CurrentUser, llm: Llm, db: Transaction
) -> ModelAnswer:
    await choice.choose(body)
    after_commit(db, lambda: llm.user_changed(user.user_id))
    return await choice.answer()


@router.delete("/keys/{provider}", status_code=204)
async def delete_key(
    provider: ProviderId, choice: UserModelChoice, user: CurrentUser, llm: Llm, db: Transaction
) -> None:
    await choice.delete_key(PROVIDERS[provider])
    after_commit(db, lambda: llm.user_changed(user.user_id))
