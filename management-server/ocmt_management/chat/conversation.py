"""One conversation in one chat: frames become gateway requests, gateway events become frames.

If the connection breaks, the agent stops, or no event arrives for 75 s while an answer is in
progress, the state of the answer is read from the history.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
from ocmt_common.gateway_frames import as_object
from ocmt_common.problems import Problem

from ocmt_management.agents.service import (
    MAIN,
    Agents,
    AgentState,
    FileInPieces,
    GatewayError,
    conversation_of,
    key_of,
)
from ocmt_management.chat import frames, history, session_rows
from ocmt_management.chat.error_messages import for_page, of_run
from ocmt_management.chat.frames import AboutOne, ForkFrame, HistoryFrame, SendFrame, StopFrame
from ocmt_management.chat.gateway_link import GatewayLink
from ocmt_management.chat.rows import row_id
from ocmt_management.chat.transcript import Failed, Runs, gained_row
from ocmt_management.chat.uploads import Uploads
from ocmt_management.llm.service import Llm

log = structlog.get_logger(__name__)

# A longer message is a placeholder in `chat.history`, whatever `maxChars` says.
_HISTORY_MAX_CHARS = 128 * 1024
# Keeps a history far below the limit of one page's frame queue.
_HISTORY_MAX_BYTES = 2 * 1024 * 1024
_HISTORY_LIMIT = 100
# As far back as an answer is that has just ended.
_NEWEST = 5
_MAX_WHOLE_CHARS = 500_000
_MAX_WHOLE_MESSAGES = 2
_CATCH_UP_FOR_S = 60.0
_RESUMED_WITHIN_S = 15.0
_RETRY_S = 1.0
# OpenClaw's commands, in any case of letters. They need rights that the chat does not have.
_NEW_CONVERSATION = re.compile(r"\s*/(?:new|reset)\b", re.IGNORECASE)
_OTHER_CONVERSATION = (
    "This command is not available here. Start another conversation with “New conversation”, or "
    "send /compact to have your agent shorten this one."
)
_ARCHIVED = "is archived"
NAME_TAKEN = "label already in use"
_FORK_PAGE = 1000
_FORK_PAGES = 20
_FORK_NAMES = 20
ASLEEP_OR_GONE = frozenset({AgentState.STOPPED, AgentState.FAILED, AgentState.NONE})


class Conversation:
    """`send` queues a frame for the page; background tasks run in `group`."""

    def __init__(
        self,
        conversation: str,
        user_id: str,
        *,
        link: GatewayLink,
        agents: Agents,
        llm: Llm,
        uploads: Uploads,
        send: Callable[[AboutOne], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self._id = conversation
        self._key = key_of(conversation)
        self._user_id = user_id
        self._link = link
        self._agents = agents
        self._llm = llm
        self._uploads = uploads
        self._send_frame = send
        self._group = group
        self._runs = Runs(conversation)
        self._exists = conversation == MAIN
        """Whether the gateway has its session, open for messages."""
        self._limit = _HISTORY_LIMIT
        self._catching_up: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_again = False
        self._last_run: str | None = None
        """The run that ended last; its files follow, if it sent any."""

    @property
    def busy(self) -> bool:
        """Whether an answer is in progress."""
        return bool(self._runs.in_progress)

    @property
    def answers(self) -> list[str]:
        """The runs of the answers in progress."""
        return list(self._runs.in_progress)

    def resume(self, run_ids: Iterable[str]) -> None:
        """Follow answers that were in progress in another chat, from the history on."""
        for run_id in run_ids:
            self._runs.begin(run_id)
        self.catch_up()

    async def handle(self, frame: HistoryFrame | SendFrame | StopFrame | ForkFrame) -> None:
        """Handle a frame from the page; failures become error frames."""
        about = str(frame.id) if isinstance(frame, SendFrame) else None
        try:
            if isinstance(frame, SendFrame):
                await self._send(frame)
            elif isinstance(frame, StopFrame):
                await self._stop()
            elif isinstance(frame, ForkFrame):
                await self._fork(frame.message)
            elif frame.before is not None:
                await self._send_older(frame.before, frame.limit)
            else:
                self._limit = frame.limit
                await self._send_history()
        except Problem as problem:
            self._send_problem(about, problem)
        except GatewayError as error:
            code, detail = for_page("agent-refused", str(error))
            retry = error.retryable or code == "agent-stopped"
            self._to_page(frames.error(about, code=code, detail=detail, retry=retry))

    def agent_changed(self, state: AgentState, *, before: AgentState | None) -> None:
        """Handle a change of the agent's state; `before` is `None` for the first known state."""
        if state in ASLEEP_OR_GONE:
            self.catch_up()
        running = state is AgentState.RUNNING and before is not None
        if running and not self._link.is_subscribed(self._key):
            self._begin_refresh()

    def gone(self) -> None:
        """The session was deleted: the next message creates it again."""
        self._exists = self._id == MAIN

    def catch_up(self) -> None:
        """No events arrive: read the state of an answer in progress from the history."""
        if self.busy:
            self._catch_up()

    # Requests of the page

    async def _send(self, frame: SendFrame) -> None:
        message_id, text = str(frame.id), frame.text
        if _NEW_CONVERSATION.match(text):
            raise Problem(409, "no-new-conversation", _OTHER_CONVERSATION)
        with self._files_of(frame) as files:
            begins = text if text.strip() else frame.files[0].name
            title = None if self._exists else await self._open_for(begins)
            self._runs.record_sent(message_id)
            message = {"sessionKey": self._key, "message": text, "idempotencyKey": message_id}
            try:
                answer = await self._link.send(self._key, message, files)
            except GatewayError as error:
                if _ARCHIVED not in str(error):
                    raise
                await self._open_for(begins)  # it was archived meanwhile
                answer = await self._link.send(self._key, message, files)
        run_id = str(answer.get("runId") or message_id)
        self._to_page(frames.accepted(message_id, run_id))
        if answer.get("status") in ("started", "in_flight"):
            self._runs.begin(run_id)
        self._exists = True
        if title:
            self._group.create_task(self._name(title))

    @contextmanager
    def _files_of(self, frame: SendFrame) -> Iterator[list[FileInPieces]]:
        if not frame.files:
            yield []
            return
        with self._uploads.taken(str(frame.id), len(frame.files)) as pieces:
            yield [
                FileInPieces(file.name, file.type, content)
                for file, content in zip(frame.files, pieces, strict=True)
            ]

    async def _open_for(self, text: str) -> str | None:
        """Restore an archived session. The name of one that its first message creates."""
        answer = await self._request("sessions.describe", key=self._key)
        row = as_object(answer.get("session"))
        if row.get("archived"):
            session_id = row.get("sessionId")
            await self._request(
                "sessions.patch", key=self._key, archived=False, expectedSessionId=session_id
            )
        return None if row else session_rows.title_from(text)

    async def _name(self, title: str) -> None:
        try:
            await self._request("sessions.patch", key=self._key, autoLabel=title)
        except (Problem, GatewayError) as error:
            log.info("conversation not named", reason=str(error))

    async def _fork(self, message_id: str) -> None:
        entry = await self._entry_of(message_id)
        if entry is None:
            raise Problem(404, "no-such-message", "Your agent no longer has this message.")
        answer = await self._request("sessions.fork", sessionKey=self._key, entryId=entry)
        fork = conversation_of(answer.get("sessionKey"))
        if fork is None:
            raise Problem(502, "agent-refused", "Your agent did not say where the fork is.")
        await self._name_fork(fork)
        self._to_page(frames.forked(message_id, fork, str(answer.get("editorText") or "")))

    async def _entry_of(self, message_id: str) -> str | None:
        """The id that the transcript has for a message of the user."""
        place: int | None = None
        for _ in range(_FORK_PAGES):
            page = {} if place is None else {"offset": place}
            payload = await self._request(
                "chat.history", sessionKey=self._key, limit=_FORK_PAGE, maxChars=1, **page
            )
            if found := history.entry_of(payload, message_id):
                return found
            place = history.older_than(payload)
            if place is None:
                break
        return None

    async def _name_fork(self, fork: str) -> None:
        """Name a fork after its origin. Names are unique, and without one the model makes one."""
        answer = await self._request("sessions.describe", key=self._key)
        origin = session_rows.entry(as_object(answer.get("session")))
        title = (origin["title"] if origin else "") or "Main conversation"
        for number in range(2, _FORK_NAMES + 2):
            try:
                await self._request("sessions.patch", key=key_of(fork), label=f"{title} ({number})")
            except GatewayError as error:
                if NAME_TAKEN not in str(error):
                    raise
            else:
                return

    async def _stop(self) -> None:
        view = await self._agents.view(self._user_id)
        if view.state is AgentState.RUNNING:
            await self._request("chat.abort", sessionKey=self._key)

    async def _send_history(self) -> None:
        payload = await self._whole(await self._history())
        error = self._llm.last_errors.of(self._user_id)
        messages = history.messages(
            payload,
            last_error=error.detail if error else None,
            now_ms=datetime.now(UTC).timestamp() * 1000,
        )
        self._to_page(frames.history(messages, history.older_than(payload)))
        states = history.run_states(payload)
        for run_id, text in states.in_progress.items():
            self._show_progress(self._runs.page_id(run_id), text, states)

    def _show_progress(self, run_id: str, text: str, states: history.RunStates) -> None:
        self._to_page_if(self._runs.update(run_id, text))
        for frame in self._runs.resume_work(run_id, states.tools, states.thoughts):
            self._to_page(frame)

    async def _send_older(self, before: int, limit: int) -> None:
        payload = await self._whole(await self._history(limit=limit, offset=before))
        messages = history.messages(history.without_present(payload))
        self._to_page(frames.older_messages(messages, history.older_than(payload)))

    async def _history(self, **changes: int) -> dict[str, Any]:
        return await self._request(
            "chat.history",
            sessionKey=self._key,
            maxChars=_HISTORY_MAX_CHARS,
            maxBytes=_HISTORY_MAX_BYTES,
            **{"limit": self._limit} | changes,
        )

    async def _request(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._link.request(self._key, method, **params)

    async def _whole(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The history with its longest messages in full, as far as the gateway has them."""
        for placeholder in history.omitted(payload)[:_MAX_WHOLE_MESSAGES]:
            await self._fetch_whole(placeholder)
        return payload

    async def _fetch_whole(self, placeholder: dict[str, Any]) -> None:
        """Replace a placeholder of the history with its message, if the gateway still has it."""
        try:
            answer = await self._request(
                "chat.message.get",
                sessionKey=self._key,
                messageId=row_id(placeholder),
                maxChars=_MAX_WHOLE_CHARS,
            )
        except GatewayError as error:
            log.info("message not fetched", reason=str(error))
            return
        if isinstance(message := answer.get("message"), dict):
            placeholder.clear()
            placeholder.update(message)

    # Events of the gateway

    def on_event(self, name: str, payload: dict[str, Any]) -> None:
        """Handle an event about this conversation."""
        if name == "session.message":
            self._runs.record_row(payload)
            for frame in self._runs.on_row(payload):
                self._to_page(frame)
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
        elif name in ("session.tool", "agent"):
            self._to_page_if(self._runs.on_result(name, payload))
        elif name == "sessions.changed" and self._last_run is not None and gained_row(payload):
            # Only once per answer, since each request counts as use of the agent.
            run_id, self._last_run = self._last_run, None
            self._group.create_task(self._look_for_files(run_id))

    async def _look_for_files(self, run_id: str) -> None:
        """Send the history again if the answer has files, which its events do not include."""
        try:
            payload = await self._request(
                "chat.history", sessionKey=self._key, limit=_NEWEST, maxChars=1
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
                        self._link.last_event_at = loop.time()
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
                self._show_progress(run_id, in_progress.pop(run_id), run_states)
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
            self._show_progress(run_id, text, run_states)
        return not unknown

    def _to_page_if(self, frame: AboutOne | None) -> None:
        if frame is not None:
            self._to_page(frame)

    def _to_page(self, frame: AboutOne) -> None:
        if self._id != MAIN:
            frame["conversation"] = self._id
        self._send_frame(frame)

    # Failures

    def _send_failure(self, run_id: str, message: str) -> None:
        """Send a run's failure, with the reason that `/llm` recorded, since OpenClaw gives none."""
        error = self._llm.last_errors.of(self._user_id)
        code, detail = (error.code, error.detail) if error else of_run(message)
        self._to_page(frames.error(run_id, code=code, detail=detail, retry=True))

    def _send_problem(self, about: str | None, problem: Problem) -> None:
        retry = problem.status >= 500 or problem.code in ("agent-provisioning", "no-such-agent")
        self._to_page(frames.error(about, code=problem.code, detail=problem.detail, retry=retry))
