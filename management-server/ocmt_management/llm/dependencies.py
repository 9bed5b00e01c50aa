"""FastAPI dependencies: the model gateway and the user's model choice."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.dependencies import Clock, Transaction
from ocmt_management.llm import choice, service
from ocmt_management.vault.dependencies import KeyRing


async def _llm(connection: HTTPConnection) -> service.Llm:
    llm: service.Llm = connection.app.state.llm
    return llm


Llm = Annotated[service.Llm, Depends(_llm)]


async def _user_model_choice(
    user: CurrentUser, db: Transaction, keys: KeyRing, clock: Clock
) -> choice.UserModelChoice:
    return choice.UserModelChoice(db, keys, clock, user.user_id)


UserModelChoice = Annotated[choice.UserModelChoice, Depends(_user_model_choice)]
"""The signed-in user's model, within the request's transaction."""
