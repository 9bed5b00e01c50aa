"""One HTTP exchange passed on: bodies stream both ways, as fast as the slower side takes them.

Neither side is buffered: a request's chunks are sent as they come, an answer's chunks (server-sent
events among them) are forwarded as they come. A caller who leaves ends the exchange at once.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from ocmt_common.problems import Problem
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from ocmt_agent.proxy.headers import Headers, to_caller

# No total time: an answer may stream for hours. Only the connection itself must come quickly.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5)


def open_session() -> aiohttp.ClientSession:
    """Connections for passing on: nothing decoded, no cookies kept, no proxy from outside."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        trust_env=False,
    )


class Unreachable(Exception):
    """Nothing answered before the answer began. `replayable`: none of the body was sent yet."""

    def __init__(self, reason: str, *, replayable: bool) -> None:
        super().__init__(reason)
        self.replayable = replayable


class CallerLeft(Exception):
    """The caller closed the connection; nobody waits for the rest."""


class RequestBody:
    """The caller's body, pulled when the other side takes it; knows whether any was taken."""

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self.taken = 0
        self.problem: Problem | None = None
        self.ended = asyncio.Event()
        names = {name.lower() for name, _ in scope["headers"]}
        self.present = b"content-length" in names or b"transfer-encoding" in names
        if not self.present:
            self.ended.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message: Message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerLeft
            chunk: bytes = message.get("body", b"")
            self.taken += len(chunk)
            if self.taken > self._max_bytes:
                self.problem = Problem(
                    413, "body-too-large", f"Send at most {self._max_bytes} bytes in one request."
                )
                raise self.problem
            more = message.get("more_body", False)
            if chunk:
                yield chunk
        self.ended.set()

    async def caller_left(self) -> None:
        """Return when the caller closes the connection. The body must be read first."""
        await self.ended.wait()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return


async def pass_on(
    session: aiohttp.ClientSession,
    scope: Scope,
    body: RequestBody,
    send: Send,
    *,
    url: URL,
    headers: Headers,
) -> None:
    """Send the request to `url` and its answer to the caller.

    Raises `Unreachable` when no answer began. Once it began, a broken answer breaks the caller's
    connection: an answer cut short must not look complete.
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
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
        )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if body.problem is not None:
            raise body.problem from error
        reason = str(error) or type(error).__name__
        raise Unreachable(reason, replayable=body.taken == 0) from error
    async with response:
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": to_caller(response.raw_headers),
            }
        )
        try:
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnswerBroken(str(error) or type(error).__name__) from error
        await send({"type": "http.response.body", "body": b""})


class AnswerBroken(Exception):
    """The other side went away in the middle of its answer."""
