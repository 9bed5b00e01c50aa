"""Forwards one HTTP exchange, streaming both bodies with backpressure.

Neither body is buffered: each chunk is forwarded as it arrives, including server-sent events. The
exchange ends once the caller has disconnected.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import Problem, body_too_large
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from ocmt_agent.proxy.headers import Headers, to_caller

# Only connecting is limited, since an answer may stream for hours.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5)
KEEPALIVE_S = 4
"""Seconds for which an idle connection is kept. Below the server's own limit (Node and uvicorn: 5
s), so that no request uses a closing connection; a frozen gateway closes its own at the thaw."""
_FINAL = range(200, 600)
"""The final statuses of RFC 9110, section 15."""
_OURS_TO_CHOOSE = ("User-Agent", "Accept-Encoding", "Accept", "Content-Type")


def open_session(credentials: HostCredentials | None = None) -> aiohttp.ClientSession:
    """A client session for forwarding: no decoding, no cookies, no proxy from the environment.

    With `credentials`, https connects only to hosts of the installation.
    """
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEPALIVE_S,
            ssl=True if credentials is None else credentials.client,
        ),
        trust_env=False,
    )


class Unreachable(Exception):
    """No valid answer began. `unsent`: there was no connection, so the request was not sent."""

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.unsent = unsent


class AnswerBroken(Exception):
    """The server disconnected in the middle of its answer."""


class CallerLeft(Exception):
    """The caller closed the connection."""


class RequestBody:
    """The caller's body, read at the pace at which it is sent on, with a limit on its bytes.

    Raises a 413 `Problem` for a declared length above the limit, before the agent is woken.
    """

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self.taken = 0
        self.failure: Problem | CallerLeft | None = None
        """Why the body ended early, which the HTTP client does not report."""
        self.ended = asyncio.Event()
        self.present = False
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.present = self.present or value != b"0"
                if value.isdigit() and int(value) > max_bytes:
                    raise body_too_large(self._max_bytes)
            elif name == b"transfer-encoding":
                self.present = True
        if not self.present:
            self.ended.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message: Message = await self._receive()
            if message["type"] == "http.disconnect":
                self.failure = CallerLeft()
                raise self.failure
            chunk: bytes = message.get("body", b"")
            self.taken += len(chunk)
            if self.taken > self._max_bytes:
                self.failure = body_too_large(self._max_bytes)
                raise self.failure
            more = message.get("more_body", False)
            if chunk:
                yield chunk
        self.ended.set()

    async def caller_left(self) -> None:
        """Return once the caller has disconnected; waits for the end of its body first."""
        await self.ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def pass_on(
    session: aiohttp.ClientSession,
    scope: Scope,
    body: RequestBody,
    send: Send,
    *,
    url: URL,
    headers: Headers,
) -> None:
    """Send the request to `url` and its answer to the caller. Returns early if the caller leaves.

    Raises `Unreachable` if no answer began, or the failure of `body`. Raises `AnswerBroken` if the
    answer ended early; the caller's connection must then be aborted, so that the answer does not
    look complete.
    """
    work = asyncio.ensure_future(_exchange(session, scope, body, send, url=url, headers=headers))
    leaving = asyncio.ensure_future(body.caller_left())
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


async def _exchange(
    session: aiohttp.ClientSession,
    scope: Scope,
    body: RequestBody,
    send: Send,
    *,
    url: URL,
    headers: Headers,
) -> None:
    try:
        response = await session.request(
            scope["method"],
            url,
            headers=headers,
            data=body.chunks() if body.present else None,
            allow_redirects=False,
            timeout=TIMEOUT,
            skip_auto_headers=_OURS_TO_CHOOSE,
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unreachable(_reason(error), unsent=True) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise body.failure or Unreachable(_reason(error), unsent=False) from error
    async with response:
        if response.status not in _FINAL:
            raise Unreachable(f"the server answered with status {response.status}", unsent=False)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": to_caller(response.raw_headers, status=response.status),
            }
        )
        try:
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnswerBroken(_reason(error)) from error
        await send({"type": "http.response.body", "body": b""})


def _reason(error: Exception) -> str:
    """An error's text for the log, without the URL, since that has the caller's query."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: {error.message}"
    return str(error) or type(error).__name__
