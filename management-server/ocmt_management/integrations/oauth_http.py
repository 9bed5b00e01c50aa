"""Sends requests to providers: through the address guard, bounded in size and time."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from ocmt_common.version import release_version
from yarl import URL

from ocmt_management.integrations.oauth_protocol import HttpRequest
from ocmt_management.outbound.service import AddressRefused, Client

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 256 * 1024
_CONNECT_TIMEOUT_S = 8
_USER_AGENT = f"ocmt/{release_version('ocmt-management')}"


class NoAnswer(Exception):
    """No answer that can be used. `str()` says why; `sent`: the request may have been served."""

    def __init__(self, why: str, *, sent: bool = True) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    whole: bool = True
    """Whether the body was not cut at the limit."""


class OAuthHttp:
    """The client belongs to the caller, who closes it."""

    def __init__(self, client: Client, private_hosts: frozenset[str]) -> None:
        self._client = client
        self._private_hosts = private_hosts

    def may_go_to(self, url: str) -> bool:
        """Whether a person or a credential may be sent to this address."""
        return is_secure(url, self._private_hosts)

    async def send(
        self,
        request: HttpRequest,
        *,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
        cut: bool = False,
    ) -> Answer:
        """Raises `NoAnswer`. With `cut`, a longer answer is cut instead of refused."""
        if not self.may_go_to(request.url):
            raise NoAnswer("its address is not https", sent=False)
        headers = [
            *request.headers,
            ("Accept-Encoding", "identity"),
            ("User-Agent", _USER_AGENT),
        ]
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=headers,
                    body=request.body,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
                )
                try:
                    body, whole = await _bounded(response, max_bytes)
                finally:
                    # A connection whose answer was not read to its end cannot be used again.
                    if response.content.at_eof():
                        response.release()
                    else:
                        response.close()
        except AddressRefused as refused:
            raise NoAnswer(str(refused), sent=False) from refused
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoAnswer("it cannot be reached", sent=False) from error
        except TimeoutError as error:
            raise NoAnswer(f"it did not answer within {timeout_s:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer("the connection broke") from error
        if not whole and not cut:
            raise NoAnswer("its answer is too large")
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            whole=whole,
        )


def is_secure(url: str, private_hosts: frozenset[str]) -> bool:
    """Whether a credential may go to this address: https, or a private host that is allowed."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and host in private_hosts)
    )


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > limit:
            return bytes(found[:limit]), False
    return bytes(found), True
