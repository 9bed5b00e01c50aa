"""OpenClaw's rows of sessions as the page's list of conversations. Pure.

Facts from OpenClaw 2026.9.6: a session's `label` is the name its user gave it, `autoLabel` the one
we gave it, `displayName` the one the model gave it, `derivedTitle` the beginning of its first
message. Every message, also the user's own, makes a session unread until it is recorded as read.
Sessions that were not used for a week are archived on their own; they stay conversations.
"""

import re
from typing import Any

from ocmt_common.gateway_frames import as_object

from ocmt_management.agents.service import MAIN, conversation_of
from ocmt_management.chat import frames
from ocmt_management.chat.frames import MAX_TITLE, WireConversation, WireHit

LISTED = 300
"""The most conversations in a list."""
LIST_PARAMS: dict[str, Any] = {
    "limit": LISTED,
    "agentId": "main",
    "archived": "all",
    "excludeCron": True,
    "excludeSubagents": True,
    "includeDerivedTitles": True,
}
SEARCH_SCOPE: dict[str, Any] = {
    "agentId": "main",
    "archived": "all",
    "excludeCron": True,
    "excludeSubagents": True,
}
_NAMES = ("label", "autoLabel", "displayName", "derivedTitle")
_TITLE_CHARS = 60
_SPACES = re.compile(r"\s+")


def title_from(text: str) -> str:
    """A name for a conversation after its first message: the first line, cut between words."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = _SPACES.sub(" ", line).strip().lstrip("#>*- ").strip()
    if len(line) <= _TITLE_CHARS:
        return line
    cut = line[: _TITLE_CHARS - 1]
    words = cut.rpartition(" ")[0]
    return (words if len(words) > _TITLE_CHARS // 2 else cut).rstrip() + "…"


def entry(row: dict[str, Any]) -> WireConversation | None:
    """A row as an entry of the list; `None` for a session that is no conversation."""
    found = conversation_of(row.get("key"))
    if found is None:
        return None
    names: tuple[str, ...] = ("label",) if found == MAIN else _NAMES
    texts = [name for name in map(row.get, names) if isinstance(name, str)]
    times = (row.get(name) for name in ("lastInteractionAt", "lastActivityAt"))
    known = [time for time in times if isinstance(time, int | float)]
    return {
        "id": found,
        "title": next((name for name in texts if name.strip()), "")[:MAX_TITLE],
        "pinned": row.get("pinned") is True,
        "unread": row.get("unread") is True,
        "working": row.get("hasActiveRun") is True,
        "at": frames.moment(max(known) if known else _number(row.get("createdAt"))),
    }


def entries(payload: dict[str, Any]) -> list[WireConversation]:
    """The conversations in an answer to `sessions.list`."""
    return [found for row in _objects(payload, "sessions") if (found := entry(row)) is not None]


def hits(payload: dict[str, Any]) -> list[WireHit]:
    """The messages in an answer to `sessions.search`, best first."""
    titles = {known["id"]: known["title"] for known in entries(payload)}
    found: list[WireHit] = []
    for hit in _objects(payload, "results"):
        conversation = conversation_of(hit.get("sessionKey"))
        if conversation is None:
            continue
        found.append(
            {
                "conversation": conversation,
                "title": titles.get(conversation, ""),
                "role": "user" if hit.get("role") == "user" else "assistant",
                "snippet": str(hit.get("snippet") or "")[:400],
                "at": frames.moment(_number(hit.get("timestamp"))),
            }
        )
    return found


def _objects(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [as_object(one) for one in found] if isinstance(found, list) else []


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
