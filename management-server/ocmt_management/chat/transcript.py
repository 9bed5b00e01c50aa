"""Translates OpenClaw's chat events and history into frames. Pure.

Facts from OpenClaw 2026.9.6: a run has the id that its message was sent with. A message that
arrives during a run joins that run; its own run then ends without a message. A failed run may
report the failure twice. Text of one run before and after a tool call is one message while it
streams and several in the history. After a crash, a gateway resumes its interrupted run on its
own, seconds after it started and under another id.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ocmt_common.gateway_frames import as_object

from ocmt_management.agents.service import SESSION_KEY
from ocmt_management.chat import frames
from ocmt_management.chat.frames import Frame, WireMessage
from ocmt_management.tools.service import OUTCOME_KEY_PREFIX

_CANONICAL_KEY = "agent:main:main"
_BETWEEN_PARTS = "\n\n"
_REMEMBERED = 256
_USER_SUFFIX = ":user"


@dataclass(slots=True)
class Failed:
    """A run ended in an error."""

    run_id: str
    message: str


@dataclass(slots=True)
class Runs:
    """What was sent to one browser about each run, so that nothing is sent twice."""

    in_progress: dict[str, str] = field(default_factory=dict)
    """Runs in progress, with their text sent so far."""
    sent: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _ended: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _row_ids: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _resumes: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Runs with which a restarted gateway resumes an earlier one, by the new id."""

    def begin(self, run_id: str) -> None:
        if run_id not in self._ended:
            self.in_progress.setdefault(run_id, "")

    def ended(self, run_id: str) -> bool:
        """Record a run's end; `False` if it was recorded before."""
        self.in_progress.pop(run_id, None)
        if run_id in self._ended:
            return False
        _remember(self._ended, run_id, run_id)
        return True

    def resumed_by(self, run_id: str, resumed_id: str) -> None:
        """A restarted gateway continues `run_id` in another run; the page sees one run."""
        _remember(self._resumes, resumed_id, run_id)

    def record_sent(self, message_id: str) -> None:
        _remember(self.sent, message_id, message_id)

    def is_from_another_tab(self, payload: dict[str, Any]) -> bool:
        """Whether a `session.message` is a message that the user sent in another tab."""
        row = as_object(payload.get("message"))
        if row.get("role") != "user" or not _is_ours(payload):
            return False
        return _sent_with(row) not in self.sent

    def record_row(self, payload: dict[str, Any]) -> None:
        """Remember the id that a run's answer has in the history."""
        meta = as_object(as_object(payload.get("message")).get("__openclaw"))
        run_id, row_id = meta.get("runId"), meta.get("id")
        if isinstance(run_id, str) and isinstance(row_id, str):
            _remember(self._row_ids, self.page_id(run_id), row_id)

    def on_chat(self, payload: dict[str, Any]) -> Frame | Failed | None:
        """A `chat` event as a frame for the page; `Failed` for an error."""
        run_id = self.page_id(str(payload.get("runId")))
        if not _is_ours(payload) or run_id in self._ended:
            return None
        row = as_object(payload.get("message"))
        match payload.get("state"):
            case "status":
                self.begin(run_id)
            case "delta":
                # Every delta carries the whole text, which makes up for missed ones.
                return self.update(run_id, text_of(row))
            case "final":
                return self.final(run_id, text_of(row), row.get("timestamp"))
            case "aborted" if self.ended(run_id):
                return frames.aborted(run_id)
            case "error" if self.ended(run_id):
                return Failed(run_id, str(payload.get("errorMessage") or "The agent failed."))
        return None

    def final(self, run_id: str, text: str, at_ms: Any) -> Frame | None:
        if not self.ended(run_id):
            return None
        row_id = self._row_ids.pop(run_id, run_id)
        at = at_ms if isinstance(at_ms, int | float) else None
        answer = frames.message(row_id, role="assistant", text=text, at_ms=at)
        return frames.final(run_id, answer)

    def update(self, run_id: str, text: str) -> Frame | None:
        """A frame with the part of a run's text that the page lacks; `None` if it lacks none."""
        if run_id in self._ended:
            return None
        already_sent = self.in_progress.setdefault(run_id, "")
        if already_sent.startswith(text):
            return None  # a history may be slightly older than the deltas
        self.in_progress[run_id] = text
        if text.startswith(already_sent):
            return frames.delta(run_id, text[len(already_sent) :])
        return frames.delta(run_id, text, replace=True)

    def page_id(self, run_id: str) -> str:
        """The id under which the page knows this run."""
        return self._resumes.get(run_id, run_id)


def history(payload: dict[str, Any]) -> list[WireMessage]:
    """The messages of `chat.history`, oldest first, without thoughts and tool calls."""
    rows = payload.get("messages")
    messages: list[WireMessage] = []
    last_run: object = None
    for row in rows if isinstance(rows, list) else ():
        role, text = as_object(row).get("role"), text_of(as_object(row))
        if role not in ("user", "assistant") or not text or _is_outcome(row):
            continue
        meta = as_object(row.get("__openclaw"))
        run_id = meta.get("runId") if role == "assistant" else None
        row_id = _sent_with(row) or str(meta.get("id") or f"row-{len(messages)}")
        if run_id is not None and run_id == last_run:
            messages[-1] |= {"id": row_id, "text": messages[-1]["text"] + _BETWEEN_PARTS + text}
            continue
        at = row.get("timestamp")
        at_ms = at if isinstance(at, int | float) else None
        messages.append(frames.message(row_id, role=role, text=text, at_ms=at_ms))
        last_run = run_id
    return messages


@dataclass(frozen=True, slots=True)
class RunStates:
    """The state of runs according to `chat.history`."""

    in_progress: dict[str, str]
    """Runs in progress, with their text so far."""
    answers: dict[str, tuple[str, Any]]
    """Ended runs, with their answer's text and time."""


def run_states(payload: dict[str, Any]) -> RunStates:
    in_progress: dict[str, str] = {}
    in_flight = as_object(payload.get("inFlightRun"))
    if isinstance(in_flight.get("runId"), str):
        in_progress[in_flight["runId"]] = str(in_flight.get("text") or "")
    pending = as_object(payload.get("pendingInputs")).get("items")
    for item in pending if isinstance(pending, list) else ():
        if isinstance(as_object(item).get("runId"), str):
            in_progress.setdefault(item["runId"], "")
    answers: dict[str, tuple[str, Any]] = {}
    unfinished: set[str] = set()
    rows = payload.get("messages")
    for row in rows if isinstance(rows, list) else ():
        run_id = as_object(as_object(row).get("__openclaw")).get("runId")
        text = text_of(as_object(row))
        if as_object(row).get("role") == "assistant" and isinstance(run_id, str) and text:
            before = answers.get(run_id, ("", None))[0]
            joined = before + _BETWEEN_PARTS + text if before else text
            answers[run_id] = (joined, row.get("timestamp"))
            # Text before a tool call is not the answer yet.
            (unfinished.add if row.get("stopReason") == "toolUse" else unfinished.discard)(run_id)
    ended = {run_id: found for run_id, found in answers.items() if run_id not in unfinished}
    return RunStates(in_progress, ended)


def text_of(row: dict[str, Any]) -> str:
    """The text of a message, without thoughts, tool calls and images."""
    content = row.get("content")
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    parts = (
        part.get("text")
        for part in content
        if isinstance(part, dict) and part.get("type") == "text"
    )
    return "".join(part for part in parts if isinstance(part, str)).strip()


def _is_ours(payload: dict[str, Any]) -> bool:
    return payload.get("sessionKey") in (SESSION_KEY, _CANONICAL_KEY)


def _sent_with(row: dict[str, Any]) -> str | None:
    """The id that a user's message was sent with."""
    key = row.get("idempotencyKey")
    if row.get("role") == "user" and isinstance(key, str) and key.endswith(_USER_SUFFIX):
        return key.removesuffix(_USER_SUFFIX)
    return None


def _is_outcome(row: dict[str, Any]) -> bool:
    """Whether the server sent this message to tell the agent of a decision."""
    return (_sent_with(row) or "").startswith(OUTCOME_KEY_PREFIX)


def _remember(those: OrderedDict[str, str], one: str, what: str) -> None:
    those[one] = what
    if len(those) > _REMEMBERED:
        those.popitem(last=False)
