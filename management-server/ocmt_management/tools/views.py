"""Converts rows to the API's views of tools."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.tools.models import (
    AccountState,
    DefinitionState,
    Rule,
    ToolAccount,
    ToolDefinition,
    ToolServer,
    Transport,
)
from ocmt_management.tools.pins import difference
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.rules import effective
from ocmt_management.tools.schemas import (
    ChangesAnswer,
    ChangeView,
    ServerView,
    SharedServersAnswer,
    SharedServerView,
    SharedToolView,
    ToolsAnswer,
    ToolView,
    UsesAnswer,
    UseView,
)
from ocmt_management.tools.servers import secret_name, unknown_server
from ocmt_management.tools.snapshot import Sides, rules_by_tool, rules_for, usable_definition
from ocmt_management.vault.service import KeyRing, Vault

_MAX_DESCRIPTION = 4000
_SHOWN_USES = 100
_TO_ACCEPT = frozenset({DefinitionState.NEW, DefinitionState.EXTENDED, DefinitionState.CHANGED})


class ToolViews:
    """The views of one user's tools, within one transaction."""

    def __init__(self, session: AsyncSession, *, keys: KeyRing, clock: Clock, user_id: str) -> None:
        self._rows = ToolRepository(session)
        self._vault = Vault(session, keys, clock)
        self._user_id = user_id

    async def all(self) -> ToolsAnswer:
        return ToolsAnswer(servers=await self._views(await self._rows.servers_for(self._user_id)))

    async def one(self, server_id: str) -> ServerView:
        server = await self._rows.server_for(self._user_id, server_id)
        if server is None:
            raise unknown_server()
        return (await self._views([server]))[0]

    async def changes(self, server_id: str) -> ChangesAnswer:
        if await self._rows.server_for(self._user_id, server_id) is None:
            raise unknown_server()
        rows = await self._rows.definitions(self._user_id)
        return ChangesAnswer(
            changes=[
                ChangeView(
                    tool=row.name,
                    public_name=row.public_name,
                    state=DefinitionState(row.state),
                    pin=row.pin.hex(),
                    difference=difference(row.accepted_definition, row.definition),
                )
                for row in rows
                if row.server_id == server_id and row.state in _TO_ACCEPT
            ]
        )

    async def uses(self) -> UsesAnswer:
        servers = await self._rows.servers_for(self._user_id)
        names = {server.id: server.name for server in servers}
        uses = await self._rows.uses(self._user_id, limit=_SHOWN_USES)
        return UsesAnswer(
            uses=[
                UseView(
                    server=names.get(use.server_id, ""),
                    tool=use.tool,
                    outcome=use.outcome,
                    milliseconds=use.milliseconds,
                    shape=use.shape,
                    at=use.at,
                )
                for use in uses
            ]
        )

    async def _views(self, servers: Sequence[ToolServer]) -> list[ServerView]:
        accounts = {a.server_id: a for a in await self._rows.accounts(self._user_id)}
        definitions = await self._rows.definitions(self._user_id)
        sides = rules_by_tool(await self._rows.rules(self._user_id))
        hints = {info.name: info.hint for info in await self._secrets()}
        return [
            _server(
                server,
                accounts.get(server.id),
                [row for row in definitions if row.server_id == server.id],
                sides,
                hints.get(secret_name(server.id)),
            )
            for server in servers
            if server.enabled or server.owner_id is not None
        ]

    async def _secrets(self) -> Sequence[Any]:
        return await self._vault.list(self._user_id, namespace="tool")


class SharedServerViews:
    """The views of shared servers for admins, within one transaction."""

    def __init__(self, session: AsyncSession, admin_id: str) -> None:
        self._rows = ToolRepository(session)
        self._admin_id = admin_id

    async def all(self) -> SharedServersAnswer:
        servers = await self._rows.shared_servers()
        return SharedServersAnswer(servers=[await self._view(server) for server in servers])

    async def one(self, server_id: str) -> SharedServerView:
        server = await self._rows.shared_server(server_id)
        if server is None:
            raise unknown_server()
        return await self._view(server)

    async def _view(self, server: ToolServer) -> SharedServerView:
        rules = {
            row.tool: Rule(row.rule)
            for row in await self._rows.admin_rules()
            if row.server_id == server.id
        }
        listed = {
            row.name: str(json.loads(row.definition).get("description", ""))[:_MAX_DESCRIPTION]
            for row in await self._rows.definitions(self._admin_id)
            if row.server_id == server.id
        }
        return SharedServerView(
            id=server.id,
            slug=server.slug,
            name=server.name,
            transport=Transport(server.transport),
            url=server.url,
            package=_package(server),
            arguments=json.loads(server.arguments or b"[]"),
            credential_name=server.credential_name,
            enabled=server.enabled,
            people=len(await self._rows.users_of(server.id)),
            rule=rules.get(""),
            tools=[
                SharedToolView(name=name, description=listed.get(name), rule=rules.get(name))
                for name in sorted({*listed, *rules} - {""})
            ],
        )


def _server(
    server: ToolServer,
    account: ToolAccount | None,
    definitions: Sequence[ToolDefinition],
    sides: Sides,
    hint: str | None,
) -> ServerView:
    needs_credential = server.credential_name is not None
    admin, own = rules_for(sides, server.id, "")
    return ServerView(
        id=server.id,
        slug=server.slug,
        name=server.name,
        shared=server.owner_id is None,
        transport=Transport(server.transport),
        url=server.url,
        package=_package(server),
        credential_name=server.credential_name,
        connected=account is not None,
        enabled=server.enabled,
        credential_state=(
            AccountState(account.state) if account is not None and needs_credential else None
        ),
        credential_hint=None if hint is None else f"…{hint}",
        connection_id=None if account is None else account.connection_id,
        trouble=None if account is None else account.trouble,
        listed_at=None if account is None else account.listed_at,
        admin_rule=None if admin.server is None else admin.server.rule,
        own_rule=None if own.server is None else own.server.rule,
        tools=[_tool(row, sides) for row in definitions],
    )


def _tool(row: ToolDefinition, sides: Sides) -> ToolView:
    definition = json.loads(row.definition)
    annotations = definition.get("annotations")
    read_only = annotations.get("readOnlyHint") if isinstance(annotations, dict) else None
    title = definition.get("title")
    usable = usable_definition(row)
    admin, own = rules_for(sides, row.server_id, row.name)
    state = DefinitionState(row.state)
    pin = None if usable is None else usable[1]
    return ToolView(
        name=row.name,
        public_name=row.public_name,
        title=title[:200] if isinstance(title, str) else None,
        description=str(definition.get("description", ""))[:_MAX_DESCRIPTION],
        read_only=read_only if isinstance(read_only, bool) else None,
        state=state,
        rule=effective(admin=admin, own=own, state=state, pin=pin),
        admin_rule=None if admin.tool is None else admin.tool.rule,
        own_rule=None if own.tool is None or own.tool.pin not in (None, pin) else own.tool.rule,
    )


def _package(server: ToolServer) -> str | None:
    return None if server.package is None else f"{server.package}@{server.package_version}"
