"""The HTTP client for addresses that users choose, such as those of their MCP servers.

When a name is resolved, every address found is checked, and one of these addresses is dialled. So a
name cannot resolve to a public address for the check and to a private one afterwards.
Private addresses, this machine's, and clouds' metadata are refused unless the operator allowed the
host in PRIVATE_HOSTS. Redirects are never followed, so a credential goes to no other address.
"""

import asyncio
import errno
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ocmt_management.outbound.addresses import Address, is_allowed

_RESOLVING_AT_ONCE = 16
_RESOLVE_TIMEOUT_S = 10
_KEEPALIVE_S = 4
"""Shorter than most servers' keep-alive (5 s): no request uses a connection being closed."""


class AddressRefused(OSError):
    """The host is, or resolves to, an address that may not be dialled for a user."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} is, or resolves to, an address of a private network or of this server, which "
            "users may not use. Operator: allow it by adding the host to PRIVATE_HOSTS"
        )


class NameUnanswered(OSError):
    """The DNS servers of a name do not answer.

    aiohttp passes it on as `ClientConnectorDNSError`, unlike a `TimeoutError`.
    """

    def __init__(self, host: str) -> None:
        super().__init__(errno.EHOSTUNREACH, f"the DNS servers of {host} do not answer")


class SystemResolver(AbstractResolver):
    """Resolves names with the system's resolver, in a thread pool of its own.

    A name whose DNS servers do not answer blocks its thread for many seconds. In the event loop's
    shared pool, a few such names would keep the whole server from resolving any.
    """

    def __init__(self, *, at_once: int = _RESOLVING_AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except TimeoutError as error:
            raise NameUnanswered(host) from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedResolver(AbstractResolver):
    """Refuses a name if any of its addresses may not be dialled, unless the name is allowed."""

    def __init__(
        self, allowed_hosts: frozenset[str], resolver: AbstractResolver | None = None
    ) -> None:
        self._allowed_hosts = allowed_hosts
        self._resolver = resolver or SystemResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        addresses = [ipaddress.ip_address(one["host"].partition("%")[0]) for one in found]
        if not is_allowed(host, addresses, self._allowed_hosts):
            raise AddressRefused(host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def check_literal(url: URL, allowed_hosts: frozenset[str]) -> None:
    """Raises `AddressRefused` if the host is a forbidden IP address; resolvers see only names."""
    host = url.host or ""
    address = _literal(host)
    if address is not None and not is_allowed(host, [address], allowed_hosts):
        raise AddressRefused(host)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:  # 127.1, 0x7f000001 and 2130706433 are addresses to the system's resolver
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class Client:
    """Sends requests to addresses that users choose.

    It keeps no cookies and ignores proxies and credentials of the environment. Create it within
    the running event loop, and `close` it at the end.
    """

    def __init__(
        self, allowed_hosts: frozenset[str], *, resolving_at_once: int = _RESOLVING_AT_ONCE
    ) -> None:
        self._allowed_hosts = allowed_hosts
        resolver = SystemResolver(at_once=resolving_at_once)
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(
                limit=0,  # the callers' own limits keep one user from holding up others
                keepalive_timeout=_KEEPALIVE_S,
                resolver=CheckedResolver(allowed_hosts, resolver),
                ttl_dns_cache=10,
            ),
            trust_env=False,
            max_line_size=16 * 1024,
            max_field_size=16 * 1024,
        )

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: list[tuple[str, str]],
        body: bytes | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send a request, and return once the answer's head has arrived.

        Raises `AddressRefused`, `aiohttp.ClientError`, `OSError` (also `TimeoutError`) or
        `ValueError`.
        """
        check_literal(url, self._allowed_hosts)
        try:
            return await self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=timeout,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise error.os_error from error
            raise

    async def close(self) -> None:
        await self._session.close()
