"""One message of OpenClaw's transcript: its text, its files, its ids, and how its turn ended. Pure.

Facts from OpenClaw 2026.9.6. `chat.history` replaces a message of more than 128 KiB with a
placeholder that has its id. A turn that failed ends in a message of the agent with `stopReason`
"error", whose text is OpenClaw's notice, or what the agent said before the failure. A turn that
ended before it began to answer leaves a "custom" message. A stopped answer has `openclawAbort`.
Files that the agent sends are parts with the gateway's path to them; only the history has these
parts, from a moment after the answer's end. Files that the user attached are in `__openclaw.media`,
each with the name under which the gateway keeps it.
"""

import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

from ocmt_common.gateway_frames import as_object

from ocmt_management.chat.frames import FileKind, WireFile

FILE_ID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
CONVERSATION = r"[A-Za-z0-9][A-Za-z0-9:._-]{0,199}"
_USER_SUFFIX = ":user"
_FILE_PATH = re.compile(rf"/api/chat/media/outgoing/({CONVERSATION})/({FILE_ID})/full")
_KINDS: dict[object, FileKind] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "document": "document",
}
_ATTACHED = "media://inbound/"
_ENDED_EARLY = "run-failed-before-reply"
_STOPPED_EARLY = re.compile(r"This turn ended before a reply: aborted\b")
_NOTICE = re.compile(r"⚠️|The agent run failed before producing a reply\.")


def text_of(row: dict[str, Any]) -> str:
    """The text of a message, without thoughts, tool calls and files."""
    content = row.get("content")
    if isinstance(content, str):
        return content.strip()
    parts = (part.get("text") for part in _parts(row) if part.get("type") == "text")
    return "".join(part for part in parts if isinstance(part, str)).strip()


def files_of(row: dict[str, Any]) -> list[WireFile]:
    """The files of a message, with the addresses at which this server serves them, if it does."""
    if row.get("role") == "user":
        return _attached(row)
    files: list[WireFile] = []
    for part in _parts(row):
        described = as_object(part.get("attachment")) or part
        kind = _KINDS.get(described.get("kind") or part.get("type"))
        if kind is None:
            continue
        name = described.get("label") or described.get("fileName") or described.get("alt")
        file: WireFile = {"kind": kind, "name": str(name or kind)[:200], "url": None}
        path = _FILE_PATH.fullmatch(unquote(urlsplit(str(described.get("url") or "")).path))
        if path is not None:
            file["url"] = f"/api/chat/files/{path[1]}/{path[2]}"
        files.append(file)
    return files


def _attached(row: dict[str, Any]) -> list[WireFile]:
    media = as_object(row.get("__openclaw")).get("media")
    files: list[WireFile] = []
    for fact in map(as_object, media if isinstance(media, list) else []):
        kind = _KINDS.get(fact.get("kind"), "document")
        address = str(fact.get("url") or fact.get("path") or "")
        kept = unquote(address.removeprefix(_ATTACHED)) if address.startswith(_ATTACHED) else ""
        name = str(fact.get("fileName") or kept or kind)[:200]
        url = f"/api/chat/attachments?name={quote(kept, safe='')}" if kept else None
        files.append({"kind": kind, "name": name, "url": url})
    return files


def failure_of(row: dict[str, Any]) -> str | None:
    """OpenClaw's notice of a failed turn, empty if it left none; `None` for other messages."""
    if row.get("role") == "custom" and row.get("customType") == _ENDED_EARLY:
        return None if was_stopped(row) else ""
    if row.get("role") != "assistant" or row.get("stopReason") != "error":
        return None
    text = text_of(row)
    return text if _NOTICE.match(text) else ""


def was_stopped(row: dict[str, Any]) -> bool:
    """Whether the user stopped the answer."""
    if row.get("role") == "custom":
        early = row.get("customType") == _ENDED_EARLY
        return early and _STOPPED_EARLY.match(text_of(row)) is not None
    return as_object(row.get("openclawAbort")).get("aborted") is True


def is_omitted(row: dict[str, Any]) -> bool:
    """Whether the row is a placeholder for a message that is too large for `chat.history`."""
    return as_object(row.get("__openclaw")).get("reason") == "oversized"


def row_id(row: dict[str, Any]) -> str | None:
    found = as_object(row.get("__openclaw")).get("id")
    return found if isinstance(found, str) else None


def run_of(row: dict[str, Any]) -> str | None:
    """The id of the run in which the agent wrote this message; `None` if it is not known."""
    found = as_object(row.get("__openclaw")).get("runId")
    return found if isinstance(found, str) and row.get("role") != "user" else None


def sent_with(row: dict[str, Any]) -> str | None:
    """The id with which a user's message was sent; `None` if it has none, as other messages."""
    key = row.get("idempotencyKey") or as_object(row.get("__openclaw")).get("idempotencyKey")
    if row.get("role") == "user" and isinstance(key, str) and key.endswith(_USER_SUFFIX):
        return key.removesuffix(_USER_SUFFIX)
    return None


def next_attempt(message_id: str) -> str | None:
    """The id of a message when the page sends it again after a failure; `None` if not a UUID.

    It follows from the first id, so that every device recognises messages that were sent again.
    """
    try:
        return str(UUID(int=UUID(message_id).int + 1))
    except ValueError:
        return None


def _parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    content = row.get("content")
    return [as_object(part) for part in content] if isinstance(content, list) else []
