"""`CallToolResult`s of approvals, as JSON. Pure."""

from typing import Any

import msgspec
from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

from ocmt_management.tools.approval_states import ApprovalState

MAX_STORED_BYTES = 1024 * 1024
_MAX_TEXT_CHARACTERS = 4000


def text_result(text: str, *, error: bool = False) -> bytes:
    """A result with a single text."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if error:
        result["isError"] = True
    return msgspec.json.encode(result)


def is_error(result: bytes) -> bool:
    """Whether a call's result is an error or unreadable."""
    try:
        return bytes(bounded_json.members(result).get("isError", b"")) == b"true"
    except NotJson:
        return True


def storable(result: bytes) -> bytes:
    """The result, or a note in its place if it is too large to store."""
    if len(result) <= MAX_STORED_BYTES:
        return result
    return text_result(
        f"The call ran, but its result is too large to keep ({len(result)} bytes, at most "
        f"{MAX_STORED_BYTES}).",
        error=is_error(result),
    )


def text_of(result: bytes) -> str:
    """The result's text, cut to 4,000 characters, with the type in place of each other part."""
    try:
        value = bounded_json.read(result)
    except NotJson:
        return "(a result that cannot be read)"
    content = value.get("content") if isinstance(value, dict) else None
    parts: list[str] = []
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if kind == "text" else None
        parts.append(text if isinstance(text, str) else f"({kind})")
    whole = "\n".join(parts)
    if len(whole) <= _MAX_TEXT_CHARACTERS:
        return whole
    return f"{whole[:_MAX_TEXT_CHARACTERS]}\n(cut: {len(whole)} characters)"


def waits(number: int, link: str) -> bytes:
    """The result for a call that is not decided in time."""
    return text_result(
        f"This call waits for the decision of your person: it is number {number}. Do not call it "
        "again. When they decide, the call is run for you and its result comes as a message, also "
        "hours later. Tell them that it waits, with this link, then go on or end your turn: "
        f"{link}"
    )


def ended(state: ApprovalState, number: int, detail: str | None, result: bytes | None) -> bytes:
    """The result for a call that has ended: its own, or why it has none."""
    if state in (ApprovalState.DONE, ApprovalState.FAILED):
        return result or text_result(
            f"Call number {number} ran, but its result is no longer kept.", error=True
        )
    texts = {
        ApprovalState.DENIED: f"Your person said no to call number {number}, so it did not run. Do "
        "not call it again unless they ask you to.",
        ApprovalState.EXPIRED: f"Nobody decided on call number {number} in time, so it did not "
        "run.",
        ApprovalState.UNCERTAIN: f"It is not known whether call number {number} ran: a server "
        "failed while it was run. It is not repeated. Find out whether it had its effect before "
        "you call again.",
    }
    if state is ApprovalState.DENIED and detail:
        return text_result(f"Call number {number} did not run. {detail}", error=True)
    return text_result(texts[state], error=True)
