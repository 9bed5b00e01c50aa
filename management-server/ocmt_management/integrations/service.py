"""People's connections: what the endpoints and other domains use."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.broken_mail import BrokenMail
from ocmt_management.integrations.catalogue import API_KEY, MCP
from ocmt_management.integrations.flows import MAX_CONNECTIONS as _MAX_CONNECTIONS
from ocmt_management.integrations.flows import (
    Finished,
    Flows,
    Listener,
    Target,
    too_many_connections,
)
from ocmt_management.integrations.models import (
    TROUBLE_CHARACTERS,
    ConnectedAccount,
    ConnectionState,
)
from ocmt_management.integrations.oauth_http import Answer, NoAnswer, OAuthHttp
from ocmt_management.integrations.oauth_protocol import (
    Client,
    HttpRequest,
    account_of,
    identity_request,
    revoked_by_access_token,
)
from ocmt_management.integrations.operator_clients import (
    OperatorClients,
    client_for,
    client_key_ids,
    reseal_clients,
)
from ocmt_management.integrations.provider_schema import Api, Kind, Provider, bounded_scopes
from ocmt_management.integrations.refresher import Access, ConnectionTrouble, Refresher
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.integrations.resource_discovery import ResourceDiscovery
from ocmt_management.integrations.resource_metadata import read_challenge
from ocmt_management.integrations.schemas import ConnectionView, KeyBody
from ocmt_management.integrations.stored_tokens import (
    StoredTokens,
    provider_of,
    standing_of,
    tokens_of,
)
from ocmt_management.integrations.token_state import Shown, shown_state
from ocmt_management.integrations.views import connection_view
from ocmt_management.mail.service import MailQueue
from ocmt_management.outbound.service import Client as HttpClient
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.service import KeyRing, SecretValue, Vault

__all__ = [
    "API_KEY",
    "MCP",
    "Access",
    "Answer",
    "Api",
    "ConnectedAccount",
    "ConnectionTrouble",
    "ConnectionView",
    "HttpRequest",
    "Integrations",
    "Kind",
    "Listener",
    "NoAnswer",
    "Provider",
    "Shown",
    "client_key_ids",
    "delete_old_flows",
    "provider_of",
    "reseal_clients",
    "shown_state",
    "standing_of",
]

log = structlog.get_logger(__name__)

CALLBACK = "/api/connections/callback"
DOCUMENT = "/api/connections/client-metadata"
_DISCONNECT_ALL_WITHIN_S = 10


class Integrations:
    """Enter `open` for the server's lifetime."""

    def __init__(
        self,
        *,
        settings: ManagementSettings,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        mail_queue: MailQueue,
        client: HttpClient,
    ) -> None:
        self.database = database
        self.keys = keys
        self.clock = clock
        self.page = f"{settings.page_origin}/connections"
        self.redirect_uri = f"{settings.base_url}{CALLBACK}"
        self.document_url = f"{settings.base_url}{DOCUMENT}" if settings.secure else None
        self.http = OAuthHttp(client, settings.private_host_set)
        self.listener: Listener | None = None
        self._settings = settings.oauth_client_map
        self.refresher = Refresher(
            database=database,
            keys=keys,
            clock=clock,
            http=self.http,
            clients=self.clients,
            redirect_uri=self.redirect_uri,
            mail=BrokenMail(mail_queue, page=self.page, enabled=bool(settings.smtp_host)),
        )
        self.flows = Flows(
            database=database,
            keys=keys,
            clock=clock,
            http=self.http,
            clients=self.clients,
            redirect_uri=self.redirect_uri,
        )
        self._discovery = ResourceDiscovery(
            self.http, redirect_uri=self.redirect_uri, document_url=self.document_url
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        settings: ManagementSettings,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        mail_queue: MailQueue,
    ) -> AsyncIterator["Integrations"]:
        client = HttpClient(settings.private_host_set)
        try:
            found = cls(
                settings=settings,
                database=database,
                keys=keys,
                clock=clock,
                mail_queue=mail_queue,
                client=client,
            )
            try:
                yield found
            finally:
                await found.refresher.close()
        finally:
            await client.close()

    def clients(self, session: AsyncSession) -> OperatorClients:
        return OperatorClients(session, self.keys, self.clock, self._settings)

    # Connecting

    async def start(
        self,
        user_id: str,
        session_id: str,
        provider_id: str,
        scopes: Sequence[str] | None,
        connection_id: str | None,
    ) -> str:
        """The address at which the person consents. Raises `Problem`."""
        async with self.database.read() as session:
            rows = IntegrationRepository(session)
            row = None
            if connection_id is not None:
                row = await rows.connection(user_id, connection_id)
                if row is None or row.provider != provider_id:
                    raise unknown_connection()
            if row is not None and row.provider == MCP:
                stored = await tokens_of(Vault(session, self.keys, self.clock), row)
                target = _again(row, stored.client)
            else:
                registered = await self.clients(session).get(provider_id)
                if registered is None:
                    raise Problem(
                        409,
                        "provider-not-ready",
                        "An admin has to set this provider up first, under Settings.",
                    )
                provider = registered.provider
                chosen = provider.chosen_scopes(None if scopes is None else tuple(scopes))
                if row is not None and scopes is None:
                    chosen = tuple(row.asked_scopes.split())
                target = Target(
                    provider_id=provider_id,
                    provider=provider,
                    client=registered.client,
                    scopes=chosen,
                    own_definition=provider.kind is Kind.OWN,
                    connection_id=connection_id,
                )
        return await self.flows.begin(user_id, session_id, target)

    async def start_for_server(
        self, user_id: str, session_id: str, *, server_id: str, name: str, url: str
    ) -> str:
        """The address at which the person signs in to an MCP server. Raises `Problem`."""
        found = await self._discovery.sign_in_to(name, url)
        async with self.database.read() as session:
            row = await IntegrationRepository(session).of_account(user_id, MCP, server_id)
        # Those that it asked for later, too, and those of the sign-in before: the new token is to
        # permit all.
        before = () if row is None else row.asked_scopes.split()
        target = Target(
            provider_id=MCP,
            provider=found.provider,
            client=found.client,
            scopes=bounded_scopes(dict.fromkeys((*found.scopes, *before))),
            own_client=True,
            own_definition=True,
            subject=(server_id, name),
        )
        return await self.flows.begin(user_id, session_id, target)

    async def finish(
        self, user_id: str, session_id: str, parameters: dict[str, str], *, tag: str | None
    ) -> Finished:
        """Store what a callback brings; `tag`: the end of the path that it came to, if it has one.

        Raises `CallbackRefused` or `Problem`.
        """
        arrived_at = self.redirect_uri if tag is None else f"{self.redirect_uri}/{tag}"
        return await self.flows.finish(
            user_id, session_id, parameters, arrived_at=arrived_at, listener=self.listener
        )

    async def connect_key(self, user_id: str, body: KeyBody) -> str:
        """Connect a host by a key, without testing it. Returns the connection's id.

        Raises `Problem`.
        """
        base = f"https://{body.host}"
        if not self.http.may_go_to(base):
            raise Problem(422, "host-invalid", "Give one host, such as api.example.com.")
        provider = Provider(
            name=body.name,
            kind=Kind.KEY,
            setup="",
            api=Api(
                base_url=base,
                hosts=(body.host,),
                credential_header=body.header,
                credential_prefix=body.prefix,
            ),
        )
        async with self.database.write() as session:
            rows = IntegrationRepository(session)
            vault = Vault(session, self.keys, self.clock)
            now = self.clock()
            connection_id = str(uuid4())
            stored = StoredTokens(access=SecretValue(body.key.get_secret_value()))
            row = ConnectedAccount(
                id=connection_id,
                user_id=user_id,
                provider=API_KEY,
                account_id=connection_id,
                account=body.host,
                definition=provider.model_dump_json().encode(),
                asked_scopes="",
                scopes="",
                tokens=await stored.seal(vault, user_id, connection_id),
                token_version=1,
                refreshable=False,
                state=ConnectionState.OK,
                created_at=now,
                connected_at=now,
            )
            if len(await rows.connections(user_id)) >= _MAX_CONNECTIONS:
                raise too_many_connections()
            await rows.add_connection(row)
            if self.listener is not None:
                await self.listener.connected(session, user_id, row)
            self._audit(session, "connection.connected", row)
        await self._changed(user_id)
        return connection_id

    async def renew_key(self, user_id: str, connection_id: str, key: SecretValue) -> None:
        async with self.database.write() as session:
            rows = IntegrationRepository(session)
            row = await rows.connection_for_change(user_id, connection_id)
            if row is None:
                raise unknown_connection()
            if row.provider != API_KEY:
                raise Problem(422, "not-a-key", "This is connected by signing in, not by a key.")
            vault = Vault(session, self.keys, self.clock)
            await rows.change(
                row,
                tokens=await StoredTokens(access=key).seal(vault, user_id, row.id),
                token_version=row.token_version + 1,
                state=ConnectionState.OK,
                trouble=None,
                connected_at=self.clock(),
            )
            if self.listener is not None:
                await self.listener.connected(session, user_id, row)
            self._audit(session, "connection.connected", row)
        await self._changed(user_id)

    # Using

    async def access(
        self, user_id: str, connection_id: str, *, refused_version: int | None = None
    ) -> Access:
        """A token to use now. Raises `ConnectionTrouble` or `Problem`."""
        return await self.refresher.access(user_id, connection_id, refused_version=refused_version)

    async def renewed(self, user_id: str, access: Access) -> Access | None:
        """Another token after the provider answered 401; `None` if the token is not why.

        Also `None` for a key, and if the provider does not answer. Raises `ConnectionTrouble` or
        `Problem` if there is no other token now.
        """
        provider = access.provider
        if provider.kind is Kind.KEY:
            return None
        if provider.identity is not None:
            try:
                answer = await self.http.send(identity_request(provider.identity, access.token))
            except NoAnswer:
                return None
            fine = account_of(provider.identity, answer.body) is not None
            if answer.status != 401 and (fine or provider.identity.ok_member is None):
                return None
        return await self.access(user_id, access.connection_id, refused_version=access.version)

    async def not_permitted(self, user_id: str, access: Access, challenge: str) -> None:
        """Store the scopes that a tool server's 403 asks for, for the next sign-in.

        `challenge` is its `WWW-Authenticate` header. A `Problem` is ignored.
        """
        asked = read_challenge(challenge)
        if asked.error != "insufficient_scope" or not asked.scopes:
            return
        with suppress(Problem):
            async with self.database.write() as session:
                rows = IntegrationRepository(session)
                row = await rows.connection_for_change(user_id, access.connection_id)
                if row is None or row.provider != MCP:
                    return
                scopes = bounded_scopes(dict.fromkeys((*row.asked_scopes.split(), *asked.scopes)))
                await rows.change(row, asked_scopes=" ".join(scopes))

    async def used(self, user_id: str, connection_id: str, what: str) -> None:
        """Record the last use, for the page. A `Problem` is ignored."""
        with suppress(Problem):
            async with self.database.write() as session:
                await IntegrationRepository(session).note(
                    user_id, connection_id, last_used_at=self.clock(), last_used_for=what[:200]
                )

    # Showing

    async def list(self, session: AsyncSession, user_id: str) -> list[ConnectionView]:
        now = self.clock()
        rows = await IntegrationRepository(session).connections(user_id)
        return [connection_view(row, now) for row in rows]

    async def one(self, user_id: str, connection_id: str) -> ConnectionView:
        async with self.database.read() as session:
            row = await IntegrationRepository(session).connection(user_id, connection_id)
        if row is None:
            raise unknown_connection()
        return connection_view(row, self.clock())

    async def test(self, user_id: str, connection_id: str) -> ConnectionView:
        """Get a token and call the provider with it, if its identity call is known.

        Stores what is wrong as the trouble, or that nothing is. Raises `Problem`.
        """
        await self.one(user_id, connection_id)
        trouble: str | None = None
        try:
            access = await self.access(user_id, connection_id)
            trouble = await self._tested(user_id, access)
        except ConnectionTrouble as problem:
            if problem.broken:
                return await self.one(user_id, connection_id)
            trouble = str(problem)
        async with self.database.write() as session:
            shown = None if trouble is None else trouble[:TROUBLE_CHARACTERS]
            await IntegrationRepository(session).note(user_id, connection_id, trouble=shown)
        return await self.one(user_id, connection_id)

    async def _tested(self, user_id: str, access: Access) -> str | None:
        identity = access.provider.identity
        if identity is None:
            return None
        for _ in range(2):
            try:
                answer = await self.http.send(identity_request(identity, access.token))
            except NoAnswer as error:
                return f"{access.provider.name} did not answer the test: {error}. Try again later."
            if account_of(identity, answer.body) is not None and answer.status < 300:
                return None
            if answer.status != 401 and not (answer.status < 300 and identity.ok_member):
                break
            access = await self.access(
                user_id, access.connection_id, refused_version=access.version
            )
        return (
            f"{access.provider.name} answered the test with an error (HTTP {answer.status}). "
            "Try again later, or connect it again."
        )

    # Disconnecting

    async def disconnect(self, user_id: str, connection_id: str) -> tuple[bool, str | None]:
        """End the access at the provider, then delete it here.

        Returns whether the provider confirmed it and, if not, the address where users can end the
        access themselves, or `None`. Raises `Problem`.
        """
        async with self.database.read() as session:
            row = await IntegrationRepository(session).connection(user_id, connection_id)
            if row is None:
                raise unknown_connection()
            stored = await tokens_of(Vault(session, self.keys, self.clock), row)
            registered = await self.clients(session).get(row.provider)
        provider = provider_of(row)
        client = stored.client or client_for(provider, registered)
        confirmed = False
        if provider.oauth is not None and client is not None:
            access = stored.access
            if revoked_by_access_token(provider.oauth) and not standing_of(row).usable(
                self.clock()
            ):
                # With one that has expired the provider answers 401, and the refresh token lives.
                with suppress(ConnectionTrouble):
                    access = (await self.access(user_id, connection_id)).token
            confirmed = await self.flows.revoke(provider.oauth, client, access, stored.refresh)
        async with self.database.write() as session:
            if self.listener is not None:
                await self.listener.disconnected(session, user_id, connection_id)
            if await IntegrationRepository(session).delete_connection(user_id, connection_id):
                detail = "revoked" if confirmed else "not confirmed by the provider"
                self._audit(session, "connection.disconnected", row, detail)
        await self._changed(user_id)
        by_hand = None if provider.oauth is None else provider.oauth.revocation.by_hand
        return confirmed, None if confirmed else by_hand

    async def disconnect_all(self, user_id: str) -> None:
        """Disconnect what the user connected, before their tokens are shredded.

        Takes at most 10 s. What fails or takes longer is left: deleting a person goes on.
        """
        with suppress(TimeoutError, Problem):
            async with asyncio.timeout(_DISCONNECT_ALL_WITHIN_S):
                async with self.database.read() as session:
                    rows = await IntegrationRepository(session).connections(user_id)
                ends = (self.disconnect(user_id, row.id) for row in rows)
                for error in await asyncio.gather(*ends, return_exceptions=True):
                    if isinstance(error, Exception):
                        log.warning("not disconnected", kind=type(error).__name__)

    async def _changed(self, user_id: str) -> None:
        if self.listener is not None:
            await self.listener.changed(user_id)

    def _audit(
        self, session: AsyncSession, action: str, row: ConnectedAccount, detail: str = ""
    ) -> None:
        Audit(session, self.clock).record(
            action, user_id=row.user_id, actor=row.user_id, subject=row.provider, detail=detail
        )


async def delete_old_flows(session: AsyncSession, clock: Clock) -> None:
    """Delete expired flows."""
    await IntegrationRepository(session).delete_flows_before(clock())


def unknown_connection() -> Problem:
    return Problem(404, "connection-unknown", "You have no such connection.")


def _again(row: ConnectedAccount, client: Client | None) -> Target:
    """Sign in to a tool server again, with the client that is registered there.

    Raises `Problem` without one.
    """
    if client is None:
        raise Problem(409, "provider-not-ready", "Sign in to this server again under Tools.")
    return Target(
        provider_id=MCP,
        provider=provider_of(row),
        client=client,
        scopes=tuple(row.asked_scopes.split()),
        own_client=True,
        own_definition=True,
        connection_id=row.id,
        subject=(row.account_id, row.account),
    )
