"""One browser tab's chat: its WebSocket, and the conversations with the user's gateway.

The browser's socket stays open while the agent sleeps, crashes or restarts. The user comes
from the session, never from a frame.
"""

import asyncio
from contextlib import suppress

import structlog
from ocmt_common.problems import Problem
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ocmt_management.agents.service import Agents, AgentState, AgentView
from ocmt_management.auth.service import SocketSession
from ocmt_management.chat import frames
from ocmt_management.chat.answer_follower import AnswerFollower
from ocmt_management.chat.conversations import Conversations
from ocmt_management.chat.frame_queue import FrameQueue, TooSlow
from ocmt_management.chat.frames import MAX_FRAME_BYTES, AttachFrame, is_use
from ocmt_management.chat.open_chats import MAX_PER_USER, OpenChats
from ocmt_management.chat.uploads import Uploads, UploadSpace
from ocmt_management.llm.service import Llm
from ocmt_management.tools.service import Approvals

log = structlog.get_logger(__name__)

_TOO_BIG = 1009
_INTERNAL_ERROR = 1011
_TRY_AGAIN_LATER = 1013
_SIGNED_OUT = 4401
_CLOSE_WITHIN_S = 2
_RETRY_S = 2.0
_MAX_CONCURRENT_FRAMES = 16


class _Close(Exception):
    """Ends the chat with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ChatConnection:
    def __init__(
        self,
        socket: WebSocket,
        session: SocketSession,
        *,
        agents: Agents,
        llm: Llm,
        approvals: Approvals,
        open_chats: OpenChats,
        follower: AnswerFollower,
        upload_space: UploadSpace,
    ) -> None:
        self._socket = socket
        self._session = session
        self._user_id = session.user.user_id
        self._agents = agents
        self._llm = llm
        self._approvals = approvals
        self._open_chats = open_chats
        self._follower = follower
        self._queue = FrameQueue()
        self._uploads = Uploads(upload_space, session.user.user_id)

    async def run(self) -> None:
        """Serve the chat until either side closes it."""
        await self._socket.accept()
        with self._open_chats.add(self._user_id) as within_bound:
            if not within_bound:
                await self._close(
                    _TRY_AGAIN_LATER, f"more than {MAX_PER_USER} chats are open; close some"
                )
                return
            conversations: Conversations | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._write())
                    group.create_task(self._close_when_signed_out())
                    conversations = Conversations(
                        self._user_id,
                        agents=self._agents,
                        llm=self._llm,
                        uploads=self._uploads,
                        send=self._to_page,
                        group=group,
                    )
                    group.create_task(self._watch_agent(conversations))
                    group.create_task(self._watch_approvals())
                    group.create_task(conversations.watch_for_silence())
                    group.create_task(self._read(conversations, group))
            except* _Close as closes:
                await self._close_for(closes)
            except* TooSlow:
                await self._close(_TRY_AGAIN_LATER, "too slow")
            except* WebSocketDisconnect:
                if conversations is not None:
                    self._follower.follow(self._user_id, conversations.in_progress())
            finally:
                self._uploads.close()

    def _to_page(self, frame: frames.Frame) -> None:
        self._queue.put(frame)
        self._follower.note(self._user_id, frame)

    async def _close_for(self, closes: ExceptionGroup[_Close]) -> None:
        first = closes.exceptions[0]
        if isinstance(first, _Close):
            await self._close(first.code, first.reason)

    async def _read(self, conversations: Conversations, group: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(_MAX_CONCURRENT_FRAMES)

        async def handle(frame: frames.RequestFrame) -> None:
            try:
                await conversations.handle(frame)
            finally:
                slots.release()

        while True:
            # `receive` does not wait while frames are there: the other chats have their turn.
            await asyncio.sleep(0)
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            text = message.get("text")
            if text is None:
                self._reject("Send text frames.")
            elif len(text.encode(errors="replace")) > MAX_FRAME_BYTES:
                raise _Close(_TOO_BIG, f"send at most {MAX_FRAME_BYTES} bytes in one frame")
            else:
                try:
                    frame = frames.read(text)
                except ValueError as error:
                    self._reject(f"This frame is not valid: {error}.")
                    continue
                if isinstance(frame, AttachFrame):
                    self._attach(frame)  # in its place, since pieces are kept in their order
                    continue
                if is_use(frame):
                    await self._session.extend()
                # Each frame has its own task, so that a stop works during a slow wake.
                await slots.acquire()
                group.create_task(handle(frame))

    def _attach(self, frame: AttachFrame) -> None:
        try:
            self._uploads.add(frame)
        except Problem as problem:
            answer = frames.refused(
                frame, problem.code, problem.detail, retry=problem.status >= 500
            )
            self._queue.put(answer)

    def _reject(self, detail: str) -> None:
        self._queue.put(frames.error(None, code="invalid-frame", detail=detail, retry=False))

    async def _write(self) -> None:
        while True:
            await self._socket.send_text(await self._queue.take())

    async def _watch_agent(self, conversations: Conversations) -> None:
        agents, user_id = self._agents, self._user_id
        last: AgentView | None = None
        with agents.statuses.watch(user_id) as changed:
            while True:
                changed.clear()
                try:
                    view = await agents.view(user_id)
                    if view.warning is None:
                        warning = await self._llm.budget_warning(user_id)
                        view = view.model_copy(update={"warning": warning})
                except Problem:  # the database is away; /health reports it
                    await asyncio.sleep(_RETRY_S)
                    continue
                if view != last:
                    if view.state is AgentState.PROVISIONING:
                        agents.ensure(user_id)  # another server may have stopped before it finished
                    self._queue.put(frames.status(view))
                    conversations.agent_changed(view.state, before=last.state if last else None)
                    last = view
                await changed.wait()

    async def _watch_approvals(self) -> None:
        """Send each open approval at the start, and every approval whenever it changes."""
        sent: dict[str, int] = {}
        with self._approvals.watchers.watch(self._user_id) as changed:
            while True:
                changed.clear()
                try:
                    updates = await self._approvals.updates(self._user_id, sent)
                except Problem:  # the database is away; /health reports it
                    await asyncio.sleep(_RETRY_S)
                    continue
                for approval in updates:
                    self._queue.put(frames.approval(approval))
                    sent[approval["id"]] = approval["version"]
                await changed.wait()

    async def _close_when_signed_out(self) -> None:
        await self._session.until_ended()
        raise _Close(_SIGNED_OUT, "signed-out")

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._socket.close(code, reason)
