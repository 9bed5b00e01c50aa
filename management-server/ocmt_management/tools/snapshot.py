"""An immutable snapshot of the tools that one user's agent may use, read by each call. Pure.

It is built from rows after each change. The list of tools is kept as the bytes to send.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ocmt_common import bounded_json

from ocmt_management.tools.connection import Connection, Package
from ocmt_management.tools.extras import Extras
from ocmt_management.tools.models import (
    AccountState,
    DefinitionState,
    Rule,
    ToolAccount,
    ToolDefinition,
    ToolRule,
    ToolServer,
    Transport,
)
from ocmt_management.tools.rules import Given, Rules, effective, version_of
from ocmt_management.vault.service import SecretValue

_USABLE = frozenset({DefinitionState.OK, DefinitionState.NEW, DefinitionState.EXTENDED})
NOTHING_LISTED = hashlib.sha256(b"[]").digest()
"""The digest of a user's list before the first tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    connection: Connection
    name: str
    public_name: str
    state: DefinitionState
    rule: Rule
    rules_version: int
    pin: bytes | None
    """The pin of the usable definition; `None` if the tool is quarantined or gone."""
    definition: bytes


@dataclass(frozen=True)
class UserTools:
    user_id: str
    version: int
    connections: Mapping[str, Connection]
    """By slug."""
    tools: Mapping[str, Tool]
    """By public name; includes tools that were listed once and are not usable now."""
    by_server: Mapping[tuple[str, str], Tool] = field(repr=False)
    """By server id and the tool's own name."""
    denied: frozenset[str] = frozenset()
    """Ids of servers that a rule denies as a whole."""
    apis: Mapping[str, Connection] = field(default_factory=dict)
    """The HTTP APIs of connected accounts, by slug; their tools are in `by_server` only."""

    @cached_property
    def listed(self) -> bytes:
        """The aggregate's list of tools as a JSON array, with public names."""
        return b"[%b]" % b",".join(
            _renamed(tool.definition, tool.public_name) for tool in self._listed()
        )

    @cached_property
    def extras(self) -> Extras:
        """The resources and prompts of all servers that are not denied as a whole."""
        return Extras(c for c in self.connections.values() if c.server_id not in self.denied)

    @cached_property
    def digest(self) -> bytes:
        return hashlib.sha256(self.listed).digest()

    def listed_of(self, connection: Connection) -> dict[str, Tool]:
        """The usable tools of one server, by their own names."""
        return {t.name: t for t in self._listed() if t.connection is connection}

    def connection_of(self, server_id: str) -> Connection | None:
        return next((c for c in self.connections.values() if c.server_id == server_id), None)

    def _listed(self) -> Iterable[Tool]:
        return (t for t in self.tools.values() if t.pin is not None and t.rule is not Rule.DENY)


def user_tools(
    user_id: str,
    *,
    version: int,
    servers: Sequence[ToolServer],
    accounts: Sequence[ToolAccount],
    definitions: Sequence[ToolDefinition],
    rules: Sequence[ToolRule],
    credentials: Mapping[str, SecretValue],
) -> UserTools:
    """Build the snapshot; `credentials` is keyed by server id."""
    connected = {account.server_id: account for account in accounts}
    all_connections = {
        server.id: connection(user_id, server, connected[server.id], credentials.get(server.id))
        for server in servers
        if server.enabled and server.id in connected
    }
    sides = rules_by_tool(rules)
    tools: list[Tool] = []
    for row in definitions:
        if row.server_id in all_connections:
            tools.append(_tool(row, all_connections[row.server_id], sides))
    return UserTools(
        user_id,
        version,
        {found.slug: found for found in all_connections.values() if not found.is_api},
        {tool.public_name: tool for tool in tools if not tool.connection.is_api},
        {(tool.connection.server_id, tool.name): tool for tool in tools},
        frozenset(
            server_id
            for (_, server_id, tool_name), given in sides.items()
            if not tool_name and given.rule is Rule.DENY
        ),
        {found.slug: found for found in all_connections.values() if found.is_api},
    )


def connection(
    user_id: str, server: ToolServer, account: ToolAccount, credential: SecretValue | None
) -> Connection:
    package = None
    if server.transport == Transport.STDIO:
        package = Package(
            name=server.package or "",
            version=server.package_version or "",
            integrity=server.integrity or "",
            arguments=tuple(json.loads(server.arguments or b"[]")),
        )
    return Connection(
        user_id=user_id,
        server_id=server.id,
        slug=server.slug,
        name=server.name,
        shared=server.owner_id is None,
        url=server.url,
        package=package,
        credential_name=server.credential_name,
        credential=credential,
        account_state=AccountState(account.state),
        server_version=server.version,
        account_version=account.version,
        extras=account.extras,
        connection_id=account.connection_id,
        is_api=server.transport == Transport.API,
    )


Sides = Mapping[tuple[bool, str, str], Given]
"""`(is the admins', server id, tool or "" for the whole server)` → rule."""


def rules_by_tool(rules: Sequence[ToolRule]) -> Sides:
    return {
        (row.user_id is None, row.server_id, row.tool): Given(Rule(row.rule), row.pin)
        for row in rules
    }


def rules_for(sides: Sides, server_id: str, tool: str) -> tuple[Rules, Rules]:
    """`(admins', user's own)` rules for a tool."""
    admin, own = (
        Rules(
            tool=sides.get((is_admin, server_id, tool)), server=sides.get((is_admin, server_id, ""))
        )
        for is_admin in (True, False)
    )
    return admin, own


def usable_definition(row: ToolDefinition) -> tuple[bytes, bytes] | None:
    """`(definition, pin)` to use for a tool; `None` if it is quarantined or gone.

    A new tool is used as listed, but each call needs a decision. An extended one is used as
    accepted.
    """
    if row.state not in _USABLE:
        return None
    if row.accepted_definition is not None and row.accepted_pin is not None:
        return row.accepted_definition, row.accepted_pin
    return row.definition, row.pin


def _tool(row: ToolDefinition, found: Connection, sides: Sides) -> Tool:
    admin, own = rules_for(sides, row.server_id, row.name)
    state = DefinitionState(row.state)
    usable = usable_definition(row)
    definition, pin = usable if usable is not None else (row.definition, None)
    return Tool(
        connection=found,
        name=row.name,
        public_name=row.public_name,
        state=state,
        rule=effective(admin=admin, own=own, state=state, pin=pin),
        rules_version=version_of(admin=admin, own=own),
        pin=pin,
        definition=definition,
    )


def _renamed(definition: bytes, name: str) -> bytes:
    return bounded_json.write({**bounded_json.members(definition), "name": name})
