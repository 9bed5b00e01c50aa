"""SQL of tools. A query about a user's rows always names the user."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.tools.models import (
    Rule,
    ToolAccount,
    ToolCatalogue,
    ToolDefinition,
    ToolRule,
    ToolServer,
    ToolUse,
    Transport,
)


class ToolRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # Servers

    async def servers_for(self, user_id: str) -> Sequence[ToolServer]:
        """The user's own servers and the shared ones, by slug."""
        rows = await self._session.scalars(
            select(ToolServer).where(_usable_by(user_id)).order_by(ToolServer.slug)
        )
        return rows.all()

    async def server_for(self, user_id: str, server_id: str) -> ToolServer | None:
        """A server that the user may use, their own or shared; `None` otherwise."""
        return await self._session.scalar(
            select(ToolServer).where(ToolServer.id == server_id, _usable_by(user_id))
        )

    async def own_server(self, user_id: str, server_id: str) -> ToolServer | None:
        return await self._session.scalar(
            select(ToolServer).where(ToolServer.id == server_id, ToolServer.owner_id == user_id)
        )

    async def shared_server(self, server_id: str) -> ToolServer | None:
        return await self._session.scalar(
            select(ToolServer).where(ToolServer.id == server_id, ToolServer.owner_id.is_(None))
        )

    async def shared_servers(self) -> Sequence[ToolServer]:
        rows = await self._session.scalars(
            select(ToolServer).where(ToolServer.owner_id.is_(None)).order_by(ToolServer.slug)
        )
        return rows.all()

    async def is_slug_taken(self, slug: str) -> bool:
        """Whether any user's or shared server has this slug."""
        return (
            await self._session.scalar(
                select(ToolServer.id).where(ToolServer.slug == slug).limit(1)
            )
            is not None
        )

    async def add_server(self, server: ToolServer) -> bool:
        """Store a new server; `False` if its slug is taken."""
        try:
            async with self._session.begin_nested():
                self._session.add(server)
        except IntegrityError:
            return False
        return True

    async def delete_server(self, server: ToolServer) -> None:
        """Delete a server; foreign keys delete its accounts, definitions, rules and uses."""
        await self._session.execute(delete(ToolServer).where(ToolServer.id == server.id))

    # Accounts

    async def accounts(self, user_id: str) -> Sequence[ToolAccount]:
        rows = await self._session.scalars(
            select(ToolAccount).where(ToolAccount.user_id == user_id)
        )
        return rows.all()

    async def account(self, user_id: str, server_id: str) -> ToolAccount | None:
        return await self._session.scalar(
            select(ToolAccount).where(
                ToolAccount.user_id == user_id, ToolAccount.server_id == server_id
            )
        )

    def add_account(self, account: ToolAccount) -> None:
        self._session.add(account)

    async def delete_account(self, user_id: str, server_id: str) -> None:
        """Delete the user's account, definitions, rules and uses of this server."""
        for table in (ToolAccount, ToolDefinition, ToolRule, ToolUse):
            await self._session.execute(
                delete(table).where(table.user_id == user_id, table.server_id == server_id)
            )

    async def users_of(self, server_id: str) -> Sequence[str]:
        """The ids of the users who have connected this server."""
        rows = await self._session.scalars(
            select(ToolAccount.user_id).where(ToolAccount.server_id == server_id)
        )
        return rows.all()

    # Definitions

    async def definitions(self, user_id: str) -> Sequence[ToolDefinition]:
        rows = await self._session.scalars(
            select(ToolDefinition)
            .where(ToolDefinition.user_id == user_id)
            .order_by(ToolDefinition.public_name)
        )
        return rows.all()

    async def definition(self, user_id: str, server_id: str, name: str) -> ToolDefinition | None:
        return await self._session.scalar(
            select(ToolDefinition).where(
                ToolDefinition.user_id == user_id,
                ToolDefinition.server_id == server_id,
                ToolDefinition.name == name,
            )
        )

    def add_definition(self, definition: ToolDefinition) -> None:
        self._session.add(definition)

    async def delete_definition(self, definition: ToolDefinition) -> None:
        await self._session.delete(definition)

    # Rules

    async def rules(self, user_id: str) -> Sequence[ToolRule]:
        """The user's own rules and the admins', for the servers that the user may use."""
        rows = await self._session.scalars(
            select(ToolRule)
            .join(ToolServer, ToolServer.id == ToolRule.server_id)
            .where(
                or_(ToolRule.user_id == user_id, ToolRule.user_id.is_(None)), _usable_by(user_id)
            )
        )
        return rows.all()

    async def admin_rules(self) -> Sequence[ToolRule]:
        rows = await self._session.scalars(select(ToolRule).where(ToolRule.user_id.is_(None)))
        return rows.all()

    async def set_rule(
        self,
        user_id: str | None,
        server_id: str,
        tool: str,
        rule: Rule | None,
        pin: bytes | None,
    ) -> None:
        """Replace a user's rule, or with `None` the admins'; an empty `tool` is the whole server.

        A `rule` of `None` deletes it.
        """
        await self._session.execute(
            delete(ToolRule).where(
                ToolRule.user_id == user_id if user_id else ToolRule.user_id.is_(None),
                ToolRule.server_id == server_id,
                ToolRule.tool == tool,
            )
        )
        if rule is not None:
            self._session.add(
                ToolRule(user_id=user_id, server_id=server_id, tool=tool, rule=rule, pin=pin)
            )

    # Versions

    async def catalogue(self, user_id: str) -> ToolCatalogue | None:
        return await self._session.scalar(
            select(ToolCatalogue).where(ToolCatalogue.user_id == user_id)
        )

    async def raise_version(self, user_id: str) -> None:
        """Increment the version of the user's tools, which locks its row until the commit.

        Call it first in a transaction, to serialise changes to one user's tools.
        """
        if await self._raise(user_id):
            return
        try:
            async with self._session.begin_nested():
                self._session.add(ToolCatalogue(user_id=user_id, version=1, sent_version=0))
        except IntegrityError:  # a concurrent request was first
            await self._raise(user_id)

    async def _raise(self, user_id: str) -> bool:
        raised = await self._session.scalars(
            update(ToolCatalogue)
            .where(ToolCatalogue.user_id == user_id)
            .values(version=ToolCatalogue.version + 1)
            .returning(ToolCatalogue.version)
            .execution_options(synchronize_session=False)
        )
        return raised.first() is not None

    async def raise_all_versions(self, server_id: str) -> Sequence[str]:
        """Increment the version of all users who have connected this server; returns their ids."""
        users = await self.users_of(server_id)
        for user_id in sorted(users):
            await self.raise_version(user_id)
        return users

    async def unsent(self, *, limit: int) -> Sequence[ToolCatalogue]:
        """Up to `limit` catalogues, of all users, whose version is not sent yet."""
        rows = await self._session.scalars(
            select(ToolCatalogue)
            .where(ToolCatalogue.sent_version < ToolCatalogue.version)
            .order_by(ToolCatalogue.user_id)
            .limit(limit)
        )
        return rows.all()

    async def mark_sent(self, user_id: str, version: int, digest: bytes) -> None:
        await self._session.execute(
            update(ToolCatalogue)
            .where(ToolCatalogue.user_id == user_id, ToolCatalogue.sent_version < version)
            .values(sent_version=version, sent_digest=digest)
            .execution_options(synchronize_session=False)
        )

    # Uses

    def add_use(self, use: ToolUse) -> None:
        self._session.add(use)

    async def uses(self, user_id: str, *, limit: int) -> Sequence[ToolUse]:
        """The user's last uses, newest first."""
        rows = await self._session.scalars(
            select(ToolUse)
            .where(ToolUse.user_id == user_id)
            .order_by(ToolUse.id.desc())
            .limit(limit)
        )
        return rows.all()

    async def delete_uses_beyond(self, user_id: str, *, kept: int) -> None:
        oldest = (
            select(ToolUse.id)
            .where(ToolUse.user_id == user_id)
            .order_by(ToolUse.id.desc())
            .offset(kept)
            .limit(1)
            .scalar_subquery()
        )
        await self._session.execute(
            delete(ToolUse)
            .where(ToolUse.user_id == user_id, ToolUse.id <= oldest)
            .execution_options(synchronize_session=False)
        )

    async def existing(self, user_id: str, server_ids: Sequence[str]) -> frozenset[str]:
        """Those of `server_ids` that the user may use."""
        rows = await self._session.scalars(
            select(ToolServer.id).where(ToolServer.id.in_(server_ids), _usable_by(user_id))
        )
        return frozenset(rows.all())

    async def count_own(self, user_id: str) -> int:
        found = await self._session.scalar(
            select(func.count())
            .select_from(ToolServer)
            .where(ToolServer.owner_id == user_id, ToolServer.transport != Transport.API)
        )
        return found or 0


def _usable_by(user_id: str) -> ColumnElement[bool]:
    return or_(ToolServer.owner_id == user_id, ToolServer.owner_id.is_(None))
