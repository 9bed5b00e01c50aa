"""Changes to a user's servers, connections, rules and accepted definitions, and to shared servers.

Each change works within one transaction, increments the version of every catalogue concerned, and
is audited.
"""

import json
import secrets
from uuid import uuid4

from ocmt_common.problems import Problem
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.outbound import service
from ocmt_management.tools.models import (
    AccountState,
    DefinitionState,
    Rule,
    ToolAccount,
    ToolDefinition,
    ToolServer,
    Transport,
)
from ocmt_management.tools.names import RESERVED_PREFIX, numbered, slug_from
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.schemas import (
    NewServer,
    NewSharedServer,
    ServerChange,
)
from ocmt_management.tools.snapshot import usable_definition
from ocmt_management.vault.service import KeyRing, SecretValue, Vault

MAX_OWN_SERVERS = 30
MAX_SHARED_SERVERS = 100


def secret_name(server_id: str) -> str:
    """The name of a server's credential in the user's vault."""
    return f"tool:{server_id}"


class UserServers:
    """One user's servers within one transaction."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        keys: KeyRing,
        clock: Clock,
        user_id: str,
        private_hosts: frozenset[str],
    ) -> None:
        self._rows = ToolRepository(session)
        self._vault = Vault(session, keys, clock)
        self._audit = Audit(session, clock)
        self._clock = clock
        self._user_id = user_id
        self._private_hosts = private_hosts

    async def add(self, new: NewServer) -> str:
        """Add a server of the user's own and connect it. Returns its id. Raises `Problem`."""
        url = checked_url(new.url, self._private_hosts)
        await self._rows.raise_version(self._user_id)
        if await self._rows.count_own(self._user_id) >= MAX_OWN_SERVERS:
            raise Problem(
                409,
                "too-many-servers",
                f"A person can have at most {MAX_OWN_SERVERS} servers. Delete one first.",
            )
        taken = {server.slug for server in await self._rows.servers_for(self._user_id)}
        server = _server(
            self._clock,
            owner_id=self._user_id,
            slug=chosen_slug(new.slug, new.name, taken),
            name=new.name,
            url=url,
            credential_name=new.credential_name,
        )
        if not await self._rows.add_server(server):
            raise _slug_taken(server.slug)
        await self._connect(server, new.credential)
        self._record("tools.server.added", server)
        return server.id

    async def change(self, server_id: str, change: ServerChange) -> None:
        await self._rows.raise_version(self._user_id)
        server = await self._own(server_id)
        apply_change(server, change, self._clock)
        self._record("tools.server.changed", server)

    async def delete(self, server_id: str) -> None:
        await self._rows.raise_version(self._user_id)
        server = await self._own(server_id)
        await self._vault.delete(self._user_id, secret_name(server.id), actor=self._user_id)
        await self._rows.delete_server(server)
        self._record("tools.server.deleted", server)

    async def connect(self, server_id: str, credential: SecretStr | None) -> None:
        """Connect a server, or replace the credential for it. Raises `Problem`."""
        await self._rows.raise_version(self._user_id)
        server = await self._usable(server_id)
        _check_no_api(server)
        await self._connect(server, credential)
        self._record("tools.connected", server)

    async def disconnect(self, server_id: str) -> bool:
        """Delete the user's credential, and for a shared server also their tools and rules.

        Returns whether the server runs over stdio, and so has a container to remove. Raises
        `Problem`.
        """
        await self._rows.raise_version(self._user_id)
        server = await self._usable(server_id)
        _check_no_api(server)
        account = await self._rows.account(self._user_id, server_id)
        if account is None:
            raise _not_connected()
        await self._vault.delete(self._user_id, secret_name(server.id), actor=self._user_id)
        if server.owner_id is None:
            await self._rows.delete_account(self._user_id, server_id)
        else:
            account.version = _new_version()
            account.state = _state(server, has_credential=False)
        self._record("tools.disconnected", server)
        return server.transport == Transport.STDIO

    async def set_rule(self, server_id: str, tool: str | None, rule: Rule | None) -> None:
        """Set the user's rule. `allow` for a tool applies to its usable definition only.

        A `rule` of `None` deletes it. Raises `Problem`.
        """
        await self._rows.raise_version(self._user_id)
        server = await self._usable(server_id)
        pin: bytes | None = None
        if tool is not None:
            row = await self._definition(server_id, tool)
            usable = usable_definition(row)
            if rule is Rule.ALLOW:
                if usable is None:
                    raise Problem(
                        409, "tool-changed", "Check this tool's change and accept it first."
                    )
                pin = usable[1]
        elif await self._rows.account(self._user_id, server_id) is None:
            raise _not_connected()
        await self._rows.set_rule(self._user_id, server_id, tool or "", rule, pin)
        self._record("tools.rule", server, detail=f"{tool or 'all'}: {rule or 'none'}")

    async def accept(self, server_id: str, tool: str, pin: bytes) -> None:
        """Accept a changed or new definition. Raises `Problem`, also if its pin is not `pin`."""
        await self._rows.raise_version(self._user_id)
        server = await self._usable(server_id)
        row = await self._definition(server_id, tool)
        if row.state == DefinitionState.GONE or row.pin != pin:
            raise Problem(
                409,
                "tool-changed",
                "The server has changed this tool again since. Check the new change.",
            )
        row.accepted_definition, row.accepted_pin = row.definition, row.pin
        row.state = DefinitionState.OK
        self._record("tools.accepted", server, detail=f"{tool} {pin.hex()[:16]}")

    async def _connect(self, server: ToolServer, credential: SecretStr | None) -> None:
        account = await self._rows.account(self._user_id, server.id)
        name = secret_name(server.id)
        if credential is not None:
            if server.credential_name is None:
                raise Problem(
                    422,
                    "credential-not-needed",
                    f"{server.name} takes no credential. Connect it without one.",
                )
            await self._vault.put(
                self._user_id,
                name,
                SecretValue(credential.get_secret_value()),
                actor=self._user_id,
            )
        stored = await self._vault.hint(self._user_id, name) is not None
        if account is None:
            account = ToolAccount(
                user_id=self._user_id, server_id=server.id, created_at=self._clock()
            )
            self._rows.add_account(account)
        account.version = _new_version()
        account.state = _state(server, has_credential=stored)
        account.trouble = None

    async def _own(self, server_id: str) -> ToolServer:
        server = await self._rows.own_server(self._user_id, server_id)
        if server is None:
            raise unknown_server()
        _check_no_api(server)
        return server

    async def _usable(self, server_id: str) -> ToolServer:
        server = await self._rows.server_for(self._user_id, server_id)
        if server is None:
            raise unknown_server()
        return server

    async def _definition(self, server_id: str, tool: str) -> ToolDefinition:
        row = await self._rows.definition(self._user_id, server_id, tool)
        if row is None:
            raise Problem(
                404, "tool-unknown", "This server lists no tool with this name. Reload the list."
            )
        return row

    def _record(self, action: str, server: ToolServer, *, detail: str = "") -> None:
        self._audit.record(
            action, user_id=self._user_id, actor=self._user_id, subject=server.slug, detail=detail
        )


class SharedServers:
    """The servers that admins offer to everybody, within one transaction."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        keys: KeyRing,
        clock: Clock,
        admin_id: str,
        private_hosts: frozenset[str],
    ) -> None:
        self._rows = ToolRepository(session)
        self._vault = Vault(session, keys, clock)
        self._audit = Audit(session, clock)
        self._clock = clock
        self._admin_id = admin_id
        self._private_hosts = private_hosts

    async def add(self, new: NewSharedServer) -> str:
        url = None if new.url is None else checked_url(new.url, self._private_hosts)
        existing = await self._rows.shared_servers()
        if len(existing) >= MAX_SHARED_SERVERS:
            raise Problem(
                409,
                "too-many-servers",
                f"There are {MAX_SHARED_SERVERS} shared servers already. Delete one first.",
            )
        slug = chosen_slug(new.slug, new.name, {server.slug for server in existing})
        if await self._rows.is_slug_taken(slug):
            raise _slug_taken(slug)
        server = _server(
            self._clock,
            owner_id=None,
            slug=slug,
            name=new.name,
            url=url,
            credential_name=new.credential_name,
        )
        if new.package is not None:
            server.transport = Transport.STDIO
            server.package, server.package_version = new.package.name, new.package.version
            server.integrity = new.package.integrity
            server.arguments = json.dumps(new.package.arguments).encode()
        if not await self._rows.add_server(server):
            raise _slug_taken(slug)
        self._record("tools.shared.added", server)
        return server.id

    async def change(self, server_id: str, change: ServerChange) -> list[str]:
        """Change a shared server. Returns the ids of the users whose tools changed."""
        server = await self._shared(server_id)
        changed = await self._rows.raise_all_versions(server_id)
        apply_change(server, change, self._clock)
        self._record("tools.shared.changed", server)
        return list(changed)

    async def delete(self, server_id: str) -> tuple[list[str], bool]:
        """Delete a server with all users' credentials for it.

        Returns the ids of these users, and whether the server runs over stdio, and so has a
        container for each to remove.
        """
        server = await self._shared(server_id)
        changed = await self._rows.raise_all_versions(server_id)
        for user_id in changed:
            await self._vault.delete(user_id, secret_name(server_id), actor=self._admin_id)
        await self._rows.delete_server(server)
        self._record("tools.shared.deleted", server)
        return list(changed), server.transport == Transport.STDIO

    async def set_rule(self, server_id: str, tool: str | None, rule: Rule | None) -> list[str]:
        """Set the admins' rule, or delete it (`None`). Returns the ids of the users concerned."""
        server = await self._shared(server_id)
        changed = await self._rows.raise_all_versions(server_id)
        await self._rows.set_rule(None, server_id, tool or "", rule, None)
        self._record("tools.shared.rule", server, detail=f"{tool or 'all'}: {rule or 'none'}")
        return list(changed)

    async def _shared(self, server_id: str) -> ToolServer:
        server = await self._rows.shared_server(server_id)
        if server is None:
            raise unknown_server()
        return server

    def _record(self, action: str, server: ToolServer, *, detail: str = "") -> None:
        self._audit.record(
            action, user_id=self._admin_id, actor=self._admin_id, subject=server.slug, detail=detail
        )


def checked_url(text: str, private_hosts: frozenset[str]) -> str:
    """A server's address. Raises `Problem` for one that may not or cannot be used."""
    return service.checked_url(text, private_hosts, example="https://mcp.example.com/mcp")


def chosen_slug(slug: str | None, name: str, taken: set[str]) -> str:
    if slug is None:
        return numbered(slug_from(name), taken)
    if slug.startswith(RESERVED_PREFIX):
        raise Problem(
            422,
            "slug-reserved",
            f"Names that begin with {RESERVED_PREFIX} are OCMT's. Choose another short name.",
        )
    if slug in taken:
        raise _slug_taken(slug)
    return slug


def apply_change(server: ToolServer, change: ServerChange, clock: Clock) -> None:
    if change.name is not None:
        server.name = change.name
    if change.enabled is not None:
        server.enabled = change.enabled
    server.version += 1
    server.updated_at = clock()


def _check_no_api(server: ToolServer) -> None:
    if server.transport == Transport.API:
        raise Problem(
            409,
            "is-a-connection",
            f"{server.name} is a connected account. Change it under Connections.",
        )


def unknown_server() -> Problem:
    return Problem(404, "server-unknown", "You have no such tool server.")


def _server(
    clock: Clock,
    *,
    owner_id: str | None,
    slug: str,
    name: str,
    url: str | None,
    credential_name: str | None,
) -> ToolServer:
    now = clock()
    return ToolServer(
        id=str(uuid4()),
        owner_id=owner_id,
        slug=slug,
        name=name,
        transport=Transport.HTTP,
        url=url,
        credential_name=credential_name,
        enabled=True,
        version=1,
        created_at=now,
        updated_at=now,
    )


def _state(server: ToolServer, *, has_credential: bool) -> AccountState:
    if server.credential_name is None or has_credential:
        return AccountState.OK
    return AccountState.MISSING


def _new_version() -> int:
    """A random version, since a new connection must not repeat that of an earlier one."""
    return secrets.randbelow(2**31)


def _slug_taken(slug: str) -> Problem:
    return Problem(409, "slug-taken", f"Another server is named {slug}. Choose another short name.")


def _not_connected() -> Problem:
    return Problem(409, "not-connected", "Connect this server first.")
