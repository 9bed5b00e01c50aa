"""Answers for the pages about connections, made from rows. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ocmt_management.integrations.catalogue import OWN, shipped
from ocmt_management.integrations.flows import missing_scopes
from ocmt_management.integrations.models import ConnectedAccount
from ocmt_management.integrations.operator_clients import Registered
from ocmt_management.integrations.provider_schema import Identity, Kind, Provider
from ocmt_management.integrations.schemas import (
    ClientView,
    ConnectableProvider,
    ConnectionView,
    OwnEndpoints,
    OwnScope,
    ScopeView,
)
from ocmt_management.integrations.stored_tokens import provider_of, standing_of
from ocmt_management.integrations.token_state import shown_state


def provider_views(registered: Mapping[str, Registered]) -> list[ConnectableProvider]:
    """The providers to connect: those that are ready first, each by name; keys last.

    The own provider is left out until it is set up.
    """
    views = []
    for provider_id, shipped_one in shipped().items():
        found = registered.get(provider_id)
        provider = shipped_one if found is None else found.provider
        ready = provider.kind is Kind.KEY or found is not None
        if provider_id == OWN and not ready:
            continue
        views.append(
            ConnectableProvider(
                id=provider_id,
                name=provider.name,
                kind=provider.kind,
                scopes=[
                    ScopeView(id=s.id, text=s.text, required=s.required) for s in provider.scopes
                ],
                ready=ready,
            )
        )
    return sorted(views, key=lambda v: (v.kind is Kind.KEY, not v.ready, v.name.lower()))


def connection_view(row: ConnectedAccount, now: datetime) -> ConnectionView:
    provider = provider_of(row)
    asked, granted = tuple(row.asked_scopes.split()), tuple(row.scopes.split())
    missing = missing_scopes(provider, asked, granted)
    words = {scope.id: scope.text for scope in provider.scopes}
    return ConnectionView(
        id=row.id,
        provider=row.provider,
        name=provider.name,
        kind=provider.kind,
        account=row.account,
        state=shown_state(standing_of(row), now),
        trouble=row.trouble,
        scopes=_words([one for one in asked if one not in missing], words),
        missing=_words(missing, words),
        hosts=[] if provider.api is None else list(provider.api.hosts),
        since=row.created_at,
        connected_at=row.connected_at,
        expires_at=None if row.refreshable else row.expires_at,
        last_used_at=row.last_used_at,
        last_used_for=row.last_used_for,
    )


def client_views(
    registered: Mapping[str, Registered], people: Mapping[str, int]
) -> list[ClientView]:
    views = []
    for provider_id, provider in shipped().items():
        if provider.kind is Kind.KEY:
            continue
        found = registered.get(provider_id)
        views.append(
            ClientView(
                id=provider_id,
                name=provider.name,
                kind=provider.kind,
                setup=provider.setup,
                client_id=None if found is None else found.client.id,
                secret_set=found is not None and found.client.secret is not None,
                from_setting=found is not None and found.from_setting,
                endpoints=None if found is None else _endpoints(found.provider),
                people=people.get(provider_id, 0),
            )
        )
    return sorted(views, key=lambda v: (v.kind is Kind.OWN, v.name.lower()))


def own_provider(endpoints: OwnEndpoints) -> Provider:
    """The provider with these endpoints. Raises pydantic's `ValidationError`."""
    return Provider.model_validate(
        {
            "name": endpoints.name,
            "kind": Kind.OWN,
            "setup": shipped()[OWN].setup,
            "oauth": {
                "authorize_url": endpoints.authorize_url,
                "token_url": endpoints.token_url,
                "issuer": endpoints.issuer,
                "revocation": (
                    {}
                    if endpoints.revoke_url is None
                    else {"style": "rfc7009", "url": endpoints.revoke_url}
                ),
            },
            "identity": (
                None
                if endpoints.userinfo_url is None
                else Identity(
                    url=endpoints.userinfo_url,
                    id=endpoints.account_id,
                    label=endpoints.account_label,
                )
            ),
            "api": {"base_url": endpoints.api_url, "hosts": endpoints.hosts},
            "scopes": [scope.model_dump() for scope in endpoints.scopes],
        }
    )


def _endpoints(provider: Provider) -> OwnEndpoints | None:
    oauth, api, identity = provider.oauth, provider.api, provider.identity
    if provider.kind is not Kind.OWN or oauth is None or api is None:
        return None
    return OwnEndpoints(
        name=provider.name,
        issuer=oauth.issuer,
        authorize_url=oauth.authorize_url,
        token_url=oauth.token_url,
        revoke_url=oauth.revocation.url,
        userinfo_url=None if identity is None else identity.url,
        account_id="sub" if identity is None else identity.id,
        account_label="email" if identity is None else identity.label,
        api_url=api.base_url,
        hosts=list(api.hosts),
        scopes=[
            OwnScope(id=scope.id, text=scope.text, required=scope.required)
            for scope in provider.scopes
        ],
    )


def _words(ids: Sequence[str], words: Mapping[str, str]) -> list[str]:
    return [words.get(one, one) for one in ids]
