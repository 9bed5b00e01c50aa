"""Set, list and delete a user's own secrets. Values are never returned, only hints."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter
from ocmt_common.agent_api import Command, Wire
from ocmt_common.problems import Problem
from pydantic import Field, SecretStr, field_validator

from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.vault.dependencies import Vault
from ocmt_management.vault.secret_value import SecretValue
from ocmt_management.vault.service import MAX_SECRET_CHARACTERS, SecretInfo

router = APIRouter(prefix="/api/secrets")

# No colon: names with one belong to other domains (`model:openai`).
SecretName = Annotated[str, PathParameter(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}\z")]


class SecretBody(Command):
    value: SecretStr = Field(min_length=1, max_length=MAX_SECRET_CHARACTERS)

    @field_validator("value")
    @classmethod
    def _is_text(cls, value: SecretStr) -> SecretStr:
        # JSON can hold a lone surrogate, which no encoding can store.
        if any("\ud800" <= character <= "\udfff" for character in value.get_secret_value()):
            raise ValueError("is not valid text")
        return value


class SecretView(Wire):
    name: str
    hint: str | None
    updated_at: datetime


class SecretsAnswer(Wire):
    secrets: list[SecretView]


@router.get("")
async def list_secrets(user: CurrentUser, vault: Vault) -> SecretsAnswer:
    return SecretsAnswer(secrets=[_view(info) for info in await vault.list(user.user_id)])


@router.put("/{name}")
async def put_secret(
    name: SecretName, body: SecretBody, user: CurrentUser, vault: Vault
) -> SecretView:
    value = SecretValue(body.value.get_secret_value())
    return _view(await vault.put(user.user_id, name, value, actor=user.user_id))


@router.delete("/{name}", status_code=204)
async def delete_secret(name: SecretName, user: CurrentUser, vault: Vault) -> None:
    if not await vault.delete(user.user_id, name, actor=user.user_id):
        raise Problem(404, "secret-unknown", "You have no secret of this name.")


def _view(info: SecretInfo) -> SecretView:
    return SecretView(name=info.name, hint=info.hint, updated_at=info.updated_at)
