"""Converts OpenClaw's `chat.history` to the page's messages and the states of runs. Pure.

Facts from OpenClaw 2026.9.6: a message that waits for its turn is in `pendingInputs`, not in
`messages`; one whose turn has just begun is there, too, for a moment. Waiting messages become
`interrupted` by a restart and `cancelled` by a stop; the agent never reads them, and they stay
listed. A waiting message's own run is in flight until it ends without a text; the run before it or
a later one then reads the message. Text before a tool call is stored before the call.
"""

from dataclasses import dataclass
from typing import Any

from ocmt_common.gateway_frames import as_object

from ocmt_management.chat import frames
from ocmt_management.chat.error_messages import STOPPED, of_run
from ocmt_management.chat.frames import Speaker, WireMessage, WireTool
from ocmt_management.chat.rows import (
    failure_of,
    files_of,
    is_omitted,
    next_attempt,
    row_id,
    run_of,
    sent_with,
    text_of,
    was_stopped,
)
from ocmt_management.chat.tool_calls import (
    MOST_CALLS,
    ToolCalls,
    joined_thoughts,
    outcomes_of,
    thoughts_of,
)
from ocmt_management.tools.service import OUTCOME_KEY_PREFIX

BETWEEN_PARTS = "\n\n"
TOO_LONG = "This message is too long to be shown here."
_ANSWERED_WITHIN_MS = 60_000
_NO_ANSWER = "Your agent did not answer this message."
_UNREAD = {
    "interrupted": "Your agent restarted before it read this message.",
    "cancelled": STOPPED,
}


def messages(
    payload: dict[str, Any], *, last_error: str | None = None, now_ms: float = 0
) -> list[WireMessage]:
    """The messages to show, oldest first, with the calls of tools that led to each answer.

    The answer in progress is left out: `run_states` has it. `last_error` is the reason why
    the user's last model request failed, which OpenClaw's notice lacks.
    """
    flying = _flying(payload)[0]
    calls = ToolCalls(outcomes_of(payload))
    shown: list[WireMessage] = []
    last_run: str | None = None
    failed: WireMessage | None = None
    """The user's message whose turn failed, if nothing follows it."""
    of_outcome = False
    """Whether the turn answers an approval's outcome: this server sent it, and it is not shown."""
    for row in _rows(payload):
        run_id = run_of(row)
        if run_id is not None and run_id == flying:
            continue
        calls.ended_by(row)
        if row.get("role") == "user":
            of_outcome = (sent_with(row) or "").startswith(OUTCOME_KEY_PREFIX)
        message, notice = _message(row, len(shown), calls), failure_of(row)
        if of_outcome and (notice is not None or row.get("role") == "user"):
            continue
        if notice is not None:
            failed = _fail(shown, notice)
            if notice == text_of(row) or row.get("role") == "custom":
                continue
        elif message is not None:
            failed = _failed_after(message, failed)
        if message is None:
            continue
        if message["role"] == "assistant" and run_id is not None and run_id == last_run:
            _append(shown[-1], message)
            continue
        shown.append(message)
        last_run = run_id if message["role"] == "assistant" else None
    if failed is not None and last_error is not None:
        failed["detail"] = last_error
    left = _unanswered(shown)
    if left is not None and failed is None and _was_left(payload, now_ms):
        left |= {"state": "failed", "detail": _NO_ANSWER}
    _end_calls(shown)
    _insert_pending(shown, payload)
    return _without_repeated_failures(shown)


@dataclass(frozen=True, slots=True)
class RunStates:
    """The states of runs, according to `chat.history`."""

    in_progress: dict[str, str]
    """Run id → its text so far; at most one."""
    queued: frozenset[str]
    """Runs that wait for their turn."""
    answers: dict[str, tuple[str, Any]]
    """Ended run id → `(text, time)` of its answer."""
    tools: list[WireTool]
    """The calls of the run in progress."""
    thoughts: str
    """What its model thought."""


def run_states(payload: dict[str, Any]) -> RunStates:
    answers: dict[str, tuple[str, Any]] = {}
    flying, text_so_far = _flying(payload)
    calls, tools, thoughts = ToolCalls(outcomes_of(payload)), list[WireTool](), ""
    unfinished: set[str] = set()
    for row in _rows(payload):
        run_id, text = run_of(row), text_of(row)
        calls.ended_by(row)
        begun = calls.begun_by(row)
        if row.get("role") != "assistant" or run_id is None:
            continue
        if run_id == flying:
            tools += begun
            thoughts = joined_thoughts(thoughts, thoughts_of(row))
        # Text before a tool call is not the answer yet.
        (unfinished.add if row.get("stopReason") == "toolUse" else unfinished.discard)(run_id)
        if text:
            before = answers.get(run_id, ("", None))[0]
            joined = before + BETWEEN_PARTS + text if before else text
            answers[run_id] = (joined, row.get("timestamp"))
    in_progress: dict[str, str] = {}
    if flying is not None:
        stored = answers.get(flying, ("", None))[0]
        in_progress[flying] = text_so_far if len(text_so_far) >= len(stored) else stored
    return RunStates(
        in_progress,
        frozenset(_queued(payload)),
        {
            run_id: found
            for run_id, found in answers.items()
            if run_id not in unfinished and run_id != flying
        },
        tools[-MOST_CALLS:],
        thoughts,
    )


def older_than(payload: dict[str, Any]) -> int | None:
    """Where the messages before these begin, counted from the newest; `None` at the first one."""
    place = payload.get("nextOffset")
    older = payload.get("hasMore") is True and isinstance(place, int) and place > 0
    return place if older else None


def without_present(payload: dict[str, Any]) -> dict[str, Any]:
    """Older messages without what is true only of the newest: waiting messages and runs."""
    return {
        name: payload[name]
        for name in ("messages", "activity", "hasMore", "nextOffset")
        if name in payload
    }


def entry_of(payload: dict[str, Any], message_id: str) -> str | None:
    """The id that the transcript has for the user's message with this id."""
    for row in _rows(payload):
        if row.get("role") == "user" and message_id in (sent_with(row), row_id(row)):
            return row_id(row)
    return None


def omitted(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Placeholders of messages to fetch with `chat.message.get`, newest first."""
    return [
        row
        for row in reversed(_rows(payload))
        if is_omitted(row) and row_id(row) and row.get("role") in ("user", "assistant")
    ]


def runs_with_files(payload: dict[str, Any]) -> set[str | None]:
    return {run_of(row) for row in _rows(payload) if files_of(row)}


def _rows(payload: dict[str, Any]) -> list[dict[str, Any]]:
    rows = payload.get("messages")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _was_left(payload: dict[str, Any], now_ms: float) -> bool:
    """Whether the newest message is over 60 s old and no run is active.

    Between two runs, and for some seconds after a crash, no run is active either.
    """
    idle = as_object(payload.get("sessionInfo")).get("hasActiveRun") is False
    at = _time(_rows(payload)[-1].get("timestamp"))
    return idle and at is not None and now_ms - at > _ANSWERED_WITHIN_MS


def _flying(payload: dict[str, Any]) -> tuple[str | None, str]:
    run = as_object(payload.get("inFlightRun"))
    run_id = run.get("runId")
    return (run_id, str(run.get("text") or "")) if isinstance(run_id, str) else (None, "")


def _queued(payload: dict[str, Any]) -> list[str]:
    """The runs of waiting messages, without the oldest if its turn has begun (it is in flight)."""
    waiting = [run for state, run, _ in _pending(payload) if state == "queued" and run]
    begins = waiting[:1] == [as_object(payload.get("inFlightRun")).get("runId")]
    return waiting[1:] if begins else waiting


def _pending(payload: dict[str, Any]) -> list[tuple[str, str | None, dict[str, Any]]]:
    """`(state, run id, input)` of each pending input, oldest first."""
    items = as_object(payload.get("pendingInputs")).get("items")
    return [
        (str(item.get("state") or "queued"), _text_or_none(item.get("runId")), item)
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]


def _message(row: dict[str, Any], index: int, calls: ToolCalls) -> WireMessage | None:
    text, files, tools = text_of(row), files_of(row), calls.begun_by(row)
    role: Speaker = "user" if row.get("role") == "user" else "assistant"
    if row.get("role") == "custom" and was_stopped(row):
        text = ""
    elif row.get("role") not in ("user", "assistant") or not (text or files or tools):
        return None
    message = frames.message(
        sent_with(row) or row_id(row) or f"row-{index}",
        role=role,
        text=TOO_LONG if is_omitted(row) else text,
        at_ms=_time(row.get("timestamp")),
    )
    if files:
        message["files"] = files
    if tools:
        message["tools"] = tools[-MOST_CALLS:]
    if thoughts := thoughts_of(row):
        message["thoughts"] = thoughts
    if was_stopped(row):
        message["state"] = "stopped"
    return message


def _append(message: WireMessage, more: WireMessage) -> None:
    texts = [part["text"] for part in (message, more) if part["text"]]
    message["id"] = more["id"]
    message["text"] = BETWEEN_PARTS.join(texts)
    if files := [*message.get("files", []), *more.get("files", [])]:
        message["files"] = files
    if tools := [*message.get("tools", []), *more.get("tools", [])]:
        message["tools"] = tools[-MOST_CALLS:]
    if thoughts := joined_thoughts(message.get("thoughts", ""), more.get("thoughts", "")):
        message["thoughts"] = thoughts
    if "state" in more:
        message["state"] = more["state"]


def _failed_after(message: WireMessage, failed: WireMessage | None) -> WireMessage | None:
    """The user's message whose turn failed, if it still has after a further `message`."""
    if failed is None or message["role"] == "user":
        return None
    if not _says(message):
        return failed
    del failed["state"], failed["detail"]  # another attempt answered
    return None


def _says(message: WireMessage) -> bool:
    """Whether a message of the agent is an answer, not only work towards one."""
    return bool(message["text"] or message.get("files") or message.get("state"))


def _unanswered(shown: list[WireMessage]) -> WireMessage | None:
    """The user's last message, if the agent has said nothing since."""
    for message in reversed(shown):
        if message["role"] == "user":
            return message
        if _says(message):
            return None
    return None


def _end_calls(shown: list[WireMessage]) -> None:
    """Calls without a result in turns that have ended."""
    for message in shown:
        for call in message.get("tools", []):
            if call["state"] == "running":
                call["state"] = "stopped"


def _fail(shown: list[WireMessage], notice: str) -> WireMessage | None:
    """Mark the last message of the user as failed and return it; `None` if there is none."""
    for message in reversed(shown):
        if message["role"] == "user":
            message["state"] = "failed"
            message["detail"] = of_run(notice)[1]
            return message
    return None


def _insert_pending(shown: list[WireMessage], payload: dict[str, Any]) -> None:
    known = {message["id"] for message in shown}
    queued = _queued(payload)
    for state, run_id, item in _pending(payload):
        row = as_object(item.get("message")) | {"role": "user"}
        message = _message(row | {"timestamp": item.get("acceptedAt")}, len(shown), ToolCalls())
        if message is None or run_id in known or (run_id or "").startswith(OUTCOME_KEY_PREFIX):
            continue
        message["id"] = run_id or message["id"]
        if state in _UNREAD:
            at = sum(1 for other in shown if other["at"] <= message["at"])
            if at == 0 and payload.get("hasMore"):
                continue  # older than this page of the history
            message["state"] = "failed"
            message["detail"] = _UNREAD[state]
            shown.insert(at, message)
        else:
            if run_id is None or run_id in queued:
                message["state"] = "queued"
            shown.append(message)


def _without_repeated_failures(shown: list[WireMessage]) -> list[WireMessage]:
    """Clean up messages that were sent again: drop unread ones, clear the failure of the others."""
    known = {message["id"] for message in shown}
    kept: list[WireMessage] = []
    for message in shown:
        if message.get("state") == "failed" and next_attempt(message["id"]) in known:
            if message.get("detail") in _UNREAD.values():
                continue
            del message["state"], message["detail"]
        kept.append(message)
    return kept


def _time(at: Any) -> float | None:
    return at if isinstance(at, int | float) else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
