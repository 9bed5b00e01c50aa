"""Tokens of connected accounts, for servers that take their credential from one."""

from ocmt_management.integrations.service import Access, ConnectionTrouble, Integrations
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.trouble import Kind, Trouble

Headers = list[tuple[str, str]]


class AccountTokens:
    def __init__(self, integrations: Integrations) -> None:
        self._integrations = integrations

    async def of(self, connection: Connection) -> Access | None:
        """A token; `None` if the server takes none of an account. Raises `Trouble` or `Problem`."""
        if connection.connection_id is None:
            return None
        try:
            return await self._integrations.access(connection.user_id, connection.connection_id)
        except ConnectionTrouble as problem:
            raise trouble_of(connection, problem) from problem

    async def not_permitted(self, connection: Connection, access: Access, challenge: str) -> None:
        """The server answered 403: more scopes may be asked for at the next sign-in."""
        await self._integrations.not_permitted(connection.user_id, access, challenge)

    async def renewed(self, connection: Connection, access: Access) -> Access:
        """A token after the server rejected one; the same if that was not why.

        Raises `Trouble` or `Problem`.
        """
        try:
            return await self._integrations.renewed(connection.user_id, access) or access
        except ConnectionTrouble as problem:
            raise trouble_of(connection, problem) from problem


def token_headers(access: Access | None) -> Headers:
    """The header with the token, made for each request and never stored."""
    return [] if access is None else [("Authorization", f"Bearer {access.token.reveal()}")]


def trouble_of(connection: Connection, problem: ConnectionTrouble) -> Trouble:
    kind = Kind.REFUSED if problem.broken else Kind.UNREACHABLE
    return Trouble(kind, f"{connection.name}: {problem}")
