"""One browser tab's chat: its socket, and the gateway's conversation on the other side.

The gateway's side is opened when first needed, because opening it wakes the agent, and again
whenever it was lost. The browser's side stays open through every sleep, crash and restart there.
Whose conversation it is, the session says; nothing the browser sends can.
"""

import asyncio
from contextlib import suppress

import structlog
from ocmt_common.problems import Problem
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ocmt_management.agents.schemas import AgentState, AgentView
from ocmt_management.auth.dependencies import principal_of
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.sessions import note_use
from ocmt_management.chat import frames
from ocmt_management.chat.conversation import Conversation
from ocmt_management.chat.frame_queue import Outbox, TooSlow
from ocmt_management.chat.frames import MAX_FRAME_BYTES
from ocmt_management.chat.open_chats import MOST_PER_USER
from ocmt_management.dependencies import Parts

log = structlog.get_logger(__name__)

_TOO_BIG = 1009
_INTERNAL_ERROR = 1011
_TRY_AGAIN_LATER = 1013
_SIGNED_OUT = 4401
_CLOSE_WITHIN_S = 2
_LOOK_AGAIN_S = 60.0
"""How soon a session's end is noticed that another server process brought about."""
_RETRY_S = 2.0
_MOST_AT_ONCE = 16


class _Over(Exception):
    """The chat ends, with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ChatSession:
    def __init__(self, socket: WebSocket, user: Principal, parts: Parts) -> None:
        self._socket = socket
        self._user = user
        self._parts = parts
        self._outbox = Outbox()
        self._used_at = user.last_used_at

    async def run(self) -> None:
        """Talk until either side ends it."""
        await self._socket.accept()
        with self._parts.chats.another(self._user.user_id) as welcome:
            if not welcome:
                await self._close(
                    _TRY_AGAIN_LATER, f"more than {MOST_PER_USER} chats are open; close some"
                )
                return
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._write())
                    group.create_task(self._until_signed_out())
                    conversation = Conversation(
                        self._user.user_id, self._parts, tell=self._outbox.put, group=group
                    )
                    group.create_task(self._watch_agent(conversation))
                    group.create_task(conversation.keep_listening())
                    group.create_task(self._read(conversation, group))
            except* _Over as over:
                await self._close_for(over)
            except* TooSlow:
                await self._close(_TRY_AGAIN_LATER, "too slow")
            except* WebSocketDisconnect:
                pass

    async def _close_for(self, over: ExceptionGroup[_Over]) -> None:
        first = over.exceptions[0]
        if isinstance(first, _Over):
            await self._close(first.code, first.reason)

    async def _read(self, conversation: Conversation, group: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(_MOST_AT_ONCE)

        async def handle(frame: frames.FromPage) -> None:
            try:
                await conversation.handle(frame)
            finally:
                slots.release()

        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            text = message.get("text")
            if text is None:
                self._complain("Send text frames.")
            elif len(text.encode(errors="replace")) > MAX_FRAME_BYTES:
                raise _Over(_TOO_BIG, f"send at most {MAX_FRAME_BYTES} bytes in one frame")
            else:
                try:
                    frame = frames.read(text)
                except ValueError as error:
                    self._complain(f"This frame is not understood: {error}.")
                    continue
                # Told apart from each other so that a stop is heard while a wake takes its time.
                if not isinstance(frame, frames.HistoryFrame):
                    await self._note_use()
                await slots.acquire()
                group.create_task(handle(frame))

    def _complain(self, detail: str) -> None:
        self._outbox.put(frames.error(None, code="invalid-frame", detail=detail, retry=False))

    async def _write(self) -> None:
        while True:
            await self._socket.send_text(await self._outbox.take())

    async def _watch_agent(self, conversation: Conversation) -> None:
        agents, user_id = self._parts.agents, self._user.user_id
        last: AgentView | None = None
        with agents.statuses.watch(user_id) as changed:
            while True:
                changed.clear()
                try:
                    view = await agents.view(user_id)
                except Problem:  # the database; its health is told elsewhere
                    await asyncio.sleep(_RETRY_S)
                    continue
                if view != last:
                    if view.state is AgentState.PROVISIONING:
                        agents.ensure(user_id)  # a server that ended may have left it unfinished
                    self._outbox.put(frames.status(view))
                    conversation.agent_is(view.state, before=last.state if last else None)
                    last = view
                await changed.wait()

    async def _until_signed_out(self) -> None:
        """End the chat when its session ends: by sign-out, revocation, suspension or its time."""
        with self._parts.ended.watch(self._user.session_id) as ended:
            while True:
                wait_s = _LOOK_AGAIN_S
                with suppress(Problem):
                    user = await principal_of(self._socket, used=False)
                    if user is None:
                        raise _Over(_SIGNED_OUT, "signed-out")
                    left_s = (user.ends_at - self._parts.clock()).total_seconds()
                    wait_s = min(wait_s, max(left_s, 0))
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await ended.wait()
                    raise _Over(_SIGNED_OUT, "signed-out")

    async def _note_use(self) -> None:
        """A person wrote: the session's idle time begins anew. An open tab alone is no use."""
        user = self._user
        with suppress(Problem):
            self._used_at = await note_use(
                self._parts.database,
                user.user_id,
                user.session_id,
                last_used_at=self._used_at,
                clock=self._parts.clock,
            )

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._socket.close(code, reason)
