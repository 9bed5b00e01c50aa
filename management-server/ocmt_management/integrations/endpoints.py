"""The signed-in user's connections, and the way back from a provider.

No transaction is open while a provider is called.
"""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import structlog
from fastapi import APIRouter, Path
from ocmt_common.agent_api import Wire
from ocmt_common.problems import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ocmt_management.auth.dependencies import CurrentUser, user_of
from ocmt_management.integrations.dependencies import Integrations
from ocmt_management.integrations.oauth_protocol import CallbackRefused
from ocmt_management.integrations.resource_metadata import client_metadata
from ocmt_management.integrations.schemas import (
    ConnectionsAnswer,
    ConnectionView,
    KeyBody,
    RenewedKey,
    StartAnswer,
    StartBody,
)
from ocmt_management.integrations.views import provider_views
from ocmt_management.vault.service import SecretValue

router = APIRouter(prefix="/api/connections")

log = structlog.get_logger(__name__)


class Disconnected(Wire):
    revoked: bool
    """Whether the provider confirmed that the access ended; else the person can end it there."""
    by_hand: str | None
    """Where the user can end it, if it may not have ended and the provider has a place for that."""


@router.get("")
async def show_connections(user: CurrentUser, integrations: Integrations) -> ConnectionsAnswer:
    async with integrations.database.read() as session:
        registered = await integrations.clients(session).registered()
        connections = await integrations.list(session, user.user_id)
    return ConnectionsAnswer(providers=provider_views(registered), connections=connections)


@router.post("/start")
async def start(body: StartBody, user: CurrentUser, integrations: Integrations) -> StartAnswer:
    url = await integrations.start(
        user.user_id,
        user.session_id,
        body.provider,
        body.scopes,
        None if body.connection_id is None else str(body.connection_id),
    )
    return StartAnswer(url=url)


@router.get("/callback")
async def come_back(request: Request, integrations: Integrations) -> Response:
    """Redirect to the page, which shows the outcome, since the browser navigates here.

    The address has only a code and a connection's id, so that a link cannot make the page show
    other words.
    """
    return await _come_back(request, integrations, None)


@router.get("/callback/{tag}")
async def come_back_from_server(tag: str, request: Request, integrations: Integrations) -> Response:
    """The same for the sign-in to a tool server: `tag` is that of its authorization server."""
    return await _come_back(request, integrations, tag)


async def _come_back(request: Request, integrations: Integrations, tag: str | None) -> Response:
    try:
        user = await user_of(request, used=True)
        if user is None:
            return _to_page(integrations.page, "signed-out")
        parameters: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name in parameters:
                raise CallbackRefused("provider-error", "The answer names a parameter twice.")
            parameters[name] = value
        finished = await integrations.finish(user.user_id, user.session_id, parameters, tag=tag)
    except CallbackRefused as refused:
        log.info("connecting ended without a connection", code=refused.code, why=refused.text)
        return _to_page(integrations.page, refused.code)
    except Problem as problem:
        log.warning("connecting failed", reason=problem.detail)
        return _to_page(integrations.page, "server-problem")
    return _to_page(integrations.page, finished.code, connection=finished.connection_id)


@router.get("/client-metadata/{tag}")
async def client_document(
    tag: Annotated[str, Path(pattern=r"^[0-9a-f]{32}\z")], integrations: Integrations
) -> Response:
    """OCMT as an OAuth client of one authorization server that takes a document for registering."""
    if integrations.document_url is None:
        raise Problem(
            404, "no-client-document", "Only an installation at an https address has this."
        )
    document: dict[str, Any] = client_metadata(
        f"{integrations.redirect_uri}/{tag}", auth_method="none"
    )
    return JSONResponse({"client_id": f"{integrations.document_url}/{tag}", **document})


@router.post("/keys", status_code=201)
async def connect_key(
    body: KeyBody, user: CurrentUser, integrations: Integrations
) -> ConnectionView:
    connection_id = await integrations.connect_key(user.user_id, body)
    return await integrations.one(user.user_id, connection_id)


@router.put("/keys/{connection_id}")
async def renew_key(
    connection_id: UUID, body: RenewedKey, user: CurrentUser, integrations: Integrations
) -> ConnectionView:
    key = SecretValue(body.key.get_secret_value())
    await integrations.renew_key(user.user_id, str(connection_id), key)
    return await integrations.one(user.user_id, str(connection_id))


@router.post("/{connection_id}/test")
async def test_connection(
    connection_id: UUID, user: CurrentUser, integrations: Integrations
) -> ConnectionView:
    return await integrations.test(user.user_id, str(connection_id))


@router.delete("/{connection_id}")
async def disconnect(
    connection_id: UUID, user: CurrentUser, integrations: Integrations
) -> Disconnected:
    revoked, by_hand = await integrations.disconnect(user.user_id, str(connection_id))
    return Disconnected(revoked=revoked, by_hand=by_hand)


def _to_page(page: str, result: str, **more: str) -> Response:
    return RedirectResponse(f"{page}?{urlencode({'result': result, **more})}", status_code=303)
