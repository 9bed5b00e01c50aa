"""`GET /api/me`: who I am and what answers me, the first thing the page asks."""

from fastapi import APIRouter
from ocmt_common.agent_api import Wire
from ocmt_common.version import release_version

from ocmt_management.auth.dependencies import PresentUser
from ocmt_management.auth.schemas import UserView
from ocmt_management.dependencies import Db, Server

router = APIRouter()


class ModelView(Wire):
    provider: str
    model: str
    demo: bool


class Me(Wire):
    user: UserView
    model: ModelView
    version: str
    mail: bool
    """Whether this server can send mail, so that people can sign in without the operator."""


@router.get("/api/me")
async def me(user: PresentUser, server: Server, db: Db) -> Me:
    model = await server.model_of(db, user.user_id)
    return Me(
        user=UserView(id=user.user_id, email=user.email, role=user.role),
        model=ModelView(provider=model.provider, model=model.model, demo=model.demo),
        version=release_version("ocmt-management"),
        mail=bool(server.settings.smtp_host),
    )
