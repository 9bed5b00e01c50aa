"""The conversation behind one chat: what the page asks becomes requests to the gateway, what the
gateway tells becomes frames.

An answer under way is never left in the dark: when the connection breaks, the agent dies, or
nothing is heard for long, the history is asked how the answer stands.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.client import NoSuchAgent
from ocmt_management.agents.schemas import AgentState
from ocmt_management.chat import frames, transcript
from ocmt_management.chat.error_messages import plainly
from ocmt_management.chat.frames import Frame, FromPage, HistoryFrame, SendFrame
from ocmt_management.chat.gateway import Gateway, GatewayRefused
from ocmt_management.chat.transcript import SESSION_KEY, Failed, Runs
from ocmt_management.dependencies import Parts

log = structlog.get_logger(__name__)

_HISTORY_LIMIT = 100
# The gateway says at least a tick every 30 s.
_SILENT_AFTER_S = 75.0
_CATCH_UP_FOR_S = 60.0
_TAKEN_UP_WITHIN_S = 15.0
_RETRY_S = 1.0
_ASLEEP_OR_GONE = frozenset({AgentState.STOPPED, AgentState.FAILED, AgentState.NONE})


class Conversation:
    """`tell` takes the frames for the page. Tasks run in the chat's own `group`."""

    def __init__(
        self,
        user_id: str,
        parts: Parts,
        *,
        tell: Callable[[Frame], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self._user_id = user_id
        self._agents = parts.agents
        self._troubles = parts.llm.troubles
        self._tell = tell
        self._group = group
        self._runs = Runs()
        self._gateway: Gateway | None = None
        self._attaching = asyncio.Lock()
        self._subscribed = False
        self._wanted = False
        """Whether the page asked for the conversation, so that it is to be kept up to date."""
        self._limit = _HISTORY_LIMIT
        self._catching_up: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._heard_at = 0.0

    async def handle(self, frame: FromPage) -> None:
        """Do what the page asks; what goes wrong becomes an error frame."""
        about = str(frame.id) if isinstance(frame, SendFrame) else None
        try:
            if isinstance(frame, SendFrame):
                await self._send(str(frame.id), frame.text)
            elif isinstance(frame, HistoryFrame):
                self._limit = frame.limit
                await self._tell_history()
            else:
                await self._stop()
        except Problem as problem:
            self._tell_problem(about, problem)
        except GatewayRefused as refused:
            code, detail = plainly("agent-refused", str(refused))
            self._tell(frames.error(about, code=code, detail=detail, retry=refused.retryable))

    def agent_is(self, state: AgentState, *, before: AgentState | None) -> None:
        """The agent's state changed."""
        if state in _ASLEEP_OR_GONE:
            self._subscribed = False
            if self._runs.told:
                self._catch_up()
        if state is AgentState.RUNNING and before is not None and self._wanted:
            lost = self._gateway is None or self._gateway.lost
            if (lost or not self._subscribed) and self._refreshing is None:
                self._refreshing = self._group.create_task(self._refresh())

    async def keep_listening(self) -> None:
        """Notice when an answer under way is not heard of any more; runs as long as the chat."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SILENT_AFTER_S / 5)
            if self._runs.told and loop.time() - self._heard_at > _SILENT_AFTER_S:
                self._catch_up()

    # What the page asks

    async def _send(self, message_id: str, text: str) -> None:
        gateway = await self._attached()
        self._runs.sent_here(message_id)
        answer = await gateway.request(
            "chat.send", sessionKey=SESSION_KEY, message=text, idempotencyKey=message_id
        )
        run_id = str(answer.get("runId") or message_id)
        self._tell(frames.accepted(message_id, run_id))
        if answer.get("status") in ("started", "in_flight"):
            self._runs.began(run_id)

    async def _stop(self) -> None:
        view = await self._agents.view(self._user_id)
        if view.state is AgentState.RUNNING:
            gateway = await self._attached()
            await gateway.request("chat.abort", sessionKey=SESSION_KEY)

    async def _tell_history(self) -> None:
        payload = await self._history()
        self._tell(frames.history(transcript.history(payload)))
        for run_id, text in transcript.standing(payload).under_way.items():
            self._tell_if(self._runs.caught_up(self._runs.told_as(run_id), text))

    async def _history(self) -> dict[str, Any]:
        gateway = await self._attached()
        return await gateway.request("chat.history", sessionKey=SESSION_KEY, limit=self._limit)

    # The gateway's side

    async def _attached(self) -> Gateway:
        """The live gateway, opened and listened to if need be. Raises `Problem`."""
        async with self._attaching:
            self._wanted = True
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
                self._agents.make_again(self._user_id)
                raise
            return gateway

    async def _listen(self, gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._heard_at = loop.time()
            async for name, payload in gateway.events():
                self._heard_at = loop.time()
                self._on_event(name, payload)
        finally:
            await gateway.close()
        if self._runs.told:
            self._catch_up()

    def _on_event(self, name: str, payload: dict[str, Any]) -> None:
        if name == "session.message":
            self._runs.note_row(payload)
            if self._runs.is_foreign(payload) and self._refreshing is None:
                self._refreshing = self._group.create_task(self._refresh())
        elif name == "chat":
            heard = self._runs.on_chat(payload)
            if isinstance(heard, Failed):
                self._tell_failed(heard.run_id, heard.said)
            elif heard is not None:
                self._tell(heard)

    async def _refresh(self) -> None:
        """Tell the page of what another tab, or nobody, did meanwhile."""
        try:
            await self._tell_history()
        except (Problem, GatewayRefused) as error:
            log.info("chat not refreshed", reason=str(error))
        finally:
            self._refreshing = None

    def _catch_up(self) -> None:
        if self._catching_up is None:
            self._catching_up = self._group.create_task(self._ask_how_answers_stand())

    async def _ask_how_answers_stand(self) -> None:
        """The answers under way may have gone on, ended or died without our hearing of it."""
        loop = asyncio.get_running_loop()
        answered_at: float | None = None
        give_up_at = loop.time() + _CATCH_UP_FOR_S
        reason = "The agent was interrupted before it answered. Send it again."
        try:
            while self._runs.told and loop.time() < give_up_at:
                try:
                    standing = transcript.standing(await self._history())
                except (Problem, GatewayRefused) as error:
                    reason = str(error)
                else:
                    if self._settle(standing):
                        self._heard_at = loop.time()
                        return
                    # It answers again; what it takes up by itself, it takes up soon.
                    if answered_at is None:
                        answered_at = loop.time()
                        give_up_at = answered_at + _TAKEN_UP_WITHIN_S
                await asyncio.sleep(_RETRY_S)
            for run_id in list(self._runs.told):
                self._runs.ended(run_id)
                self._tell(frames.error(run_id, code="answer-lost", detail=reason, retry=True))
        finally:
            self._catching_up = None

    def _settle(self, standing: transcript.Standing) -> bool:
        """Tell the page how its answers stand; whether that is known of all of them."""
        under_way = {self._runs.told_as(key): text for key, text in standing.under_way.items()}
        answers = {self._runs.told_as(key): answer for key, answer in standing.answers.items()}
        unknown: list[str] = []
        for run_id in list(self._runs.told):
            if run_id in under_way:
                self._tell_if(self._runs.caught_up(run_id, under_way.pop(run_id)))
            elif run_id in answers:
                self._tell_if(self._runs.final(run_id, *answers[run_id]))
            else:
                unknown.append(run_id)
        while unknown and under_way:
            run_id = unknown.pop()
            resumed_id, text = under_way.popitem()
            self._runs.goes_on_as(run_id, resumed_id)
            self._tell_if(self._runs.caught_up(run_id, text))
        return not unknown

    def _tell_if(self, frame: Frame | None) -> None:
        if frame is not None:
            self._tell(frame)

    # What goes wrong

    def _tell_failed(self, run_id: str, said: str) -> None:
        """OpenClaw hides why its model failed; if it was the model, we know."""
        trouble = self._troubles.of(self._user_id)
        code, detail = (trouble.code, trouble.detail) if trouble else plainly("run-failed", said)
        self._tell(frames.error(run_id, code=code, detail=detail, retry=True))

    def _tell_problem(self, about: str | None, problem: Problem) -> None:
        retry = problem.status >= 500 or problem.code in ("agent-provisioning", "no-such-agent")
        self._tell(frames.error(about, code=problem.code, detail=problem.detail, retry=retry))
