"""Connecting an account: the person's way to the provider and back.

The state is 256 random bits, stored as a hash, good for ten minutes, once, and only in the browser
session that began it. What the way back needs is sealed beside it.

Anyone's authorization server may be that of an MCP server, so each of them has its own redirect
address: an answer that arrives at another one is refused, and no server gets a code of another.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import uuid4

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.models import (
    ACCOUNT_CHARACTERS,
    ConnectedAccount,
    ConnectionState,
    OAuthFlow,
)
from ocmt_management.integrations.oauth_http import NoAnswer, OAuthHttp
from ocmt_management.integrations.oauth_protocol import (
    CallbackRefused,
    Client,
    Refused,
    Tokens,
    account_of,
    authorization_url,
    code_of,
    code_request,
    identity_request,
    read_tokens,
    revocation_requests,
)
from ocmt_management.integrations.operator_clients import OperatorClients, client_for
from ocmt_management.integrations.provider_schema import Kind, OAuth, Provider
from ocmt_management.integrations.refresher import ClientsOf
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.integrations.resource_metadata import issuer_tag
from ocmt_management.integrations.stored_tokens import StoredTokens
from ocmt_management.integrations.token_state import Failure, failure_of
from ocmt_management.tokens import is_token, new_token, token_hash
from ocmt_management.vault.service import KeyRing, SecretValue, Vault

FLOW_LIFE = timedelta(minutes=10)
MAX_OPEN_FLOWS = 20
MAX_CONNECTIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is being connected."""

    provider_id: str
    provider: Provider
    client: Client
    scopes: tuple[str, ...]
    own_client: bool = False
    """The client was registered for this connection alone."""
    own_definition: bool = False
    """The provider is not as a file of the catalogue says."""
    connection_id: str | None = None
    """The connection that is connected again."""
    subject: tuple[str, str] | None = None
    """The id and label of what is connected, where no account can be asked for: a tool server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    connection_id: str
    code: str
    """`connected`, `fewer-scopes` or `another-account`."""


class Listener(Protocol):
    """The tools of an agent follow its person's connections."""

    async def connected(
        self, session: AsyncSession, user_id: str, connection: ConnectedAccount
    ) -> None:
        """Called in the transaction that stores the connection."""
        ...

    async def disconnected(self, session: AsyncSession, user_id: str, connection_id: str) -> None:
        """Called in the transaction that deletes the connection."""
        ...

    async def changed(self, user_id: str) -> None:
        """Called after the commit of either."""
        ...


class Flows:
    def __init__(
        self,
        *,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        http: OAuthHttp,
        clients: ClientsOf,
        redirect_uri: str,
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._http = http
        self._clients = clients
        self._redirect_uri = redirect_uri

    async def begin(self, user_id: str, session_id: str, target: Target) -> str:
        """Store a flow, and return the provider's address for the browser. Raises `Problem`."""
        oauth = target.provider.oauth
        if oauth is None:
            raise Problem(422, "not-oauth", "This is connected by a key, not by signing in.")
        if not self._http.may_go_to(oauth.authorize_url):
            raise Problem(
                422,
                "url-insecure",
                f"{target.provider.name} lets people sign in over http only. Operator: in "
                "PRIVATE_HOSTS, that can be allowed for a host of a private network.",
            )
        redirect_uri = self._redirect_uri
        if target.provider.kind is Kind.MCP:
            redirect_uri += f"/{issuer_tag(oauth.issuer or '')}"
        state, verifier = new_token(), new_token()
        now = self._clock()
        async with self._database.write() as session:
            rows = IntegrationRepository(session)
            vault = Vault(session, self._keys, self._clock)
            sealed = await vault.seal(
                user_id,
                _packed(target, verifier, redirect_uri),
                purpose=_purpose(token_hash(state)),
            )
            if await rows.open_flows(user_id, now) >= MAX_OPEN_FLOWS:
                raise Problem(
                    429,
                    "too-many-attempts",
                    "There are too many unfinished attempts to connect. Wait ten minutes.",
                    retry_after_s=int(FLOW_LIFE.total_seconds()),
                )
            if (
                target.connection_id is None
                and len(await rows.connections(user_id)) >= MAX_CONNECTIONS
            ):
                raise too_many_connections()
            rows.add(
                OAuthFlow(
                    state_hash=token_hash(state),
                    user_id=user_id,
                    session_id=session_id,
                    provider=target.provider_id,
                    sealed=sealed,
                    expires_at=now + FLOW_LIFE,
                )
            )
        return authorization_url(
            oauth,
            target.client,
            redirect_uri=redirect_uri,
            state=state,
            verifier=verifier,
            scopes=target.scopes,
        )

    async def finish(
        self,
        user_id: str,
        session_id: str,
        parameters: Mapping[str, str],
        *,
        arrived_at: str,
        listener: Listener | None,
    ) -> Finished:
        """Exchange the code for tokens and store them. Raises `CallbackRefused` or `Problem`.

        `arrived_at`: the redirect address that the provider sent the browser to.
        """
        target, verifier, redirect_uri = await self._use(
            user_id, session_id, parameters.get("state", "")
        )
        if arrived_at != redirect_uri:
            raise CallbackRefused("issuer-wrong", "The answer came from another provider.")
        oauth = target.provider.oauth
        if oauth is None:
            raise CallbackRefused("state-wrong", "This is connected by a key.")
        code = code_of(parameters, oauth)
        tokens = await self._exchange(oauth, target, code, verifier, redirect_uri)
        try:
            account_id, account = await self._account(target, tokens)
            return await self._store(
                user_id, target, tokens, account_id, account, listener=listener
            )
        except BaseException:
            # Nobody would have these tokens, and they would work.
            await self.revoke(oauth, target.client, tokens.access, tokens.refresh)
            raise

    async def revoke(
        self, oauth: OAuth, client: Client, access: SecretValue, refresh: SecretValue | None
    ) -> bool:
        """End the access at the provider. Returns whether it confirmed that.

        Returns `False` if the provider has no endpoint for it.
        """
        requests = revocation_requests(oauth, client, access=access, refresh=refresh)
        confirmed = bool(requests)
        for request in requests:
            try:
                answer = await self._http.send(request)
            except NoAnswer:
                confirmed = False
            else:
                # 401 and 404: it does not know the token, which is what is wanted.
                confirmed = confirmed and (answer.status < 300 or answer.status in (401, 404))
        return confirmed

    async def _use(self, user_id: str, session_id: str, state: str) -> tuple[Target, str, str]:
        refused = CallbackRefused(
            "state-wrong",
            "This answer was used before, is older than ten minutes, or belongs to another "
            "sign-in. Start again.",
        )
        if not is_token(state):
            raise refused
        async with self._database.write() as session:
            flow = await IntegrationRepository(session).use_flow(
                user_id, session_id, token_hash(state), self._clock()
            )
            if flow is None:
                raise refused
            text = await Vault(session, self._keys, self._clock).unseal(
                user_id, flow.sealed, purpose=_purpose(flow.state_hash)
            )
            if text is None:
                raise refused
            return await _unpacked(flow.provider, text, self._clients(session))

    async def _exchange(
        self, oauth: OAuth, target: Target, code: str, verifier: str, redirect_uri: str
    ) -> Tokens:
        name = target.provider.name
        request = code_request(
            oauth, target.client, code=code, verifier=verifier, redirect_uri=redirect_uri
        )
        try:
            answer = await self._http.send(request)
        except NoAnswer as error:
            raise CallbackRefused(
                "no-answer", f"{name} could not be asked for its tokens: {error}. Start again."
            ) from error
        found = read_tokens(oauth, answer.body, now=self._clock())
        if isinstance(found, Tokens):
            return found
        raise _no_tokens(name, found)

    async def _account(self, target: Target, tokens: Tokens) -> tuple[str, str]:
        if target.subject is not None:
            return target.subject
        identity = target.provider.identity
        if identity is None:  # an own provider without a call for it: one account
            return "", target.provider.name
        try:
            answer = await self._http.send(identity_request(identity, tokens.access))
        except NoAnswer as error:
            raise _account_unknown(target.provider.name, str(error)) from error
        found = account_of(identity, answer.body) if answer.status < 300 else None
        if found is None:
            raise _account_unknown(target.provider.name, f"HTTP {answer.status}")
        return found

    async def _store(
        self,
        user_id: str,
        target: Target,
        tokens: Tokens,
        account_id: str,
        account: str,
        *,
        listener: Listener | None,
    ) -> Finished:
        granted = tokens.scopes if tokens.scopes is not None else target.scopes
        missing = missing_scopes(target.provider, target.scopes, granted)
        definition = target.provider.model_dump_json().encode() if target.own_definition else None
        async with self._database.write() as session:
            rows = IntegrationRepository(session)
            vault = Vault(session, self._keys, self._clock)
            now = self._clock()
            stored = StoredTokens(
                access=tokens.access,
                refresh=tokens.refresh,
                client=target.client if target.own_client else None,
            )
            # Sealing locks the user's data key, so one user's connections change one by one.
            connection_id = str(uuid4())
            sealed = await stored.seal(vault, user_id, connection_id)
            row = await rows.of_account(user_id, target.provider_id, account_id)
            values = {
                "account": account[:ACCOUNT_CHARACTERS],
                "definition": definition,
                "asked_scopes": " ".join(target.scopes),
                "scopes": " ".join(granted),
                "refreshable": tokens.refresh is not None,
                "expires_at": tokens.expires_at,
                "state": ConnectionState.OK,
                "trouble": None,
                "lease_by": None,
                "lease_until": None,
                "connected_at": now,
            }
            if row is None:
                row = ConnectedAccount(
                    id=connection_id,
                    user_id=user_id,
                    provider=target.provider_id,
                    account_id=account_id,
                    tokens=sealed,
                    token_version=1,
                    created_at=now,
                    **values,
                )
                await rows.add_connection(row)
            else:
                sealed = await stored.seal(vault, user_id, row.id)
                await rows.change(row, tokens=sealed, token_version=row.token_version + 1, **values)
            if listener is not None:
                await listener.connected(session, user_id, row)
            Audit(session, self._clock).record(
                "connection.connected", user_id=user_id, actor=user_id, subject=target.provider_id
            )
            found_id = row.id
        if listener is not None:
            await listener.changed(user_id)
        if target.connection_id not in (None, found_id):
            return Finished(connection_id=found_id, code="another-account")
        return Finished(connection_id=found_id, code="fewer-scopes" if missing else "connected")


def missing_scopes(
    provider: Provider, asked: tuple[str, ...], granted: tuple[str, ...]
) -> tuple[str, ...]:
    """The scopes of `asked` that were not granted, without those that the provider never lists."""
    # It asks for a refresh token, and is no permission.
    silent = {"offline_access"} | {s.id for s in provider.scopes if s.granted_silently}
    # Microsoft answers with the scopes' full addresses, in any case.
    have = {one.rpartition("/")[2].lower() for one in granted} | {one.lower() for one in granted}
    return tuple(one for one in asked if one not in silent and one.lower() not in have)


def too_many_connections() -> Problem:
    return Problem(
        409,
        "too-many-connections",
        f"A person can have at most {MAX_CONNECTIONS} connections. Disconnect one first.",
    )


def _no_tokens(name: str, refused: Refused) -> CallbackRefused:
    if refused.error is not None and failure_of(refused.error) is Failure.CLIENT:
        return CallbackRefused(
            "client-wrong",
            f"{name} rejects this installation's client. Ask an admin to check client id and "
            "secret under Settings.",
        )
    return CallbackRefused("no-tokens", f"{name} gave no tokens ({refused.detail}). Start again.")


def _account_unknown(name: str, why: str) -> CallbackRefused:
    return CallbackRefused(
        "account-unknown", f"{name} did not tell whose account it is ({why}). Start again."
    )


def _packed(target: Target, verifier: str, redirect_uri: str) -> bytes:
    secret = target.client.secret
    value = {
        "verifier": verifier,
        "redirect": redirect_uri,
        "scopes": target.scopes,
        "connection": target.connection_id,
        "subject": target.subject,
        "definition": target.provider.model_dump(mode="json") if target.own_definition else None,
        "client": (
            [target.client.id, None if secret is None else secret.reveal()]
            if target.own_client
            else None
        ),
    }
    return json.dumps(value).encode()


async def _unpacked(
    provider_id: str, text: bytes, clients: OperatorClients
) -> tuple[Target, str, str]:
    value = json.loads(text)
    registered = None
    with suppress(Problem):
        registered = await clients.get(provider_id)
    if value["definition"] is not None:
        provider = Provider.model_validate(value["definition"])
    elif registered is not None:
        provider = registered.provider
    else:
        raise _client_gone()
    client = client_for(provider, registered)
    if value["client"] is not None:
        client_id, secret = value["client"]
        client = Client(id=client_id, secret=None if secret is None else SecretValue(secret))
    if client is None:
        raise _client_gone()
    subject = value["subject"]
    target = Target(
        provider_id=provider_id,
        provider=provider,
        client=client,
        scopes=tuple(value["scopes"]),
        own_client=value["client"] is not None,
        own_definition=value["definition"] is not None,
        connection_id=value["connection"],
        subject=None if subject is None else (subject[0], subject[1]),
    )
    return target, value["verifier"], value.get("redirect", "")


def _client_gone() -> CallbackRefused:
    return CallbackRefused(
        "client-gone", "An admin removed this provider, or changed its addresses, meanwhile."
    )


def _purpose(state_hash: bytes) -> str:
    return f"oauth-flow:{state_hash.hex()}"
