"""All conversations of one chat: the list, its changes, and those that the page has open."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from ocmt_common.gateway_frames import as_object
from ocmt_common.problems import Problem

from ocmt_management.agents.service import (
    MAIN,
    Agents,
    AgentState,
    GatewayError,
    conversation_of,
    key_of,
)
from ocmt_management.chat import frames, session_rows
from ocmt_management.chat.conversation import ASLEEP_OR_GONE, NAME_TAKEN, Conversation
from ocmt_management.chat.deleting import delete_session
from ocmt_management.chat.frames import (
    ChangeFrame,
    ConversationsFrame,
    DeleteFrame,
    ForkFrame,
    Frame,
    HistoryFrame,
    RequestFrame,
    SearchFrame,
    SendFrame,
    StopFrame,
)
from ocmt_management.chat.gateway_link import GatewayLink
from ocmt_management.chat.uploads import Uploads
from ocmt_management.llm.service import Llm

log = structlog.get_logger(__name__)

MAX_OPEN = 64
"""The most conversations that one chat follows; beyond it, idle ones are closed."""
# The gateway sends at least a tick every 30 s.
_SILENT_AFTER_S = 75.0


class Conversations:
    """`send` queues a frame for the page. Tasks run in the chat's `group`."""

    def __init__(
        self,
        user_id: str,
        *,
        agents: Agents,
        llm: Llm,
        uploads: Uploads,
        send: Callable[[Frame], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self._user_id = user_id
        self._agents = agents
        self._llm = llm
        self._uploads = uploads
        self._to_page = send
        self._group = group
        self._open: dict[str, Conversation] = {}
        self._listed = False
        """Whether the page shows the list, so that it must be kept up to date."""
        self._link = GatewayLink(
            user_id,
            agents=agents,
            group=group,
            on_event=self._on_event,
            on_lost=self._catch_up,
        )

    async def handle(self, frame: RequestFrame) -> None:
        """Handle a frame from the page; failures become error frames."""
        if isinstance(frame, HistoryFrame | SendFrame | StopFrame | ForkFrame):
            await self._conversation(frame.conversation).handle(frame)
            return
        try:
            if isinstance(frame, ConversationsFrame):
                self._listed = True
                await self._send_list()
            elif isinstance(frame, ChangeFrame):
                await self._change(frame)
            elif isinstance(frame, DeleteFrame):
                await self._delete(frame.conversation)
            else:
                await self._search(frame)
        except Problem as problem:
            retry = problem.status >= 500
            self._refuse(frame, code=problem.code, detail=problem.detail, retry=retry)
        except GatewayError as error:
            detail = _explained(str(error))
            self._refuse(frame, code="agent-refused", detail=detail, retry=error.retryable)

    def in_progress(self) -> dict[str, list[str]]:
        """Conversation → the runs of its answers in progress."""
        return {one: known.answers for one, known in self._open.items() if known.busy}

    def resume(self, in_progress: Mapping[str, Iterable[str]]) -> None:
        """Follow answers that were in progress in another chat, which is closed."""
        for conversation_id, run_ids in in_progress.items():
            self._conversation(conversation_id).resume(run_ids)

    def _refuse(self, frame: RequestFrame, **error: Any) -> None:
        answer = frames.list_error(**error)
        if isinstance(frame, ChangeFrame | DeleteFrame) and frame.conversation != MAIN:
            answer["conversation"] = frame.conversation
        self._to_page(answer)

    def agent_changed(self, state: AgentState, *, before: AgentState | None) -> None:
        """Handle a change of the agent's state; `before` is `None` for the first known state."""
        if state in ASLEEP_OR_GONE:
            self._link.forget_subscriptions()
        for conversation in self._open.values():
            conversation.agent_changed(state, before=before)
        running = state is AgentState.RUNNING and before is not None
        if running and self._listed and not self._link.follows_roster:
            self._group.create_task(self._refresh_list())

    async def watch_for_silence(self) -> None:
        """Read the history when no event arrives during an answer; runs as long as the chat."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SILENT_AFTER_S / 5)
            if loop.time() - self._link.last_event_at > _SILENT_AFTER_S:
                self._catch_up()

    def _conversation(self, conversation_id: str) -> Conversation:
        """The open conversation with this id, opened if necessary."""
        known = self._open.pop(conversation_id, None)
        if known is None:
            known = Conversation(
                conversation_id,
                self._user_id,
                link=self._link,
                agents=self._agents,
                llm=self._llm,
                uploads=self._uploads,
                send=self._to_page,
                group=self._group,
            )
        self._open[conversation_id] = known  # the latest used is the last
        if len(self._open) > MAX_OPEN:
            # One without an answer in progress, else the one that was used longest ago.
            idle = (one for one, open_one in self._open.items() if not open_one.busy)
            oldest = next(iter(self._open))
            del self._open[next((one for one in idle if one != conversation_id), oldest)]
        return known

    # The list

    async def _send_list(self) -> None:
        payload = await self._link.roster(**session_rows.LIST_PARAMS)
        payload = payload or {}
        entries = session_rows.entries(payload)
        self._to_page(frames.conversations(entries, more=payload.get("hasMore") is True))

    async def _refresh_list(self) -> None:
        try:
            await self._send_list()
        except (Problem, GatewayError) as error:
            log.info("conversations not listed", reason=str(error))

    async def _change(self, frame: ChangeFrame) -> None:
        changes: dict[str, Any] = {}
        if frame.title is not None:
            changes["label"] = frame.title or None
        if frame.pinned is not None:
            changes["pinned"] = frame.pinned
        if frame.read:
            changes["unread"] = False
        if not changes or not await self._row(frame.conversation):
            return  # a conversation without a message has nothing to change yet
        await self._link.ask("sessions.patch", key=key_of(frame.conversation), **changes)
        changed = session_rows.entry(await self._row(frame.conversation))
        if changed is not None:
            self._to_page(frames.conversation(changed))

    async def _delete(self, conversation_id: str) -> None:
        if conversation_id == MAIN:
            raise Problem(409, "main-conversation", "The main conversation cannot be deleted.")
        await delete_session(self._link.ask, key_of(conversation_id))
        self._deleted(conversation_id)

    async def _search(self, frame: SearchFrame) -> None:
        payload = await self._link.ask(
            "sessions.search", query=frame.query, scope=session_rows.SEARCH_SCOPE, limit=25
        )
        incomplete = payload.get("indexing") is True
        hits = session_rows.hits(payload)
        self._to_page(frames.found(frame.query, hits, incomplete=incomplete))

    async def _row(self, conversation_id: str) -> dict[str, Any]:
        answer = await self._link.ask("sessions.describe", key=key_of(conversation_id))
        return as_object(answer.get("session"))

    # Events of the gateway

    def _on_event(self, name: str, payload: dict[str, Any]) -> None:
        conversation_id = conversation_of(payload.get("sessionKey"))
        if conversation_id is None:
            return
        if name == "sessions.changed" and self._link.follows_roster:
            if payload.get("reason") == "delete":
                self._deleted(conversation_id)
            elif changed := session_rows.entry(as_object(payload.get("session"))):
                self._to_page(frames.conversation(changed))
        known = self._open.get(conversation_id)
        if known is not None:
            known.on_event(name, payload)

    def _deleted(self, conversation_id: str) -> None:
        if conversation_id in self._open:
            self._open[conversation_id].gone()
        self._to_page(frames.deleted(conversation_id))

    def _catch_up(self) -> None:
        for conversation in self._open.values():
            conversation.catch_up()


def _explained(message: str) -> str:
    if NAME_TAKEN in message:
        return "Another conversation has this name. Choose another one."
    return message
