"""Keeps the tools beside people's connections: the rows that `ocmt_api` and rules need.

A connection to a tool server's authorization server becomes that server's credential instead.
"""

import secrets
from collections.abc import Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.db import after_commit
from ocmt_management.integrations.service import MCP, ConnectedAccount, provider_of
from ocmt_management.tools.api_request import READ
from ocmt_management.tools.api_tool import API, OF_CONNECTION, definition_of
from ocmt_management.tools.connection_requests import note_connected
from ocmt_management.tools.models import (
    NAME_CHARACTERS,
    AccountState,
    DefinitionState,
    Rule,
    ToolAccount,
    ToolDefinition,
    ToolServer,
    Transport,
    Wanted,
)
from ocmt_management.tools.names import numbered, public_name, slug_from
from ocmt_management.tools.repository import ToolRepository


class ConnectionListener:
    """After the commit `changed` is called with the users whose tools changed, and `refresh` with a
    user and the server that they signed in to."""

    def __init__(
        self,
        clock: Clock,
        *,
        changed: Callable[[Iterable[str]], None],
        refresh: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._refresh = refresh

    async def connected(
        self, session: AsyncSession, user_id: str, connection: ConnectedAccount
    ) -> None:
        rows = ToolRepository(session)
        await rows.raise_version(user_id)
        if connection.provider == MCP:
            account = await rows.account(user_id, connection.account_id)
            if account is not None:
                account.connection_id = connection.id
                account.version = _new_version()
                account.state = AccountState.OK
                account.trouble = None
                server_id = account.server_id
                after_commit(session, lambda: self._refresh(user_id, server_id))
            return
        provider = provider_of(connection)
        if provider.api is None:
            return
        account = await rows.account(user_id, connection.id)
        if account is None:
            await self._add(rows, user_id, connection)
        else:
            account.version = _new_version()
        server = await rows.own_server(user_id, connection.id)
        if server is not None:
            # Not the account's label: it is the provider's text, and would be the user's words.
            await note_connected(
                session,
                user_id,
                Wanted.ACCOUNT,
                connection.provider,
                now=self._clock(),
                what=f"an account of {provider.name}: the connection `{server.slug}` of {API}",
            )

    async def disconnected(self, session: AsyncSession, user_id: str, connection_id: str) -> None:
        rows = ToolRepository(session)
        await rows.raise_version(user_id)
        server = await rows.own_server(user_id, connection_id)
        if server is not None and server.transport == Transport.API:
            await rows.delete_server(server)
            return
        for account in await rows.accounts(user_id):
            if account.connection_id == connection_id:
                account.connection_id = None
                account.version = _new_version()
                account.state = AccountState.REFUSED

    async def changed(self, user_id: str) -> None:
        self._changed([user_id])

    async def _add(self, rows: ToolRepository, user_id: str, connection: ConnectedAccount) -> None:
        name = provider_of(connection).name
        now = self._clock()
        taken = {server.slug for server in await rows.servers_for(user_id)}
        server = ToolServer(
            id=connection.id,
            owner_id=user_id,
            slug=numbered(slug_from(name), taken),
            name=f"{name} ({connection.account})"[:NAME_CHARACTERS],
            transport=Transport.API,
            enabled=True,
            version=1,
            created_at=now,
            updated_at=now,
        )
        await rows.add_server(server)
        rows.add_account(
            ToolAccount(
                user_id=user_id,
                server_id=server.id,
                version=_new_version(),
                connection_id=connection.id,
                state=AccountState.OK,
                listed_at=now,
                created_at=now,
            )
        )
        names = {row.public_name.lower() for row in await rows.definitions(user_id)}
        for tool in OF_CONNECTION:
            definition = definition_of(tool)
            shown = public_name(server.slug, tool, names)
            names.add(shown.lower())
            rows.add_definition(
                ToolDefinition(
                    user_id=user_id,
                    server_id=server.id,
                    name=tool,
                    public_name=shown,
                    definition=definition.text,
                    pin=definition.pin,
                    accepted_definition=definition.text,
                    accepted_pin=definition.pin,
                    state=DefinitionState.OK,
                    seen_at=now,
                )
            )
            if tool == READ:
                await rows.set_rule(user_id, server.id, tool, Rule.ALLOW, definition.pin)


def _new_version() -> int:
    """Random, as for each connection of a server."""
    return secrets.randbelow(2**31)
