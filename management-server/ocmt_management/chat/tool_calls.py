"""The calls of tools in OpenClaw's transcript, as the page shows them. Pure.

Facts from OpenClaw 2026.9.6: a message of the agent has its calls as parts of the type `toolCall`;
each result is a row of its own (`toolResult`) with the call's id, which may come again in a later
turn. Whether a command failed is in the history's `activity` only. Live, the messages with calls
come as `session.message` before the calls are made, but results come in `session.tool`, which only
a follower of the list gets, and the outcome alone in `agent`. OpenClaw calls tools of MCP servers
through its own tool `tool_call`, and names ours `ocmt__server__tool`. Names, arguments and results
are hostile text: the page shows them as text.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ocmt_common.gateway_frames import as_object

from ocmt_management.chat.frames import WireTool
from ocmt_management.chat.rows import row_id

MOST_CALLS = 100
"""The most calls of one answer that are shown: the last ones."""
_MOST_CHARS = 4_000
_NAME_CHARS = 200
_SUBJECT_CHARS = 200
_CALL, _RESULT = "toolCall", "toolResult"
_THROUGH = "tool_call"
_OURS = "ocmt__"
# The arguments that say what a call is for, the most telling ones first.
_SUBJECTS = (
    *("command", "url", "query", "path", "file_path", "filePath", "pattern", "task"),
    *("prompt", "message", "text", "name", "action", "id"),
)


def outcomes_of(payload: dict[str, Any]) -> dict[tuple[str, str], bool]:
    """`(row id, call id)` → whether the call succeeded, according to a history's `activity`."""
    activity = payload.get("activity")
    found: dict[tuple[str, str], bool] = {}
    for entry in activity if isinstance(activity, list) else []:
        items = as_object(entry).get("items")
        for item in items if isinstance(items, list) else []:
            status = as_object(item).get("status")
            if status in ("completed", "failed", "blocked"):
                key = (str(as_object(entry).get("messageId")), str(item.get("toolCallId")))
                found[key] = status == "completed"
    return found


def result_of(name: str, payload: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a result that the event `name` reports; `None` for other events."""
    data = as_object(payload.get("data"))
    row = {"role": _RESULT, "toolCallId": data.get("toolCallId")}
    if name == "session.tool" and data.get("phase") == "result":
        result = as_object(data.get("result"))
        told = {part: result[part] for part in ("content", "details") if part in result}
        return row | told | {"isError": data.get("isError")}
    if name == "agent" and payload.get("stream") == "item" and data.get("phase") == "end":
        return row | {"isError": data.get("status") in ("failed", "blocked")}
    return None


@dataclass(slots=True)
class ToolCalls:
    """The calls of one conversation's turns, fed with its rows in their order."""

    outcomes: dict[tuple[str, str], bool] = field(default_factory=dict)
    _open: dict[str, WireTool] = field(default_factory=dict)
    """Calls without a result, by id."""

    def begun_by(self, row: dict[str, Any]) -> list[WireTool]:
        """The calls in a row of the agent, running until `ended_by` sees their results."""
        parts = row.get("content")
        if row.get("role") != "assistant" or not isinstance(parts, list):
            return []
        begun = [
            _call(part)
            for part in parts
            if isinstance(part, dict) and part.get("type") == _CALL and _id_of(part, "id")
        ]
        for call in begun:
            self._open.pop(call["id"], None)
            self._open[call["id"]] = call
        while len(self._open) > MOST_CALLS:
            del self._open[next(iter(self._open))]
        return begun

    def resume(self, calls: Iterable[WireTool]) -> None:
        """Take over the calls of a turn in progress from a history."""
        self._open |= {call["id"]: call for call in calls if call["state"] == "running"}

    def ended_by(self, row: dict[str, Any]) -> WireTool | None:
        """The call whose result this row is, completed in place; `None` for other rows."""
        if row.get("role") != _RESULT:
            return None
        call = self._open.pop(_id_of(row, "toolCallId") or "", None)
        if call is None:
            return None
        succeeded = self.outcomes.get((row_id(row) or "", call["id"]), not _has_failed(row))
        call["state"] = "done" if succeeded else "failed"
        if text := _text(row.get("content")):
            call["result"] = _cut(text)
        return call


def thoughts_of(row: dict[str, Any]) -> str:
    """What the model thought before it wrote this row, as far as its provider tells it."""
    parts = row.get("content")
    if row.get("role") != "assistant" or not isinstance(parts, list):
        return ""
    thoughts = (
        part.get("thinking")
        for part in parts
        if isinstance(part, dict) and part.get("type") == "thinking"
    )
    return _cut("\n\n".join(text.strip() for text in thoughts if isinstance(text, str)).strip())


def joined_thoughts(before: str, more: str) -> str:
    """Thoughts of one turn after those before them, cut if they are long."""
    return _cut("\n\n".join(text for text in (before, more) if text))


def _call(part: dict[str, Any]) -> WireTool:
    name, arguments = str(part.get("name") or "tool"), part.get("arguments")
    given = as_object(arguments)
    if name == _THROUGH and isinstance(given.get("id"), str):
        name, arguments = given["id"], given.get("args")
    call: WireTool = {
        "id": str(part["id"])[:_NAME_CHARS],
        "name": name.removeprefix(_OURS)[:_NAME_CHARS],
        "state": "running",
    }
    if subject := _subject(as_object(arguments)):
        call["subject"] = subject
    if arguments:
        call["arguments"] = _cut(_written(arguments))
    return call


def _subject(arguments: dict[str, Any]) -> str:
    for name in _SUBJECTS:
        value = arguments.get(name)
        if isinstance(value, str) and value.strip():
            line = value.strip().splitlines()[0]
            return line if len(line) <= _SUBJECT_CHARS else f"{line[: _SUBJECT_CHARS - 1]}…"
    return ""


def _written(arguments: object) -> str:
    if isinstance(arguments, str):
        return arguments
    return json.dumps(arguments, indent=2, ensure_ascii=False)


def _has_failed(row: dict[str, Any]) -> bool:
    """A tool may report its own failure, and a command its exit code."""
    details = as_object(row.get("details"))
    code = details.get("exitCode")
    return (
        row.get("isError") is True
        or details.get("status") in ("error", "failed")
        or (isinstance(code, int) and code != 0)
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str)).strip()


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def _id_of(holder: dict[str, Any], name: str) -> str | None:
    found = holder.get(name)
    return found[:_NAME_CHARS] if isinstance(found, str) and found else None
