"""Notifies users of finished answers, also of those whose chat was closed meanwhile.

An open chat reports its frames. When a page goes away in the middle of an answer, as on a phone
whose screen is locked, its answers are followed here, without a page, for a user who gets
notifications. The agent is never woken for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.service import MAIN, Agents, AgentState
from ocmt_management.chat.conversations import Conversations
from ocmt_management.chat.frames import Frame, WireMessage
from ocmt_management.chat.uploads import Uploads, UploadSpace
from ocmt_management.llm.service import Llm
from ocmt_management.notifications.service import Notifications

log = structlog.get_logger(__name__)

_FOLLOWED_FOR_S = 3600.0
_CHECK_EVERY_S = 15.0
MAX_PER_USER = 16
"""The most answers of one user that are followed at once."""


class _Done(Exception):
    """Ends the tasks that follow a user's answers."""


class AnswerFollower:
    """Enter `running` for the server's lifetime."""

    def __init__(self, agents: Agents, llm: Llm, notifications: Notifications) -> None:
        self._agents = agents
        self._llm = llm
        self._notifications = notifications
        self._tasks: set[asyncio.Task[None]] = set()
        self._followed: dict[str, set[str]] = {}
        """User → the runs that are followed."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["AnswerFollower"]:
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def note(self, user_id: str, frame: Frame) -> None:
        """Notify the user if this frame of a chat is a finished answer."""
        if frame["type"] == "final" and _says_something(frame["message"]):
            conversation = frame.get("conversation", MAIN)
            self._notifications.answered(user_id, frame["runId"], conversation)

    def follow(self, user_id: str, in_progress: Mapping[str, Iterable[str]]) -> None:
        """Follow the answers in progress of a chat that was closed: conversation → runs."""
        followed = self._followed.setdefault(user_id, set())
        new = {
            conversation: [run for run in runs if run not in followed]
            for conversation, runs in in_progress.items()
        }
        new = {conversation: runs for conversation, runs in new.items() if runs}
        added = {run for runs in new.values() for run in runs}
        if not added or len(followed) + len(added) > MAX_PER_USER:
            if not followed:
                del self._followed[user_id]
            return
        followed |= added
        task = asyncio.create_task(self._follow(user_id, new))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, user_id, added))

    def _ended(self, task: asyncio.Task[None], user_id: str, runs: set[str]) -> None:
        self._tasks.discard(task)
        self._followed[user_id] -= runs
        if not self._followed[user_id]:
            del self._followed[user_id]

    async def _follow(self, user_id: str, in_progress: Mapping[str, Iterable[str]]) -> None:
        try:
            if not await self._notifications.reaches(user_id):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_FOLLOWED_FOR_S):
                    await self._until_ended(user_id, in_progress)
        except Problem as problem:  # the database is away; /health reports it
            log.info("answer not followed", user_id=user_id, reason=problem.detail)
        except Exception:
            log.exception("answer not followed", user_id=user_id)

    async def _until_ended(self, user_id: str, in_progress: Mapping[str, Iterable[str]]) -> None:
        """Return once each of the conversations has answered, failed or was stopped."""
        waiting, changed = set(in_progress), asyncio.Event()

        def on_frame(frame: Frame) -> None:
            self.note(user_id, frame)
            ended = frame["type"] in ("aborted", "error") or (
                # An empty one joined another run, which answers it.
                frame["type"] == "final" and _says_something(frame["message"])
            )
            if ended:
                waiting.discard(frame.get("conversation", MAIN))
                changed.set()

        try:
            async with asyncio.TaskGroup() as group:
                conversations = Conversations(
                    user_id,
                    agents=self._agents,
                    llm=self._llm,
                    uploads=Uploads(UploadSpace(time.monotonic), user_id),  # nothing is sent
                    send=on_frame,
                    group=group,
                )
                conversations.resume(in_progress)
                while waiting and await self._is_awake(user_id):
                    changed.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_CHECK_EVERY_S):
                            await changed.wait()
                raise _Done
        except* _Done:
            pass

    async def _is_awake(self, user_id: str) -> bool:
        view = await self._agents.view(user_id)
        return view.state is AgentState.RUNNING


def _says_something(answer: WireMessage) -> bool:
    return bool(answer["text"] or answer.get("files"))
