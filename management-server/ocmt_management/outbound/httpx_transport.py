"""Lets an httpx client dial only addresses that users may use, through `client.Client`."""

from collections.abc import AsyncIterator

import aiohttp
import httpx2
from yarl import URL

from ocmt_management.outbound.client import AddressRefused, Client

# The client below writes these itself.
_OWN_HEADERS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})


class OutboundRefused(httpx2.ConnectError):
    """The address may not be dialled for a user. `str()` says why."""


class OutboundTransport(httpx2.AsyncBaseTransport):
    """The client belongs to the caller, who closes it after the transport."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        timeout = request.extensions.get("timeout", {})
        headers = [
            (name.decode(), value.decode("latin-1"))
            for name, value in request.headers.raw
            if name.lower() not in _OWN_HEADERS
        ]
        try:
            response = await self._client.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=headers,
                body=await request.aread() or None,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except AddressRefused as refused:
            raise OutboundRefused(str(refused), request=request) from refused
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise httpx2.ConnectError(type(error).__name__, request=request) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise httpx2.ReadError(type(error).__name__, request=request) from error
        return httpx2.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Answer(response, request),
            request=request,
        )


class _Answer(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise httpx2.ReadError(type(error).__name__, request=self._request) from error

    async def aclose(self) -> None:
        # A connection whose answer was not read to its end cannot be used again.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
