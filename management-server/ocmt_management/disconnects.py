"""Cancels work for a client that has disconnected."""

import asyncio
from collections.abc import Awaitable

from starlette.types import Receive


async def until_disconnect(receive: Receive, answering: Awaitable[None]) -> None:
    """Run `answering`, but cancel it when the client disconnects. Raises what it raises.

    Read the request's body first: messages from `receive` are dropped.
    """

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        answered = answer.done()
        answer.cancel()
        await asyncio.gather(answer, leaving, return_exceptions=True)
    if answered:
        answer.result()
