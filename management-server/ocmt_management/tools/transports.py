"""Transports to tool servers: HTTP, or through the agent server to a package."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import httpx2
from ocmt_common.problems import Problem
from yarl import URL

from ocmt_management.agents.service import AgentServer
from ocmt_management.outbound.service import AddressRefused, Client
from ocmt_management.tools import trouble
from ocmt_management.tools.account_tokens import AccountTokens, token_headers
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.trouble import Kind, Trouble

_CONNECT_TIMEOUT_S = 10
_MAX_DEFINED = 10_000
_NO_SUCH_SERVER = "no-such-tool-server"
Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    chunks: AsyncIterator[bytes]

    def header(self, name: str) -> str:
        """The last value of the header with this lower-case name; empty if there is none."""
        found = ""
        for key, value in self.headers:
            if key.lower() == name:
                found = value
        return found


class Transport(Protocol):
    def send(
        self, connection: Connection, method: str, headers: Headers, body: bytes | None
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a message and stream the reply. Raises `Trouble` if that fails or breaks off."""
        ...


def credential_headers(connection: Connection) -> Headers:
    """The headers that carry the credential, made for each request and never stored.

    For `Authorization`, a value without a scheme is sent as a bearer token.
    """
    if connection.credential_name is None or connection.credential is None:
        return []
    value = connection.credential.reveal()
    if connection.credential_name.lower() == "authorization" and " " not in value:
        value = f"Bearer {value}"
    return [(connection.credential_name, value)]


class HttpTransport:
    """Tokens of connected accounts come from `tokens`."""

    def __init__(self, client: Client, tokens: AccountTokens) -> None:
        self._client = client
        self._tokens = tokens

    @asynccontextmanager
    async def send(
        self, connection: Connection, method: str, headers: Headers, body: bytes | None
    ) -> AsyncIterator[Reply]:
        access = await self._tokens.of(connection)
        response = await self._sent(connection, method, [*headers, *token_headers(access)], body)
        if response.status == 401 and access is not None:
            response.close()
            access = await self._tokens.renewed(connection, access)
            response = await self._sent(
                connection, method, [*headers, *token_headers(access)], body
            )
        if response.status == 403 and access is not None:
            challenge = response.headers.get("WWW-Authenticate", "")
            await self._tokens.not_permitted(connection, access, challenge)
        try:
            yield Reply(
                response.status,
                [(key, value) for key, value in response.headers.items()],
                response.content.iter_any(),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise trouble.broken_off(connection.name) from error
        finally:
            # A connection whose answer was not read to its end cannot be used again.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _sent(
        self, connection: Connection, method: str, headers: Headers, body: bytes | None
    ) -> aiohttp.ClientResponse:
        name = connection.name
        try:
            return await self._client.request(
                method,
                URL(connection.url or "", encoded=True),
                headers=[*headers, *credential_headers(connection)],
                body=body,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            )
        except AddressRefused as refused:
            raise trouble.address_refused(name, str(refused)) from refused
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise trouble.unreachable(name) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise trouble.broken_off(name) from error


class PackageTransport:
    """Reaches a package's server, which runs in its own container on the agent server's host."""

    def __init__(self, agent_server: AgentServer) -> None:
        self._agent_server = agent_server
        self._defined: set[object] = set()
        """Session keys of the connections whose definition was sent to the agent server."""

    @asynccontextmanager
    async def send(
        self, connection: Connection, method: str, headers: Headers, body: bytes | None
    ) -> AsyncIterator[Reply]:
        try:
            async with AsyncExitStack() as stack:
                try:
                    response = await self._begin(stack, connection, method, headers, body)
                except Problem as problem:
                    if problem.code != _NO_SUCH_SERVER:
                        raise
                    # The agent server has restarted: it stores no credential on its disk.
                    self._defined.discard(connection.session_key)
                    response = await self._begin(stack, connection, method, headers, body)
                yield Reply(
                    response.status_code, list(response.headers.items()), response.aiter_raw()
                )
        except Problem as problem:
            self._defined.discard(connection.session_key)
            raise Trouble(Kind.UNREACHABLE, f"{connection.name}: {problem.detail}") from problem

    async def _begin(
        self,
        stack: AsyncExitStack,
        connection: Connection,
        method: str,
        headers: Headers,
        body: bytes | None,
    ) -> httpx2.Response:
        await self._define(connection)
        return await stack.enter_async_context(
            self._agent_server.tool_server(
                connection.user_id, connection.server_id, method, headers=headers, body=body
            )
        )

    async def _define(self, connection: Connection) -> None:
        """Send the package and the credential to the agent server, unless it has them."""
        package = connection.package
        if package is None or connection.session_key in self._defined:
            return
        environment = {}
        if connection.credential_name is not None and connection.credential is not None:
            environment[connection.credential_name] = connection.credential.reveal()
        await self._agent_server.define_tool_server(
            connection.user_id,
            connection.server_id,
            {
                "package": package.name,
                "version": package.version,
                "integrity": package.integrity,
                "arguments": list(package.arguments),
                "environment": environment,
            },
        )
        if len(self._defined) >= _MAX_DEFINED:
            self._defined.clear()
        self._defined.add(connection.session_key)
