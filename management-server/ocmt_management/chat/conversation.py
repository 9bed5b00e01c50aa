"""The conversation behind one chat: frames become gateway requests, gateway events become frames.

If the connection breaks, the agent stops, or no event arrives for 75 s while an answer is in
progress, the state of the answer is read from the history.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.service import (
    SESSION_KEY,
    Agents,
    AgentState,
    Gateway,
    GatewayError,
    NoSuchAgent,
)
from ocmt_management.chat import frames, history
from ocmt_management.chat.error_messages import for_page, of_run
from ocmt_management.chat.frames import Frame, FromPage, HistoryFrame, SendFrame
from ocmt_management.chat.rows import row_id
from ocmt_management.chat.transcript import Failed, Runs, gained_row
from ocmt_management.llm.service import Llm

log = structlog.get_logger(__name__)

_HISTORY_LIMIT = 100
# `chat.history` replaces a longer message with a placeholder, whatever `maxChars` says.
_HISTORY_MAX_CHARS = 128 * 1024
# Keeps a history far below the limit of one page's frame queue.
_HISTORY_MAX_BYTES = 2 * 1024 * 1024
# An answer that has just ended is among the five newest messages.
_NEWEST = 5
_MAX_WHOLE_CHARS = 500_000
_MAX_WHOLE_MESSAGES = 2
# The gateway sends at least a tick every 30 s.
_SILENT_AFTER_S = 75.0
_CATCH_UP_FOR_S = 60.0
_RESUMED_WITHIN_S = 15.0
_RETRY_S = 1.0
# OpenClaw's commands, in any case of letters. They need rights that the chat does not have.
_NEW_CONVERSATION = re.compile(r"\s*/(?:new|reset)\b", re.IGNORECASE)
_ONE_CONVERSATION = (
    "You have one conversation with your agent, and cannot start another one yet. Send /compact to "
    "have your agent shorten it, or write your message without the command."
)
_ASLEEP_OR_GONE = frozenset({AgentState.STOPPED, AgentState.FAILED, AgentState.NONE})


class Conversation:
    """`send` queues a frame for the page; background tasks run in `group`."""

    def __init__(
        self,
        user_id: str,
        *,
        agents: Agents,
        llm: Llm,
        send: Callable[[Frame], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self._user_id = user_id
        self._agents = agents
        self._llm = llm
        self._to_page = send
        self._group = group
        self._runs = Runs()
        self._gateway: Gateway | None = None
        self._attaching = asyncio.Lock()
        self._subscribed = False
        self._in_use = False
        """Whether the page has used the conversation, and so must be kept up to date."""
        self._limit = _HISTORY_LIMIT
        self._catching_up: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_again = False
        self._last_run: str | None = None
        """The run that ended last, whose files may still follow."""
        self._last_event_at = 0.0

    async def handle(self, frame: FromPage) -> None:
        """Handle a frame from the page; failures become error frames."""
        about = str(frame.id) if isinstance(frame, SendFrame) else None
        try:
            if isinstance(frame, SendFrame):
                await self._send(str(frame.id), frame.text)
            elif isinstance(frame, HistoryFrame):
                self._limit = frame.limit
                await self._send_history()
            else:
                await self._stop()
        except Problem as problem:
            self._send_problem(about, problem)
        except GatewayError as error:
            code, detail = for_page("agent-refused", str(error))
            retry = error.retryable or code == "agent-stopped"
            self._to_page(frames.error(about, code=code, detail=detail, retry=retry))

    def agent_changed(self, state: AgentState, *, before: AgentState | None) -> None:
        """Handle a change of the agent's state; `before` is `None` for the first known state."""
        if state in _ASLEEP_OR_GONE:
            self._subscribed = False
            if self._runs.in_progress:
                self._catch_up()
        if state is AgentState.RUNNING and before is not None and self._in_use:
            lost = self._gateway is None or self._gateway.lost
            if lost or not self._subscribed:
                self._begin_refresh()

    async def watch_for_silence(self) -> None:
        """Read the history whenever an answer is in progress and no event has arrived for 75 s."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SILENT_AFTER_S / 5)
            if self._runs.in_progress and loop.time() - self._last_event_at > _SILENT_AFTER_S:
                self._catch_up()

    # Requests of the page

    async def _send(self, message_id: str, text: str) -> None:
        if _NEW_CONVERSATION.match(text):
            raise Problem(409, "no-new-conversation", _ONE_CONVERSATION)
        gateway = await self._attached()
        self._runs.record_sent(message_id)
        answer = await gateway.request(
            "chat.send", sessionKey=SESSION_KEY, message=text, idempotencyKey=message_id
        )
        run_id = str(answer.get("runId") or message_id)
        self._to_page(frames.accepted(message_id, run_id))
        if answer.get("status") in ("started", "in_flight"):
            self._runs.begin(run_id)

    async def _stop(self) -> None:
        view = await self._agents.view(self._user_id)
        if view.state is AgentState.RUNNING:
            gateway = await self._attached()
            await gateway.request("chat.abort", sessionKey=SESSION_KEY)

    async def _send_history(self) -> None:
        payload = await self._history()
        for placeholder in history.omitted(payload)[:_MAX_WHOLE_MESSAGES]:
            await self._fetch_whole(placeholder)
        error = self._llm.last_errors.of(self._user_id)
        messages = history.messages(
            payload,
            last_error=error.detail if error else None,
            now_ms=datetime.now(UTC).timestamp() * 1000,
        )
        self._to_page(frames.history(messages))
        for run_id, text in history.run_states(payload).in_progress.items():
            self._to_page_if(self._runs.update(self._runs.page_id(run_id), text))

    async def _history(self) -> dict[str, Any]:
        gateway = await self._attached()
        return await gateway.request(
            "chat.history",
            sessionKey=SESSION_KEY,
            limit=self._limit,
            maxChars=_HISTORY_MAX_CHARS,
            maxBytes=_HISTORY_MAX_BYTES,
        )

    async def _fetch_whole(self, placeholder: dict[str, Any]) -> None:
        """Replace a history's placeholder with the whole message, if the gateway still has it."""
        gateway = await self._attached()
        try:
            answer = await gateway.request(
                "chat.message.get",
                sessionKey=SESSION_KEY,
                messageId=row_id(placeholder),
                maxChars=_MAX_WHOLE_CHARS,
            )
        except GatewayError as error:
            log.info("message not fetched", reason=str(error))
            return
        if isinstance(message := answer.get("message"), dict):
            placeholder.clear()
            placeholder.update(message)

    # The gateway

    async def _attached(self) -> Gateway:
        """Return the gateway; connect and subscribe first if necessary. Raises `Problem`."""
        async with self._attaching:
            self._in_use = True
            gateway = self._gateway
            try:
                if gateway is None or gateway.lost:
                    await self._agents.require_ready(self._user_id)
                    gateway = await Gateway.open(self._agents.server, self._user_id)
                    self._gateway = gateway
                    self._subscribed = False
                    self._group.create_task(self._listen(gateway))
                if not self._subscribed:
                    await gateway.request("sessions.messages.subscribe", key=SESSION_KEY)
                    self._subscribed = True
            except NoSuchAgent:
                self._agents.reprovision(self._user_id)
                raise
            return gateway

    async def _listen(self, gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._last_event_at = loop.time()
            async for name, payload in gateway.events():
                self._last_event_at = loop.time()
                self._on_event(name, payload)
        finally:
            await gateway.close()
        if self._runs.in_progress:
            self._catch_up()

    def _on_event(self, name: str, payload: dict[str, Any]) -> None:
        if name == "session.message":
            self._runs.record_row(payload)
            if self._runs.is_news(payload):
                self._begin_refresh()
        elif name == "chat":
            result = self._runs.on_chat(payload)
            if isinstance(result, Failed):
                self._send_failure(result.run_id, result.message)
            elif result is not None:
                self._to_page(result)
                if result["type"] == "final":
                    self._last_run = str(payload.get("runId"))
        elif name == "sessions.changed" and self._last_run is not None and gained_row(payload):
            # Only once per answer, since each request counts as use of the agent.
            run_id, self._last_run = self._last_run, None
            self._group.create_task(self._look_for_files(run_id))

    async def _look_for_files(self, run_id: str) -> None:
        """Send the history again if the answer has files, which its events do not include."""
        try:
            gateway = await self._attached()
            payload = await gateway.request(
                "chat.history", sessionKey=SESSION_KEY, limit=_NEWEST, maxChars=1
            )
        except (Problem, GatewayError) as error:
            log.info("files of an answer not read", reason=str(error))
            return
        if run_id in history.runs_with_files(payload):
            self._begin_refresh()

    def _begin_refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = self._group.create_task(self._refresh())
        else:
            self._refresh_again = True  # what it read may be older

    async def _refresh(self) -> None:
        """Send the history again, to show messages of other tabs or of the agent on its own."""
        try:
            while True:
                self._refresh_again = False
                await self._send_history()
                if not self._refresh_again:
                    return
        except (Problem, GatewayError) as error:
            log.info("chat not refreshed", reason=str(error))
        finally:
            self._refreshing = None

    def _catch_up(self) -> None:
        if self._catching_up is None:
            self._catching_up = self._group.create_task(self._read_answers_from_history())

    async def _read_answers_from_history(self) -> None:
        """Read from the history whether answers in progress continue, have ended or are lost."""
        loop = asyncio.get_running_loop()
        answered_at: float | None = None
        give_up_at = loop.time() + _CATCH_UP_FOR_S
        reason = "Your agent was interrupted before it answered. Send your message again."
        try:
            while self._runs.in_progress and loop.time() < give_up_at:
                try:
                    run_states = history.run_states(await self._history())
                except (Problem, GatewayError) as error:
                    reason = str(error)
                else:
                    if self._settle(run_states):
                        self._last_event_at = loop.time()
                        return
                    # The gateway is back and soon resumes interrupted runs on its own.
                    if answered_at is None:
                        answered_at = loop.time()
                        give_up_at = answered_at + _RESUMED_WITHIN_S
                await asyncio.sleep(_RETRY_S)
            for run_id in list(self._runs.in_progress):
                self._runs.ended(run_id)
                self._to_page(frames.error(run_id, code="answer-lost", detail=reason, retry=True))
        finally:
            self._catching_up = None

    def _settle(self, run_states: history.RunStates) -> bool:
        """Send the page the state of each answer in progress. Returns whether all were found."""
        in_progress = {
            self._runs.page_id(key): text for key, text in run_states.in_progress.items()
        }
        answers = {self._runs.page_id(key): answer for key, answer in run_states.answers.items()}
        unknown: list[str] = []
        for run_id in list(self._runs.in_progress):
            if run_id in in_progress:
                self._to_page_if(self._runs.update(run_id, in_progress.pop(run_id)))
            elif run_id in run_states.queued:
                continue
            elif run_id in answers:
                self._to_page_if(self._runs.final(run_id, *answers[run_id]))
            else:
                unknown.append(run_id)
        while unknown and in_progress:
            run_id = unknown.pop()
            resumed_id, text = in_progress.popitem()
            self._runs.resumed_by(run_id, resumed_id)
            self._to_page_if(self._runs.update(run_id, text))
        return not unknown

    def _to_page_if(self, frame: Frame | None) -> None:
        if frame is not None:
            self._to_page(frame)

    # Failures

    def _send_failure(self, run_id: str, message: str) -> None:
        """Send a run's failure, with the reason that `/llm` recorded, since OpenClaw gives none."""
        error = self._llm.last_errors.of(self._user_id)
        code, detail = (error.code, error.detail) if error else of_run(message)
        self._to_page(frames.error(run_id, code=code, detail=detail, retry=True))

    def _send_problem(self, about: str | None, problem: Problem) -> None:
        retry = problem.status >= 500 or problem.code in ("agent-provisioning", "no-such-agent")
        self._to_page(frames.error(about, code=problem.code, detail=problem.detail, retry=retry))
