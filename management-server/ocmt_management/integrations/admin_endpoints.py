"""The operator's client at each provider. Every route needs an admin; no secret is returned."""

from fastapi import APIRouter
from ocmt_common.problems import Problem
from pydantic import ValidationError

from ocmt_management.auth.dependencies import AdminUser
from ocmt_management.integrations import service
from ocmt_management.integrations.dependencies import Integrations
from ocmt_management.integrations.provider_schema import Provider
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.integrations.schemas import (
    ClientBody,
    ClientsAnswer,
    OwnEndpoints,
    ProviderId,
)
from ocmt_management.integrations.views import client_views, own_provider
from ocmt_management.vault.service import SecretValue

router = APIRouter(prefix="/api/admin/integrations")


@router.get("")
async def list_clients(admin: AdminUser, integrations: Integrations) -> ClientsAnswer:
    return await _all(integrations)


@router.put("/{provider}")
async def put_client(
    provider: ProviderId, body: ClientBody, admin: AdminUser, integrations: Integrations
) -> ClientsAnswer:
    _check_endpoints(body.endpoints, integrations)
    async with integrations.database.write() as session:
        await integrations.clients(session).put(
            provider,
            client_id=body.client_id,
            secret=(
                None
                if body.client_secret is None
                else SecretValue(body.client_secret.get_secret_value())
            ),
            definition=_definition(body.endpoints),
            actor=admin.user_id,
        )
    return await _all(integrations)


@router.delete("/{provider}", status_code=204)
async def delete_client(provider: ProviderId, admin: AdminUser, integrations: Integrations) -> None:
    async with integrations.database.write() as session:
        await integrations.clients(session).delete(provider, actor=admin.user_id)


async def _all(integrations: service.Integrations) -> ClientsAnswer:
    async with integrations.database.read() as session:
        registered = await integrations.clients(session).registered()
        people = await IntegrationRepository(session).people()
    return ClientsAnswer(
        redirect_uri=integrations.redirect_uri, clients=client_views(registered, people)
    )


def _definition(endpoints: OwnEndpoints | None) -> Provider | None:
    try:
        return None if endpoints is None else own_provider(endpoints)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(422, "endpoints-wrong", f"{where}: {first['msg']}.") from error


def _check_endpoints(endpoints: OwnEndpoints | None, integrations: service.Integrations) -> None:
    if endpoints is None:
        return
    for url in (
        endpoints.authorize_url, endpoints.token_url, endpoints.revoke_url,
        endpoints.userinfo_url, endpoints.api_url,
    ):  # fmt: skip
        if url is not None and not integrations.http.may_go_to(url):
            raise Problem(
                422,
                "url-insecure",
                f"{url[:200]} must be https://; over http:// others could read the tokens. Hosts "
                "of a private network are allowed in PRIVATE_HOSTS.",
            )
