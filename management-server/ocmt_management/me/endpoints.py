"""The signed-in user, their model and the server, which is the page's first request."""

from fastapi import APIRouter
from ocmt_common.agent_api import Wire
from ocmt_common.version import release_version
from starlette.requests import Request

from ocmt_management.agents.service import IdentityView, identity_of
from ocmt_management.auth.dependencies import PresentUser, user_of
from ocmt_management.auth.service import UserView
from ocmt_management.dependencies import Settings, Transaction
from ocmt_management.llm.dependencies import Llm

router = APIRouter()


class ModelView(Wire):
    provider: str
    model: str
    demo: bool


class Me(Wire):
    user: UserView
    model: ModelView
    agent: IdentityView
    version: str
    mail: bool
    """Whether this server sends mail; without it the operator makes the sign-in links."""


class Start(Wire):
    me: Me | None
    """`None` when signed out, which is no error for a page that asks."""
    mail: bool
    """Whether this server mails sign-in links."""


@router.get("/api/start")
async def start(request: Request, db: Transaction, llm: Llm, settings: Settings) -> Start:
    user = await user_of(request, used=False)
    found = None if user is None else await me(user, db, llm, settings)
    return Start(me=found, mail=bool(settings.smtp_host))


@router.get("/api/me")
async def me(user: PresentUser, db: Transaction, llm: Llm, settings: Settings) -> Me:
    model = await llm.model_of(db, user.user_id)
    return Me(
        user=UserView(id=user.user_id, email=user.email, role=user.role),
        model=ModelView(provider=model.provider.id, model=model.model, demo=model.demo),
        agent=await identity_of(db, user.user_id),
        version=release_version("ocmt-management"),
        mail=bool(settings.smtp_host),
    )
