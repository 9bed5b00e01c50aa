"""Translates OpenClaw's chat events into frames. Pure.

Facts from OpenClaw 2026.9.6: a run has the id that its message was sent with. A message that
arrives during a run joins that run or waits for a later one with an id of its own; its own run then
ends without a message, and the message is stored when the agent reads it. A failed run may
report the failure twice. Text before and after a tool call is one message while it streams and
several in the history. After a crash, a gateway resumes the interrupted run on its own, seconds
after its start and under another id.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ocmt_common.gateway_frames import as_object

from ocmt_management.agents.service import MAIN, conversation_of
from ocmt_management.chat import frames
from ocmt_management.chat.frames import AboutOne, WireFile, WireTool
from ocmt_management.chat.rows import files_of, run_of, sent_with, text_of
from ocmt_management.chat.tool_calls import ToolCalls, joined_thoughts, result_of, thoughts_of

_REMEMBERED = 256
# A gateway is as hostile as its user. OpenClaw's ids have 36 characters, and a conversation has one
# run at a time.
_MAX_ID_CHARS = 200
_MAX_RUNS = 8
_MAX_TEXT_CHARS = 500_000


@dataclass(slots=True)
class Failed:
    """The end of a run in an error, with OpenClaw's message."""

    run_id: str
    message: str


@dataclass(slots=True)
class Runs:
    """What was sent to one browser about a conversation's runs, so that nothing is sent twice."""

    conversation: str = MAIN
    in_progress: dict[str, str] = field(default_factory=dict)
    """Runs in progress, with their text sent so far."""
    sent: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _ended: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _row_ids: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _waiting: set[str] = field(default_factory=set)
    """Messages sent by this browser that the agent has received and reads later."""
    _resumes: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """New run id → the interrupted run that a restarted gateway resumes under it."""
    _calls: ToolCalls = field(default_factory=ToolCalls)
    _runs_of_calls: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Id of a call → the run in which it was last begun."""
    _thoughts: dict[str, str] = field(default_factory=dict)
    """Of the runs in progress."""

    def begin(self, run_id: str) -> None:
        if run_id not in self._ended and len(run_id) <= _MAX_ID_CHARS:
            self.in_progress.setdefault(run_id, "")
            _keep_newest(self.in_progress)

    def ended(self, run_id: str) -> bool:
        """Record a run's end; `False` if it was recorded before."""
        self.in_progress.pop(run_id, None)
        self._thoughts.pop(run_id, None)
        if run_id in self._ended:
            return False
        _remember(self._ended, run_id, run_id)
        return True

    def resumed_by(self, run_id: str, resumed_id: str) -> None:
        """Record that a restarted gateway continues `run_id` as `resumed_id`."""
        _remember(self._resumes, resumed_id, run_id)

    def record_sent(self, message_id: str) -> None:
        _remember(self.sent, message_id, message_id)

    def is_news(self, payload: dict[str, Any]) -> bool:
        """Whether a `session.message` requires the history to be sent again.

        It does for a message that another tab sent, and for one that has waited for its turn.
        """
        row = as_object(payload.get("message"))
        if row.get("role") != "user" or not self.is_about(payload):
            return False
        message_id = sent_with(row)
        if message_id in self._waiting:
            self._waiting.discard(message_id)
            return True
        return message_id not in self.sent

    def record_row(self, payload: dict[str, Any]) -> None:
        """Remember the id that a run's answer has in the history."""
        meta = as_object(as_object(payload.get("message")).get("__openclaw"))
        run_id, row_id = meta.get("runId"), meta.get("id")
        if isinstance(run_id, str) and isinstance(row_id, str) and len(row_id) <= _MAX_ID_CHARS:
            _remember(self._row_ids, self.page_id(run_id), row_id)

    def on_row(self, payload: dict[str, Any]) -> list[AboutOne]:
        """The work that a new row of the transcript shows: calls of tools, and thoughts."""
        if not self.is_about(payload):
            return []
        row = as_object(payload.get("message"))
        run_id = self.page_id(run_of(row) or "")
        if not run_id or run_id in self._ended or len(run_id) > _MAX_ID_CHARS:
            return []
        begun = self._calls.begun_by(row)
        for call in begun:
            _remember(self._runs_of_calls, call["id"], run_id)
        shown: list[AboutOne] = [frames.work(run_id, call) for call in begun]
        if thoughts := thoughts_of(row):
            self._think(run_id, joined_thoughts(self._thoughts.get(run_id, ""), thoughts))
            shown.append(frames.thoughts(run_id, self._thoughts[run_id]))
        return shown

    def on_result(self, name: str, payload: dict[str, Any]) -> AboutOne | None:
        """The end of a call, if the event `name` reports one."""
        row = result_of(name, payload) if self.is_about(payload) else None
        ended = self._calls.ended_by(row) if row is not None else None
        if ended is None:
            return None
        run_id = self._runs_of_calls.get(ended["id"], "")
        return frames.work(run_id, ended) if run_id not in self._ended else None

    def resume_work(self, run_id: str, tools: list[WireTool], thoughts: str) -> list[AboutOne]:
        """The work of a run in progress, according to the history."""
        if run_id in self._ended:
            return []
        self._calls.resume(tools)
        for call in tools:
            _remember(self._runs_of_calls, call["id"], run_id)
        shown: list[AboutOne] = [frames.work(run_id, call) for call in tools]
        if thoughts:
            self._think(run_id, thoughts)
            shown.append(frames.thoughts(run_id, thoughts))
        return shown

    def _think(self, run_id: str, thoughts: str) -> None:
        self._thoughts[run_id] = thoughts
        _keep_newest(self._thoughts)

    def on_chat(self, payload: dict[str, Any]) -> AboutOne | Failed | None:
        """A `chat` event as a frame for the page; `Failed` for an error."""
        run_id = self.page_id(str(payload.get("runId")))
        if not self.is_about(payload) or run_id in self._ended or len(run_id) > _MAX_ID_CHARS:
            return None
        row = as_object(payload.get("message"))
        match payload.get("state"):
            case "status" | "delta":
                # Every delta carries the whole text, so a missed one does not matter.
                return self.update(run_id, text_of(row))
            case "final":
                return self.final(run_id, text_of(row), row.get("timestamp"), files_of(row))
            case "aborted" if self.ended(run_id):
                return frames.aborted(run_id)
            case "error" if self.ended(run_id):
                return Failed(run_id, str(payload.get("errorMessage") or "The agent failed."))
        return None

    def final(
        self, run_id: str, text: str, at_ms: Any, files: list[WireFile] | None = None
    ) -> AboutOne | None:
        if not self.ended(run_id):
            return None
        if not text and run_id in self.sent:
            self._waiting.add(run_id)
        row_id = self._row_ids.pop(run_id, run_id)
        at = at_ms if isinstance(at_ms, int | float) else None
        answer = frames.message(row_id, role="assistant", text=text, at_ms=at)
        if files:
            answer["files"] = files
        return frames.final(run_id, answer)

    def update(self, run_id: str, text: str) -> AboutOne | None:
        """A frame with the part of a run's text that the page lacks; `None` if it lacks none.

        A run that is new to the page is announced, even without a text.
        """
        if run_id in self._ended:
            return None
        unknown = run_id not in self.in_progress
        self.begin(run_id)
        already_sent = self.in_progress.get(run_id, "")
        if already_sent.startswith(text) and not unknown:
            return None  # a history may be slightly older than the deltas
        if len(text) > _MAX_TEXT_CHARS:
            return None  # the end of the run has it
        self.in_progress[run_id] = text
        if text.startswith(already_sent):
            return frames.delta(run_id, text[len(already_sent) :])
        return frames.delta(run_id, text, replace=True)

    def is_about(self, payload: dict[str, Any]) -> bool:
        """Whether an event is about this conversation."""
        return conversation_of(payload.get("sessionKey")) == self.conversation

    def page_id(self, run_id: str) -> str:
        """The id under which the page knows this run."""
        return self._resumes.get(run_id, run_id)


def gained_row(payload: dict[str, Any]) -> bool:
    """Whether a `sessions.changed` event reports a message that no `session.message` did.

    OpenClaw stores an answer's files in such a message after the answer has ended.
    """
    return payload.get("phase") == "message"


def _keep_newest(of_runs: dict[str, str]) -> None:
    while len(of_runs) > _MAX_RUNS:
        del of_runs[next(iter(of_runs))]


def _remember(those: OrderedDict[str, str], one: str, what: str) -> None:
    those[one] = what
    if len(those) > _REMEMBERED:
        those.popitem(last=False)
