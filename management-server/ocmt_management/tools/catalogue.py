"""Stores the tools that a server listed for a user, beside the definitions the user accepted."""

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.connection_requests import note_connected
from ocmt_management.tools.discovery import Offer
from ocmt_management.tools.models import (
    TROUBLE_CHARACTERS,
    AccountState,
    DefinitionState,
    ToolDefinition,
    Wanted,
)
from ocmt_management.tools.names import public_name
from ocmt_management.tools.pins import MAX_TOOLS, Definition, state_after
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.trouble import Kind, Trouble


class Catalogue:
    """The stored tools of one connection within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock, connection: Connection) -> None:
        self._session = session
        self._rows = ToolRepository(session)
        self._clock = clock
        self._of = connection

    async def store(self, offer: Offer) -> None:
        """Store what the server listed, unless the connection has changed since.

        Raises the version of the user's catalogue in any case.
        """
        user_id, server_id = self._of.key
        await self._rows.raise_version(user_id)
        account = await self._rows.account(user_id, server_id)
        if account is None or account.version != self._of.account_version:
            return
        first_list = account.listed_at is None
        rows = await self._rows.definitions(user_id)
        taken = {row.public_name.lower() for row in rows}
        known = {row.name: row for row in rows if row.server_id == server_id}
        for name, definition in offer.definitions.items():
            row = known.pop(name, None)
            if row is None:
                row = self._new(definition, public_name(self._of.slug, name, taken))
                taken.add(row.public_name.lower())
                self._rows.add_definition(row)
            self._apply(row, definition, first_list=first_list)
        await self._mark_gone(list(known.values()))
        account.listed_at = self._clock()
        account.extras = offer.extras
        account.state = AccountState.OK
        account.trouble = None if offer.trouble is None else offer.trouble[:TROUBLE_CHARACTERS]
        await note_connected(
            self._session,
            user_id,
            Wanted.SERVER,
            server_id,
            now=self._clock(),
            what=f"the tool server {self._of.name}: its tools are there now",
        )

    async def note(self, problem: Trouble) -> None:
        """Store a trouble for the page to show, unless the connection has changed since."""
        user_id, server_id = self._of.key
        account = await self._rows.account(user_id, server_id)
        if account is None or account.version != self._of.account_version:
            return
        account.trouble = problem.text[:TROUBLE_CHARACTERS]
        if problem.kind is Kind.REFUSED:
            account.state = AccountState.REFUSED

    async def clear_trouble(self) -> None:
        """Clear the stored trouble after a call, unless the connection has changed since."""
        user_id, server_id = self._of.key
        account = await self._rows.account(user_id, server_id)
        if account is not None and account.version == self._of.account_version:
            account.trouble = None
            account.state = AccountState.OK

    def _new(self, definition: Definition, name: str) -> ToolDefinition:
        user_id, server_id = self._of.key
        return ToolDefinition(
            user_id=user_id, server_id=server_id, name=definition.name, public_name=name
        )

    def _apply(self, row: ToolDefinition, definition: Definition, *, first_list: bool) -> None:
        state = state_after(row.accepted_definition, definition, first_list=first_list)
        row.definition, row.pin, row.state = definition.text, definition.pin, state
        row.seen_at = self._clock()
        if state is DefinitionState.OK:
            row.accepted_definition, row.accepted_pin = definition.text, definition.pin

    async def _mark_gone(self, rows: list[ToolDefinition]) -> None:
        rows.sort(key=lambda row: row.seen_at, reverse=True)
        for number, row in enumerate(rows):
            if row.accepted_definition is None or number >= MAX_TOOLS:
                await self._rows.delete_definition(row)
            else:
                row.state = DefinitionState.GONE
