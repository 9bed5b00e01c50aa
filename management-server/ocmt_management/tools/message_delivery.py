"""Delivers messages to agents' conversations: wakes the agent, and sends each until it arrives.

A gateway acknowledges a message before it is in its transcript, and recognises a repeated key only
until it restarts. So the transcript confirms a delivery, and is read before a second attempt. A
message that was queued when the gateway died or its user stopped it stays `interrupted` or
`cancelled` there, and is never read: it is sent again. (OpenClaw 2026.9.6)

A call of a tool does not say which conversation it comes from. Its result has a mark, and is in
that conversation's transcript: the message goes there, else to the main conversation.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, Protocol

import structlog
from ocmt_common.gateway_frames import as_object
from ocmt_common.problems import Problem

from ocmt_management.agents.service import (
    MAIN,
    Agents,
    Gateway,
    GatewayError,
    NoSuchAgent,
    conversation_of,
    key_of,
)

log = structlog.get_logger(__name__)

_HISTORY_LIMIT = 100
# How far to look for the mark: the latest conversations, and in each the latest messages.
_CONVERSATIONS = 30
_CALL_LIMIT = 300
_CHECKS = 40
_CHECK_EVERY_S = 0.5
_FIRST_RETRY = timedelta(seconds=2)
_LAST_RETRY = timedelta(minutes=5)


class Place(Enum):
    """Where the gateway keeps a message."""

    TRANSCRIPT = "transcript"
    QUEUE = "queue"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMessage:
    key: str
    """The idempotency key."""
    text: str
    mark: str
    """The result of a tool with this text is in the conversation that the message is for."""
    sent_before: bool
    delivered: Callable[[], Awaitable[None]]
    """Called once the message is in the transcript."""


def retry_after(sends: int) -> timedelta:
    """How long to wait for a message to arrive that was sent `sends` times before."""
    wait: timedelta = min(_FIRST_RETRY * 2 ** min(sends, 10), _LAST_RETRY)
    return wait


class MessageSource(Protocol):
    async def take(self, user_id: str) -> list[AgentMessage]:
        """The messages to send to this user's agent now. Also schedules the next attempt."""
        ...


class MessageDelivery:
    """Delivers the messages of `sources` in background tasks. `close` it at the end."""

    def __init__(self, agents: Agents, *sources: MessageSource) -> None:
        self._agents = agents
        self._sources = sources
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, user_id: str) -> None:
        """Start to deliver this user's messages in the background, unless it is being done."""
        if user_id in self._tasks:
            return
        task = self._tasks[user_id] = asyncio.create_task(self._deliver(user_id))
        task.add_done_callback(partial(self._ended, user_id))

    async def idle(self) -> None:
        """Wait until no delivery is in progress."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, user_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[user_id]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Problem | GatewayError):
            log.info("message not delivered yet", user_id=user_id, reason=str(error))
        elif error is not None:
            log.error("message not delivered", user_id=user_id, exc_info=error)

    async def _deliver(self, user_id: str) -> None:
        due = [one for source in self._sources for one in await source.take(user_id)]
        if not due:
            return
        try:
            await self._agents.require_ready(user_id)
            gateway = await Gateway.open(self._agents.server, user_id)
        except NoSuchAgent:
            self._agents.reprovision(user_id)
            raise
        reading = asyncio.create_task(_read(gateway))
        try:
            for message in due:
                await _send(gateway, message)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await gateway.close()


async def _send(gateway: Gateway, message: AgentMessage) -> None:
    key = message.key
    session = await _session_of(gateway, message.mark)
    place = Place.NOWHERE
    if message.sent_before:  # the first attempt may have found its conversation, or not yet
        for one in {session, key_of(MAIN)}:
            found = await _find(gateway, one, key)
            if found is not Place.NOWHERE:
                session, place = one, found
    if place is Place.NOWHERE:
        await gateway.request(
            "chat.send", sessionKey=session, message=message.text, idempotencyKey=key
        )
    for _ in range(_CHECKS):
        if await _find(gateway, session, key) is Place.TRANSCRIPT:
            break
        await asyncio.sleep(_CHECK_EVERY_S)
    else:
        return  # behind a long run, perhaps: checked again at the next attempt
    await message.delivered()


async def _read(gateway: Gateway) -> None:
    async for _ in gateway.events():
        pass


async def _session_of(gateway: Gateway, mark: str) -> str:
    """The session key of the conversation that has the mark, the last active of several."""
    listed = await gateway.request(
        "sessions.list", limit=_CONVERSATIONS, sortBy="activity", excludeCron=True,
        excludeSubagents=True,
    )  # fmt: skip
    keys = [row.get("key") for row in _objects(listed, "sessions")]
    conversations = [found for key in keys if (found := conversation_of(key)) is not None]
    if conversations in ([], [MAIN]):
        return key_of(MAIN)
    for conversation in conversations:
        key = key_of(conversation)
        transcript = await gateway.request("sessions.get", key=key, limit=_CALL_LIMIT)
        if has_mark(transcript, mark):
            return key
    return key_of(MAIN)


def has_mark(transcript: dict[str, Any], mark: str) -> bool:
    """Whether the result of a tool in `sessions.get` has this text."""
    return any(
        mark in text
        for row in _objects(transcript, "messages")
        if row.get("role") == "toolResult"
        for part in _objects(row, "content")
        if isinstance(text := part.get("text"), str)
    )


async def _find(gateway: Gateway, session: str, key: str) -> Place:
    history = await gateway.request("chat.history", sessionKey=session, limit=_HISTORY_LIMIT)
    return place_of(history, key)


def place_of(history: dict[str, Any], key: str) -> Place:
    """Where `chat.history` has the message with this idempotency key."""
    if any(row.get("idempotencyKey") == f"{key}:user" for row in _objects(history, "messages")):
        return Place.TRANSCRIPT
    for item in _objects(as_object(history.get("pendingInputs")), "items"):
        if item.get("runId") == key and item.get("state") == "queued":
            return Place.QUEUE
    return Place.NOWHERE


def _objects(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [as_object(one) for one in found] if isinstance(found, list) else []
