"""Deletes the session of a conversation, in which the agent may be working.

Facts from OpenClaw 2026.9.6: the chat may only delete archived sessions. Archiving and deleting
stop what works in a session, also what `chat.abort` does not, and wait at most 15 s for it. A run
that ends writes to its session once more: a deletion meanwhile is refused since the session
changed, which is not marked as retryable.
"""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from ocmt_common.gateway_frames import as_object
from ocmt_common.problems import Problem

from ocmt_management.agents.service import GatewayError

_STOPS_WITHIN_S = 15.0
_DELETED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.25
_UNSETTLED = ("changed before", "is not archived")


class Ask(Protocol):
    async def __call__(self, method: str, /, **params: Any) -> dict[str, Any]: ...


async def delete_session(
    ask: Ask,
    key: str,
    *,
    stops_within_s: float = _STOPS_WITHIN_S,
    deleted_within_s: float = _DELETED_WITHIN_S,
) -> None:
    """Stop the work in the session `key`, and delete it. Raises `Problem` and `GatewayError`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(stops_within_s):
            await _stop(ask, key)
    until = asyncio.get_running_loop().time() + deleted_within_s
    while row := await _row(ask, key):
        try:
            if not row.get("archived"):
                session_id = row.get("sessionId")
                await ask("sessions.patch", key=key, archived=True, expectedSessionId=session_id)
            await ask("sessions.delete", key=key, archivedOnly=True)
        except GatewayError as error:
            if not (error.retryable or any(words in str(error) for words in _UNSETTLED)):
                raise
            if asyncio.get_running_loop().time() >= until:
                raise _still_working() from error
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return


async def _stop(ask: Ask, key: str) -> None:
    """Stop the work in a session, and wait until it has ended."""
    if not (await _row(ask, key)).get("hasActiveRun"):
        return
    await ask("chat.abort", sessionKey=key)
    while (await _row(ask, key)).get("hasActiveRun"):  # noqa: ASYNC110 (only the list has events)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _row(ask: Ask, key: str) -> dict[str, Any]:
    return as_object((await ask("sessions.describe", key=key)).get("session"))


def _still_working() -> Problem:
    return Problem(
        409,
        "still-working",
        "Your agent does not stop working in this conversation, so it was not deleted. Wait until "
        "it is done, then delete it again.",
    )
